//! Several texts in one KV cache.

use std::ops::Range;

use crate::TokenId;
use crate::runtime::cells::{Cells, Placed, Wanted};
use crate::runtime::kv::{KvLedger, KvOp};
use crate::runtime::layout::SeqId;
use crate::runtime::target::{DecodeError, SlotPart};
use crate::tree::{DraftTree, NodeId, ROOT};

/// Number of a slot: one of several texts in a cache.
pub type SlotId = usize;

/// Most slots: each needs sequence ids for a tree, and llama.cpp has 256 in all.
pub const MAX_SLOTS: usize = 64;

/// A token of a batch, as llama.cpp wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchToken {
    /// The token.
    pub token: TokenId,
    /// Its position in its text.
    pub pos: usize,
    /// Its sequences.
    pub sequences: Range<SeqId>,
    /// Whether its logits are wanted.
    pub wants_row: bool,
}

/// What a KV cache holds for each slot: which tokens, on which sequences, in which cells.
///
/// Each slot owns a range of sequence ids, for the branches of its tree, and has a [`KvLedger`] of
/// its own. This type puts their parts of a pass together and only says what to decode and which
/// calls to make, so it is tested without llama.cpp.
///
/// Use: [`lay_out`](Self::lay_out) a batch, decode it, then [`decoded`](Self::decoded) or
/// [`failed`](Self::failed), then [`commit`](Self::commit) for each slot with a tree.
#[derive(Clone, Debug)]
pub struct SlotCache {
    slots: Vec<Slot>,
    /// Sequences of each slot.
    leaves: usize,
    n_ctx: usize,
    /// `None` if the order of the cells does not matter.
    cells: Option<Cells>,
    batch: Vec<BatchToken>,
}

#[derive(Clone, Debug)]
struct Slot {
    ledger: KvLedger,
    /// The committed tokens in the cache.
    text: Vec<TokenId>,
    /// Its part of the last batch, until something else is laid out.
    part: LaidOut,
}

/// A slot's part of a batch.
#[derive(Clone, Debug, Default)]
struct LaidOut {
    /// The tokens before the tree.
    tokens: Vec<TokenId>,
    /// Nodes of the tree; 0 without one.
    nodes: usize,
    /// Where in the batch its tokens are.
    index: Vec<usize>,
    /// Their cells.
    cells: Vec<usize>,
}

impl SlotCache {
    /// An empty cache of `n_ctx` cells for `slots` texts, each with `leaves` sequences.
    pub fn new(n_ctx: usize, slots: usize, leaves: usize) -> Self {
        let slot = Slot {
            ledger: KvLedger::new(leaves),
            text: Vec::new(),
            part: LaidOut::default(),
        };
        Self {
            slots: vec![slot; slots.max(1)],
            leaves: leaves.max(1),
            n_ctx,
            cells: Some(Cells::new(n_ctx, slots.max(1))),
            batch: Vec::new(),
        }
    }

    /// Of a memory that can only be emptied (recurrent models): nothing may be drafted.
    pub fn uncuttable(n_ctx: usize, slots: usize) -> Self {
        let mut cache = Self::new(n_ctx, slots, 1);
        cache.cells = None;
        for slot in &mut cache.slots {
            slot.ledger = KvLedger::uncuttable();
        }
        cache
    }

