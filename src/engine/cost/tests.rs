//! What the cost model learns.

mod graph;
mod sessions;

use super::curves::interpolate;
use super::*;

/// A pass on one sequence.
fn pass(tokens: usize, n_past: usize) -> Pass {
    Pass {
        tokens,
        sequences: 1,
        n_past,
    }
}

fn ratio(model: &CostModel, n: usize) -> f64 {
    model.cost().of(n) / model.cost().of(1)
}

#[test]
fn sizes_between_those_measured_are_interpolated() {
    let model = CostModel::learned(vec![Curve {
        n_past: 0,
        times: vec![(1, 1.0), (4, 1.6), (8, 4.0)],
    }]);
    let cost = model.cost();
    assert!((cost.of(2) - 1.2).abs() < 1e-9);
    assert!((cost.of(6) - 2.8).abs() < 1e-9);
    assert!((cost.of(10) - 5.2).abs() < 1e-9);
    assert!(
        (cost.of(300) - (4.0 + 292.0 * 0.6)).abs() < 1.0,
        "beyond the table"
    );
}

/// Milliseconds measured with weights in Q4_0, whose kernels take four tokens at once. 64 tokens
/// took 307.
const FOUR_AT_ONCE: [(usize, f64); 8] = [
    (1, 20.8),
    (2, 34.8),
    (3, 47.6),
    (4, 34.3),
    (5, 45.8),
    (6, 62.5),
    (7, 76.5),
    (8, 59.1),
];

#[test]
fn larger_passes_than_measured_go_on_with_the_slope_of_the_larger_half() {
    // Not of the last step, which falls, and not the mean, in which the second token counts as much
    // as the rest.
    let expected = 59.1 + 56.0 * (59.1 - 34.3) / 4.0;
    assert!((interpolate(&FOUR_AT_ONCE, 64) - expected).abs() < 1e-9);
    // The half by size, not by number.
    assert_eq!(
        interpolate(&[(1, 1.0), (2, 2.0), (3, 3.0), (8, 4.0)], 13),
        5.0
    );
    // The larger half falls: the mean. All fall: a little. One size: as if each token took a pass.
    assert_eq!(interpolate(&[(1, 3.0), (2, 9.0), (4, 6.0)], 6), 8.0);
    assert_eq!(interpolate(&[(1, 5.0), (2, 9.0), (4, 4.0)], 8), 4.08);
    assert_eq!(interpolate(&[(1, 5.0)], 3), 15.0);
}

#[test]
fn a_longer_context_with_fewer_sizes_goes_on_like_the_shorter_one() {
    let curve = |n_past, times: &[(usize, f64)]| Curve {
        n_past,
        times: times.to_vec(),
    };
    let mut model = CostModel::learned(vec![
        curve(0, &[(1, 1.0), (4, 2.0), (64, 12.0)]),
        curve(100, &[(1, 1.0), (4, 2.0), (64, 12.0)]),
        curve(1000, &[(1, 2.0), (4, 5.0)]),
        curve(2000, &[(1, 3.0)]),
    ]);
    model.observe(pass(1, 1000), 2.0);
    let at_1000 = [4, 64].map(|n| ratio(&model, n));
    assert!((at_1000[0] - 2.5).abs() < 1e-9);
    assert!((at_1000[1] - 2.5 * 6.0).abs() < 1e-9, "{at_1000:?}");
    // Between contexts, and beyond the last.
    model.observe(pass(1, 1536), 2.536);
    let expected = (5.0 + 0.536 * 2.5) / 2.536;
    assert!((ratio(&model, 4) - expected).abs() < 1e-6);
    model.observe(pass(1, 4096), 3.0);
    assert!((ratio(&model, 64) - 15.0).abs() < 1e-6);
}

#[test]
fn a_longer_context_that_was_measured_as_far_has_a_slope_of_its_own() {
    let curve = |n_past, times: [(usize, f64); 3]| Curve {
        n_past,
        times: times.to_vec(),
    };
    let mut model = CostModel::learned(vec![
        curve(0, [(1, 1.0), (2, 1.1), (4, 1.3)]),
        curve(1000, [(1, 1.0), (2, 2.0), (4, 4.0)]),
    ]);
    model.observe(pass(1, 1000), 1.0);
    assert!((ratio(&model, 8) - 8.0).abs() < 1e-9);
}

