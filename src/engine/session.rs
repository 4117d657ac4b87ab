//! One conversation with a model.

mod budget;
mod step;

use std::ops::ControlFlow;
use std::time::Duration;

use crate::TokenId;
use crate::draft::{Drafter, Memory};
use crate::engine::CostModel;
use crate::engine::answer::{FinishReason, Generation, StepView};
use crate::engine::error::GenerateError;
use crate::engine::options::SessionOptions;
use crate::engine::request::RequestOptions;
use crate::engine::stats::Stopwatch;
use crate::engine::stops::{StopHit, StopState};
use crate::runtime::TargetModel;
use crate::tree::{NodeId, ROOT};
use crate::verify::Select;

/// A model, the conversation so far, and what is needed to go on.
pub struct Session<M> {
    model: M,
    options: SessionOptions,
    drafter: Box<dyn Drafter>,
    cost: CostModel,
    request: RequestOptions,
    selector: Box<dyn Select>,
    /// Where the text of the answer begins.
    turn_start: usize,
    /// How much of a stop the answer ends with.
    stop_state: StopState,
    /// The committed text. The cache may lack its last tokens, which are then decoded again: after
    /// a step that needed no pass, and where that is cheaper than moving cells.
    text: Vec<TokenId>,
    /// The node of the last decode whose row follows the last committed token, if there is one.
    last_row: Option<NodeId>,
    /// The next root, when a walk has already selected it.
    next: Option<TokenId>,
    /// Time the last prompt took, until an answer reports it.
    prefill_time: Duration,
}

impl<M: TargetModel> Session<M> {
    /// A session with no text.
    pub fn new(model: M, options: SessionOptions) -> Self {
        let request = RequestOptions::default();
        Self {
            model,
            options,
            drafter: options.method.drafter(options.method_params),
            cost: CostModel::flat(),
            selector: request.selector(),
            request,
            turn_start: 0,
            stop_state: StopState::default(),
            text: Vec::new(),
            last_row: None,
            next: None,
            prefill_time: Duration::ZERO,
        }
    }

    /// Selects and stops as a request asks for it. Without a request, greedily, until the model
    /// ends.
    pub fn with_request(mut self, request: RequestOptions) -> Self {
        self.selector = request.selector();
        self.request = request;
        self
    }

    /// Replaces the drafter; for drafters that are no [`Method`](crate::engine::Method).
    pub fn with_drafter(mut self, drafter: Box<dyn Drafter>) -> Self {
        self.drafter = drafter;
        self
    }

    /// Ends the request, and hands over the drafter with what it remembers, for the next session.
    pub fn into_drafter(mut self) -> Box<dyn Drafter> {
        self.drafter.next_request();
        self.drafter
    }

    /// Lets the drafter copy from `memory`, too; to be told before the first prompt.
    pub fn with_memory(mut self, memory: Memory) -> Self {
        let SessionOptions {
            method,
            method_params,
            ..
        } = self.options;
        self.drafter = method.drafter_with(method_params, memory);
        self
    }

    /// Ends the request: the conversation is forgotten, but for what the drafter's memory keeps of
    /// it.
    pub fn end_request(&mut self) {
        self.drafter.next_request();
        self.cut(0);
        self.begin_turn();
    }

    /// Says what a pass of the model costs, so that trees are no larger than pays. Without a cost,
    /// or if the options say that cost does not matter, trees grow as large as they may.
    pub fn with_cost(mut self, cost: CostModel) -> Self {
        if self.options.weighs_cost() {
            self.cost = cost;
            self.cost.set_exact(self.options.exact);
        }
        self
    }

    /// What a pass of the model costs, as far as is known.
    pub fn cost(&self) -> &CostModel {
        &self.cost
    }

    /// The committed text: prompts and answers.
    pub fn text(&self) -> &[TokenId] {
        &self.text
    }

