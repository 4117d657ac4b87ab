//! How large a tree pays.

use crate::draft::PassCost;
use crate::tree::DraftTree;

/// The number of nodes with the greatest net value so far.
///
/// The net value of a tree is `expected tokens − λ · time of its pass`. Taking the greatest in
/// every step gives the greatest throughput in the long run, if λ is that throughput (renewal
/// reward). The time of a pass rises in jumps, so a size that does not pay may come before one that
/// does.
pub(super) struct BestSize<'a> {
    lambda: f64,
    cost: &'a PassCost,
    /// Tokens that the tree is expected to bring as it is.
    expected: f64,
    nodes: usize,
    net_value: f64,
}

impl<'a> BestSize<'a> {
    /// The bare root, which brings one token.
    pub(super) fn new(lambda: f64, cost: &'a PassCost) -> Self {
        let mut best = Self {
            lambda,
            cost,
            expected: 1.0,
            nodes: 1,
            net_value: 0.0,
        };
        best.net_value = best.net_value_of(1, 1.0);
        best
    }

    /// The number of nodes that pays best.
    pub(super) fn nodes(&self) -> usize {
        self.nodes
    }

    fn net_value_of(&self, nodes: usize, expected: f64) -> f64 {
        expected - self.lambda * self.cost.of_tree(nodes)
    }

    /// The tree has `nodes` nodes now. The last one is accepted with this probability. Off the
    /// principal path, an accepted token costs its place in the next pass.
    pub(super) fn add_node(&mut self, nodes: usize, probability: f32, principal: bool) {
        let value = match principal {
            true => 1.0,
            false => (1.0 - self.lambda * self.cost.off_principal()).max(0.0),
        };
        self.expected += value * f64::from(probability);
        let net_value = self.net_value_of(nodes, self.expected);
        if net_value >= self.net_value {
            (self.nodes, self.net_value) = (nodes, net_value);
        }
    }

    /// Whether no larger tree pays better, if each further node is accepted with at most this
    /// probability.
    pub(super) fn is_final(&self, tree: &DraftTree, probability: f32) -> bool {
        if self.cost.is_flat() {
            return false;
        }
        !(tree.len() + 1..=tree.limits().capacity).any(|nodes| {
            let more = (nodes - tree.len()) as f64 * f64::from(probability);
            self.net_value_of(nodes, self.expected + more) > self.net_value
        })
    }
}
