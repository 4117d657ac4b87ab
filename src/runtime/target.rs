//! What the engine needs of a model.

use std::time::Duration;

use crate::TokenId;
use crate::logits::Row;
use crate::runtime::slots::SlotId;
use crate::tree::{DraftTree, NodeId};

/// Why a decode gave no logits. The cache is as after the last commit, or, if its memory cannot be
/// cut back, empty.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// No room for the batch in the cache. A smaller one may fit.
    #[error("the KV cache has no room for a batch of {batch} tokens")]
    NoRoom {
        /// Tokens in the batch.
        batch: usize,
    },
    /// The computation was called off.
    #[error("decoding was aborted")]
    Aborted,
    /// llama.cpp refused the batch or failed in computing it.
    #[error("llama.cpp failed to decode a batch of {batch} tokens (code {code}){log}")]
    Failed {
        /// Tokens in the batch.
        batch: usize,
        /// llama.cpp's return code.
        code: i32,
        /// What it logged about it, with a leading ": ", or nothing.
        log: String,
    },
    /// The logits are no numbers: all of them are NaN or infinite.
    #[error(
        "the model gives no finite logit for the next token: its weights are damaged, or numbers \
         overflow; download the file again, or use another quantization of it"
    )]
    NoFiniteLogit,
    /// The grammar of the request cannot be followed any further.
    #[error("the grammar cannot be followed: {0}")]
    Grammar(String),
}

/// What a pass decodes for one slot.
#[derive(Clone, Copy, Debug)]
pub struct SlotPart<'a> {
    /// The slot. A pass has at most one part for each.
    pub slot: SlotId,
    /// Committed tokens that the cache lacks: of a prompt, or to decode again.
    pub tokens: &'a [TokenId],
    /// The tree behind them. Without one, there is at least one token, and the last one's row is
    /// that of the [root](crate::tree::ROOT).
    pub tree: Option<&'a DraftTree>,
}

impl SlotPart<'_> {
    /// Number of tokens to decode.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.tokens.len() + self.tree.map_or(0, DraftTree::len)
    }
}

/// A language model with a KV cache: llama.cpp, or a
/// [`ScriptedModel`](crate::runtime::ScriptedModel).
///
/// The cache has slots. Each holds a prefix of a committed text. [`decode`](Self::decode) adds
/// tokens and trees to them, and [`commit`](Self::commit) reduces a tree to the accepted path. All
/// trees of a pass are committed before the next one. In between only what takes `&self` is called.
pub trait TargetModel {
    /// Most tokens the cache holds, of all slots together.
    fn n_ctx(&self) -> usize;

    /// Length of a logits row.
    fn n_vocab(&self) -> usize;

    /// Number of slots.
    fn slots(&self) -> usize {
        1
    }

    /// Number of committed tokens of a slot in the cache. Decoding other tokens may make it
    /// smaller: see [`SlotCache::lay_out`](crate::runtime::SlotCache::lay_out).
    fn n_past(&self, slot: SlotId) -> usize;

    /// The committed tokens of a slot in the cache.
    fn cached(&self, slot: SlotId) -> &[TokenId];

    /// Largest batch one decode takes.
    fn n_batch(&self) -> usize;

    /// Tokens of a prompt to decode at once: no more than the device computes at once, so that
    /// progress shows and one can call it off in between.
    fn prompt_piece(&self) -> usize {
        self.n_batch()
    }

    /// Most leaves a tree may have. 1 allows chains only, and 0 says that the memory cannot be cut
    /// back, so nothing may be drafted.
    fn max_leaves(&self) -> usize;

    /// Whether the model ends its answer with this token.
    fn is_end(&self, token: TokenId) -> bool;

    /// Says whether the cells of each slot must lie in the order of plain decoding. The cache is
    /// empty.
    fn keep_order(&mut self, keep: bool);

    /// How much further apart two logits may be in a pass of several tokens than in a pass of one,
    /// where exact answers are wanted although they differ; 0 otherwise. A greedy choice between
    /// logits that are closer is left to a pass of one token.
    fn rounding_noise(&self) -> f32 {
        0.0
    }

    /// Number of tokens that the cache has room for.
    fn free(&self) -> usize;

