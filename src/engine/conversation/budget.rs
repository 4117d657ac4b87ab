//! What the next pass has room for: a tree, and tokens to decode again.

use super::Conversation;
use crate::TokenId;
use crate::engine::CostModel;
use crate::runtime::TargetModel;
use crate::tree::{DraftTree, NodeId, TreeLimits};

/// What a pass has left for one conversation's tree.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Room {
    /// Tokens of the batch.
    pub batch: usize,
    /// Cells of the cache.
    pub cells: usize,
    /// Tokens that the pass decodes beside this tree: of other conversations, and to decode again.
    pub beside: usize,
    /// Whether the pass is for this conversation alone.
    pub alone: bool,
}

impl Conversation {
    /// How large this step's tree may be.
    pub(super) fn limits<M: TargetModel>(
        &self,
        model: &M,
        cost: &CostModel,
        room: Room,
        left: usize,
    ) -> TreeLimits {
        let leaves = model.max_leaves();
        let redecode = self.redecode(model).len();
        let probe = room.alone
            && redecode == 0
            && self.options.weighs_cost()
            && cost.wants_single_token_probe();
        let capacity = self.options.draft_tree_capacity;
        let capacity = match self.options.method.weighs_cost() {
            _ if leaves == 0 || probe => 1,
            // Redecoded tokens make the pass no larger, so that it keeps its shape.
            true => capacity.saturating_sub(redecode),
            // The published trees are as large as they are.
            false => capacity,
        };
        let positions = model.n_ctx() - self.text.len();
        let room = room.batch.min(room.cells).min(positions);
        TreeLimits {
            capacity: capacity.min(room).max(1),
            leaves: leaves.max(1),
            depth: self.options.method.max_depth(left),
        }
    }

    /// The tokens to decode again: committed tokens that the cache does not hold.
    pub(in crate::engine) fn redecode<M: TargetModel>(&self, model: &M) -> &[TokenId] {
        &self.text[model.n_past(self.slot)..]
    }

    /// The beginning of the accepted path that stays in the cache. The rest is decoded again with
    /// the next tree.
    ///
    /// Rejected cells leave holes, and llama.cpp puts the next tokens into them. Attention would
    /// then add up the same values in another order than plain decoding does, and round
    /// differently. The [principal path](DraftTree::principal_path) lies right behind the committed
    /// cells, so what was accepted of it leaves no hole.
    pub(super) fn kept<'p>(&self, tree: &DraftTree, path: &'p [NodeId]) -> &'p [NodeId] {
        if !self.options.exact {
            return path;
        }
        let principal = tree.principal_path().zip(path);
        &path[..principal.take_while(|(a, b)| a == *b).count()]
    }
}
