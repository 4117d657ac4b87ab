//! What a pass of the model costs.

/// Time of one pass over `n` tokens, for every `n` up to the largest batch of interest.
///
/// Only ratios matter to drafters: a tree of `n` nodes is worth its pass if it yields more tokens per unit of
/// time than a smaller one.
#[derive(Clone, Debug, PartialEq)]
pub struct PassCost {
    /// `seconds[n - 1]` is the time of `n` tokens.
    seconds: Vec<f64>,
}

impl PassCost {
    /// Every pass costs the same, whatever its size: trees are as large as they may be.
    pub fn flat() -> Self {
        Self { seconds: vec![1.0] }
    }

    /// From times of 1, 2, 3, … tokens, in any unit; larger passes than the last go on with its slope.
    ///
    /// # Panics
    /// If there is no time, or one is not positive and finite.
    pub fn from_times(seconds: Vec<f64>) -> Self {
        let good = |t: &f64| t.is_finite() && *t > 0.0;
        assert!(!seconds.is_empty() && seconds.iter().all(good));
        Self { seconds }
    }

    /// Cost of a pass over `tokens` tokens (at least one).
    pub fn of(&self, tokens: usize) -> f64 {
        let known = &self.seconds;
        match known.get(tokens.max(1) - 1) {
            Some(&seconds) => seconds,
            None => {
                let last = known[known.len() - 1];
                let per_token = (last - known[0]) / known.len() as f64;
                last + per_token.max(0.0) * (tokens - known.len()) as f64
            }
        }
    }

    /// Whether all passes cost the same.
    pub fn is_flat(&self) -> bool {
        self.seconds
            .iter()
            .all(|&seconds| seconds == self.seconds[0])
    }
}