    /// Says whether the order of the cells matters. Without it nothing is decoded again for it.
    ///
    /// # Panics
    /// If the cache is not empty.
    pub fn keep_order(&mut self, keep: bool) {
        assert!(self.slots.iter().all(|slot| slot.text.is_empty()));
        let cuts = self.slots.iter().all(|slot| slot.ledger.can_cut());
        self.cells = (keep && cuts).then(|| Cells::new(self.n_ctx, self.slots.len()));
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Number of sequence ids: of the slots, and one for each slot for cells that are set aside.
    pub fn sequence_ids(slots: usize, leaves: usize) -> usize {
        match slots {
            0 | 1 => leaves.max(1),
            _ => slots * (leaves.max(1) + 1),
        }
    }

    /// Most leaves of each slot's tree if there are so many sequence ids.
    pub fn most_leaves(slots: usize, sequence_ids: usize) -> usize {
        match slots {
            0 | 1 => sequence_ids,
            _ => (sequence_ids / slots).saturating_sub(1).max(1),
        }
    }

    /// Number of committed tokens of a slot in the cache.
    pub fn n_past(&self, slot: SlotId) -> usize {
        self.slots[slot].ledger.n_past()
    }

    /// The committed tokens of a slot in the cache.
    pub fn text(&self, slot: SlotId) -> &[TokenId] {
        &self.slots[slot].text
    }

    /// The ledger of a slot.
    pub fn ledger(&self, slot: SlotId) -> &KvLedger {
        &self.slots[slot].ledger
    }

    /// Number of cells that no slot holds.
    pub fn free(&self) -> usize {
        match &self.cells {
            Some(cells) => cells.free(),
            None => {
                let held = self.slots.iter().map(|slot| slot.text.len());
                self.n_ctx.saturating_sub(held.sum())
            }
        }
    }

    /// Puts a batch together. `ops` are the calls to make before it is decoded, also if there is an
    /// error.
    ///
    /// A slot may lose its last tokens here, for the order of the cells. The batch decodes them
    /// again.
    ///
    /// # Errors
    /// If there are too few cells, or if the batch has more than `n_batch` tokens.
    pub fn lay_out(
        &mut self,
        parts: &[SlotPart<'_>],
        n_batch: usize,
        ops: &mut Vec<KvOp>,
    ) -> Result<&[BatchToken], DecodeError> {
        self.slots.iter_mut().for_each(|slot| slot.part.clear());
        self.batch.clear();
        let mut batch = parts.iter().map(SlotPart::len).sum();
        let mut wanted: Vec<Wanted> = parts.iter().map(wanted).collect();
        let mut freed = Vec::new();
        let free = match self.cells {
            Some(_) => usize::MAX,
            None => self.free(),
        };
        let placed = match &mut self.cells {
            None if batch > free => Err(DecodeError::NoRoom { batch }),
            None => Ok(in_turn(&wanted)),
            Some(cells) => {
                let placed = cells.place(&mut wanted, &mut freed);
                placed.map_err(|_| DecodeError::NoRoom { batch })
            }
        };
        let given_up: Vec<_> = parts.iter().map(|part| self.give_up(part, ops)).collect();
        ops.extend(freed.iter().map(|&(slot, pos)| KvOp::Remove {
            seq: Some(self.aside(slot)),
            from: pos,
            to: Some(pos + 1),
        }));
        let placed = placed?;
        for ((part, given_up), index) in parts.iter().zip(given_up).zip(0..) {
            self.lay_out_part(part, given_up, index, &placed, ops);
        }
        batch = placed.order.len();
        if batch > n_batch {
            self.take_back();
            return Err(DecodeError::NoRoom { batch });
        }
        self.fill_batch(parts);
        Ok(&self.batch)
    }

    /// Takes the tokens out of a slot that it gave up for the order of the cells.
    fn give_up(&mut self, part: &SlotPart<'_>, ops: &mut Vec<KvOp>) -> Vec<TokenId> {
        let held = match &self.cells {
            Some(cells) => cells.held(part.slot),
            None => self.slots[part.slot].text.len(),
        };
        let slot = &mut self.slots[part.slot];
        if held >= slot.text.len() {
            return Vec::new();
        }
        let given_up = slot.text.split_off(held);
        let mut local = Vec::new();
        slot.ledger.truncate(held, &mut local);
        self.globalize_all(part.slot, &local, ops);
        given_up
    }

    /// Lays out one slot's part of a batch: its sequences, and where its tokens are.
    fn lay_out_part(
        &mut self,
        part: &SlotPart<'_>,
        mut tokens: Vec<TokenId>,
        index: usize,
        placed: &Placed,
        ops: &mut Vec<KvOp>,
    ) {
        tokens.extend_from_slice(part.tokens);
        let slot = &mut self.slots[part.slot];
        let mut local = Vec::new();
        if let Some(tree) = part.tree {
            slot.ledger.lay_out(tokens.len(), tree, &mut local);
        }
        let of_part = (0..placed.order.len()).filter(|&at| placed.order[at] == index);
        slot.part.index = of_part.collect();
        slot.part.cells = match placed.cells.is_empty() {
            true => Vec::new(),
            false => slot.part.index.iter().map(|&at| placed.cells[at]).collect(),
        };
        slot.part.tokens = tokens;
        slot.part.nodes = part.tree.map_or(0, DraftTree::len);
        self.globalize(part.slot, &local, ops);
    }

    /// Writes the batch.
    fn fill_batch(&mut self, parts: &[SlotPart<'_>]) {
        let nothing = BatchToken {
            token: 0,
            pos: 0,
            sequences: 0..0,
            wants_row: false,
        };
        let len = parts.iter().map(|it| self.slots[it.slot].part.index.len());
        self.batch.resize(len.sum(), nothing);
        for part in parts {
            let Slot {
                ledger, part: laid, ..
            } = &self.slots[part.slot];
            let base = part.slot * self.leaves;
            let mut write = |at: usize, token, pos, of: Range<SeqId>, wants_row| {
                self.batch[laid.index[at]] = BatchToken {
                    token,
                    pos,
                    sequences: base + of.start..base + of.end,
                    wants_row,
                };
            };
            match part.tree {
                // llama.cpp reuses a graph only for a batch with as many rows. So all tokens of a
                // tree's pass have one, also those that are decoded again.
                Some(tree) => {
                    let tokens = ledger.batch(&laid.tokens, tree).enumerate();
                    tokens.for_each(|(at, (token, pos, of))| write(at, token, pos, of, true));
                }
                None => {
                    let last = laid.tokens.len() - 1;
                    for (at, &token) in laid.tokens.iter().enumerate() {
                        write(at, token, ledger.n_past() + at, 0..1, at == last);
                    }
                }
            }
        }
    }

    /// The batch was decoded. What it held of prompts is part of their texts now.
    pub fn decoded(&mut self) {
        for (id, slot) in self.slots.iter_mut().enumerate() {
            if slot.part.nodes == 0 && !slot.part.tokens.is_empty() {
                slot.ledger.appended(slot.part.tokens.len());
                slot.text.append(&mut slot.part.tokens);
                if let Some(cells) = &mut self.cells {
                    cells.settle(id, slot.part.cells.drain(..), []);
                }
            }
        }
    }

    /// The batch was not decoded: drops whatever it left.
    pub fn failed(&mut self, ops: &mut Vec<KvOp>) {
        self.take_back();
        for slot in 0..self.slots.len() {
            let mut local = Vec::new();
            let ledger = &mut self.slots[slot].ledger;
            ledger.after_failure(&mut local);
            let held = ledger.n_past();
            self.slots[slot].text.truncate(held);
            self.globalize_all(slot, &local, ops);
        }
    }

    /// Frees the cells of a batch that is not decoded.
    fn take_back(&mut self) {
        for (id, slot) in self.slots.iter_mut().enumerate() {
            if let Some(cells) = &mut self.cells {
                cells.settle(id, [], slot.part.cells.drain(..));
            }
            slot.part.clear();
        }
    }

    /// Where in the last batch a node's row is. Of a slot without a tree, the last token's is the
    /// root's.
    pub fn row(&self, slot: SlotId, node: NodeId) -> usize {
        let Slot { ledger, part, .. } = &self.slots[slot];
        match part.nodes {
            0 => {
                debug_assert_eq!(node, ROOT);
                *part.index.last().expect("the slot has rows")
            }
            nodes => part.index[part.index.len() - nodes + ledger.layout().index(node)],
        }
    }

    /// Distinct sequences of the last batch.
    pub fn sequences(&self) -> usize {
        let of = |slot: &Slot| match slot.part.nodes {
            0 => usize::from(!slot.part.index.is_empty()),
            _ => slot.ledger.layout().sequence_count(),
        };
        self.slots.iter().map(of).sum::<usize>().max(1)
    }

    /// Keeps the tokens before a slot's tree, its root and `path`. Drops the rest of the tree.
    pub fn commit(&mut self, slot: SlotId, tree: &DraftTree, path: &[NodeId], ops: &mut Vec<KvOp>) {
        let mut local = Vec::new();
        let it = &mut self.slots[slot];
        it.ledger.after_decode(tree, path, &mut local);
        let nodes = || std::iter::once(ROOT).chain(path.iter().copied());
        if let Some(cells) = &mut self.cells {
            let ahead = it.part.tokens.len();
            let mut keeps = vec![false; it.part.cells.len()];
            keeps[..ahead].fill(true);
            nodes().for_each(|node| keeps[ahead + it.ledger.layout().index(node)] = true);
            let of = |kept: bool| {
                let cells = it.part.cells.iter().zip(&keeps);
                cells.filter_map(move |(&cell, &keep)| (keep == kept).then_some(cell))
            };
            cells.settle(slot, of(true), of(false));
        }
        it.text.append(&mut it.part.tokens);
        it.text.extend(nodes().map(|node| tree.token(node)));
        it.part.cells.clear();
        self.globalize(slot, &local, ops);
    }

    /// Keeps only the first `len` committed tokens of a slot, or none if the memory cannot be cut
    /// back.
    pub fn truncate(&mut self, slot: SlotId, len: usize, ops: &mut Vec<KvOp>) {
        let aside = self.aside(slot);
        let mut local = Vec::new();
        let it = &mut self.slots[slot];
        it.ledger.truncate(len, &mut local);
        let kept = it.ledger.n_past();
        it.text.truncate(kept);
        it.part.clear();
        if let Some(cells) = &mut self.cells {
            if cells.would_leave_holes(slot, kept) {
                let runs = cells.set_aside(slot, kept);
                ops.extend(runs.iter().map(|run| KvOp::Copy {
                    source: slot * self.leaves,
                    seq: aside,
                    from: run.start,
                    to: run.end,
                }));
            } else {
                cells.forget(slot, kept);
            }
        }
        self.globalize_all(slot, &local, ops);
    }

    /// Gives the first `len` tokens of slot `from` to slot `to` as well, which is empty.
    pub fn share(&mut self, from: SlotId, to: SlotId, len: usize, ops: &mut Vec<KvOp>) {
        assert_eq!(self.n_past(to), 0, "slot {to} is not empty");
        let text = self.slots[from].text[..len].to_vec();
        ops.push(KvOp::Copy {
            source: from * self.leaves,
            seq: to * self.leaves,
            from: 0,
            to: len,
        });
        self.slots[to].text = text;
        self.slots[to].ledger.shared(len);
        if let Some(cells) = &mut self.cells {
            cells.share(from, to, len);
        }
    }

    /// The sequence of cells that a slot has set aside.
    fn aside(&self, slot: SlotId) -> SeqId {
        self.slots.len() * self.leaves + slot
    }

    /// Turns a ledger's calls into calls on the slot's sequences. A call for all sequences is made
    /// for those that the last tree used.
    fn globalize(&self, slot: SlotId, local: &[KvOp], ops: &mut Vec<KvOp>) {
        let used = self.slots[slot].ledger.layout().sequence_count();
        self.globalize_to(slot, used, local, ops);
    }

    /// The same; a call for all sequences is made for all that the slot has.
    fn globalize_all(&self, slot: SlotId, local: &[KvOp], ops: &mut Vec<KvOp>) {
        self.globalize_to(slot, self.leaves, local, ops);
    }

    fn globalize_to(&self, slot: SlotId, used: usize, local: &[KvOp], ops: &mut Vec<KvOp>) {
        let base = slot * self.leaves;
        for &op in local {
            match op {
                KvOp::Remove { seq: None, .. } if self.slots.len() == 1 => ops.push(op),
                KvOp::Remove { seq, from, to } => {
                    let of = seq.map_or(0..used, |seq| seq..seq + 1);
                    ops.extend(of.map(|seq| KvOp::Remove {
                        seq: Some(base + seq),
                        from,
                        to,
                    }));
                }
                KvOp::Copy {
                    source,
                    seq,
                    from,
                    to,
                } => ops.push(KvOp::Copy {
                    source: base + source,
                    seq: base + seq,
                    from,
                    to,
                }),
            }
        }
    }
}

impl LaidOut {
    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// How likely each token of a part is to be kept.
fn wanted(part: &SlotPart<'_>) -> Wanted {
    let mut ranks = vec![0; part.tokens.len()];
    if let Some(tree) = part.tree {
        let principal = tree.principal_path().count();
        ranks.extend(0..=principal);
        ranks.resize(part.len(), usize::MAX);
    }
    Wanted {
        slot: part.slot,
        ranks,
    }
}

/// The parts one after the other, in any cells.
fn in_turn(wanted: &[Wanted]) -> Placed {
    let of = |(index, it): (usize, &Wanted)| std::iter::repeat_n(index, it.ranks.len());
    Placed {
        order: wanted.iter().enumerate().flat_map(of).collect(),
        ..Placed::default()
    }
}