    /// Decodes a batch of at most [`n_batch`](Self::n_batch) tokens. The tokens of parts without a
    /// tree are committed. The other parts wait for [`commit`](Self::commit).
    ///
    /// # Errors
    /// See [`DecodeError`]. Nothing of the batch is kept then.
    fn decode(&mut self, parts: &[SlotPart<'_>]) -> Result<(), DecodeError>;

    /// Decodes `tokens` behind a slot's text, and keeps them.
    ///
    /// # Errors
    /// As of [`decode`](Self::decode).
    fn append(&mut self, slot: SlotId, tokens: &[TokenId]) -> Result<(), DecodeError> {
        self.decode(&[SlotPart {
            slot,
            tokens,
            tree: None,
        }])
    }

    /// Decodes `redecode`, the committed tokens that the cache lacks, and behind them a tree.
    ///
    /// # Errors
    /// As of [`decode`](Self::decode).
    fn decode_tree(
        &mut self,
        slot: SlotId,
        redecode: &[TokenId],
        tree: &DraftTree,
    ) -> Result<(), DecodeError> {
        self.decode(&[SlotPart {
            slot,
            tokens: redecode,
            tree: Some(tree),
        }])
    }

    /// The logits after a node of a slot's part of the last decode, borrowed until the next decode.
    fn row(&self, slot: SlotId, node: NodeId) -> Row<'_>;

    /// Keeps the redecoded tokens, the root and `path` of a slot's tree, and drops the rest.
    fn commit(&mut self, slot: SlotId, tree: &DraftTree, path: &[NodeId]);

    /// Distinct sequences of the last decode. A computation graph is made for so many, as it is for
    /// tokens and rows.
    fn sequences(&self) -> usize {
        1
    }

    /// Time spent so far on moving cells of the cache between sequences, if the model keeps count.
    fn kv_time(&self) -> Duration {
        Duration::ZERO
    }

    /// How many passes could use the computation graph of the pass before, if the model keeps
    /// count.
    fn graphs_reused(&mut self) -> Option<usize> {
        None
    }

    /// Keeps the first `len` tokens of a slot's text, or none of them if the memory cannot be cut
    /// back: [`n_past`](Self::n_past) tells.
    fn truncate(&mut self, slot: SlotId, len: usize);

    /// Gives the first `len` tokens of slot `from` to slot `to` as well, which is empty.
    fn share(&mut self, from: SlotId, to: SlotId, len: usize);
}

/// A model that is lent: a session has it for one conversation, and gives it back.
impl<M: TargetModel + ?Sized> TargetModel for &mut M {
    fn n_ctx(&self) -> usize {
        (**self).n_ctx()
    }
    fn n_vocab(&self) -> usize {
        (**self).n_vocab()
    }
    fn slots(&self) -> usize {
        (**self).slots()
    }
    fn n_past(&self, slot: SlotId) -> usize {
        (**self).n_past(slot)
    }
    fn cached(&self, slot: SlotId) -> &[TokenId] {
        (**self).cached(slot)
    }
    fn n_batch(&self) -> usize {
        (**self).n_batch()
    }
    fn prompt_piece(&self) -> usize {
        (**self).prompt_piece()
    }
    fn max_leaves(&self) -> usize {
        (**self).max_leaves()
    }
    fn is_end(&self, token: TokenId) -> bool {
        (**self).is_end(token)
    }
    fn keep_order(&mut self, keep: bool) {
        (**self).keep_order(keep);
    }
    fn rounding_noise(&self) -> f32 {
        (**self).rounding_noise()
    }
    fn free(&self) -> usize {
        (**self).free()
    }
    fn decode(&mut self, parts: &[SlotPart<'_>]) -> Result<(), DecodeError> {
        (**self).decode(parts)
    }
    fn row(&self, slot: SlotId, node: NodeId) -> Row<'_> {
        (**self).row(slot, node)
    }
    fn commit(&mut self, slot: SlotId, tree: &DraftTree, path: &[NodeId]) {
        (**self).commit(slot, tree, path);
    }
    fn sequences(&self) -> usize {
        (**self).sequences()
    }
    fn kv_time(&self) -> Duration {
        (**self).kv_time()
    }
    fn graphs_reused(&mut self) -> Option<usize> {
        (**self).graphs_reused()
    }
    fn truncate(&mut self, slot: SlotId, len: usize) {
        (**self).truncate(slot, len);
    }
    fn share(&mut self, from: SlotId, to: SlotId, len: usize) {
        (**self).share(from, to, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{ROOT, TreeLimits};

    /// Notes what it is told to do, and gives other answers than the trait does by itself.
    struct Witness(Vec<String>);

    impl TargetModel for Witness {
        fn n_ctx(&self) -> usize {
            1
        }
        fn n_vocab(&self) -> usize {
            2
        }
        fn slots(&self) -> usize {
            11
        }
        fn n_past(&self, slot: SlotId) -> usize {
            3 + slot
        }
        fn cached(&self, slot: SlotId) -> &[TokenId] {
            &[1, 2, 3][slot..]
        }
        fn n_batch(&self) -> usize {
            4
        }
        fn prompt_piece(&self) -> usize {
            5
        }
        fn max_leaves(&self) -> usize {
            6
        }
        fn is_end(&self, token: TokenId) -> bool {
            token == 7
        }
        fn keep_order(&mut self, keep: bool) {
            self.0.push(format!("order {keep}"));
        }
        fn rounding_noise(&self) -> f32 {
            0.25
        }
        fn free(&self) -> usize {
            12
        }
        fn decode(&mut self, parts: &[SlotPart<'_>]) -> Result<(), DecodeError> {
            for part in parts {
                let SlotPart { slot, tokens, .. } = part;
                let nodes = part.tree.map(DraftTree::len);
                self.0.push(format!("decode {slot} {tokens:?} {nodes:?}"));
            }
            Err(DecodeError::Aborted)
        }
        fn row(&self, slot: SlotId, node: NodeId) -> Row<'_> {
            Row::from(&[0.0, 0.5, 1.0][slot + node..])
        }
        fn commit(&mut self, slot: SlotId, tree: &DraftTree, path: &[NodeId]) {
            self.0
                .push(format!("commit {slot} {path:?} of {}", tree.len()));
        }
        fn sequences(&self) -> usize {
            10
        }
        fn kv_time(&self) -> Duration {
            Duration::from_secs(8)
        }
        fn graphs_reused(&mut self) -> Option<usize> {
            Some(9)
        }
        fn truncate(&mut self, slot: SlotId, len: usize) {
            self.0.push(format!("keep {len} of {slot}"));
        }
        fn share(&mut self, from: SlotId, to: SlotId, len: usize) {
            self.0.push(format!("share {len} of {from} with {to}"));
        }
    }

    /// All that a model does, through a type that only knows it is one.
    fn ask(mut model: impl TargetModel) {
        let mut tree = DraftTree::new(1, TreeLimits::nodes(2));
        let child = tree.push(ROOT, 2).expect("room for two");
        let sizes = [
            model.n_ctx(),
            model.n_vocab(),
            model.n_past(0),
            model.n_batch(),
            model.prompt_piece(),
            model.max_leaves(),
            model.slots(),
            model.free(),
        ];
        assert_eq!(sizes, [1, 2, 3, 4, 5, 6, 11, 12]);
        assert!(model.is_end(7) && !model.is_end(1));
        assert_eq!(model.cached(1), [2, 3]);
        model.keep_order(false);
        assert_eq!(model.append(1, &[1, 2]), Err(DecodeError::Aborted));
        let decoded = model.decode_tree(2, &[9], &tree);
        assert_eq!(decoded, Err(DecodeError::Aborted));
        assert_eq!(model.row(1, 1).logits(), [1.0]);
        model.commit(1, &tree, &[child]);
        assert_eq!(model.sequences(), 10);
        assert_eq!(model.kv_time(), Duration::from_secs(8));
        assert_eq!(model.graphs_reused(), Some(9));
        model.truncate(1, 3);
        model.share(0, 1, 2);
    }

    #[test]
    fn a_model_that_is_lent_does_what_it_does() {
        let mut witness = Witness(Vec::new());
        ask(&mut witness);
        let told = [
            "order false",
            "decode 1 [1, 2] None",
            "decode 2 [9] Some(2)",
            "commit 1 [1] of 2",
            "keep 3 of 1",
            "share 2 of 0 with 1",
        ];
        assert_eq!(witness.0, told);
    }
}
