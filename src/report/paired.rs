//! The speedup over questions that two methods both answered.
//!
//! A question's length and difficulty affect both methods alike. The ratio of each question is
//! therefore steadier than the ratio of two means, and the mean of such ratios has a meaningful
//! interval. The mean is geometric: it is 1 if each method is twice as fast on half of the
//! questions, and it turns into its inverse if the methods change places.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::load::{Entry, Method};
use super::stats::{mean, mean_interval, median};

/// A speedup over paired questions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// Number of questions that both answered.
    pub questions: usize,
    /// Geometric mean over these questions of the ratio of tokens per second.
    pub speedup: f64,
    /// Lower end of the 95 % interval (percentile bootstrap over questions); `None` for a single
    /// question.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// Median of the ratios.
    pub median: f64,
}

impl Paired {
    /// The speedup of `method` over `base` on the questions of a category; `None` if they share
    /// none.
    ///
    /// Repeated runs of a question are added up first. Both sides use their recorded token counts,
    /// even if the report counts the base's tokens again: two rules of counting would look like a
    /// difference in speed.
    pub(super) fn new(
        method: &Method,
        base: &Method,
        within: impl Fn(&Entry) -> bool,
    ) -> Option<Self> {
        let (ours, theirs) = (speeds(method, &within), speeds(base, &within));
        let shared: BTreeSet<&i64> = ours.keys().filter(|id| theirs.contains_key(id)).collect();
        let ratios: Vec<f64> = shared.iter().map(|id| ours[id] / theirs[id]).collect();
        let logarithms: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
        let interval = mean_interval(&logarithms);
        Some(Self {
            questions: ratios.len(),
            speedup: mean(&logarithms)?.exp(),
            low: interval.map(|(low, _)| low.exp()),
            high: interval.map(|(_, high)| high.exp()),
            median: median(&ratios)?,
        })
    }
}

/// Tokens per second of each question over all runs. Questions without time or tokens are left out.
fn speeds(method: &Method, within: impl Fn(&Entry) -> bool) -> BTreeMap<i64, f64> {
    let mut totals: BTreeMap<i64, (u64, f64)> = BTreeMap::new();
    for entry in method.entries().filter(|entry| within(entry)) {
        let choice = entry.choice();
        if choice.new_tokens.is_empty() || choice.wall_time.is_empty() {
            continue;
        }
        let (tokens, seconds) = totals.entry(entry.answer.question_id).or_default();
        *tokens = tokens.saturating_add(choice.total_new_tokens());
        *seconds += choice.total_wall_time();
    }
    let timed = totals
        .into_iter()
        .filter(|(_, (tokens, seconds))| *tokens > 0 && *seconds > 0.0);
    timed
        .map(|(id, (tokens, seconds))| (id, tokens as f64 / seconds))
        .collect()
}
