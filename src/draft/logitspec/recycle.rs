//! Candidates of logits that were seen before.

use rustc_hash::FxHashMap;

use crate::TokenId;
use crate::verify::Candidate;

/// For each token whose logits were seen: their best candidates, when it was seen last.
///
/// Source of the idea: Token Recycling, arXiv 2408.08696. Here only rows that are read anyway are kept: those of
/// accepted tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Recycled {
    rows: FxHashMap<TokenId, Row>,
}

/// Candidates kept of a row.
pub(super) const KEPT: usize = 8;

/// The best candidates after a token, with their probabilities among those known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Row {
    candidates: [(TokenId, f32); KEPT],
    len: usize,
}

impl Row {
    fn of(ranked: &[Candidate]) -> Self {
        let mut row = Self::default();
        let Some(best) = ranked.first() else {
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

    /// Token and probability, best first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TokenId, f32)> + '_ {
        self.candidates[..self.len].iter().copied()
    }
}

impl Recycled {
    /// Keeps the best of what the model thought after `token`.
    pub(super) fn keep(&mut self, token: TokenId, ranked: &[Candidate]) {
        if !ranked.is_empty() {
            self.rows.insert(token, Row::of(ranked));
        }
    }

    /// What the model thought after `token` when it was seen last.
    pub(super) fn after(&self, token: TokenId) -> Option<&Row> {
        self.rows.get(&token)
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }
}
