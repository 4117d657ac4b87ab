//! Figures per category.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::bench::category::{row_of, rows};

use super::load::{Entry, Method, Run};
use super::paired::Paired;
use super::stats::{mean, median, sample_deviation};

/// The row for all questions.
pub const OVERALL: &str = "overall";

/// The figures of one method in one category.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryReport {
    /// `mt_bench`, the name of any other category, or [`OVERALL`].
    pub category: String,
    /// Number of questions that the method answered.
    pub questions: usize,
    /// Number of questions that the base answered.
    pub base_questions: usize,
    /// Mean of all accept lengths.
    pub mean_accepted_tokens: Option<f64>,
    /// Mean over questions of new tokens per second.
    pub tokens_per_second: Option<f64>,
    /// The same for the base, with its tokens counted as the report's options say.
    pub base_tokens_per_second: Option<f64>,
    /// The ratio of the two means.
    pub speedup: Option<f64>,
    /// Sample standard deviations over repeated runs of the figures above; `None` for a single run.
    pub deviation: Option<Deviation>,
    /// Median over questions of new tokens per second.
    pub median_tokens_per_second: Option<f64>,
    /// The same for the base.
    pub base_median_tokens_per_second: Option<f64>,
    /// The speedup over the questions that both answered; `None` if there are none.
    pub paired: Option<Paired>,
}

/// Sample standard deviations over repeated runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deviation {
    /// Of the mean accepted tokens.
    pub mean_accepted_tokens: Option<f64>,
    /// Of the tokens per second.
    pub tokens_per_second: Option<f64>,
    /// Of the base's.
    pub base_tokens_per_second: Option<f64>,
    /// Of the ratio of the two.
    pub speedup: Option<f64>,
}

/// The rows of a report on `method`, in order. Rows without a question are left out.
pub(super) fn reports(method: &Method, base: Option<&Method>) -> Vec<CategoryReport> {
    let categories = [method]
        .into_iter()
        .chain(base)
        .flat_map(Method::entries)
        .map(|entry| entry.answer.category.as_str());
    rows(categories)
        .into_iter()
        .filter(|row| *row != OVERALL)
        .chain([OVERALL])
        .map(|row| CategoryReport::new(row, method, base))
        .collect()
}

impl CategoryReport {
    fn new(row: &str, method: &Method, base: Option<&Method>) -> Self {
        let within = |entry: &Entry| row == OVERALL || row_of(&entry.answer.category) == row;
        let speed_of = |run: &Run| mean(&speeds(run.values(), within));
        let runs: Vec<RunFigures> = method
            .runs
            .iter()
            .enumerate()
            .map(|(index, run)| {
                let ours = speed_of(run);
                let theirs = base.and_then(|base| speed_of(base.run_beside(index)));
                RunFigures {
                    accepted: mean(&accept_lengths(run.values(), within)),
                    ours,
                    theirs,
                    speedup: ours
                        .zip(theirs)
                        .filter(|(_, theirs)| *theirs > 0.0)
                        .map(|(a, b)| a / b),
                }
            })
            .collect();
        let of = |figure: fn(&RunFigures) -> Option<f64>| {
            runs.iter().filter_map(figure).collect::<Vec<_>>()
        };
        let questions = |method: &Method| {
            let ids: BTreeSet<i64> = method
                .entries()
                .filter(|entry| within(entry))
                .map(|entry| entry.answer.question_id)
                .collect();
            ids.len()
        };
        Self {
            category: row.to_string(),
            questions: questions(method),
            base_questions: base.map_or(0, questions),
            // Over the accept lengths of all runs: a run with more steps has more weight.
            mean_accepted_tokens: mean(&accept_lengths(method.entries(), within)),
            tokens_per_second: mean(&of(|run| run.ours)),
            base_tokens_per_second: mean(&of(|run| run.theirs)),
            speedup: mean(&of(|run| run.speedup)),
            deviation: (runs.len() > 1).then(|| Deviation {
                mean_accepted_tokens: sample_deviation(&of(|run| run.accepted)),
                tokens_per_second: sample_deviation(&of(|run| run.ours)),
                base_tokens_per_second: sample_deviation(&of(|run| run.theirs)),
                speedup: sample_deviation(&of(|run| run.speedup)),
            }),
            median_tokens_per_second: median(&speeds(method.entries(), within)),
            base_median_tokens_per_second: base
                .and_then(|base| median(&speeds(base.entries(), within))),
            paired: base.and_then(|base| Paired::new(method, base, within)),
        }
    }
}

/// The figures of one run, as in the original evaluation.
struct RunFigures {
    accepted: Option<f64>,
    ours: Option<f64>,
    theirs: Option<f64>,
    speedup: Option<f64>,
}

fn speeds<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    within: impl Fn(&Entry) -> bool,
) -> Vec<f64> {
    entries
        .filter(|entry| within(entry))
        .filter_map(Entry::speed)
        .collect()
}

fn accept_lengths<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    within: impl Fn(&Entry) -> bool,
) -> Vec<f64> {
    let within = entries.filter(|entry| within(entry));
    within
        .flat_map(|entry| &entry.choice().accept_lengths)
        .map(|&length| length as f64)
        .collect()
}
