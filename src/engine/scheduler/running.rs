//! A request that has a slot, or had one and waits for another.

use crate::engine::answer::{FinishReason, Generation, Stepped};
use crate::engine::conversation::Conversation;
use crate::engine::options::SessionOptions;
use crate::engine::scheduler::{NewRequest, RequestId};
use crate::engine::stats::Stopwatch;
use crate::runtime::{SlotId, TargetModel};

pub(super) struct Running {
    pub(super) id: RequestId,
    pub(super) conversation: Conversation,
    /// Tokens of its prompt.
    pub(super) prompt: usize,
    max_new_tokens: usize,
    feeds_history: bool,
    answer: Generation,
    /// Since it got its slot, until its prompt is decoded.
    prefill: Option<Stopwatch>,
    /// Length of the text when it was decoded again for want of room.
    recomputed_at: usize,
}

impl Running {
    /// A request in a slot. Nothing of it is decoded.
    pub(super) fn new(id: RequestId, request: NewRequest, slot: SlotId, exact: bool) -> Self {
        let options = SessionOptions {
            exact,
            ..request.options
        };
        let mut conversation = Conversation::new(slot, options);
        conversation.set_request(request.request);
        conversation.set_memory(request.memory);
        conversation.text = request.prompt;
        conversation.drafter.begin(&conversation.text);
        conversation.begin_turn();
        Self {
            id,
            prompt: conversation.text.len(),
            conversation,
            max_new_tokens: request.max_new_tokens,
            feeds_history: request.feeds_history,
            answer: Generation::empty(FinishReason::Length),
            prefill: Some(Stopwatch::start()),
            recomputed_at: 0,
        }
    }

    /// Most tokens that the next step may commit.
    pub(super) fn left(&self) -> usize {
        self.max_new_tokens - self.answer.tokens.len()
    }

    /// Its text is decoded again for want of room. Says whether it was before, and nothing came of
    /// it.
    pub(super) fn note_recomputed(&mut self) -> bool {
        let len = self.conversation.text.len();
        std::mem::replace(&mut self.recomputed_at, len) == len
    }

    /// Its text is decoded. Returns how long the prompt took, the first time.
    pub(super) fn note_prefilled(&mut self) -> Option<f64> {
        let seconds = self.prefill.take()?.lap().as_secs_f64();
        self.answer.timings.prefill = seconds;
        self.answer.timings.total += seconds;
        Some(seconds)
    }

    /// Adds a step to its answer. Says why the answer is over, if it is.
    pub(super) fn add<M: TargetModel>(
        &mut self,
        model: &mut M,
        stepped: &Stepped,
    ) -> Option<FinishReason> {
        let step = &stepped.step;
        self.answer.add(step);
        self.answer.timings.total += step.times.total().as_secs_f64();
        if let Some(hit) = &step.stop {
            let cut = self.conversation.cut_back(model, hit);
            self.answer.kept = self.answer.kept.saturating_sub(cut);
            self.answer.stop = Some(hit.clone());
            return Some(FinishReason::Stop);
        }
        if step
            .accepted
            .last()
            .is_some_and(|&token| model.is_end(token))
        {
            return Some(FinishReason::Stop);
        }
        (self.left() == 0).then_some(FinishReason::Length)
    }

    /// Ends the request.
    pub(super) fn finish(mut self, reason: FinishReason) -> Generation {
        if self.feeds_history && !matches!(reason, FinishReason::Failed(_)) {
            self.conversation.drafter.next_request();
        }
        self.answer.finish = reason;
        self.answer
    }
}
