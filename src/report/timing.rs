//! The parts of the time, the accept lengths, and the speed by context length.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bench::answer::sum;
use crate::bench::{Choice, SourceTokens};

use super::load::Method;

/// Number of decode steps with one accept length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AcceptLength {
    /// Tokens committed by each step.
    pub length: u64,
    /// Number of such steps.
    pub steps: u64,
}

/// The parts of a method's time, over the answers that record them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TimeReport {
    /// Number of answers with timings, in all runs.
    pub answers: usize,
    /// Their decode steps.
    pub steps: u64,
    /// Their new tokens.
    pub new_tokens: u64,
    /// Their wall time.
    pub wall_seconds: f64,
    /// Seconds of computing prompts.
    pub prefill_seconds: f64,
    /// Seconds of growing draft trees.
    pub draft_seconds: f64,
    /// Seconds of the model's forward passes.
    pub decode_seconds: f64,
    /// Seconds of verification.
    pub verify_seconds: f64,
    /// Seconds of committing.
    pub commit_seconds: f64,
    /// The rest of the wall time.
    pub other_seconds: f64,
    /// Prompt tokens computed per second of prefill; `None` if their number is not recorded.
    pub prefill_tokens_per_second: Option<f64>,
    /// New tokens per second, without prefill.
    pub decode_tokens_per_second: Option<f64>,
}

/// Drafted and accepted tokens by source, over the answers that record them.
pub(super) fn sources(method: &Method) -> BTreeMap<String, SourceTokens> {
    let mut sums: BTreeMap<String, SourceTokens> = BTreeMap::new();
    let recorded = choices(method).filter_map(|choice| choice.sources.as_ref());
    for (name, of) in recorded.flatten() {
        let sum = sums.entry(name.clone()).or_default();
        sum.drafted = sum.drafted.saturating_add(of.drafted);
        sum.accepted = sum.accepted.saturating_add(of.accepted);
    }
    sums
}

impl TimeReport {
    pub(super) fn new(method: &Method) -> Option<Self> {
        let mut this = Self::default();
        let mut prefill_tokens = Some(0);
        for choice in choices(method) {
            let Some(timings) = &choice.timings else {
                continue;
            };
            let total = |seconds: &[f64]| seconds.iter().sum::<f64>();
            this.answers += 1;
            this.steps = this.steps.saturating_add(sum(&choice.decoding_steps));
            this.new_tokens = this.new_tokens.saturating_add(choice.total_new_tokens());
            this.wall_seconds += choice.total_wall_time();
            this.prefill_seconds += total(&timings.prefill);
            this.draft_seconds += total(&timings.draft);
            this.decode_seconds += total(&timings.decode);
            this.verify_seconds += total(&timings.verify);
            this.commit_seconds += total(&timings.commit);
            let tokens = choice
                .prefill_tokens
                .as_ref()
                .or(choice.prompt_tokens.as_ref());
            prefill_tokens = prefill_tokens
                .zip(tokens)
                .map(|(all, tokens)| sum(&[all, sum(tokens)]));
        }
        let parts: f64 = this
            .parts()
            .iter()
            .take(5)
            .map(|(_, seconds)| seconds)
            .sum();
        this.other_seconds = (this.wall_seconds - parts).max(0.0);
        let per_second =
            |tokens: u64, seconds: f64| (seconds > 0.0).then(|| tokens as f64 / seconds);
        this.prefill_tokens_per_second =
            prefill_tokens.and_then(|tokens| per_second(tokens, this.prefill_seconds));
        this.decode_tokens_per_second =
            per_second(this.new_tokens, this.wall_seconds - this.prefill_seconds);
        (this.answers > 0).then_some(this)
    }

