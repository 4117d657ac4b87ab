//! A model without weights.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use crate::TokenId;
use crate::logits::Row;
use crate::runtime::kv::{KvLedger, KvOp, SimulatedKv};
use crate::runtime::target::{DecodeError, TargetModel};
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
    ledger: KvLedger,
    rows: Vec<Vec<f32>>,
    /// Where in the last batch the root is, or the last token of a prompt.
    root_index: usize,
    failures: VecDeque<(usize, Failure)>,
    decodes: usize,
    can_draft: bool,
    in_cell_order: bool,
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
            ledger: KvLedger::new(sequences),
            rows: Vec::new(),
            root_index: 0,
            failures: VecDeque::new(),
            decodes: 0,
            can_draft: true,
            in_cell_order: true,
        }
    }

    /// Takes batches of at most `n_batch` tokens.
    pub fn with_n_batch(mut self, n_batch: usize) -> Self {
        self.n_batch = n_batch;
        self
    }

    /// Ends its answers with `token`.
    pub fn with_end(mut self, token: TokenId) -> Self {
        self.end = Some(token);
        self
    }

    /// A memory that can only be emptied, as recurrent models have: nothing may be drafted.
    pub fn uncuttable(mut self) -> Self {
        self.ledger = KvLedger::uncuttable();
        self.can_draft = false;
        self
    }

    /// Answers by the positions of the visible cells, whatever their order in the cache.
    pub fn ignoring_cell_order(mut self) -> Self {
        self.in_cell_order = false;
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

    /// Whether the cells lie as plain decoding leaves them ([`SimulatedKv::is_in_order`]).
    pub fn is_in_order(&self) -> bool {
        self.cache.is_in_order()
    }

    /// Panics unless the cache holds exactly `text` at positions 0.. in every sequence as far as
    /// the ledger says it goes, and nothing else.
    pub fn assert_cache_holds(&self, text: &[TokenId]) {
        assert_eq!(self.ledger.n_past(), text.len());
        assert_eq!(self.cache.used(), text.len(), "stray cells");
        for seq in 0..self.ledger.sequences() {
            let expected: Vec<_> = text[..self.ledger.held(seq)]
                .iter()
                .copied()
                .enumerate()
                .collect();
            let mut held = self.cache.visible(seq, usize::MAX);
            held.sort_unstable();
            assert_eq!(held, expected, "sequence {seq}");
        }
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
            let drops_all = KvOp::Remove {
                seq: None,
                from: 0,
                to: None,
            };
            assert!(
                self.can_draft || op == drops_all,
                "this memory cannot {op:?}"
            );
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
        self.ledger.after_failure(&mut ops);
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
    fn decode(
        &mut self,
        batch: &[(TokenId, usize, std::ops::Range<usize>)],
    ) -> Result<(), DecodeError> {
        assert!(
            batch.len() <= self.n_batch,
            "llama.cpp aborts on too large a batch"
        );
        let failure = self.planned_failure();
        if failure == Some(Failure::NoRoom) || batch.len() > self.cache.free() {
            self.put_back();
            return Err(DecodeError::NoRoom { batch: batch.len() });
        }
        for (_, pos, sequences) in batch {
            let first = self.cache.bounds(sequences.start);
            for seq in sequences.clone() {
                if self.cache.bounds(seq) != first {
                    return Err(self.fail(batch.len(), -1, "coupled sequences have diverged"));
                }
            }
            let starts_at = first.map_or(0, |(_, last)| last + 1);
            let of_seq = |(_, _, of): &&(TokenId, usize, std::ops::Range<usize>)| {
                of.contains(&sequences.start)
            };
            let lowest = batch.iter().filter(of_seq).map(|(_, pos, _)| *pos).min();
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
        assert!(self.cache.put(batch[..computed].iter().cloned()));
        if half_way {
            return Err(self.fail(batch.len(), -3, "scripted failure"));
        }
        self.rows = batch
            .iter()
            .map(|(_, pos, sequences)| {
                let mut seen = self.cache.visible(sequences.start, *pos);
                if !self.in_cell_order {
                    seen.sort_unstable();
                }
                self.row_after(&seen)
            })
            .collect();
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
    fn n_past(&self) -> usize {
        self.ledger.n_past()
    }
    fn n_batch(&self) -> usize {
        self.n_batch
    }
    fn max_leaves(&self) -> usize {
        if self.can_draft {
            self.ledger.sequences()
        } else {
            0
        }
    }
    fn is_end(&self, token: TokenId) -> bool {
        self.end == Some(token)
    }

    fn append(&mut self, tokens: &[TokenId]) -> Result<(), DecodeError> {
        let start = self.ledger.n_past();
        let batch: Vec<_> = (start..)
            .zip(tokens)
            .map(|(pos, &t)| (t, pos, 0..1))
            .collect();
        self.decode(&batch)?;
        self.ledger.appended(tokens.len());
        self.root_index = tokens.len() - 1;
        Ok(())
    }

    fn decode_tree(&mut self, redecode: &[TokenId], tree: &DraftTree) -> Result<(), DecodeError> {
        let mut ops = Vec::new();
        self.ledger.lay_out(redecode.len(), tree, &mut ops);
        self.apply(&ops);
        let batch: Vec<_> = self.ledger.batch(redecode, tree).collect();
        self.decode(&batch)?;
        self.root_index = redecode.len();
        Ok(())
    }

    fn row(&self, node: NodeId) -> Row<'_> {
        Row::from(&self.rows[self.root_index + self.ledger.layout().index(node)])
    }

    fn commit(&mut self, tree: &DraftTree, path: &[NodeId]) {
        let mut ops = Vec::new();
        self.ledger.after_decode(tree, path, &mut ops);
        self.apply(&ops);
    }

    fn sequences(&self) -> usize {
        self.ledger.layout().sequence_count()
    }

    fn truncate(&mut self, len: usize) {
        let mut ops = Vec::new();
        self.ledger.truncate(len, &mut ops);
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
        model.append(&[1, 2, 3]).unwrap();
        // Six tokens each: of the text, the root, drafted.
        let after = |model: &mut ScriptedModel, missing: &[TokenId], leaves| {
            let tree = star(leaves, 5 - missing.len() as TokenId);
            model.decode_tree(missing, &tree).unwrap();
            model.commit(&tree, &[]);
            model.ledger.layout().sequence_count()
        };
        assert_eq!(after(&mut model, &[], 5), 5);
        assert_eq!(after(&mut model, &[], 2), 5, "as many as before");
        assert_eq!(after(&mut model, &[7, 8], 2), 5, "text counts");
        model.append(&[4]).unwrap();
        assert_eq!(after(&mut model, &[], 2), 2, "as many as it has leaves");
    }
}