    /// What the request asks for.
    pub fn request(&self) -> &RequestOptions {
        &self.request
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The logits of the last committed token, if they are at hand: after a prompt, and after a
    /// step that needed a pass.
    pub fn last_logits(&self) -> Option<&[f32]> {
        self.last_row.map(|node| self.model.row(node).logits())
    }

    /// Forgets the conversation, and all that the drafter itself remembers of earlier ones.
    pub fn reset(&mut self) {
        self.cut(0);
        self.drafter.reset();
        self.begin_turn();
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        if len < self.text.len() {
            self.cut(len);
            self.drafter.rewind();
            if len > 0 {
                // One may go on without a new prompt.
                self.drafter.begin(&self.text);
            }
            self.begin_turn();
        }
    }

    /// An answer begins behind the text.
    fn begin_turn(&mut self) {
        self.turn_start = self.text.len();
        self.stop_state = StopState::default();
        self.selector.begin(&self.text);
    }

    /// Text and cache without what follows the first `len` tokens.
    fn cut(&mut self, len: usize) {
        self.text.truncate(len);
        if self.model.n_past() > len {
            self.model.truncate(len);
        }
        self.last_row = None;
        self.next = None;
    }

    /// Adds a prompt to the conversation and decodes it in pieces ([`TargetModel::prompt_piece`]).
    ///
    /// `progress` is told how many tokens of how many are done and may call it off.
    ///
    /// # Errors
    /// If the prompt is empty, unknown to the model or too long, if `progress` breaks, or if the
    /// model fails. The conversation is then as before.
    pub fn prefill(
        &mut self,
        prompt: &[TokenId],
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<(), GenerateError> {
        self.prefill_behind(self.text.len(), prompt, progress)
    }

    /// Like [`prefill`](Self::prefill), but the prompt takes the place of all but the first `keep`
    /// tokens of the conversation. Drafts may still be copied from what it replaces.
    ///
    /// # Errors
    /// As of [`prefill`](Self::prefill).
    pub fn prefill_behind(
        &mut self,
        keep: usize,
        prompt: &[TokenId],
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<(), GenerateError> {
        let keep = keep.min(self.text.len());
        let n_vocab = self.model.n_vocab();
        if let Some(&token) = prompt.iter().find(|&&token| token as usize >= n_vocab) {
            return Err(GenerateError::UnknownToken { token, n_vocab });
        }
        let tokens = keep + prompt.len();
        let n_ctx = self.model.n_ctx();
        if tokens > n_ctx {
            return Err(GenerateError::PromptTooLong { tokens, n_ctx });
        }
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        let mut watch = Stopwatch::start();
        let next = self.next;
        let replaced = self.text.split_off(keep);
        if !replaced.is_empty() {
            self.cut(keep);
        }
        self.text.extend_from_slice(prompt);
        if let Err(error) = self.catch_up(progress) {
            // The cache lacks what it held of these, and gets it with the next prompt.
            self.text.truncate(keep);
            self.text.extend(replaced);
            self.next = next;
            return Err(error);
        }
        self.next = None;
        match replaced.is_empty() {
            true => self.drafter.begin(&self.text),
            false => self.drafter.revise(&self.text, keep),
        }
        self.begin_turn();
        self.prefill_time = watch.lap();
        Ok(())
    }

    /// Decodes what of the text the cache lacks and returns the row of the last token. If that
    /// fails, the cache holds no more than before.
    fn catch_up(
        &mut self,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<NodeId, GenerateError> {
        if self.model.n_past() >= self.text.len() {
            // A failed decode took the last row; the last token gives it again.
            self.model.truncate(self.text.len() - 1);
        }
        self.cost.forget_graph();
        let start = self.model.n_past();
        let missing = &self.text[start..];
        let mut done = 0;
        for piece in missing.chunks(self.model.prompt_piece().max(1)) {
            let decoded = match progress(done, missing.len()) {
                ControlFlow::Continue(()) => self.model.append(piece).map_err(Into::into),
                ControlFlow::Break(()) => Err(GenerateError::Cancelled),
            };
            if let Err(error) = decoded {
                // The rows of earlier decodes are gone.
                self.last_row = None;
                if self.model.n_past() > start {
                    self.model.truncate(start);
                }
                return Err(error);
            }
            done += piece.len();
        }
        let _ = progress(done, done);
        self.last_row = Some(ROOT);
        Ok(ROOT)
    }

    /// Answers: decode steps until the model ends, a stop of the request is complete,
    /// `max_new_tokens` are reached, the context is full, or `on_step` breaks. `on_step` sees every
    /// step right after it was committed. If the model fails half-way, the answer so far is
    /// returned, with [`FinishReason::Failed`].
    ///
    /// # Errors
    /// If there is no prompt yet.
    pub fn generate(
        &mut self,
        max_new_tokens: usize,
        on_step: &mut dyn FnMut(&StepView<'_>) -> ControlFlow<()>,
    ) -> Result<Generation, GenerateError> {
        if self.text.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        let reused_before = self.model.graphs_reused();
        let mut answer = Generation::empty(FinishReason::Length);
        answer.timings.prefill = std::mem::take(&mut self.prefill_time).as_secs_f64();
        while answer.tokens.len() < max_new_tokens {
            let n_past = self.text.len();
            let left = max_new_tokens - answer.tokens.len();
            let mut watch = Stopwatch::start();
            let stepped = match self.step(left) {
                Ok(Some(stepped)) => stepped,
                Ok(None) => break, // the context is full
                Err(GenerateError::Decode(error)) => {
                    answer.finish = FinishReason::Failed(error);
                    break;
                }
                Err(error) => return Err(error),
            };
            // The caller's own time is not counted.
            answer.timings.total += watch.lap().as_secs_f64();
            answer.add(&stepped.step);
            let flow = on_step(&StepView {
                index: answer.accept_lengths.len() - 1,
                n_past,
                ranked: &stepped.ranked,
                tree: &stepped.tree,
                path: &stepped.path,
                step: &stepped.step,
            });
            if let Some(hit) = stepped.step.stop {
                answer.finish = FinishReason::Stop;
                answer.kept = answer.kept.saturating_sub(self.cut_back(&hit));
                answer.stop = Some(hit);
                break;
            }
            if answer.tokens.last().is_some_and(|&t| self.model.is_end(t)) {
                answer.finish = FinishReason::Stop;
                break;
            }
            if flow.is_break() {
                answer.finish = FinishReason::Cancelled;
                break;
            }
        }
        answer.timings.total += answer.timings.prefill;
        let reused = self.model.graphs_reused().zip(reused_before);
        answer.graphs_reused = reused.map(|(after, before)| after.saturating_sub(before));
        Ok(answer)
    }

    /// Takes back the tokens that are not wholly part of the answer, which ran into a stop. Returns
    /// how many.
    fn cut_back(&mut self, hit: &StopHit) -> usize {
        let answer = &self.text[self.turn_start..];
        let cut = answer.len() - self.request.stops.kept(answer, hit);
        self.truncate(self.text.len() - cut);
        cut
    }
}
