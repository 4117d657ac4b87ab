//! The figures of a run in a few lines; `logitspec report` has them all.

use std::path::PathBuf;

use serde::Serialize;

use super::{Finished, FinishedLane};
use crate::bench::answer::Choice;

/// What came of one method, over all its answers (of earlier runs too) and repeats.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodSummary {
    /// Its name.
    pub method: String,
    /// Answers that the figures are of.
    pub answers: usize,
    /// Questions left out.
    pub skipped: usize,
    /// The mean of all accept lengths; `None` without answers.
    pub mean_accepted_tokens: Option<f64>,
    /// The mean over answers of new tokens per second of prefill and decode; `None` without
    /// answers.
    pub tokens_per_second: Option<f64>,
    /// That speed over the one of the method named `baseline`; `None` if that did not run.
    pub ratio_to_baseline: Option<f64>,
    /// The answer files, one a repeat.
    pub files: Vec<PathBuf>,
}

impl Finished {
    /// The figures of the methods, whose names are given. Like the original's, they are of each
    /// answer's first choice.
    pub fn summaries(&self, methods: &[String]) -> Vec<MethodSummary> {
        let mut all: Vec<MethodSummary> = methods
            .iter()
            .enumerate()
            .map(|(number, name)| {
                let lanes: Vec<_> = self.lanes.iter().filter(|it| it.method == number).collect();
                summary(name, &lanes)
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

fn summary(name: &str, lanes: &[&FinishedLane]) -> MethodSummary {
    let choices: Vec<&Choice> = lanes
        .iter()
        .flat_map(|lane| &lane.answers)
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
        skipped: lanes.iter().map(|lane| lane.skips.len()).sum(),
        mean_accepted_tokens: mean(accepted),
        tokens_per_second: mean(speeds),
        ratio_to_baseline: None,
        files: lanes.iter().map(|lane| lane.path.clone()).collect(),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}
