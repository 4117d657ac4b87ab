//! A model without weights.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use crate::TokenId;
use crate::logits::Row;
use crate::runtime::kv::{KvOp, SimulatedKv};
use crate::runtime::slots::{BatchToken, SlotCache, SlotId};
use crate::runtime::target::{DecodeError, SlotPart, TargetModel};
use crate::tree::{DraftTree, NodeId};

/// A failure to play at a later decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// As if the batch found no room.
    NoRoom,
    /// As if the computation broke off with part of the batch already in the cache.
    HalfWay,
}

/// A deterministic model for tests: its logits are a function of the tokens it *sees*.
///
/// It keeps a [`SimulatedKv`] under llama.cpp's rules: a token sees the cells that carry its first
/// sequence id and lie at no later position; a batch is refused when a sequence does not continue
/// where it ended or when sequences that share a token have different bounds. A mistake in layout
/// or bookkeeping therefore changes what it says, or makes it fail, and a test that compares its
/// answers catches it.
///
/// What it says repeats itself: the logits depend on the last `memory` tokens visible, so short
/// memories lead into loops, which drafters can guess.
#[derive(Clone, Debug)]
pub struct ScriptedModel {
    n_vocab: usize,
    n_batch: usize,
    n_ctx: usize,
    memory: usize,
    seed: u64,
    end: Option<TokenId>,
    cache: SimulatedKv,
    slots: SlotCache,
    rows: Vec<Vec<f32>>,
    failures: VecDeque<(usize, Failure)>,
    decodes: usize,
    can_draft: bool,
    in_cell_order: bool,
    rounding: f32,
}

impl ScriptedModel {
    /// A model with `n_vocab` tokens whose logits depend on the last `memory` tokens, with room for
    /// `n_ctx` tokens and `sequences` branches.
    pub fn new(n_vocab: usize, memory: usize, seed: u64, n_ctx: usize, sequences: usize) -> Self {
        Self {
            n_vocab,
            n_batch: n_ctx,
            n_ctx,
            memory,
            seed,
            end: None,
            cache: SimulatedKv::new(n_ctx),
            slots: SlotCache::new(n_ctx, 1, sequences),
            rows: Vec::new(),
            failures: VecDeque::new(),
            decodes: 0,
            can_draft: true,
            in_cell_order: true,
            rounding: 0.0,
        }
    }

    /// Takes batches of at most `n_batch` tokens.
    pub fn with_n_batch(mut self, n_batch: usize) -> Self {
        self.n_batch = n_batch;
        self
    }

    /// Has so many slots, each with as many branches as it had before.
    pub fn with_slots(mut self, slots: usize) -> Self {
        let sequences = self.slots.ledger(0).sequences();
        self.slots = match self.can_draft {
            true => SlotCache::new(self.n_ctx, slots, sequences),
            false => SlotCache::uncuttable(self.n_ctx, slots),
        };
        self
    }

    /// Ends its answers with `token`.
    pub fn with_end(mut self, token: TokenId) -> Self {
        self.end = Some(token);
        self
    }

    /// A memory that can only be emptied, as recurrent models have: nothing may be drafted.
    pub fn uncuttable(mut self) -> Self {
        self.slots = SlotCache::uncuttable(self.n_ctx, self.slots.slots());
        self.can_draft = false;
        self
    }

    /// Answers by the positions of the visible cells, whatever their order in the cache.
    pub fn ignoring_cell_order(mut self) -> Self {
        self.in_cell_order = false;
        self
    }

    /// Moves each logit by up to `rounding` in passes of more than one token, depending on what
    /// else is in the pass.
    pub fn with_rounding(mut self, rounding: f32) -> Self {
        self.rounding = rounding;
        self
    }

    /// Plays each failure at the decode of that number (the first has number 0), in order.
    pub fn with_failures(mut self, failures: impl IntoIterator<Item = (usize, Failure)>) -> Self {
        self.failures = failures.into_iter().collect();
        self
    }

    /// The logits after `text`, if that is all the model sees.
    pub fn logits_after(&self, text: &[TokenId]) -> Vec<f32> {
        let seen: Vec<_> = text.iter().copied().enumerate().collect();
        self.row_after(&seen)
    }

    /// Whether the cells of a single slot lie as plain decoding leaves them
    /// ([`SimulatedKv::is_in_order`]).
    pub fn is_in_order(&self) -> bool {
        self.cache.is_in_order()
    }

