//! The speedup over questions that two methods both answered.
//!
//! A question's own length and difficulty move both methods alike, so the ratio on each question is
//! steadier than the ratio of two means, and a mean of such ratios has an honest interval. The mean
//! is the geometric one: it is the one that says 1 of two methods that are each as often twice as
//! fast as the other, and it turns into its inverse when the two change places.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::load::{Entry, Method};
use super::stats::{mean, mean_interval, median};

/// A speedup from paired questions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// How many questions both answered.
    pub questions: usize,
    /// The geometric mean over them of the ratio of tokens per second.
    pub speedup: f64,
    /// Lower end of the 95 % interval (percentile bootstrap over questions); `None` of a single
    /// question.
    pub low: Option<f64>,
    /// Its upper end.
    pub high: Option<f64>,
    /// The median of the ratios.
    pub median: f64,
}

impl Paired {
    /// The speedup of `method` over `base` on the questions of a category; `None` where they share
    /// none.
    ///
    /// Repeated runs of a question are added up first. Tokens are those that both sides recorded,
    /// whatever the report counts otherwise: counting one side by another rule would show as a
    /// speedup that is none.
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

/// Tokens per second of each question, all runs together; those without a time or a token left out.
fn speeds(method: &Method, within: impl Fn(&Entry) -> bool) -> BTreeMap<i64, f64> {
    let mut totals: BTreeMap<i64, (u64, f64)> = BTreeMap::new();
    for entry in method.entries().filter(|entry| within(entry)) {
        let (tokens, seconds) = totals.entry(entry.answer.question_id).or_default();
        *tokens += entry.choice().total_new_tokens();
        *seconds += entry.choice().total_wall_time();
    }
    let timed = totals
        .into_iter()
        .filter(|(_, (tokens, seconds))| *tokens > 0 && *seconds > 0.0);
    timed
        .map(|(id, (tokens, seconds))| (id, tokens as f64 / seconds))
        .collect()
}