#[test]
fn a_wrong_prior_is_corrected_where_passes_were_seen_and_around() {
    let mut model = CostModel::cpu(false);
    for i in 0..200 {
        let n = [1, 4, 1, 8][i % 4];
        let truth = [0.0, 0.05, 0.0, 0.0, 0.12, 0.0, 0.0, 0.0, 0.2][n];
        model.observe(
            pass(n, 100),
            truth * (1.0 + 0.05 * ((i * 7 % 5) as f64 - 2.0)),
        );
    }
    assert!(
        (ratio(&model, 4) / 2.4 - 1.0).abs() < 0.1,
        "{}",
        ratio(&model, 4)
    );
    assert!(
        (ratio(&model, 8) / 4.0 - 1.0).abs() < 0.1,
        "{}",
        ratio(&model, 8)
    );
    assert!(ratio(&model, 6) > 2.5, "{}", ratio(&model, 6));
}

#[test]
fn a_slower_machine_changes_no_ratio_and_a_hiccup_little() {
    let mut model = CostModel::cpu(true);
    let truth = |n: usize| 0.01 * interpolate(&[(1, 1.0), (4, 2.0), (8, 3.0)], n);
    (0..300).for_each(|i| model.observe(pass([1, 4, 8][i % 3], 0), truth([1, 4, 8][i % 3])));
    let before = ratio(&model, 4);
    (0..300).for_each(|i| model.observe(pass([1, 4, 8][i % 3], 0), 3.0 * truth([1, 4, 8][i % 3])));
    assert!((ratio(&model, 4) / before - 1.0).abs() < 0.05);
    model.observe(pass(4, 0), 100.0 * truth(4));
    assert!((ratio(&model, 4) / before - 1.0).abs() < 0.06);
}

#[test]
fn a_size_measured_at_a_bad_moment_gets_another_chance() {
    let mut model = CostModel::cpu(false);
    model.observe(pass(1, 0), 0.01);
    (0..3).for_each(|_| model.observe(pass(4, 0), 0.1));
    let bad = ratio(&model, 4);
    (0..2000).for_each(|_| model.observe(pass(1, 0), 0.01));
    assert!(ratio(&model, 4) < 0.8 * bad, "{} {bad}", ratio(&model, 4));
}

#[test]
fn context_lengths_are_interpolated() {
    let curve = |n_past, slope: f64| Curve {
        n_past,
        times: vec![(1, 1.0), (2, 1.0 + slope)],
    };
    let mut model = CostModel::learned(vec![curve(0, 0.2), curve(1000, 0.6)]);
    model.observe(pass(1, 500), 1.0);
    assert!((ratio(&model, 2) - 1.4).abs() < 1e-6);
    model.observe(pass(1, 9000), 1.0);
    assert!((ratio(&model, 2) - 1.6).abs() < 0.05);
}

#[test]
fn the_sweep_gives_what_each_size_gives_alone() {
    let mut model = CostModel::cpu(true);
    for (i, n) in [3, 17, 3, 64, 1, 200].into_iter().enumerate() {
        model.observe(pass(n, 10 * i), 0.01 * (n + i) as f64);
        model.refresh();
        for n in 1..=MOST_TOKENS {
            let alone =
                (prior(&model.curves, model.n_past, n).ln() + model.speed + model.correction(n))
                    .exp();
            assert!((model.cost().of(n) / alone - 1.0).abs() < 1e-9, "{n}");
        }
    }
}

#[test]
fn probes_correct_a_wrong_cost_of_one_token() {
    // Measured at a bad moment: one token seems to cost nearly what eight do, or even more.
    for (one, passes) in [(1.0, 200), (2.0, 500)] {
        let wrong = Curve::anywhere(&[(1, one), (8, 1.1), (256, 40.0)]);
        let mut model = CostModel::learned(vec![wrong]);
        let mut probes = 0;
        let mut pass = |model: &mut CostModel| {
            let n = if model.wants_single_token_probe() {
                1
            } else {
                8
            };
            model.observe(pass(n, 100), [1.0, 4.0][usize::from(n == 8)]);
            probes += usize::from(n == 1);
        };
        (0..passes).for_each(|_| pass(&mut model));
        assert!(ratio(&model, 8) > 2.5, "{}", ratio(&model, 8));
        (0..10_000).for_each(|_| pass(&mut model));
        assert!((ratio(&model, 8) / 4.0 - 1.0).abs() < 0.1);
        assert!((10..=200).contains(&probes), "{probes}");
    }
    let mut model = CostModel::cpu(false);
    // Plain decoding needs no probes, nor does a model with nothing to learn.
    (0..1000).for_each(|_| model.observe(pass(1, 100), 1.0));
    assert!(!model.wants_single_token_probe());
    let mut flat = CostModel::flat();
    (0..1000).for_each(|_| flat.observe(pass(8, 100), 1.0));
    assert!(!flat.wants_single_token_probe());
}

#[test]
fn known_costs_stay_as_they_are() {
    let mut model = CostModel::flat();
    model.observe(pass(9, 0), 5.0);
    assert!(model.cost().is_flat());
}
