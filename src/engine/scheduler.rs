//! Many requests in one pass.

mod admission;
mod running;

use std::collections::VecDeque;

use crate::TokenId;
use crate::draft::Memory;
use crate::engine::CostModel;
use crate::engine::answer::{FinishReason, Generation, Step, Stepped};
use crate::engine::error::{GenerateError, check_prompt};
use crate::engine::options::SessionOptions;
use crate::engine::pass::{self, Piece, Turn};
use crate::engine::request::RequestOptions;
use crate::runtime::{DecodeError, SlotId, TargetModel};
use crate::tree::ROOT;
use running::Running;

/// Number of a request.
pub type RequestId = u64;

/// A request.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// The prompt; not empty.
    pub prompt: Vec<TokenId>,
    /// Most new tokens.
    pub max_new_tokens: usize,
    /// How to draft.
    pub options: SessionOptions,
    /// How tokens are selected, and where the answer ends.
    pub request: RequestOptions,
    /// Texts that drafts may be copied from.
    pub memory: Memory,
    /// Whether the text goes into the memory's history.
    pub feeds_history: bool,
    /// Whether the request may use what the cache holds of earlier ones. It makes no difference to
    /// the answer.
    pub reuses_cache: bool,
}

impl NewRequest {
    /// A request with default options.
    pub fn new(prompt: Vec<TokenId>, max_new_tokens: usize) -> Self {
        Self {
            prompt,
            max_new_tokens,
            options: SessionOptions::default(),
            request: RequestOptions::default(),
            memory: Memory::none(),
            feeds_history: true,
            reuses_cache: true,
        }
    }
}

/// What happened to a request.
#[derive(Clone, Debug)]
pub enum Event {
    /// It runs. The cache holds so many tokens of its prompt already.
    Started {
        /// Tokens of the prompt that need not be decoded.
        cached: usize,
    },
    /// Its prompt is decoded.
    Prefilled {
        /// Time since it got its slot.
        seconds: f64,
    },
    /// It went on by a step.
    Step(Box<Stepped>),
    /// It is over.
    Finished(Box<Generation>),
}

/// What a slot does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotStatus {
    /// Its request, if it has one.
    pub request: Option<RequestId>,
    /// Tokens of that request's prompt.
    pub prompt: usize,
    /// Tokens in the cache.
    pub cached: usize,
}

/// How a scheduler is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerOptions {
    /// Most tokens of a pass that has pieces of prompts, so that long prompts do not stop running
    /// answers for long.
    pub max_batch_tokens: usize,
    /// As in [`SessionOptions::exact`]; the same for all requests.
    pub exact: bool,
}

/// Runs many requests at once: one pass of the model takes a step with each of them.
///
/// Requests wait in a queue for one of the model's slots. A slot keeps its tokens in the cache when
/// its request is over, and a new request goes to where most of its prompt is cached. Prompts are
/// decoded in pieces, beside the trees of running answers. Where cells run short, first the slots
/// without a request give up theirs. Then the youngest request is paused: it gives up its cells,
/// waits, and decodes its text again later.
///
/// A request's answer does not depend on the others, as far as the model's rows do not
/// (`docs/exactness.md`).
pub struct Scheduler<M> {
    model: M,
    cost: CostModel,
    options: SchedulerOptions,
    slots: Vec<Slot>,
    queue: VecDeque<Waiting>,
    next_id: RequestId,
    /// Counts passes, to know which slot was used last.
    clock: u64,
    /// Requests whose next pass has no other: those of a pass that failed, to be tried one by one,
    /// and those with a near tie.
    alone: VecDeque<RequestId>,
    /// Whether a request was paused for want of room, and none has ended since. Nobody else starts
    /// until then.
    crowded: bool,
    /// Tokens of late, and what their passes cost.
    income: (f64, f64),
    events: Vec<(RequestId, Event)>,
}

/// A slot of the model's cache.
#[derive(Default)]
struct Slot {
    running: Option<Running>,
    last_used: u64,
}

enum Waiting {
    New(RequestId, Box<NewRequest>),
    Paused(Box<Running>),
}

impl Waiting {
    fn id(&self) -> RequestId {
        match self {
            Self::New(id, _) => *id,
            Self::Paused(running) => running.id,
        }
    }
}

/// Weight of all earlier passes, with each further pass.
const DECAY: f64 = 0.95;

