//! What a pass has to bring.

use crate::draft::PassCost;

/// What passes cost of late, and what they brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Income {
    tokens: f64,
    /// In passes of one token, so that a change in the model's speed leaves what was learned in
    /// place.
    passes: f64,
}

impl Income {
    /// Of what was learned, how much a further step leaves.
    const KEPT: f64 = 0.98;

    /// Nodes must bring so many times their price. The best of many estimates are mostly those that
    /// err upwards.
    const CAUTION: f64 = 1.2;

    /// Tokens that a unit of cost must bring: what it brings on average, and a margin.
    pub(super) fn price(&self, cost: &PassCost) -> f64 {
        // Plain decoding brings one token a pass, and is what it starts from.
        let rate = (self.tokens + 2.0) / (self.passes + 2.0);
        Self::CAUTION * rate.max(1.0) / cost.bare(1)
    }

    pub(super) fn spend(&mut self, cost: f64, of_one: f64) {
        self.passes = self.passes * Self::KEPT + cost / of_one;
    }

    pub(super) fn earn(&mut self, tokens: usize) {
        self.tokens = self.tokens * Self::KEPT + tokens as f64;
    }
}