    /// Panics unless the only slot holds exactly `text`, and the cache nothing else.
    pub fn assert_cache_holds(&self, text: &[TokenId]) {
        assert_eq!(self.cache.used(), text.len(), "stray cells");
        self.assert_slot_holds(0, text);
    }

    /// Panics unless a slot holds exactly `text` at positions 0.. in every sequence as far as its
    /// ledger says it goes. In a cache that keeps the order, the cells lie in that order.
    pub fn assert_slot_holds(&self, slot: SlotId, text: &[TokenId]) {
        let ledger = self.slots.ledger(slot);
        assert_eq!(self.slots.text(slot), text, "slot {slot}");
        assert_eq!(ledger.n_past(), text.len());
        for seq in 0..ledger.sequences() {
            let text = text[..ledger.held(seq)].iter().copied();
            let expected: Vec<_> = text.enumerate().collect();
            let mut held = self
                .cache
                .visible(slot * ledger.sequences() + seq, usize::MAX);
            if !self.in_cell_order {
                held.sort_unstable();
            }
            assert_eq!(held, expected, "slot {slot}, sequence {seq}");
        }
    }

    /// Number of cells in use, those that were set aside among them.
    pub fn used_cells(&self) -> usize {
        self.cache.used()
    }

    /// The logits of a token that sees these cells. Their order counts, as it does where attention
    /// adds up rounded values.
    fn row_after(&self, seen: &[(usize, TokenId)]) -> Vec<f32> {
        // Positions are hashed relative to the last one: a gap or a doubled position shows, but the
        // text's length does not, so that the model loops.
        let last = seen.iter().map(|&(pos, _)| pos).max().unwrap_or(0);
        let mut hasher = FxHasher::default();
        self.seed.hash(&mut hasher);
        for &(pos, token) in &seen[seen.len().saturating_sub(self.memory)..] {
            (last - pos, token).hash(&mut hasher);
        }
        (seen.len() == last + 1 || seen.is_empty()).hash(&mut hasher);
        let mut random = fastrand::Rng::with_seed(hasher.finish());
        (0..self.n_vocab).map(|_| random.f32() * 8.0).collect()
    }

    fn apply(&mut self, ops: &[KvOp]) {
        for &op in ops {
            let drops_all = matches!(
                op,
                KvOp::Remove {
                    from: 0,
                    to: None,
                    ..
                }
            );
            assert!(self.can_draft || drops_all, "this memory cannot {op:?}");
            self.cache.apply(op);
        }
    }

    fn planned_failure(&mut self) -> Option<Failure> {
        let number = self.decodes;
        self.decodes += 1;
        match self.failures.front() {
            Some(&(at, failure)) if at <= number => {
                self.failures.pop_front();
                Some(failure)
            }
            _ => None,
        }
    }

    /// What follows every failure.
    fn put_back(&mut self) {
        let mut ops = Vec::new();
        self.slots.failed(&mut ops);
        self.apply(&ops);
    }

    fn fail(&mut self, batch: usize, code: i32, log: &str) -> DecodeError {
        self.put_back();
        DecodeError::Failed {
            batch,
            code,
            log: format!(": {log}"),
        }
    }

    /// Decodes tokens at given positions on given sequences, as `llama_decode` would.
    fn decode_batch(&mut self, batch: &[BatchToken]) -> Result<(), DecodeError> {
        assert!(
            batch.len() <= self.n_batch,
            "llama.cpp aborts on too large a batch"
        );
        let failure = self.planned_failure();
        if failure == Some(Failure::NoRoom) || batch.len() > self.cache.free() {
            self.put_back();
            return Err(DecodeError::NoRoom { batch: batch.len() });
        }
        for BatchToken { pos, sequences, .. } in batch {
            let first = self.cache.bounds(sequences.start);
            for seq in sequences.clone() {
                if self.cache.bounds(seq) != first {
                    return Err(self.fail(batch.len(), -1, "coupled sequences have diverged"));
                }
            }
            let starts_at = first.map_or(0, |(_, last)| last + 1);
            let of_seq = |it: &&BatchToken| it.sequences.contains(&sequences.start);
            let lowest = batch.iter().filter(of_seq).map(|it| it.pos).min();
            if lowest != Some(starts_at) || *pos < starts_at {
                return Err(self.fail(batch.len(), -1, "positions are not consecutive"));
            }
        }
        let half_way = failure == Some(Failure::HalfWay);
        let computed = if half_way {
            batch.len() / 2
        } else {
            batch.len()
        };
        let cells = batch[..computed].iter();
        let cells = cells.map(|it| (it.token, it.pos, it.sequences.clone()));
        assert!(self.cache.put(cells));
        if half_way {
            return Err(self.fail(batch.len(), -3, "scripted failure"));
        }
        let mut hasher = FxHasher::default();
        for it in batch {
            (it.token, it.pos).hash(&mut hasher);
        }
        let mut random = fastrand::Rng::with_seed(hasher.finish());
        let rounding = if batch.len() > 1 { self.rounding } else { 0.0 };
        let mut round = |logit: f32| logit + rounding * (2.0 * random.f32() - 1.0);
        let row = |it: &BatchToken| {
            let mut seen = self.cache.visible(it.sequences.start, it.pos);
            if !self.in_cell_order {
                seen.sort_unstable();
            }
            match it.wants_row {
                true => self.row_after(&seen).into_iter().map(&mut round).collect(),
                false => Vec::new(),
            }
        };
        self.rows = batch.iter().map(row).collect();
        Ok(())
    }
}