impl<M: TargetModel> Scheduler<M> {
    /// A scheduler with a request for each slot of the model at most.
    pub fn new(mut model: M, cost: CostModel, options: SchedulerOptions) -> Self {
        let slots = model.slots();
        (0..slots).for_each(|slot| model.truncate(slot, 0));
        model.keep_order(options.exact);
        let mut cost = cost;
        cost.set_exact(options.exact);
        Self {
            model,
            cost,
            options,
            slots: (0..slots).map(|_| Slot::default()).collect(),
            queue: VecDeque::new(),
            next_id: 0,
            clock: 0,
            alone: VecDeque::new(),
            crowded: false,
            income: (0.0, 0.0),
            events: Vec::new(),
        }
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// What a pass of the model costs, as far as is known.
    pub fn cost(&self) -> &CostModel {
        &self.cost
    }

    /// Number of requests that wait for a slot.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Number of requests that have a slot.
    pub fn running(&self) -> usize {
        self.slots
            .iter()
            .filter(|slot| slot.running.is_some())
            .count()
    }

    /// What each slot does.
    pub fn slots(&self) -> impl Iterator<Item = SlotStatus> + '_ {
        self.slots
            .iter()
            .enumerate()
            .map(|(slot, state)| SlotStatus {
                request: state.running.as_ref().map(|it| it.id),
                prompt: state.running.as_ref().map_or(0, |it| it.prompt),
                cached: self.model.n_past(slot),
            })
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running() == 0
    }

    /// Queues a request.
    ///
    /// # Errors
    /// If it can never run: its prompt is empty, too long or has an unknown token.
    pub fn submit(&mut self, request: NewRequest) -> Result<RequestId, GenerateError> {
        check_prompt(&self.model, 0, &request.prompt)?;
        let id = self.next_id;
        self.next_id += 1;
        self.queue.push_back(Waiting::New(id, Box::new(request)));
        Ok(id)
    }

