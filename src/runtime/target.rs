//! What the engine needs of a model.

use std::time::Duration;

use crate::TokenId;
use crate::logits::Row;
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

/// A language model with a KV cache: llama.cpp, or a
/// [`ScriptedModel`](crate::runtime::ScriptedModel).
///
/// The cache holds a prefix of the committed text. [`decode_tree`](Self::decode_tree) adds a tree
/// to it and [`commit`](Self::commit) reduces that to the accepted path. In between only what takes
/// `&self` is called.
pub trait TargetModel {
    /// Most tokens the cache holds.
    fn n_ctx(&self) -> usize;

    /// Length of a logits row.
    fn n_vocab(&self) -> usize;

    /// Number of committed tokens in the cache.
    fn n_past(&self) -> usize;

    /// Largest batch, and so the largest tree, one decode takes.
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

    /// Decodes `tokens` after the cached text and keeps them: at least one, at most
    /// [`n_batch`](Self::n_batch). The row of the last one is then [`row`](Self::row) of the
    /// [root](crate::tree::ROOT).
    ///
    /// # Errors
    /// See [`DecodeError`]. Nothing of `tokens` is kept then.
    fn append(&mut self, tokens: &[TokenId]) -> Result<(), DecodeError>;

    /// Decodes `redecode`, the committed tokens that the cache lacks, and behind them a tree. Both
    /// together have at most [`n_batch`](Self::n_batch) tokens.
    ///
    /// # Errors
    /// See [`DecodeError`]. Nothing of either is kept then.
    fn decode_tree(&mut self, redecode: &[TokenId], tree: &DraftTree) -> Result<(), DecodeError>;

    /// The logits after a node of the last decode, borrowed until the next decode.
    fn row(&self, node: NodeId) -> Row<'_>;

    /// Keeps the redecoded tokens, the root and `path` of the tree decoded last, and drops the
    /// rest.
    fn commit(&mut self, tree: &DraftTree, path: &[NodeId]);

    /// Distinct sequences of the tree decoded last, until something else is decoded. A computation
    /// graph is made for so many, as it is for tokens and rows.
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

    /// Keeps the first `len` tokens of the cached text, or none of them if the memory cannot be cut
    /// back: [`n_past`](Self::n_past) tells.
    fn truncate(&mut self, len: usize);
}

/// A model that is lent: a session has it for one conversation, and gives it back.
impl<M: TargetModel + ?Sized> TargetModel for &mut M {
    fn n_ctx(&self) -> usize {
        (**self).n_ctx()
    }
    fn n_vocab(&self) -> usize {
        (**self).n_vocab()
    }
    fn n_past(&self) -> usize {
        (**self).n_past()
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
    fn append(&mut self, tokens: &[TokenId]) -> Result<(), DecodeError> {
        (**self).append(tokens)
    }
    fn decode_tree(&mut self, redecode: &[TokenId], tree: &DraftTree) -> Result<(), DecodeError> {
        (**self).decode_tree(redecode, tree)
    }
    fn row(&self, node: NodeId) -> Row<'_> {
        (**self).row(node)
    }
    fn commit(&mut self, tree: &DraftTree, path: &[NodeId]) {
        (**self).commit(tree, path);
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
    fn truncate(&mut self, len: usize) {
        (**self).truncate(len);
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
        fn n_past(&self) -> usize {
            3
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
        fn append(&mut self, tokens: &[TokenId]) -> Result<(), DecodeError> {
            self.0.push(format!("append {tokens:?}"));
            Ok(())
        }
        fn decode_tree(
            &mut self,
            redecode: &[TokenId],
            tree: &DraftTree,
        ) -> Result<(), DecodeError> {
            self.0
                .push(format!("decode {redecode:?} and {} nodes", tree.len()));
            Err(DecodeError::Aborted)
        }
        fn row(&self, node: NodeId) -> Row<'_> {
            Row::from(&[0.0, 0.5, 1.0][node..])
        }
        fn commit(&mut self, tree: &DraftTree, path: &[NodeId]) {
            self.0.push(format!("commit {path:?} of {}", tree.len()));
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
        fn truncate(&mut self, len: usize) {
            self.0.push(format!("keep {len}"));
        }
    }

    /// All that a model does, through a type that only knows it is one.
    fn ask(mut model: impl TargetModel) {
        let mut tree = DraftTree::new(1, TreeLimits::nodes(2));
        let child = tree.push(ROOT, 2).expect("room for two");
        let sizes = [
            model.n_ctx(),
            model.n_vocab(),
            model.n_past(),
            model.n_batch(),
            model.prompt_piece(),
            model.max_leaves(),
        ];
        assert_eq!(sizes, [1, 2, 3, 4, 5, 6]);
        assert!(model.is_end(7) && !model.is_end(1));
        assert_eq!(model.append(&[1, 2]), Ok(()));
        assert_eq!(model.decode_tree(&[9], &tree), Err(DecodeError::Aborted));
        assert_eq!(model.row(1).logits(), [0.5, 1.0]);
        model.commit(&tree, &[child]);
        assert_eq!(model.sequences(), 10);
        assert_eq!(model.kv_time(), Duration::from_secs(8));
        assert_eq!(model.graphs_reused(), Some(9));
        model.truncate(3);
    }

    #[test]
    fn a_model_that_is_lent_does_what_it_does() {
        let mut witness = Witness(Vec::new());
        ask(&mut witness);
        let told = [
            "append [1, 2]",
            "decode [9] and 2 nodes",
            "commit [1] of 2",
            "keep 3",
        ];
        assert_eq!(witness.0, told);
    }
}
