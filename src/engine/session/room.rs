//! What the next pass has room for: a tree, and tokens that are decoded again.

use super::Session;
use crate::runtime::TargetModel;
use crate::tree::{DraftTree, TreeLimits};
use crate::verify::Accepted;

/// Of a pass, at most one token in so many is decoded again.
const AGAIN: usize = 8;

impl<M: TargetModel> Session<M> {
    /// How large this step's tree may be.
    pub(super) fn limits(&self, left: usize) -> TreeLimits {
        let model = &self.model;
        let leaves = model.max_leaves();
        let room = model.n_ctx() - self.text.len();
        let missing = self.missing();
        let capacity = match leaves {
            0 => 1,
            _ if missing == 0 && self.cost.wants_plain() => 1,
            // The pass is no larger for what is decoded again, so that it keeps its shape.
            _ => self.options.draft_tree_capacity.saturating_sub(missing),
        };
        let batch = model.n_batch().saturating_sub(missing);
        TreeLimits {
            capacity: capacity.min(room).min(batch).max(1),
            leaves: leaves.max(1),
            // Deeper nodes could never be committed.
            depth: if self.options.method.verifies_last_step() {
                usize::MAX
            } else {
                left - 1
            },
        }
    }

    /// Whether trees of such limits may be as large as any, with `missing` tokens ahead.
    pub(super) fn could_be_larger(&self, limits: TreeLimits, missing: usize) -> bool {
        let most = self.options.draft_tree_capacity.min(self.model.n_batch());
        limits.capacity + missing >= most
    }

    /// Tokens of the text that the cache does not hold.
    pub(super) fn missing(&self) -> usize {
        self.text.len() - self.model.n_past()
    }

    /// Whether what was accepted of a tree had better be decoded again, with the next tree, than be
    /// kept in the cache. Keeping it takes two calls for each branch that parts from it, each of
    /// which scans the cache.
    pub(super) fn had_better_be_decoded_again(
        &self,
        tree: &DraftTree,
        accepted: &Accepted,
        missing: usize,
    ) -> bool {
        let capacity = self.options.draft_tree_capacity.min(self.model.n_batch());
        let count = accepted.path.len();
        // It takes the place of guesses: of the unlikeliest, if there are few. And there must be a
        // next tree.
        if !self.options.method.weighs_cost()
            || count == 0
            || AGAIN * count > capacity
            || accepted.next.is_none()
            || self.cost.wants_plain()
        {
            return false;
        }
        let tokens = missing + tree.len();
        let more = if tokens >= capacity { 0 } else { count };
        let moving = self.model.commit_delay(&accepted.path).as_secs_f64();
        moving > self.cost.seconds_of(more, tokens)
    }
}
