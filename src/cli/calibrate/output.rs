//! The measurements as a table and as bars.

use std::io::{self, IsTerminal};

use crate::engine::calibrate::PassTimes;

/// One line per measurement.
pub(super) fn table(times: &[PassTimes]) -> String {
    let mut text = String::from(
        "context  tokens   pass ms  per token  times T(1)  graph ms  rows ms  kv ms  argmax us  \
         top-64 us\n",
    );
    let mut one = 1.0;
    for it in times {
        if it.tokens == 1 {
            one = it.reused;
        }
        text += &format!(
            "{:>7}  {:>6}  {:>8.2}  {:>9.2}  {:>10.2}  {:>8.2}  {:>7.2}  {:>5.2}  {:>9.1}  \
             {:>9.1}\n",
            it.n_past,
            it.tokens,
            1e3 * it.reused,
            1e3 * it.reused / it.tokens as f64,
            it.reused / one,
            // Noise can make it negative.
            1e3 * (it.rebuilt - it.reused).max(0.0),
            1e3 * it.rows,
            1e3 * it.kv,
            1e6 * it.argmax,
            1e6 * it.top_k,
        );
    }
    text
}

/// A note if longer contexts have fewer sizes than shorter ones; it says why.
pub(super) fn left_out(times: &[PassTimes]) -> Option<String> {
    let largest = |n_past: usize| {
        let of_context = times.iter().filter(|it| it.n_past == n_past);
        of_context.map(|it| it.tokens).max().unwrap_or(0)
    };
    let (first, last) = (times.first()?.n_past, times.last()?.n_past);
    (largest(last) < largest(first)).then(|| {
        format!(
            "Longer contexts have no passes of more than {} tokens: they do not fit, or they cost \
             so much that no tree grows to that size.",
            largest(last)
        )
    })
}

/// The cost of a pass by its size, as bars, for the shortest context measured.
pub(super) fn plot(times: &[PassTimes]) -> String {
    const WIDTH: f64 = 48.0;
    let n_past = times.first().map_or(0, |it| it.n_past);
    let shown: Vec<&PassTimes> = times.iter().filter(|it| it.n_past == n_past).collect();
    let one = shown.first().map_or(1.0, |it| it.reused);
    let most = shown.iter().map(|it| it.reused / one).fold(1.0, f64::max);
    let bar = if io::stdout().is_terminal() {
        "█"
    } else {
        "#"
    };
    let mut text = format!("cost of a pass in passes of one token, {n_past} tokens in the cache\n");
    for it in shown {
        let ratio = it.reused / one;
        let width = (WIDTH * ratio / most).round().max(1.0) as usize;
        text += &format!("{:>4} {} {ratio:.2}\n", it.tokens, bar.repeat(width));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> Vec<PassTimes> {
        let time = |tokens: usize| PassTimes {
            n_past: 128,
            tokens,
            reused: 0.01 * tokens as f64,
            fastest: 0.01 * tokens as f64,
            rebuilt: 0.01 * tokens as f64 + 0.001,
            rows: 0.002 * tokens as f64,
            kv: 0.0001,
            argmax: 3e-6,
            top_k: 9e-6,
        };
        vec![time(1), time(4)]
    }

    #[test]
    fn the_table_gives_ratios_and_the_cost_of_building_a_graph() {
        let text = table(&times());
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(
            last,
            [
                "128", "4", "40.00", "10.00", "4.00", "1.00", "8.00", "0.10", "3.0", "9.0"
            ]
        );
    }

    #[test]
    fn noise_does_not_make_a_graph_cost_less_than_nothing() {
        let mut times = times();
        times[1].rebuilt = 0.01;
        let text = table(&times);
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last[5], "0.00");
    }

    #[test]
    fn a_note_names_the_sizes_that_longer_contexts_lack() {
        let time = |n_past, tokens| PassTimes {
            n_past,
            tokens,
            ..times()[0]
        };
        assert_eq!(
            left_out(&[time(1, 1), time(1, 4), time(9, 1), time(9, 4)]),
            None
        );
        let note = left_out(&[time(1, 1), time(1, 4), time(9, 1)]).unwrap();
        assert!(note.contains("more than 1 tokens"), "{note}");
    }

    #[test]
    fn bars_grow_with_the_cost() {
        let text = plot(&times());
        let bars: Vec<usize> = text
            .lines()
            .skip(1)
            .map(|line| line.matches(['#', '█']).count())
            .collect();
        assert_eq!(bars, [12, 48]);
    }
}
