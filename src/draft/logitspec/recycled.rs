//! Candidates from rows of logits that were seen before.

use rustc_hash::FxHashMap;

use crate::TokenId;
use crate::draft::ROW_CANDIDATES;
use crate::logits::Candidate;

/// For each token whose logits were seen: their best candidates, when it was seen last.
///
/// Source of the idea: Token Recycling, arXiv 2408.08696.
#[derive(Clone, Debug, Default)]
pub(super) struct RecycledRows {
    rows: FxHashMap<TokenId, RecycledRow>,
}

/// Candidates kept of a row.
pub(super) const KEPT: usize = ROW_CANDIDATES;

/// The best candidates after a token, with their probabilities among themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RecycledRow {
    candidates: [(TokenId, f32); KEPT],
    len: usize,
}

impl RecycledRow {
    fn of(ranked: &[Candidate]) -> Self {
        let mut row = Self::default();
        let ranked = &ranked[..ranked.len().min(KEPT)];
        // Infinite logits have no probabilities to compare.
        let Some(best) = ranked.first().filter(|best| best.logit.is_finite()) else {
            return row;
        };
        let weight = |c: &Candidate| (c.logit - best.logit).exp();
        let sum: f32 = ranked.iter().map(weight).sum();
        for (slot, candidate) in row.candidates.iter_mut().zip(ranked) {
            *slot = (candidate.token, weight(candidate) / sum);
            row.len += 1;
        }
        row
    }

    /// Tokens and probabilities, best first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TokenId, f32)> + '_ {
        self.candidates[..self.len].iter().copied()
    }
}

impl RecycledRows {
    /// Keeps the best candidates after `token`.
    pub(super) fn keep(&mut self, token: TokenId, ranked: &[Candidate]) {
        if !ranked.is_empty() {
            self.rows.insert(token, RecycledRow::of(ranked));
        }
    }

    /// The best candidates after `token` when it was seen last.
    pub(super) fn after(&self, token: TokenId) -> Option<&RecycledRow> {
        self.rows.get(&token)
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(logits: &[f32]) -> Vec<Candidate> {
        let tokens = (0..).zip(logits);
        tokens
            .map(|(token, &logit)| Candidate { token, logit })
            .collect()
    }

    #[test]
    fn probabilities_are_among_the_kept_however_many_were_ranked() {
        let logits: Vec<f32> = (0..64).map(|rank| -(rank as f32) / 64.0).collect();
        let row = RecycledRow::of(&ranked(&logits));
        assert_eq!(row, RecycledRow::of(&ranked(&logits[..KEPT])));
        let sum: f32 = row.iter().map(|(_, probability)| probability).sum();
        assert!((sum - 1.0).abs() < 1e-5 && row.iter().count() == KEPT);
        assert_eq!(
            RecycledRow::of(&ranked(&[f32::INFINITY, 1.0]))
                .iter()
                .count(),
            0
        );
    }
}