    /// Ends a request without another event. Its slot is free at once. `false` if it is over.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        let waiting = self.queue.len();
        self.queue.retain(|it| it.id() != id);
        self.alone.retain(|&it| it != id);
        let is_it = |slot: &&mut Slot| slot.running.as_ref().is_some_and(|it| it.id == id);
        let slot = self.slots.iter_mut().find(is_it);
        let ran = slot.and_then(|slot| slot.running.take()).is_some();
        self.crowded &= !ran;
        self.events.retain(|(of, _)| *of != id);
        ran || self.queue.len() < waiting
    }

    /// Takes a step with every request that has a slot, in one pass of the model, and says what
    /// happened.
    pub fn step(&mut self) -> Vec<(RequestId, Event)> {
        self.clock += 1;
        self.finish_full();
        self.admit();
        let in_turn = self.in_turn();
        let pieces = self.pieces(&in_turn);
        match self.pass(&in_turn, &pieces) {
            Ok(()) => {}
            Err(error @ DecodeError::NoRoom { .. }) => self.make_room(error),
            Err(error) => self.isolate(&in_turn, error),
        }
        std::mem::take(&mut self.events)
    }

    /// The slots whose requests take part in the next pass: all, or one that wants a pass alone.
    fn in_turn(&mut self) -> Vec<SlotId> {
        let running = |slot: &SlotId| self.slots[*slot].running.as_ref();
        while let Some(&alone) = self.alone.front() {
            let found =
                (0..self.slots.len()).find(|slot| running(slot).is_some_and(|it| it.id == alone));
            match found {
                Some(slot) => return vec![slot],
                None => self.alone.pop_front(),
            };
        }
        (0..self.slots.len())
            .filter(|slot| running(slot).is_some())
            .collect()
    }

    /// For each request whose cache lacks tokens: its slot, and how many of them this pass decodes.
    /// The oldest request comes first.
    fn pieces(&mut self, in_turn: &[SlotId]) -> Vec<(SlotId, usize)> {
        let mut lacking = Vec::new();
        let mut answering = 0;
        for &slot in in_turn {
            let Some(running) = &self.slots[slot].running else {
                continue;
            };
            let conversation = &running.conversation;
            if conversation.last_row.is_some() {
                answering += 1 + conversation.redecode(&self.model).len();
                continue;
            }
            if self.model.n_past(slot) >= conversation.text.len() {
                // The last token gives its row again.
                self.model.truncate(slot, conversation.text.len() - 1);
            }
            let mut missing = conversation.text.len() - self.model.n_past(slot);
            if conversation.near_tie && missing > 1 {
                // The last token comes in a pass of its own.
                missing -= 1;
            }
            lacking.push((running.id, slot, missing));
        }
        lacking.sort_unstable();
        let most = self.options.max_batch_tokens.min(self.model.n_batch());
        let mut left = most.saturating_sub(answering).max(1);
        left = left.min(self.model.n_batch().saturating_sub(answering));
        let mut pieces = Vec::new();
        for (_, slot, missing) in lacking {
            let piece = missing.min(left).min(self.model.prompt_piece().max(1));
            if piece > 0 {
                left -= piece;
                pieces.push((slot, piece));
            }
        }
        pieces
    }

    /// One pass.
    fn pass(&mut self, in_turn: &[SlotId], pieces: &[(SlotId, usize)]) -> Result<(), DecodeError> {
        self.set_throughput(in_turn.len());
        let (mut turns, mut of_turns, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, state) in self.slots.iter_mut().enumerate() {
            let Some(running) = &mut state.running else {
                continue;
            };
            if !in_turn.contains(&slot) {
                // Its row is gone after this pass.
                running.conversation.last_row = None;
                continue;
            }
            state.last_used = self.clock;
            let left = running.left();
            let conversation = &mut running.conversation;
            if conversation.last_row.is_some() {
                of_turns.push(slot);
                turns.push(Turn { conversation, left });
            } else if let Some(&(_, len)) = pieces.iter().find(|(of, _)| *of == slot) {
                let end = self.model.n_past(slot) + len;
                let text = &conversation.text[..end];
                parts.push(Piece { slot, text });
            }
        }
        if turns.is_empty() && parts.is_empty() {
            return Ok(());
        }
        let results = pass::run(&mut self.model, &mut self.cost, &mut turns, &parts)?;
        let steps = results.iter().flatten().map(|it| &it.step);
        let tokens = |step: &Step| step.drafted + 1 + step.redecoded;
        let (said, decoded) = steps.fold((0, 0), |(said, decoded), step| {
            (said + step.accepted.len(), decoded + tokens(step))
        });
        if parts.is_empty() {
            self.income.0 = self.income.0 * DECAY + said as f64;
            self.income.1 = self.income.1 * DECAY + self.cost.cost().of(decoded.max(1));
        }
        // A prompt alone does not clear a request: its tree may be what fails.
        if !of_turns.is_empty() {
            self.alone.pop_front();
        }
        for (slot, result) in of_turns.into_iter().zip(results) {
            self.take(slot, result);
        }
        for &(slot, _) in pieces {
            self.note_piece(slot);
        }
        Ok(())
    }

    /// Tells the cost model what a unit of time has to bring, so that requests do not draft at each
    /// other's expense.
    fn set_throughput(&mut self, requests: usize) {
        let (tokens, cost) = self.income;
        let plain = requests as f64 / self.cost.cost().of(requests.max(1));
        let least = match requests {
            0 | 1 => 0.0,
            _ if cost > 0.0 => plain.max(tokens / cost),
            _ => plain,
        };
        self.cost.set_least_throughput(least);
    }

    /// What came of a request's turn.
    fn take(&mut self, slot: SlotId, result: pass::TurnResult) {
        let Some(running) = &mut self.slots[slot].running else {
            return;
        };
        let id = running.id;
        match result {
            Ok(stepped) => {
                let finish = running.add(&mut self.model, &stepped);
                if stepped.step.near_tie {
                    self.alone.push_back(id);
                }
                self.events.push((id, Event::Step(Box::new(stepped))));
                if let Some(reason) = finish {
                    self.finish(slot, reason);
                }
            }
            Err(GenerateError::Decode(error)) => self.finish(slot, FinishReason::Failed(error)),
            Err(error) => unreachable!("a turn says {error}"),
        }
    }

    /// A piece of a request's text was decoded.
    fn note_piece(&mut self, slot: SlotId) {
        if let Some(running) = &mut self.slots[slot].running
            && self.model.n_past(slot) == running.conversation.text.len()
        {
            running.conversation.last_row = Some(ROOT);
            if running.conversation.near_tie && self.alone.front() == Some(&running.id) {
                running.conversation.decide(&self.model);
                self.alone.pop_front();
            }
            if let Some(seconds) = running.note_prefilled() {
                let id = running.id;
                self.events.push((id, Event::Prefilled { seconds }));
            }
        }
    }

    /// A request is over. Its slot keeps what the cache holds of it.
    fn finish(&mut self, slot: SlotId, reason: FinishReason) {
        if let Some(running) = self.slots[slot].running.take() {
            self.crowded = false;
            let id = running.id;
            let generation = running.finish(reason);
            self.events
                .push((id, Event::Finished(Box::new(generation))));
        }
    }

    /// Ends requests that have no room for another token, or want none.
    fn finish_full(&mut self) {
        let n_ctx = self.model.n_ctx();
        for slot in 0..self.slots.len() {
            let full = |it: &Running| it.left() == 0 || it.conversation.text.len() > n_ctx;
            if self.slots[slot].running.as_ref().is_some_and(full) {
                self.finish(slot, FinishReason::Length);
            }
        }
    }

    /// A pass of these slots failed. The next passes try them one by one, so that a bad request
    /// does not take the others down.
    fn isolate(&mut self, in_turn: &[SlotId], error: DecodeError) {
        if let [slot] = in_turn {
            self.alone.pop_front();
            return self.finish(*slot, FinishReason::Failed(error));
        }
        for &slot in in_turn {
            if let Some(running) = &mut self.slots[slot].running {
                running.conversation.last_row = None;
                self.alone.push_back(running.id);
            }
        }
    }
}
