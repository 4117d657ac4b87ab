//! Steps and answers.

use crate::TokenId;
use crate::engine::stats::{StepTimes, Timings};
use crate::engine::stops::StopHit;
use crate::logits::Candidate;
use crate::runtime::DecodeError;
use crate::tree::{DraftTree, NodeId, PerSource, Source};
use crate::verify::TokenLogprobs;

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or it ran into a stop of the request.
    Stop,
    /// The limit on new tokens, or the end of the context, was reached.
    Length,
    /// The caller called it off.
    Cancelled,
    /// The model failed; what was committed before stays, and one may go on.
    Failed(DecodeError),
}

/// How many nodes each source put into trees, and how many of them were accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepSources {
    /// Nodes drafted.
    pub drafted: PerSource,
    /// Nodes accepted.
    pub accepted: PerSource,
}

/// What one decode step committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The tokens, root first; never empty.
    pub accepted: Vec<TokenId>,
    /// Number of drafted nodes that were verified.
    pub drafted: usize,
    /// Number of committed tokens that this step's pass decoded again, ahead of the tree.
    pub redecoded: usize,
    /// Whether the token behind them is a near tie, left to a pass of one token: its best two
    /// logits are closer than the model's
    /// [rounding noise](crate::runtime::TargetModel::rounding_noise).
    pub near_tie: bool,
    /// Where those nodes came from.
    pub sources: StepSources,
    /// The log-probabilities of the tokens, if the request asks for them.
    pub logprobs: Vec<TokenLogprobs>,
    /// The stop of the request that its last token completes.
    pub stop: Option<StopHit>,
    /// Where the time went.
    pub times: StepTimes,
}

/// A step, and what led to it.
#[derive(Clone, Debug)]
pub struct Stepped {
    /// What it committed.
    pub step: Step,
    /// The tree that was verified.
    pub tree: DraftTree,
    /// Its nodes that were accepted, root to leaf, the root not among them.
    pub path: Vec<NodeId>,
    /// The largest last logits, best first, as many as the drafter or the options asked for.
    pub ranked: Vec<Candidate>,
}

/// A step of an answer: what was known, drafted and accepted.
#[derive(Debug)]
pub struct StepView<'a> {
    /// Number of the step in this answer, from 0.
    pub index: usize,
    /// Tokens in the text before the step.
    pub n_past: usize,
    /// The largest last logits, best first, as many as the drafter or the options asked for.
    pub ranked: &'a [Candidate],
    /// The tree that was verified.
    pub tree: &'a DraftTree,
    /// Its nodes that were accepted, root to leaf, the root not among them.
    pub path: &'a [NodeId],
    /// What came of it.
    pub step: &'a Step,
}

impl StepView<'_> {
    /// Where each accepted token came from; nothing for the root, which the model itself said.
    pub fn origins(&self) -> impl Iterator<Item = Option<Source>> + '_ {
        let drafted = self.path.iter().map(|&node| Some(self.tree.source(node)));
        std::iter::once(None).chain(drafted)
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// Its tokens; the token that ended it, if any, is the last. Those of a stop are among them.
    pub tokens: Vec<TokenId>,
    /// The stop that ended it, if one did. The conversation is then cut back to the
    /// [kept](Self::kept) tokens.
    pub stop: Option<StopHit>,
    /// How many of its tokens stay in the conversation: all, but for those of a stop.
    pub kept: usize,
    /// Their log-probabilities, if the request asks for them.
    pub logprobs: Vec<TokenLogprobs>,
    /// Tokens committed in each step.
    pub accept_lengths: Vec<usize>,
    /// Where the time of each step went.
    pub step_times: Vec<StepTimes>,
    /// Nodes drafted over all steps.
    pub drafted: usize,
    /// Tokens decoded once more over all steps.
    pub redecoded: usize,
    /// Near ties, each of which took a pass of one token more.
    pub near_ties: usize,
    /// Where drafted and accepted nodes came from.
    pub sources: StepSources,
    /// Passes that could use the computation graph of the pass before, where the model keeps count.
    pub graphs_reused: Option<usize>,
    /// Why it ended.
    pub finish: FinishReason,
    /// Where the time went; `load` is 0.
    pub timings: Timings,
}

impl Generation {
    /// An answer without tokens.
    pub fn empty(finish: FinishReason) -> Self {
        Self {
            tokens: Vec::new(),
            stop: None,
            kept: 0,
            logprobs: Vec::new(),
            accept_lengths: Vec::new(),
            step_times: Vec::new(),
            drafted: 0,
            redecoded: 0,
            near_ties: 0,
            sources: StepSources::default(),
            graphs_reused: None,
            finish,
            timings: Timings::default(),
        }
    }

    /// Adds a step.
    pub(super) fn add(&mut self, step: &Step) {
        self.tokens.extend_from_slice(&step.accepted);
        self.kept = self.tokens.len();
        self.logprobs.extend_from_slice(&step.logprobs);
        self.accept_lengths.push(step.accepted.len());
        self.step_times.push(step.times);
        self.drafted += step.drafted;
        self.redecoded += step.redecoded;
        self.near_ties += usize::from(step.near_tie);
        self.sources.drafted.add_all(&step.sources.drafted);
        self.sources.accepted.add_all(&step.sources.accepted);
        self.timings.add(&step.times);
    }

    /// Adds what follows it.
    pub fn append(&mut self, more: Self) {
        self.kept = self.tokens.len() + more.kept;
        self.tokens.extend(more.tokens);
        self.stop = more.stop;
        self.logprobs.extend(more.logprobs);
        self.accept_lengths.extend(more.accept_lengths);
        self.step_times.extend(more.step_times);
        self.drafted += more.drafted;
        self.redecoded += more.redecoded;
        self.near_ties += more.near_ties;
        self.sources.drafted.add_all(&more.sources.drafted);
        self.sources.accepted.add_all(&more.sources.accepted);
        let reused = [self.graphs_reused, more.graphs_reused];
        self.graphs_reused = reused.into_iter().flatten().reduce(|a, b| a + b);
        self.finish = more.finish;
        self.timings.append(&more.timings);
    }

    /// Mean of the accept lengths; 0 for an empty answer.
    pub fn mean_accepted_tokens(&self) -> f64 {
        self.tokens.len() as f64 / self.accept_lengths.len().max(1) as f64
    }

    /// New tokens per second of prefill and decode together.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens.len() as f64 / self.timings.total.max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_answer_are_counted_together() {
        let part = |tokens: &[TokenId]| Generation {
            tokens: tokens.to_vec(),
            kept: tokens.len(),
            accept_lengths: vec![tokens.len()],
            drafted: 3,
            redecoded: 2,
            near_ties: 1,
            ..Generation::empty(FinishReason::Length)
        };
        let mut answer = part(&[5, 6]);
        answer.append(part(&[7]));
        assert_eq!(answer.tokens, [5, 6, 7]);
        assert_eq!(answer.accept_lengths, [2, 1]);
        let counts = [
            answer.kept,
            answer.drafted,
            answer.redecoded,
            answer.near_ties,
        ];
        assert_eq!(counts, [3, 6, 4, 2]);
    }
}
