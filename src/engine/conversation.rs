//! The text of one request, and what is needed to go on with it.

mod budget;
mod step;

use crate::TokenId;
use crate::draft::{Drafter, Memory};
use crate::engine::options::SessionOptions;
use crate::engine::request::RequestOptions;
use crate::engine::stops::{StopHit, StopState};
use crate::runtime::{SlotId, TargetModel};
use crate::tree::NodeId;
use crate::verify::Select;

pub(super) use budget::Room;
pub(super) use step::{PassInfo, Plan};

/// A conversation in a slot of a model's cache.
///
/// A [`Session`](crate::engine::Session) has one, a [`Scheduler`](crate::engine::Scheduler) one for
/// each running request. Both take the same steps: see [`pass`](crate::engine::pass).
pub(super) struct Conversation {
    pub(super) slot: SlotId,
    pub(super) options: SessionOptions,
    pub(super) drafter: Box<dyn Drafter>,
    pub(super) request: RequestOptions,
    selector: Box<dyn Select>,
    /// Where the text of the answer begins.
    turn_start: usize,
    /// How much of a stop the answer ends with.
    stop_state: StopState,
    /// The committed text. The cache may lack its last tokens, which are then decoded again: after
    /// a step that needed no pass, and where that is cheaper than moving cells.
    pub(super) text: Vec<TokenId>,
    /// The node of the last decode whose row follows the last committed token, if there is one.
    pub(super) last_row: Option<NodeId>,
    /// The next root, when a walk has already selected it.
    pub(super) next: Option<TokenId>,
    /// Whether the next root is a near tie, to be selected from the row of a pass of one token.
    pub(super) near_tie: bool,
}

impl Conversation {
    /// A conversation with no text.
    pub(super) fn new(slot: SlotId, options: SessionOptions) -> Self {
        let request = RequestOptions::default();
        Self {
            slot,
            options,
            drafter: options.method.drafter(options.method_params),
            selector: request.selector(),
            request,
            turn_start: 0,
            stop_state: StopState::default(),
            text: Vec::new(),
            last_row: None,
            next: None,
            near_tie: false,
        }
    }

    /// Selects and stops as a request asks for it.
    pub(super) fn set_request(&mut self, request: RequestOptions) {
        self.selector = request.selector();
        self.request = request;
    }

    /// Lets the drafter copy from `memory`, too.
    pub(super) fn set_memory(&mut self, memory: Memory) {
        let SessionOptions {
            method,
            method_params,
            ..
        } = self.options;
        self.drafter = method.drafter_with(method_params, memory);
    }

    /// An answer begins behind the text.
    pub(super) fn begin_turn(&mut self) {
        self.turn_start = self.text.len();
        self.stop_state = StopState::default();
        self.selector.begin(&self.text);
    }

    /// Text and cache without what follows the first `len` tokens.
    pub(super) fn cut<M: TargetModel>(&mut self, model: &mut M, len: usize) {
        self.text.truncate(len);
        if model.n_past(self.slot) > len {
            model.truncate(self.slot, len);
        }
        self.last_row = None;
        self.next = None;
        self.near_tie = false;
    }

    /// Forgets all but the first `len` tokens.
    pub(super) fn truncate<M: TargetModel>(&mut self, model: &mut M, len: usize) {
        if len < self.text.len() {
            self.cut(model, len);
            self.drafter.rewind();
            if len > 0 {
                // One may go on without a new prompt.
                self.drafter.begin(&self.text);
            }
            self.begin_turn();
        }
    }

    /// Takes back the tokens that are not wholly part of the answer, which ran into a stop. Returns
    /// how many.
    pub(super) fn cut_back<M: TargetModel>(&mut self, model: &mut M, hit: &StopHit) -> usize {
        let answer = &self.text[self.turn_start..];
        let cut = answer.len() - self.request.stops.kept(answer, hit);
        self.truncate(model, self.text.len() - cut);
        cut
    }
}
