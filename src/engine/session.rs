//! One conversation with a model.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::TokenId;
use crate::draft::{Drafter, Memory};
use crate::engine::CostModel;
use crate::engine::answer::{FinishReason, Generation, StepView, Stepped};
use crate::engine::conversation::Conversation;
use crate::engine::error::{GenerateError, check_prompt};
use crate::engine::options::SessionOptions;
use crate::engine::pass::{self, Turn};
use crate::engine::request::RequestOptions;
use crate::engine::stats::Stopwatch;
use crate::runtime::{SlotId, TargetModel};
use crate::tree::ROOT;

/// A session has a model to itself, and one text in its cache.
const SLOT: SlotId = 0;

/// A model, the conversation so far, and what is needed to go on.
pub struct Session<M> {
    model: M,
    cost: CostModel,
    conversation: Conversation,
    /// Time the last prompt took, until an answer reports it.
    prefill_time: Duration,
}

impl<M: TargetModel> Session<M> {
    /// A session with no text. What the model's cache held is forgotten.
    pub fn new(mut model: M, options: SessionOptions) -> Self {
        model.truncate(SLOT, 0);
        model.keep_order(options.exact);
        Self {
            model,
            cost: CostModel::flat(),
            conversation: Conversation::new(SLOT, options),
            prefill_time: Duration::ZERO,
        }
    }

    /// Selects and stops as a request asks for it. Without a request, greedily, until the model
    /// ends.
    pub fn with_request(mut self, request: RequestOptions) -> Self {
        self.conversation.set_request(request);
        self
    }

    /// Replaces the drafter; for drafters that are no [`Method`](crate::engine::Method).
    pub fn with_drafter(mut self, drafter: Box<dyn Drafter>) -> Self {
        self.conversation.drafter = drafter;
        self
    }

    /// Ends the request, and hands over the drafter with what it remembers, for the next session.
    pub fn into_drafter(mut self) -> Box<dyn Drafter> {
        self.conversation.drafter.next_request();
        self.conversation.drafter
    }

