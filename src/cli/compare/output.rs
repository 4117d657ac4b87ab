//! The figures as a table and as a sentence.

use crate::bench::compare::{Comparison, Overall};

/// The name of the last row.
const ALL: &str = "all prompts";

/// A row for each prompt, and one for all.
pub(super) fn table(figures: &Comparison, runs: u32) -> String {
    let names = figures
        .prompts
        .iter()
        .map(|prompt| prompt.name.chars().count());
    let width = names.chain([ALL.len()]).max().unwrap_or(0);
    let head = figures
        .overall
        .iter()
        .enumerate()
        .map(|(number, it)| match number {
            0 => format!("  {:>10}", it.name),
            _ => format!("  {:>10}  ratio  accepted  same text", it.name),
        });
    let mut text = format!("{:width$}{}\n", "tokens/s", head.collect::<String>());
    for prompt in &figures.prompts {
        let cells = prompt.answers.iter().map(|it| Cell {
            tokens_per_second: it.tokens_per_second,
            ratio: it.ratio,
            accepted: it.mean_accepted_tokens,
            same_text: it.same_text,
        });
        text += &row(&prompt.name, width, cells);
    }
    let cells = figures.overall.iter().map(|it| Cell {
        tokens_per_second: it.tokens_per_second,
        ratio: it.ratio,
        accepted: it.mean_accepted_tokens,
        same_text: it.same_text,
    });
    text += &row(ALL, width, cells);
    if runs > 1 {
        text += &format!("\nMedians of {runs} runs.");
        for it in figures.overall.iter().skip(1) {
            let [low, high] = it.ratio_of_runs;
            text += &format!(" {}: ratio {low:.2} to {high:.2} in single runs.", it.name);
        }
        text += "\n";
    }
    text
}

struct Cell {
    tokens_per_second: f64,
    ratio: f64,
    accepted: f64,
    same_text: bool,
}

fn row(name: &str, width: usize, cells: impl Iterator<Item = Cell>) -> String {
    let cells = cells.enumerate().map(|(number, cell)| {
        let speed = format!("  {:>10.1}", cell.tokens_per_second);
        let same = if cell.same_text { "yes" } else { "no" };
        match number {
            0 => speed,
            _ => format!(
                "{speed}  {:>5.2}  {:>8.2}  {same:>9}",
                cell.ratio, cell.accepted
            ),
        }
    });
    format!("{name:width$}{}\n", cells.collect::<String>())
}

/// What the figures say.
pub(super) fn sentence(overall: &[Overall]) -> String {
    let [_, method, others @ ..] = overall else {
        return String::new();
    };
    let name = match method.name.as_str() {
        "logitspec" => "LogitSpec",
        other => other,
    };
    let mut text = format!(
        "On this machine and these prompts, {name} is {:.2} times as fast as plain decoding",
        method.ratio
    );
    for server in others {
        let ratio = method.tokens_per_second / server.tokens_per_second;
        text += &format!(" and {ratio:.2} times as fast as {}", server.name);
    }
    text += match method.same_text {
        true => ", with the same answers.",
        false => "; not all answers are the same: see docs/exactness.md.",
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::compare::{AnswerFigures, PromptFigures};

    fn overall(name: &str, speed: f64, same_text: bool) -> Overall {
        Overall {
            name: name.into(),
            tokens_per_second: speed,
            ratio: speed / 100.0,
            ratio_of_runs: [speed / 101.0, speed / 99.0],
            mean_accepted_tokens: 2.0,
            same_text,
        }
    }

    #[test]
    fn the_sentence_says_what_a_user_asks() {
        let plain = overall("plain", 100.0, true);
        let ours = overall("logitspec", 140.0, true);
        let said = sentence(&[plain.clone(), ours.clone()]);
        let expected = "On this machine and these prompts, LogitSpec is 1.40 times as fast as \
             plain decoding, with the same answers.";
        assert_eq!(said, expected);
        let server = overall("llama-server", 70.0, false);
        let said = sentence(&[plain.clone(), ours, server]);
        assert!(
            said.contains("decoding and 2.00 times as fast as llama-server, with"),
            "{said}"
        );
        let said = sentence(&[plain, overall("suffix", 90.0, false)]);
        assert!(said.contains("suffix is 0.90 times"), "{said}");
        assert!(said.ends_with("; not all answers are the same: see docs/exactness.md."));
    }

    #[test]
    fn the_columns_of_the_table_stand_below_their_names() {
        let answer = |name: &str, speed: f64| AnswerFigures {
            name: name.into(),
            new_tokens: 5,
            seconds: vec![1.0],
            tokens_per_second: speed,
            ratio: speed / 100.0,
            mean_accepted_tokens: 1.5,
            same_text: speed < 120.0,
        };
        let figures = Comparison {
            prompts: vec![PromptFigures {
                name: "edit".into(),
                answers: vec![answer("plain", 100.0), answer("logitspec", 150.0)],
            }],
            overall: vec![
                overall("plain", 100.0, true),
                overall("logitspec", 140.0, true),
            ],
        };
        let table = table(&figures, 3);
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[..3].iter().all(|line| line.len() == lines[0].len()),
            "{table}"
        );
        assert!(
            lines[1].starts_with("edit ") && lines[1].ends_with(" no"),
            "{table}"
        );
        assert!(
            lines[2].starts_with("all prompts ") && lines[2].ends_with(" yes"),
            "{table}"
        );
        let column = lines[0].find("ratio").unwrap();
        assert_eq!(&lines[2][column + 1..column + 5], "1.40");
        assert!(
            lines[4].contains("ratio 1.39 to 1.41 in single runs"),
            "{table}"
        );
        assert!(!super::table(&figures, 1).contains("Medians"));
    }
}
