//! Log-probabilities of the tokens that are selected.

use crate::TokenId;
use crate::logits::{Candidate, Row};
use crate::tree::DraftTree;
use crate::verify::{Constraint, Select};

/// A selected token with its log-probability, and the most probable tokens in its place. The
/// probabilities are the model's own, before any sampler.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The token.
    pub token: TokenId,
    /// The logarithm of its probability.
    pub logprob: f32,
    /// The most probable tokens, best first, with theirs.
    pub top: Vec<(TokenId, f32)>,
}

impl TokenLogprobs {
    /// The log-probabilities of `token` and of the `k` best tokens of its row.
    pub fn of(row: Row<'_>, token: TokenId, k: usize) -> Self {
        let logits = row.logits();
        let max = logits
            .iter()
            .fold(f32::NEG_INFINITY, |max, &it| max.max(it));
        let shares = logits.iter().map(|&logit| f64::from(logit - max).exp());
        let sum: f64 = shares.filter(|share| !share.is_nan()).sum();
        let logprob = |logit: f32| (f64::from(logit - max) - sum.ln()) as f32;
        let mut best: Vec<Candidate> = Vec::new();
        row.top_k_into(k, &mut best);
        Self {
            token,
            logprob: logits
                .get(token as usize)
                .map_or(f32::NAN, |&it| logprob(it)),
            top: best
                .iter()
                .map(|it| (it.token, logprob(it.logit)))
                .collect(),
        }
    }
}

/// Selects as another selector does, and keeps the log-probabilities of what it selects.
pub struct WithLogprobs {
    inner: Box<dyn Select>,
    k: usize,
    /// Of the tokens selected and not yet taken, in order.
    selected: Vec<TokenLogprobs>,
}

impl WithLogprobs {
    /// Keeps the log-probabilities of each token that `inner` selects, and of the `k` best in its
    /// place.
    pub fn new(inner: Box<dyn Select>, k: usize) -> Self {
        Self {
            inner,
            k,
            selected: Vec::new(),
        }
    }
}

impl Select for WithLogprobs {
    fn select(&mut self, row: Row<'_>, text: &[TokenId], path: &[TokenId]) -> Option<TokenId> {
        let token = self.inner.select(row, text, path)?;
        self.selected.push(TokenLogprobs::of(row, token, self.k));
        Some(token)
    }

    fn begin(&mut self, text: &[TokenId]) {
        self.selected.clear();
        self.inner.begin(text);
    }

    fn constrain(
        &mut self,
        text: &[TokenId],
        drafted: &DraftTree,
        forces: bool,
    ) -> Option<Constraint> {
        self.inner.constrain(text, drafted, forces)
    }

    fn failure(&self) -> Option<String> {
        self.inner.failure()
    }

    fn take_logprobs(&mut self, count: usize) -> Vec<TokenLogprobs> {
        let count = count.min(self.selected.len());
        self.selected.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Greedy;

    #[test]
    fn probabilities_sum_to_1_and_the_best_come_first() {
        let row = [1.0, 3.0, f32::NAN, -2.0, f32::NEG_INFINITY, 3.5];
        let found = TokenLogprobs::of(Row::from(&row), 1, 6);
        let sum: f32 = found.top.iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        let tokens: Vec<TokenId> = found.top.iter().map(|it| it.0).collect();
        assert_eq!(tokens, [5, 1, 0, 3, 4]);
        assert_eq!(found.logprob, found.top[1].1);
        let weights = [1.0f64, 3.0, -2.0, 3.5].map(f64::exp);
        let expected = (weights[1] / weights.iter().sum::<f64>()).ln();
        assert!((f64::from(found.logprob) - expected).abs() < 1e-6);
    }

    #[test]
    fn they_are_taken_in_the_order_of_the_tokens() {
        let mut select = WithLogprobs::new(Box::new(Greedy), 1);
        for row in [[0.0, 1.0, 0.5], [2.0, 1.0, 0.5], [0.0, 1.0, 9.0]] {
            select.select(Row::from(&row), &[], &[]);
        }
        let mut tokens = |count| {
            let taken = select.take_logprobs(count).into_iter();
            taken.map(|it| it.token).collect::<Vec<_>>()
        };
        assert_eq!(tokens(2), [1, 0]);
        assert_eq!(tokens(5), [2]);
        assert!(tokens(5).is_empty());
    }
}
