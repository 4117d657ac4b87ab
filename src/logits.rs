//! Rows of logits, and how to search them.
//!
//! A row has one `f32` for each entry of the vocabulary: 32,000 and more. Each search first reduces
//! the row to the maxima of its blocks. That is a loop without branches, which compiles to vector
//! instructions. Then it looks only at the few blocks that can hold a result.

use crate::TokenId;

/// Logits per block: few enough blocks that their maxima are soon compared, and in a row of 32,000
/// more of them than any tree has use for candidates.
const BLOCK: usize = 128;

/// Logits looked at together: a vector or a few of them on any processor.
const LANES: usize = 16;

/// A token and its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: TokenId,
    /// Its logit, as the model gave it.
    pub logit: f32,
}

/// The logits after one token: one for each token of the vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a>(&'a [f32]);

impl<'a, T: AsRef<[f32]> + ?Sized> From<&'a T> for Row<'a> {
    fn from(logits: &'a T) -> Self {
        Self(logits.as_ref())
    }
}

impl<'a> Row<'a> {
    /// The logits.
    pub fn logits(self) -> &'a [f32] {
        self.0
    }

    /// Whether any logit is a finite number. A row without one says nothing: the weights are
    /// damaged, or the computation overflowed.
    ///
    /// Looks at the first logit only, as a rule.
    pub fn has_finite(self) -> bool {
        self.0.iter().any(|logit| logit.is_finite())
    }

    /// [`argmax`] of the row.
    pub fn argmax(self) -> TokenId {
        argmax(self.0)
    }

    /// [`top_k_into`] of the row.
    pub fn top_k_into(self, k: usize, found: &mut Vec<Candidate>) {
        top_k_into(self.0, k, found);
    }
}

/// The index of the largest logit, the first among equals. NaN never wins; 0 if there is nothing
/// else.
///
/// One pass over the row.
pub fn argmax(row: &[f32]) -> TokenId {
    let mut best = (f32::NEG_INFINITY, 0);
    for (block, index) in row.chunks(BLOCK).zip(0..) {
        let max = block_max(block);
        if max > best.0 {
            best = (max, index);
        }
    }
    let start = best.1 * BLOCK;
    let within = row[start.min(row.len())..]
        .iter()
        .position(|&logit| logit == best.0);
    // -inf or NaN throughout: any index will do, and 0 is the one a plain loop would give.
    token_at(within.map_or(0, |offset| start + offset))
}

/// The `k` largest logits, best first, lower token first among equals. NaN counts as absent.
///
/// One pass over the row and a sort of about `k` candidates.
pub fn top_k(row: &[f32], k: usize) -> Vec<Candidate> {
    let mut found = Vec::new();
    top_k_into(row, k, &mut found);
    found
}

/// [`top_k`] into a buffer, which is cleared first.
pub fn top_k_into(row: &[f32], k: usize, found: &mut Vec<Candidate>) {
    found.clear();
    if k == 0 {
        return;
    }
    // A short row has fewer large blocks than `k`, and then there would be no bound.
    let size = if k < row.len() / BLOCK { BLOCK } else { LANES };
    let maxima: Vec<f32> = row.chunks(size).map(block_max).collect();
    // The k-th largest block maximum is a bound: k logits are at least as large.
    let bound = kth_largest(maxima.clone(), k);
    for ((block, max), index) in row.chunks(size).zip(maxima).zip(0..) {
        if max >= bound {
            push_at_least(bound, block, index * size, found);
        }
    }
    // Found in token order, so a stable sort leaves the lower token first among equals.
    found.sort_by(|a, b| {
        let order = b.logit.partial_cmp(&a.logit);
        order.expect("no NaN passed the bound")
    });
    found.truncate(k);
}

/// Adds the logits of `block` that are at least `bound`. The block's first token is `start`.
fn push_at_least(bound: f32, block: &[f32], start: usize, found: &mut Vec<Candidate>) {
    for (chunk, within) in block.chunks(LANES).zip(0..) {
        // Most chunks have none. Without a branch for each logit this is a few vector instructions.
        let any = chunk.iter().fold(false, |any, &it| any | (it >= bound));
        if !any {
            continue;
        }
        for (&logit, offset) in chunk.iter().zip(0..) {
            if logit >= bound {
                let token = token_at(start + within * LANES + offset);
                found.push(Candidate { token, logit });
            }
        }
    }
}

/// The `k`-th largest of `values`, which hold no NaN; -inf if there are fewer.
fn kth_largest(mut values: Vec<f32>, k: usize) -> f32 {
    if k > values.len() {
        return f32::NEG_INFINITY;
    }
    *values
        .select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a))
        .1
}

/// The maximum of a block, NaN left out. Running maxima side by side keep the loop free of a serial
/// dependency; halving them in the end takes a few vector instructions, where one after the other
/// would be a chain of sixteen.
fn block_max(block: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = block.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, value);
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        for (lane, &value) in low.iter_mut().zip(&*high) {
            *lane = larger(*lane, value);
        }
        half /= 2;
    }
    chunks
        .remainder()
        .iter()
        .fold(lanes[0], |a, &b| larger(a, b))
}

fn token_at(index: usize) -> TokenId {
    TokenId::try_from(index).expect("a vocabulary has fewer than 2^32 tokens")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive_top_k(row: &[f32], k: usize) -> Vec<TokenId> {
        let mut order: Vec<usize> = (0..row.len()).filter(|&i| !row[i].is_nan()).collect();
        order.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).unwrap().then(a.cmp(&b)));
        order.into_iter().take(k).map(token_at).collect()
    }

    /// A row that is mostly ties, or one that has its largest anywhere.
    fn row(min: usize) -> impl Strategy<Value = Vec<f32>> {
        let tied = prop_oneof![
            4 => (-8i8..8).prop_map(f32::from), // many ties
            4 => -10f32..10.0,
            1 => Just(10.0), // ties for the first place, too
            1 => Just(f32::NEG_INFINITY),
            1 => Just(f32::NAN),
        ];
        prop_oneof![
            prop::collection::vec(tied, min..700),
            prop::collection::vec(-10f32..10.0, min..700),
        ]
    }

    proptest! {
        #[test]
        fn top_k_equals_a_full_sort(row in row(0), k in prop_oneof![0usize..6, 0usize..300]) {
            let tokens: Vec<_> = top_k(&row, k).iter().map(|c| c.token).collect();
            prop_assert_eq!(tokens, naive_top_k(&row, k));
        }

        #[test]
        fn argmax_is_the_first_of_top_k(row in row(1)) {
            let best = naive_top_k(&row, 1).first().copied().unwrap_or(0);
            let all_minus_inf = row.iter().all(|v| v.is_nan() || *v == f32::NEG_INFINITY);
            prop_assert_eq!(argmax(&row), if all_minus_inf { argmax_naive(&row) } else { best });
        }
    }

    fn argmax_naive(row: &[f32]) -> TokenId {
        let start = row.iter().position(|&v| v == f32::NEG_INFINITY);
        token_at(start.unwrap_or(0))
    }

    #[test]
    fn zeros_of_both_signs_are_equal() {
        assert_eq!(argmax(&[-0.0, 0.0]), 0);
        let tokens: Vec<_> = top_k(&[-0.0, 0.0], 2).iter().map(|c| c.token).collect();
        assert_eq!(tokens, [0, 1]);
    }
}
