//! A model that checks how it is used.

use logitspec::TokenId;
use logitspec::logits::Row;
use logitspec::runtime::{DecodeError, ScriptedModel, SlotId, SlotPart, TargetModel};
use logitspec::tree::{DraftTree, NodeId, ROOT};

use super::tree;

/// The call that failed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Append,
    DecodeTree,
}

/// A scripted model. Panics if the engine breaks the contract of [`TargetModel`], or if the cache
/// is
/// wrong.
pub struct CheckedModel {
    model: ScriptedModel,
    /// Whether the memory cannot be truncated. Then nothing may be drafted.
    recurrent: bool,
    text: Vec<TokenId>,
    /// The last tree, and the tokens decoded again before it.
    uncommitted: Option<(Vec<TokenId>, DraftTree)>,
    /// The nodes with rows after the last decode.
    rows: std::ops::Range<usize>,
    pub last_failure: Option<Call>,
}

impl CheckedModel {
    pub fn new(model: ScriptedModel, recurrent: bool) -> Self {
        Self {
            model: if recurrent { model.uncuttable() } else { model },
            recurrent,
            text: Vec::new(),
            uncommitted: None,
            rows: 0..0,
            last_failure: None,
        }
    }

    /// Whether the cells lie as plain decoding leaves them.
    pub fn is_in_order(&self) -> bool {
        self.model.is_in_order()
    }

    /// Checks the cache after a failure: empty if it cannot be truncated, otherwise unchanged.
    fn after_failure(&mut self) {
        if self.recurrent {
            assert_eq!(self.model.n_past(0), 0);
            self.text.clear();
        }
        self.assert_consistent();
    }

    fn check_tree(&self, tree: &DraftTree) {
        tree::assert_valid(tree);
        assert!((0..tree.len()).all(|node| (tree.token(node) as usize) < self.n_vocab()));
        assert!(tree.leaf_count() <= self.max_leaves().max(1));
        assert!(
            !self.recurrent || tree.drafted() == 0,
            "drafted with a memory that cannot be truncated"
        );
    }

    fn assert_consistent(&self) {
        assert_eq!(
            self.uncommitted, None,
            "a tree was neither committed nor failed"
        );
        self.model.assert_cache_holds(&self.text);
    }
}

impl TargetModel for CheckedModel {
    fn n_ctx(&self) -> usize {
        self.model.n_ctx()
    }
    fn n_vocab(&self) -> usize {
        self.model.n_vocab()
    }
    fn n_past(&self, slot: SlotId) -> usize {
        self.model.n_past(slot)
    }
    fn cached(&self, slot: SlotId) -> &[TokenId] {
        self.model.cached(slot)
    }
    fn n_batch(&self) -> usize {
        self.model.n_batch()
    }
    fn max_leaves(&self) -> usize {
        self.model.max_leaves()
    }
    fn is_end(&self, token: TokenId) -> bool {
        self.model.is_end(token)
    }

    fn keep_order(&mut self, keep: bool) {
        self.model.keep_order(keep);
    }
    fn free(&self) -> usize {
        self.model.free()
    }

    fn decode(&mut self, parts: &[SlotPart<'_>]) -> Result<(), DecodeError> {
        self.assert_consistent();
        let &[part] = parts else {
            panic!("a session has one slot, and not {} parts", parts.len());
        };
        assert_eq!(part.slot, 0);
        assert!((1..=self.n_batch()).contains(&part.len()));
        assert!(self.text.len() + part.len() <= self.n_ctx());
        if let Some(tree) = part.tree {
            self.check_tree(tree);
        }
        self.rows = 0..0;
        if let Err(error) = self.model.decode(parts) {
            self.last_failure = Some(match part.tree {
                Some(_) => Call::DecodeTree,
                None => Call::Append,
            });
            self.after_failure();
            return Err(error);
        }
        self.rows = 0..part.tree.map_or(1, DraftTree::len);
        match part.tree {
            Some(tree) => self.uncommitted = Some((part.tokens.to_vec(), tree.clone())),
            None => {
                self.text.extend_from_slice(part.tokens);
                self.assert_consistent();
            }
        }
        Ok(())
    }

    fn row(&self, slot: SlotId, node: NodeId) -> Row<'_> {
        assert!(self.rows.contains(&node), "row {node} of {:?}", self.rows);
        self.model.row(slot, node)
    }

    fn commit(&mut self, slot: SlotId, tree: &DraftTree, path: &[NodeId]) {
        let (redecode, decoded) = self.uncommitted.take().expect("a tree was decoded");
        assert_eq!(&decoded, tree);
        if let Some(&last) = path.last() {
            assert_eq!(path, tree.path_to(last), "not a path from the root");
        }
        self.model.commit(slot, tree, path);
        self.text.extend(redecode);
        self.text
            .extend([ROOT].iter().chain(path).map(|&node| tree.token(node)));
        self.assert_consistent();
    }

    fn sequences(&self) -> usize {
        self.model.sequences()
    }

    fn truncate(&mut self, slot: SlotId, len: usize) {
        self.assert_consistent();
        assert!(len <= self.text.len());
        self.model.truncate(slot, len);
        self.text.truncate(if self.recurrent { 0 } else { len });
        self.assert_consistent();
    }

    fn share(&mut self, from: SlotId, to: SlotId, _: usize) {
        panic!("a session has one slot, and shares nothing of {from} with {to}");
    }
}
