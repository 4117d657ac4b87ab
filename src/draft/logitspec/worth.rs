//! How large a tree pays.

use crate::draft::PassCost;
use crate::draft::logitspec::hold::Sizes;
use crate::tree::DraftTree;

/// The number of nodes that is worth most, so far.
///
/// The time that a decoder saves in the long run is greatest if each pass is as large as makes
/// `expected tokens − price × cost` greatest, where the price is what a unit of time brings on
/// average (renewal reward). Costs go up in jumps, so a size that does not pay may come before one
/// that does.
pub(super) struct Best {
    price: f64,
    sizes: Sizes,
    pub(super) nodes: usize,
    worth: f64,
}

impl Best {
    pub(super) fn new(price: f64, sizes: Sizes, cost: &PassCost) -> Self {
        let mut best = Self {
            price,
            sizes,
            nodes: 1,
            worth: 0.0,
        };
        best.worth = best.of(1, 1.0, cost);
        best
    }

    /// What a tree of `nodes` nodes is worth that brings `expected` tokens.
    pub(super) fn of(&self, nodes: usize, expected: f64, cost: &PassCost) -> f64 {
        expected - self.price * cost.of(nodes)
    }

    /// The same, and takes that tree for the best if it is, and may be as large.
    pub(super) fn consider(&mut self, nodes: usize, expected: f64, cost: &PassCost) -> f64 {
        let worth = self.of(nodes, expected, cost);
        if worth >= self.worth && self.sizes.contains(nodes) {
            (self.nodes, self.worth) = (nodes, worth);
        }
        worth
    }

    /// Whether no larger tree can be worth more, since no further node brings more than `gain`.
    pub(super) fn is_final(
        &self,
        tree: &DraftTree,
        expected: f64,
        gain: f32,
        cost: &PassCost,
    ) -> bool {
        if cost.is_flat() {
            return false;
        }
        let larger = tree.len() + 1..=tree.limits().capacity;
        let mut sizes = larger.filter(|&nodes| self.sizes.contains(nodes));
        !sizes.any(|nodes| {
            let more = (nodes - tree.len()) as f64 * f64::from(gain);
            self.of(nodes, expected + more, cost) > self.worth
        })
    }
}
