//! What a cost model has learned of single sizes, to be kept for later sessions.

use serde::{Deserialize, Serialize};

use super::{CostModel, Curve, MOST_TOKENS};

/// What passes of one size cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeCost {
    /// Tokens of the pass.
    pub tokens: usize,
    /// Its time, in passes of one token. The speed of a machine varies, this hardly does.
    pub ratio: f64,
    /// Passes that say so.
    pub passes: u32,
}

impl CostModel {
    /// The sizes that passes were seen of, by their tokens. Empty if there was no pass of one
    /// token, with which all are compared.
    pub fn seen(&self) -> Vec<SizeCost> {
        if self.corrections.first().is_none_or(|it| it.seen == 0) {
            return Vec::new();
        }
        let log = |tokens: usize| self.priors[tokens - 1] + self.correction(tokens);
        let seen = (1..).zip(&self.corrections).filter(|(_, it)| it.seen > 0);
        seen.map(|(tokens, it)| SizeCost {
            tokens,
            ratio: (log(tokens) - log(1)).exp(),
            passes: it.seen,
        })
        .collect()
    }

    /// Passes of one token that building a graph takes.
    pub fn build_time(&self) -> f64 {
        self.build_time.get()
    }

    /// The model that starts from these sizes, which begin with one token, and from this one's
    /// guess at those between and beyond them.
    ///
    /// # Panics
    /// If a size is out of range, or a ratio is not positive and finite.
    pub fn with_known(mut self, sizes: &[SizeCost]) -> Self {
        if self.fixed || sizes.is_empty() {
            return self;
        }
        for it in sizes {
            let slot = &mut self.corrections[it.tokens - 1];
            slot.log = it.ratio.ln() + self.priors[0] - self.priors[it.tokens - 1];
            slot.seen = 1;
        }
        self.refresh();
        let times = (1..=MOST_TOKENS).map(|tokens| (tokens, self.current.of(tokens)));
        let curve = Curve::anywhere(&times.collect::<Vec<_>>());
        Self::learned(vec![curve]).with_build_time(self.build_time.get())
    }
}
