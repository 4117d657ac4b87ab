//! Statistics over replayed requests.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::draft::PassCost;
use crate::simulate::Replay;
use crate::tree::PerSource;

/// Sums over replayed requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    requests: usize,
    answers: usize,
    tokens: usize,
    steps: usize,
    drafted: usize,
    drafted_from: PerSource,
    accepted_from: PerSource,
    /// The number of passes by the size of their tree.
    passes: BTreeMap<usize, usize>,
    draft_ns: Vec<u64>,
}

impl Tally {
    /// Adds a request.
    pub fn add(&mut self, replay: &Replay) {
        self.requests += 1;
        self.answers += replay.answers;
        for step in &replay.steps {
            self.steps += 1;
            self.tokens += step.accepted;
            self.drafted += step.drafted;
            self.drafted_from.add_all(&step.drafted_from);
            self.accepted_from.add_all(&step.accepted_from);
            if step.verified {
                *self.passes.entry(1 + step.drafted).or_default() += 1;
                let ns = u64::try_from(step.draft.as_nanos()).unwrap_or(u64::MAX);
                self.draft_ns.push(ns);
            }
        }
    }

    /// The figures of all added requests. `cost` is the cost of a pass, if known.
    pub fn figures(&self, cost: Option<&PassCost>) -> Figures {
        let per_step = |count: usize| count as f64 / self.steps.max(1) as f64;
        let sources = self.drafted_from.iter().map(|(source, drafted)| {
            let accepted = self.accepted_from.of(source);
            let figures = SourceFigures {
                drafted,
                accepted,
                rate: accepted as f64 / drafted as f64,
            };
            (source.name(), figures)
        });
        let mut draft_ns = self.draft_ns.clone();
        draft_ns.sort_unstable();
        Figures {
            requests: self.requests,
            tokens: self.tokens,
            steps: self.steps,
            mean_accepted_tokens: per_step(self.tokens),
            drafted_per_step: per_step(self.drafted),
            sources: sources.collect(),
            expected_speedup: cost.and_then(|cost| self.speedup(cost)),
            draft_us: draft_ns
                .get(draft_ns.len() / 2)
                .map(|&median| median as f64 / 1e3),
        }
    }

    /// Time of the passes of plain decoding, divided by the time of the passes taken here. Neither
    /// side has a pass for the last token of an answer: the pass before it yields that token.
    fn speedup(&self, cost: &PassCost) -> Option<f64> {
        let plain = (self.tokens - self.answers.min(self.tokens)) as f64 * cost.of(1);
        let passes = self.passes.iter();
        let taken: f64 = passes
            .map(|(&size, &count)| count as f64 * cost.of(size))
            .sum();
        (taken > 0.0).then(|| plain / taken)
    }
}

/// The figures of one draft source.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SourceFigures {
    /// Tokens that it drafted.
    pub drafted: usize,
    /// How many of them were accepted.
    pub accepted: usize,
    /// Acceptance rate: accepted by drafted tokens.
    pub rate: f64,
}

/// The figures of one method over some requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Number of requests.
    pub requests: usize,
    /// Number of answer tokens.
    pub tokens: usize,
    /// Number of decode steps.
    pub steps: usize,
    /// Mean number of tokens committed per step, the root included.
    pub mean_accepted_tokens: f64,
    /// Mean number of tokens drafted per step, the root not included.
    pub drafted_per_step: f64,
    /// By source; sources that drafted nothing are left out.
    pub sources: BTreeMap<&'static str, SourceFigures>,
    /// Speedup over plain decoding if passes cost what `cost` says and nothing else takes time.
    pub expected_speedup: Option<f64>,
    /// Median time to draft a tree, in microseconds. Only this figure differs from run to run.
    pub draft_us: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Record;

    fn record(accepted: usize, drafted: usize, verified: bool) -> Record {
        Record {
            accepted,
            drafted,
            verified,
            drafted_from: PerSource::default(),
            accepted_from: PerSource::default(),
            draft: std::time::Duration::from_micros(drafted as u64),
        }
    }

    #[test]
    fn figures_of_a_small_answer() {
        let mut tally = Tally::default();
        tally.add(&Replay {
            steps: vec![
                record(3, 3, true),
                record(1, 0, true),
                record(2, 1, true),
                record(1, 0, false),
            ],
            answers: 1,
        });
        let cost = PassCost::from_times(vec![2.0, 2.5, 3.0, 3.5]);
        let figures = tally.figures(Some(&cost));
        assert_eq!((figures.tokens, figures.steps), (7, 4));
        assert!((figures.mean_accepted_tokens - 7.0 / 4.0).abs() < 1e-12);
        assert!((figures.drafted_per_step - 1.0).abs() < 1e-12);
        // Six passes of one token, against passes of 4, 1 and 2.
        let expected = 12.0 / (3.5 + 2.0 + 2.5);
        assert!((figures.expected_speedup.unwrap() - expected).abs() < 1e-12);
        assert_eq!(figures.draft_us, Some(1.0));
        assert_eq!(tally.figures(None).expected_speedup, None);
    }

    #[test]
    fn nothing_has_no_figures() {
        let figures = Tally::default().figures(Some(&PassCost::flat()));
        assert_eq!(figures.expected_speedup, None);
        assert_eq!(figures.draft_us, None);
        assert!(figures.mean_accepted_tokens.abs() < f64::EPSILON);
    }
}
