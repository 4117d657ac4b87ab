//! A summary of a run. `crate::report` has all figures.

use std::path::PathBuf;

use serde::Serialize;

use super::{Finished, FinishedLog};
use crate::bench::answer::Choice;

/// The summary of one method over all its answers and repeats, earlier runs included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodSummary {
    /// The method's name.
    pub method: String,
    /// Number of answers.
    pub answers: usize,
    /// Number of skipped questions.
    pub skipped: usize,
    /// Mean of all accept lengths; `None` without answers.
    pub mean_accepted_tokens: Option<f64>,
    /// Mean over answers of new tokens per second, prefill included; `None` without answers.
    pub tokens_per_second: Option<f64>,
    /// That speed divided by the speed of the method named `baseline`; `None` if it did not run.
    pub ratio_to_baseline: Option<f64>,
    /// The answer files, one per repeat.
    pub files: Vec<PathBuf>,
}

impl Finished {
    /// A summary for each of the named methods. As in the original project, it covers the first
    /// choice of each answer.
    pub fn summaries(&self, methods: &[String]) -> Vec<MethodSummary> {
        let mut all: Vec<MethodSummary> = methods
            .iter()
            .enumerate()
            .map(|(number, name)| {
                let logs: Vec<_> = self.logs.iter().filter(|it| it.method == number).collect();
                summary(name, &logs)
            })
            .collect();
        let baseline = all
            .iter()
            .find(|it| it.method == "baseline")
            .and_then(|it| it.tokens_per_second);
        for method in &mut all {
            method.ratio_to_baseline = method
                .tokens_per_second
                .zip(baseline)
                .map(|(speed, base)| speed / base);
        }
        all
    }
}

fn summary(name: &str, logs: &[&FinishedLog]) -> MethodSummary {
    let choices: Vec<&Choice> = logs
        .iter()
        .flat_map(|log| &log.answers)
        .filter_map(|answer| answer.choices.first())
        .collect();
    let accepted = choices
        .iter()
        .flat_map(|choice| &choice.accept_lengths)
        .map(|&length| length as f64);
    let speeds = choices
        .iter()
        .map(|choice| (choice.total_new_tokens() as f64, choice.total_wall_time()))
        .filter(|(_, seconds)| *seconds > 0.0)
        .map(|(tokens, seconds)| tokens / seconds);
    MethodSummary {
        method: name.into(),
        answers: choices.len(),
        skipped: logs.iter().map(|log| log.skips.len()).sum(),
        mean_accepted_tokens: mean(accepted),
        tokens_per_second: mean(speeds),
        ratio_to_baseline: None,
        files: logs.iter().map(|log| log.path.clone()).collect(),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}