    /// The parts of the wall time, by name.
    pub fn parts(&self) -> [(&'static str, f64); 6] {
        [
            ("prefill", self.prefill_seconds),
            ("draft", self.draft_seconds),
            ("decode", self.decode_seconds),
            ("verify", self.verify_seconds),
            ("commit", self.commit_seconds),
            ("other", self.other_seconds),
        ]
    }

    /// Milliseconds of a decode step by part; empty if there was no step.
    pub fn step_milliseconds(&self) -> Vec<(&'static str, f64)> {
        if self.steps == 0 {
            return Vec::new();
        }
        let parts = self
            .parts()
            .into_iter()
            .filter(|(name, _)| *name != "prefill");
        parts
            .map(|(name, seconds)| (name, seconds * 1e3 / self.steps as f64))
            .collect()
    }
}

/// Decoding speed within a range of context lengths.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContextSpeed {
    /// The shortest context of the range, in tokens.
    pub from: u64,
    /// The end of the range, exclusive.
    pub to: u64,
    /// New tokens.
    pub new_tokens: u64,
    /// Seconds, without prefill.
    pub seconds: f64,
    /// New tokens per second.
    pub tokens_per_second: f64,
}

/// The width of the ranges of [`context`] for all methods of a report: a power of two that makes
/// about a dozen ranges.
pub(super) fn context_width<'a>(methods: impl Iterator<Item = &'a Method>) -> u64 {
    const RANGES: u64 = 12;
    const NARROWEST: u64 = 64;
    let mut longest = 0;
    for choice in methods.flat_map(choices) {
        each_step(choice, |context, _, _| longest = longest.max(context));
    }
    (longest / RANGES)
        .max(NARROWEST)
        .checked_next_power_of_two()
        .unwrap_or(1 << 63)
}

/// Decoding speed by context length.
pub(super) fn context(method: &Method, width: u64) -> Vec<ContextSpeed> {
    let mut ranges: BTreeMap<u64, (u64, f64)> = BTreeMap::new();
    for choice in choices(method) {
        each_step(choice, |context, tokens, seconds| {
            let (all_tokens, all_seconds) = ranges.entry(context / width).or_default();
            *all_tokens = all_tokens.saturating_add(tokens);
            *all_seconds += seconds;
        });
    }
    let timed = ranges
        .into_iter()
        .filter(|(_, (_, seconds))| *seconds > 0.0);
    timed
        .map(|(range, (new_tokens, seconds))| ContextSpeed {
            from: range * width,
            to: (range * width).saturating_add(width),
            new_tokens,
            seconds,
            tokens_per_second: new_tokens as f64 / seconds,
        })
        .collect()
}

/// Calls `see(context length, new tokens, seconds)` for each decode step if the steps are recorded,
/// and otherwise for each turn, at the middle of its context. Without recorded prompt lengths, it
/// does nothing.
fn each_step(choice: &Choice, mut see: impl FnMut(u64, u64, f64)) {
    let Some(prompt_tokens) = &choice.prompt_tokens else {
        return;
    };
    if let Some(step_us) = &choice.step_us
        && step_us.iter().map(Vec::len).sum::<usize>() == choice.accept_lengths.len()
    {
        let mut lengths = choice.accept_lengths.iter();
        for (&prompt, steps) in prompt_tokens.iter().zip(step_us) {
            let mut context = prompt;
            for (&us, &length) in steps.iter().zip(lengths.by_ref()) {
                see(context, length, us as f64 / 1e6);
                context = context.saturating_add(length);
            }
        }
        return;
    }
    let turns = choice.new_tokens.iter().zip(&choice.wall_time);
    for (turn, (&prompt, (&tokens, &seconds))) in prompt_tokens.iter().zip(turns).enumerate() {
        let prefill = choice
            .timings
            .as_ref()
            .map_or(0.0, |timings| timings.prefill[turn]);
        let context = prompt.saturating_add(tokens / 2);
        see(context, tokens, (seconds - prefill).max(0.0));
    }
}

/// Histogram of accept lengths.
pub(super) fn accept_lengths(method: &Method) -> Vec<AcceptLength> {
    let mut steps: BTreeMap<u64, u64> = BTreeMap::new();
    for &length in choices(method).flat_map(|choice| &choice.accept_lengths) {
        *steps.entry(length).or_default() += 1;
    }
    steps
        .into_iter()
        .map(|(length, steps)| AcceptLength { length, steps })
        .collect()
}

fn choices(method: &Method) -> impl Iterator<Item = &Choice> {
    method.entries().map(super::load::Entry::choice)
}
