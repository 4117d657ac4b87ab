//! Who gets a slot, and whose cells.

use super::{Event, NewRequest, RequestId, Running, Scheduler, Waiting};
use crate::TokenId;
use crate::engine::answer::FinishReason;
use crate::runtime::{DecodeError, SlotId, TargetModel};

/// A prefix is taken over from a slot that is in use if it is longer by so many tokens than what a
/// free slot holds.
const WORTH_SHARING: usize = 16;
/// Cells that each running request is left when another one comes.
const RESERVE: usize = 32;

impl<M: TargetModel> Scheduler<M> {
    /// Gives free slots to requests that wait, in their order.
    pub(super) fn admit(&mut self) {
        while self.alone.is_empty()
            && !self.crowded
            && let Some(first) = self.queue.front()
            && self.has_free_slot()
        {
            let tokens = match first {
                Waiting::New(_, request) => request.prompt.len(),
                Waiting::Paused(running) => running.conversation.text.len(),
            };
            if !self.has_room(tokens) {
                return;
            }
            match self.queue.pop_front() {
                Some(Waiting::New(id, request)) => self.start(id, *request),
                Some(Waiting::Paused(running)) => self.resume(*running),
                None => return,
            }
        }
    }

    fn has_free_slot(&self) -> bool {
        self.slots.iter().any(|slot| slot.running.is_none())
    }

    /// Whether a text of so many tokens fits beside the running requests.
    fn has_room(&self, tokens: usize) -> bool {
        let running = self.running();
        if running == 0 {
            return true;
        }
        let held: usize = (0..self.slots.len())
            .filter_map(|slot| self.slots[slot].running.as_ref())
            .map(|it| it.conversation.text.len() + RESERVE)
            .sum();
        held + tokens + RESERVE <= self.model.n_ctx()
    }

    /// Starts a request in the slot that holds most of its prompt.
    fn start(&mut self, id: RequestId, request: NewRequest) {
        // The last token is decoded in any case, for its row.
        let prompt = &request.prompt[..request.prompt.len() - 1];
        let reused = if request.reuses_cache { prompt } else { &[] };
        let (slot, cached) = self.choose_slot(reused);
        let running = Running::new(id, request, slot, self.options.exact);
        self.slots[slot].running = Some(running);
        self.events.push((id, Event::Started { cached }));
        self.evict_for_running();
    }

    /// Goes on with a request that was paused.
    fn resume(&mut self, mut running: Running) {
        let text = std::mem::take(&mut running.conversation.text);
        let (slot, _) = self.choose_slot(&text[..text.len() - 1]);
        running.conversation.text = text;
        running.conversation.slot = slot;
        if running.conversation.near_tie {
            self.alone.push_back(running.id);
        }
        self.slots[slot].running = Some(running);
        self.evict_for_running();
    }

    /// A free slot, and how many tokens of `text` it now holds.
    fn choose_slot(&mut self, text: &[TokenId]) -> (SlotId, usize) {
        let common = |slot: &SlotId| common_prefix(self.model.cached(*slot), text);
        let all = 0..self.slots.len();
        let is_free = |slot: &SlotId| self.slots[*slot].running.is_none();
        let last_used = |slot: &SlotId| self.slots[*slot].last_used;
        let free = all.clone().filter(is_free);
        // Another conversation, of which this text shares only the beginning, stays. Of slots that
        // are as good, an empty one, or else the one that was not used for longest.
        let n_past = |slot: &SlotId| self.model.n_past(*slot);
        let continues = |slot: &SlotId| {
            self.model.max_leaves() == 0
                || self.slots.len() == 1
                || 2 * common(slot) >= n_past(slot)
        };
        let best = free.max_by_key(|slot| {
            let gain = if continues(slot) { common(slot) } else { 0 };
            (gain, n_past(slot) == 0, std::cmp::Reverse(last_used(slot)))
        });
        let best = best.expect("a slot is free");
        let most = all.max_by_key(common).expect("there are slots");
        let (held, longest) = (common(&best), common(&most));
        if longest >= held + WORTH_SHARING && self.model.max_leaves() > 0 {
            self.model.truncate(best, 0);
            self.model.share(most, best, longest);
        } else {
            self.model.truncate(best, held);
        }
        (best, self.model.n_past(best))
    }

    /// Empties slots without a request, the longest unused first, until the running ones have room.
    fn evict_for_running(&mut self) {
        let lacking = |scheduler: &Self| -> usize {
            let missing = |slot: SlotId| {
                let running = scheduler.slots[slot].running.as_ref()?;
                Some(running.conversation.redecode(&scheduler.model).len() + RESERVE)
            };
            (0..scheduler.slots.len()).filter_map(missing).sum()
        };
        while lacking(self) > self.model.free() && self.evict() {}
    }

    /// Empties the slot without a request that was not used for longest. `false` if there is none.
    fn evict(&mut self) -> bool {
        let holds =
            |slot: &SlotId| self.slots[*slot].running.is_none() && self.model.n_past(*slot) > 0;
        let oldest = (0..self.slots.len())
            .filter(holds)
            .min_by_key(|&slot| self.slots[slot].last_used);
        oldest.map(|slot| self.model.truncate(slot, 0)).is_some()
    }

    /// The cache had no room for a pass of bare roots. Frees cells: of a slot without a request, or
    /// of the youngest request, which then waits. A request that is alone decodes its text again,
    /// from the first cell on. If that does not help, its answer is over.
    pub(super) fn make_room(&mut self, error: DecodeError) {
        for slot in &mut self.slots {
            if let Some(running) = &mut slot.running {
                // The failed pass took the rows.
                running.conversation.last_row = None;
            }
        }
        // Slots gave up many tokens for the order of the cells. They are decoded in pieces now.
        if matches!(error, DecodeError::NoRoom { batch } if batch > self.model.n_batch()) {
            return;
        }
        if self.evict() {
            return;
        }
        let id = |slot: &SlotId| self.slots[*slot].running.as_ref().map(|it| it.id);
        let running = (0..self.slots.len()).filter(|slot| id(slot).is_some());
        let Some(youngest) = running.max_by_key(id) else {
            return;
        };
        let alone = self.running() == 1;
        let Some(mut running) = self.slots[youngest].running.take() else {
            return;
        };
        self.model.truncate(youngest, 0);
        if !alone {
            self.crowded = true;
            return self.queue.push_front(Waiting::Paused(Box::new(running)));
        }
        let tried = running.note_recomputed();
        self.slots[youngest].running = Some(running);
        if tried {
            self.finish(youngest, FinishReason::Failed(error));
        }
    }
}

/// Number of tokens that both texts begin with.
fn common_prefix(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