impl TargetModel for ScriptedModel {
    fn n_ctx(&self) -> usize {
        self.n_ctx
    }
    fn n_vocab(&self) -> usize {
        self.n_vocab
    }
    fn slots(&self) -> usize {
        self.slots.slots()
    }
    fn n_past(&self, slot: SlotId) -> usize {
        self.slots.n_past(slot)
    }
    fn cached(&self, slot: SlotId) -> &[TokenId] {
        self.slots.text(slot)
    }
    fn n_batch(&self) -> usize {
        self.n_batch
    }
    fn max_leaves(&self) -> usize {
        if self.can_draft {
            self.slots.ledger(0).sequences()
        } else {
            0
        }
    }
    fn is_end(&self, token: TokenId) -> bool {
        self.end == Some(token)
    }
    fn keep_order(&mut self, keep: bool) {
        self.slots.keep_order(keep);
    }
    fn rounding_noise(&self) -> f32 {
        2.0 * self.rounding
    }
    fn free(&self) -> usize {
        self.slots.free()
    }

    fn decode(&mut self, parts: &[SlotPart<'_>]) -> Result<(), DecodeError> {
        let mut ops = Vec::new();
        let batch = self.slots.lay_out(parts, self.n_batch, &mut ops);
        let batch = batch.map(<[BatchToken]>::to_vec);
        self.apply(&ops);
        self.decode_batch(&batch?)?;
        self.slots.decoded();
        Ok(())
    }

    fn row(&self, slot: SlotId, node: NodeId) -> Row<'_> {
        Row::from(&self.rows[self.slots.row(slot, node)])
    }

    fn commit(&mut self, slot: SlotId, tree: &DraftTree, path: &[NodeId]) {
        let mut ops = Vec::new();
        self.slots.commit(slot, tree, path, &mut ops);
        self.apply(&ops);
    }

    fn sequences(&self) -> usize {
        self.slots.sequences()
    }

    fn truncate(&mut self, slot: SlotId, len: usize) {
        let mut ops = Vec::new();
        self.slots.truncate(slot, len, &mut ops);
        self.apply(&ops);
    }

    fn share(&mut self, from: SlotId, to: SlotId, len: usize) {
        let mut ops = Vec::new();
        self.slots.share(from, to, len, &mut ops);
        self.apply(&ops);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{ROOT, TreeLimits};

    #[test]
    fn batches_as_large_as_the_one_before_lie_on_as_many_sequences_until_a_prompt() {
        let mut model = ScriptedModel::new(20, 2, 1, 60, 8);
        let star = |leaves, drafted| {
            let mut tree = DraftTree::new(0, TreeLimits::nodes(6));
            let mut last = ROOT;
            for token in 1..=drafted {
                let parent = if token <= leaves { ROOT } else { last };
                last = tree.push(parent, token).unwrap();
            }
            tree
        };
        model.append(0, &[1, 2, 3]).unwrap();
        // Six tokens each: of the text, the root, drafted.
        let after = |model: &mut ScriptedModel, missing: &[TokenId], leaves| {
            let tree = star(leaves, 5 - missing.len() as TokenId);
            model.decode_tree(0, missing, &tree).unwrap();
            model.commit(0, &tree, &[]);
            model.slots.ledger(0).layout().sequence_count()
        };
        assert_eq!(after(&mut model, &[], 5), 5);
        assert_eq!(after(&mut model, &[], 2), 5, "as many as before");
        assert_eq!(after(&mut model, &[7, 8], 2), 5, "text counts");
        model.append(0, &[4]).unwrap();
        assert_eq!(after(&mut model, &[], 2), 2, "as many as it has leaves");
    }
}
