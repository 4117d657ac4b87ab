//! The engine on llama.cpp as an [`Answerer`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use crate::bench::answer::{Choice, RankedTokens, SourceTokens, Timings};
use crate::bench::prompt::Prompter;
use crate::bench::run::{Answerer, AskError};
use crate::draft::{Drafter, Memory};
use crate::engine::{
    CostModel, FinishReason, GenerateError, Generation, RequestOptions, Session, SessionOptions,
    StepView,
};
use crate::runtime::TargetModel;
use crate::runtime::llama::LlamaTarget;

/// A llama.cpp context that several methods use in turn, each for one conversation.
///
/// The cost of a prompt varies by several percent with the place of the context's buffers in
/// memory. Methods with contexts of their own could therefore not be compared
/// (`docs/benchmarking.md`).
pub type SharedTarget<'e> = Rc<RefCell<LlamaTarget<'e>>>;

/// Answers questions with one method on a llama.cpp context.
pub struct EngineAnswerer<'e> {
    target: SharedTarget<'e>,
    prompter: &'e Prompter<'e>,
    options: SessionOptions,
    request: RequestOptions,
    max_new_tokens: usize,
    /// The cost of a pass, as learned so far. It is a property of the machine, so it is kept from
    /// question to question.
    cost: CostModel,
    /// Returns the memory that a method starts from.
    memory: Box<dyn Fn() -> Memory + 'e>,
    /// Whether the drafter keeps earlier conversations.
    keeps_history: bool,
    /// The drafter that keeps them, between two conversations.
    drafter: Option<Box<dyn Drafter>>,
}

impl<'e> EngineAnswerer<'e> {
    /// Answers with `options`, and as `request` asks for it, on `target`, whose draft tree capacity
    /// must be at least theirs.
    pub fn new(
        target: SharedTarget<'e>,
        prompter: &'e Prompter<'e>,
        options: SessionOptions,
        request: RequestOptions,
        max_new_tokens: usize,
        cost: CostModel,
    ) -> Self {
        Self {
            target,
            prompter,
            options,
            request,
            max_new_tokens,
            cost,
            memory: Box::new(Memory::none),
            keeps_history: false,
            drafter: None,
        }
    }

    /// Lets the drafter copy from `memory`, too. With `keeps_history`, it also keeps earlier
    /// conversations if its method can. Otherwise each conversation starts from `memory`.
    pub fn with_memory(mut self, memory: impl Fn() -> Memory + 'e, keeps_history: bool) -> Self {
        self.memory = Box::new(memory);
        self.keeps_history = keeps_history;
        self
    }

    /// The cost of a pass, as learned so far.
    pub fn cost(&self) -> &CostModel {
        &self.cost
    }

    /// The drafter for the next conversation.
    fn next_drafter(&mut self) -> Box<dyn Drafter> {
        let Self {
            options, memory, ..
        } = self;
        let make = || options.method.drafter_with(options.method_params, memory());
        self.drafter.take().unwrap_or_else(make)
    }
}

impl Answerer for EngineAnswerer<'_> {
    fn answer(&mut self, turns: &[String], choice: u32) -> Result<Choice, AskError> {
        let options = self.options;
        let mut request = self.request.clone();
        request.sampling.seed = request.sampling.seed.wrapping_add(choice.into());
        // A new session: no pool and no random numbers are left from the previous question, unless
        // the history is kept.
        let drafter = self.next_drafter();
        let mut target = self.target.borrow_mut();
        target.truncate(0, 0);
        let mut session = Session::new(&mut *target, options)
            .with_request(request)
            .with_drafter(drafter)
            .with_cost(self.cost.clone());
        let answered = converse(
            &mut session,
            self.prompter,
            turns,
            self.max_new_tokens,
            options.ranked,
        );
        self.cost = session.cost().clone();
        if self.keeps_history {
            self.drafter = Some(session.into_drafter());
        }
        answered
    }

    fn forget(&mut self) {
        self.drafter = None;
    }
}

/// Sends each turn and takes the answer. Records the `k` best candidates of each step.
fn converse(
    session: &mut Session<&mut LlamaTarget<'_>>,
    prompter: &Prompter<'_>,
    turns: &[String],
    max_new_tokens: usize,
    k: usize,
) -> Result<Choice, AskError> {
    let mut conversation = prompter.conversation();
    let mut record = Recorder::default();
    for (number, turn) in turns.iter().enumerate() {
        let prompt = conversation
            .next(turn, session.text())
            .map_err(|error| AskError::of_prompt(error, number, turns.len()))?;
        let held = session.model().n_past(0).min(prompt.keep);
        let mut go_on = |_, _| ControlFlow::Continue(());
        session
            .prefill_behind(prompt.keep, &prompt.tokens, &mut go_on)
            .map_err(|error| ask_error(error, number, turns.len()))?;
        let context = session.text().len();
        let mut ranked = Vec::new();
        let answer = session
            .generate(max_new_tokens, &mut |step| {
                if k > 0 {
                    keep_ranked(step, k, &mut ranked);
                }
                ControlFlow::Continue(())
            })
            .map_err(|error| ask_error(error, number, turns.len()))?;
        if let FinishReason::Failed(error) = answer.finish {
            return Err(AskError::Failed(error.into()));
        }
        conversation.answered(&answer.tokens);
        let text = prompter.text(&answer.tokens);
        record.turn(text, context, held, &answer, ranked);
    }
    Ok(record.choice())
}

/// Records the candidates of a step for its first token, and none for its other tokens.
fn keep_ranked(step: &StepView<'_>, k: usize, ranked: &mut Vec<RankedTokens>) {
    // JSON has no infinite numbers.
    let candidates = step.ranked.iter().take(k).filter(|it| it.logit.is_finite());
    ranked.push(candidates.map(|it| (it.token, it.logit)).collect());
    ranked.extend((1..step.step.accepted.len()).map(|_| Vec::new()));
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
    graphs_reused: Option<Vec<u64>>,
    ranked: Vec<Vec<RankedTokens>>,
    sources: BTreeMap<String, SourceTokens>,
}

impl Recorder {
    /// Adds a turn of `context` tokens after its prefill, `held` of which were in the cache before.
    fn turn(
        &mut self,
        text: String,
        context: usize,
        held: usize,
        answer: &Generation,
        ranked: Vec<RankedTokens>,
    ) {
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
        if let Some(reused) = answer.graphs_reused {
            let turns = self.graphs_reused.get_or_insert_default();
            turns.push(reused as u64);
        }
        self.ranked.push(ranked);
        for (source, drafted) in answer.sources.drafted.iter() {
            let of = self.sources.entry(source.name().into()).or_default();
            of.drafted += drafted as u64;
            of.accepted += answer.sources.accepted.of(source) as u64;
        }
    }

    fn choice(self) -> Choice {
        Choice {
            timings: Some(self.timings),
            prompt_tokens: Some(self.prompt_tokens),
            prefill_tokens: Some(self.prefill_tokens),
            token_ids: Some(self.token_ids),
            step_us: Some(self.step_us),
            graphs_reused: self.graphs_reused,
            ranked: Some(self.ranked).filter(|turns| turns.iter().any(|turn| !turn.is_empty())),
            sources: Some(self.sources).filter(|sources| !sources.is_empty()),
            ..self.choice
        }
    }
}
