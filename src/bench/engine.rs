//! The engine on llama.cpp as what answers.

use std::ops::ControlFlow;

use crate::TokenId;
use crate::bench::answer::{Choice, Timings};
use crate::bench::prompt::Prompter;
use crate::bench::run::{Answerer, AskError};
use crate::draft::{DraftTree, NodeId};
use crate::engine::{CostModel, FinishReason, GenerateError, Generation, Session, SessionOptions};
use crate::runtime::llama::LlamaTarget;
use crate::runtime::{DecodeError, TargetModel};

/// One method on one llama.cpp context.
pub struct EngineAnswerer<'e> {
    target: LlamaTarget<'e>,
    prompter: &'e Prompter<'e>,
    options: SessionOptions,
    max_new_tokens: usize,
    /// What passes cost, as learned so far: a property of the machine, so it comes over from question to question.
    cost: CostModel,
}

impl<'e> EngineAnswerer<'e> {
    /// Answers with `options` on `target`, which must have been made for their tree capacity.
    pub fn new(
        target: LlamaTarget<'e>,
        prompter: &'e Prompter<'e>,
        options: SessionOptions,
        max_new_tokens: usize,
        cost: CostModel,
    ) -> Self {
        Self {
            target,
            prompter,
            options,
            max_new_tokens,
            cost,
        }
    }
}

impl Answerer for EngineAnswerer<'_> {
    fn answer(&mut self, turns: &[String], choice: u32) -> Result<Choice, AskError> {
        self.target.truncate(0);
        let mut options = self.options;
        options.sampling.seed = options.sampling.seed.wrapping_add(choice.into());
        // A session of its own: no pool and no random numbers come over from the question before.
        let mut session =
            Session::new(Lent(&mut self.target), options).with_cost(self.cost.clone());
        let mut conversation = self.prompter.conversation();
        let mut record = Recorder::default();
        for (number, turn) in turns.iter().enumerate() {
            let last = session.text().last().copied();
            let prompt = conversation
                .next(turn, last)
                .map_err(|error| AskError::Failed(error.into()))?;
            let held = session.model().n_past();
            session
                .prefill(&prompt, &mut |_, _| ControlFlow::Continue(()))
                .map_err(|error| ask_error(error, number, turns.len()))?;
            let context = session.text().len();
            let answer = session
                .generate(self.max_new_tokens, &mut |_| ControlFlow::Continue(()))
                .map_err(|error| ask_error(error, number, turns.len()))?;
            if let FinishReason::Failed(error) = answer.finish {
                return Err(AskError::Failed(error.into()));
            }
            record.turn(self.prompter.text(&answer.tokens), context, held, &answer);
        }
        self.cost = session.cost().clone();
        Ok(record.choice())
    }
}

fn ask_error(error: GenerateError, turn: usize, turns: usize) -> AskError {
    if error.is_input_error() {
        AskError::Unaskable(format!("turn {} of {turns}: {error}", turn + 1))
    } else {
        AskError::Failed(error.into())
    }
}

/// The record of a conversation, turn by turn.
#[derive(Default)]
struct Recorder {
    choice: Choice,
    timings: Timings,
    prompt_tokens: Vec<u64>,
    prefill_tokens: Vec<u64>,
    token_ids: Vec<Vec<u32>>,
    step_us: Vec<Vec<u64>>,
}

impl Recorder {
    /// Adds a turn: `context` tokens after its prefill, of which `held` were in the cache before.
    fn turn(&mut self, text: String, context: usize, held: usize, answer: &Generation) {
        let choice = &mut self.choice;
        choice.turns.push(text);
        choice
            .decoding_steps
            .push(answer.accept_lengths.len() as u64);
        choice.new_tokens.push(answer.tokens.len() as u64);
        choice.wall_time.push(answer.timings.total);
        let lengths = answer.accept_lengths.iter().map(|&length| length as u64);
        choice.accept_lengths.extend(lengths);

        let timings = &answer.timings;
        self.timings.prefill.push(timings.prefill);
        self.timings.draft.push(timings.draft);
        self.timings.decode.push(timings.decode);
        self.timings.verify.push(timings.verify);
        self.timings.commit.push(timings.commit);
        self.prompt_tokens.push(context as u64);
        self.prefill_tokens
            .push(context.saturating_sub(held) as u64);
        self.token_ids.push(answer.tokens.clone());
        let step_us = answer.step_times.iter().map(|step| {
            let all = step.overhead() + step.decode;
            u64::try_from(all.as_micros()).unwrap_or(u64::MAX)
        });
        self.step_us.push(step_us.collect());
    }

    fn choice(self) -> Choice {
        Choice {
            timings: Some(self.timings),
            prompt_tokens: Some(self.prompt_tokens),
            prefill_tokens: Some(self.prefill_tokens),
            token_ids: Some(self.token_ids),
            step_us: Some(self.step_us),
            ..self.choice
        }
    }
}

/// A model that a session has for one conversation only.
struct Lent<'a, M>(&'a mut M);

impl<M: TargetModel> TargetModel for Lent<'_, M> {
    fn n_ctx(&self) -> usize {
        self.0.n_ctx()
    }
    fn n_vocab(&self) -> usize {
        self.0.n_vocab()
    }
    fn n_past(&self) -> usize {
        self.0.n_past()
    }
    fn n_batch(&self) -> usize {
        self.0.n_batch()
    }
    fn max_leaves(&self) -> usize {
        self.0.max_leaves()
    }
    fn is_end(&self, token: TokenId) -> bool {
        self.0.is_end(token)
    }
    fn append(&mut self, tokens: &[TokenId]) -> Result<usize, DecodeError> {
        self.0.append(tokens)
    }
    fn decode_tree(&mut self, tree: &DraftTree) -> Result<(), DecodeError> {
        self.0.decode_tree(tree)
    }
    fn logits(&self, row: usize) -> &[f32] {
        self.0.logits(row)
    }
    fn commit(&mut self, tree: &DraftTree, path: &[NodeId]) {
        self.0.commit(tree, path);
    }
    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}