    /// Lets the drafter copy from `memory`, too; to be told before the first prompt.
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.conversation.set_memory(memory);
        self
    }

    /// Ends the request: the conversation is forgotten, but for what the drafter's memory keeps of
    /// it.
    pub fn end_request(&mut self) {
        self.conversation.drafter.next_request();
        self.forget();
    }

    /// Says what a pass of the model costs, so that trees are no larger than pays. Without a cost,
    /// or if the options say that cost does not matter, trees grow as large as they may.
    pub fn with_cost(mut self, cost: CostModel) -> Self {
        let options = &self.conversation.options;
        if options.weighs_cost() {
            self.cost = cost;
            self.cost.set_exact(options.exact);
        }
        self
    }

    /// What a pass of the model costs, as far as is known.
    pub fn cost(&self) -> &CostModel {
        &self.cost
    }

    /// The committed text: prompts and answers.
    pub fn text(&self) -> &[TokenId] {
        &self.conversation.text
    }

    /// What the request asks for.
    pub fn request(&self) -> &RequestOptions {
        &self.conversation.request
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The logits of the last committed token, if they are at hand: after a prompt, and after a
    /// step that needed a pass.
    pub fn last_logits(&self) -> Option<&[f32]> {
        let last = self.conversation.last_row;
        last.map(|node| self.model.row(SLOT, node).logits())
    }

    /// Forgets the conversation, and all that the drafter itself remembers of earlier ones.
    pub fn reset(&mut self) {
        self.conversation.drafter.reset();
        self.forget();
    }

    fn forget(&mut self) {
        self.conversation.cut(&mut self.model, 0);
        self.conversation.begin_turn();
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.conversation.truncate(&mut self.model, len);
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
        self.prefill_behind(self.text().len(), prompt, progress)
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
        let keep = keep.min(self.text().len());
        check_prompt(&self.model, keep, prompt)?;
        let mut watch = Stopwatch::start();
        let next = self.conversation.next;
        let replaced = self.conversation.text.split_off(keep);
        if !replaced.is_empty() {
            self.conversation.cut(&mut self.model, keep);
        }
        self.conversation.text.extend_from_slice(prompt);
        if let Err(error) = self.catch_up(self.text().len(), progress) {
            // The cache lacks what it held of these, and gets it with the next prompt.
            self.conversation.text.truncate(keep);
            self.conversation.text.extend(replaced);
            self.conversation.next = next;
            return Err(error);
        }
        let Conversation { drafter, text, .. } = &mut self.conversation;
        match replaced.is_empty() {
            true => drafter.begin(text),
            false => drafter.revise(text, keep),
        }
        self.conversation.next = None;
        self.conversation.begin_turn();
        self.prefill_time = watch.lap();
        Ok(())
    }

    /// Decodes what of the first `len` tokens of the text the cache lacks. The row of the last of
    /// them is then at hand. If it fails, the cache holds no more than before.
    fn catch_up(
        &mut self,
        len: usize,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<(), GenerateError> {
        let Self {
            model,
            conversation,
            ..
        } = self;
        let text = &conversation.text[..len];
        if model.n_past(SLOT) >= text.len() {
            // A failed decode took the last row; the last token gives it again.
            model.truncate(SLOT, text.len() - 1);
        }
        self.cost.forget_graph();
        let start = model.n_past(SLOT);
        let missing = &text[start..];
        let mut done = 0;
        for piece in missing.chunks(model.prompt_piece().max(1)) {
            let decoded = match progress(done, missing.len()) {
                ControlFlow::Continue(()) => model.append(SLOT, piece).map_err(Into::into),
                ControlFlow::Break(()) => Err(GenerateError::Cancelled),
            };
            if let Err(error) = decoded {
                // The rows of earlier decodes are gone.
                conversation.last_row = None;
                if model.n_past(SLOT) > start {
                    model.truncate(SLOT, start);
                }
                return Err(error);
            }
            done += piece.len();
        }
        let _ = progress(done, done);
        conversation.last_row = Some(ROOT);
        Ok(())
    }

    /// One decode step, which commits 1 to `left` tokens. `None` if the context is full.
    ///
    /// A step whose outcome is known beforehand (`left` is 1, or the model ends here) needs no pass
    /// of the model. What it commits is decoded with the next prompt, and until then there are no
    /// [last logits](Self::last_logits).
    ///
    /// # Errors
    /// If there is no prompt yet, or if the model fails. The conversation is then as before, and
    /// one may go on.
    ///
    /// # Panics
    /// If `left` is 0.
    pub fn step(&mut self, left: usize) -> Result<Option<Stepped>, GenerateError> {
        assert!(left > 0, "a step commits at least one token");
        if self.text().is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if self.text().len() > self.model.n_ctx() {
            return Ok(None);
        }
        if self.conversation.last_row.is_none() {
            // The last step needed no pass, or failed, or met a near tie: the cache lacks tokens.
            let len = self.text().len();
            let go_on = &mut |_, _| ControlFlow::Continue(());
            if self.conversation.near_tie && self.model.n_past(SLOT) + 1 < len {
                self.catch_up(len - 1, go_on)?;
            }
            self.catch_up(len, go_on)?;
        }
        let turn = Turn {
            conversation: &mut self.conversation,
            left,
        };
        let mut stepped = pass::run(&mut self.model, &mut self.cost, &mut [turn], &[])?;
        stepped.pop().expect("one turn, one step").map(Some)
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
        if self.text().is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        let reused_before = self.model.graphs_reused();
        let mut answer = Generation::empty(FinishReason::Length);
        answer.timings.prefill = std::mem::take(&mut self.prefill_time).as_secs_f64();
        while answer.tokens.len() < max_new_tokens {
            let n_past = self.text().len();
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
                answer.kept = answer
                    .kept
                    .saturating_sub(self.conversation.cut_back(&mut self.model, &hit));
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
}
