//! Tokens per unit of time, of late.

use crate::draft::PassCost;

/// What the recent passes cost, and how many tokens they brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Throughput {
    tokens: f64,
    /// Cost in passes of one token, so that a change in the model's speed does not matter.
    passes: f64,
}

impl Throughput {
    /// Weight of all steps before, with each further step.
    const DECAY: f64 = 0.98;

    /// Nodes must bring so many times the throughput. The best of many estimates are mostly those
    /// that err upwards.
    const CAUTION: f64 = 1.2;

    /// Tokens that a unit of time must bring: the recent throughput, and a margin. It is λ of
    /// "expected tokens − λ · time" (renewal reward).
    pub(super) fn lambda(&self, cost: &PassCost) -> f64 {
        // It starts from plain decoding, which brings one token a pass.
        let rate = (self.tokens + 2.0) / (self.passes + 2.0);
        Self::CAUTION * (rate.max(1.0) / cost.of(1)).max(cost.least_throughput())
    }

    /// A pass of this cost begins; `of_one` is the cost of one token.
    pub(super) fn add_pass(&mut self, cost: f64, of_one: f64) {
        self.passes = self.passes * Self::DECAY + cost / of_one;
    }

    /// The pass brought so many tokens.
    pub(super) fn add_tokens(&mut self, tokens: usize) {
        self.tokens = self.tokens * Self::DECAY + tokens as f64;
    }
}
