//! The n-gram pool of the LogitSpec paper.

use rustc_hash::FxHashMap;

use crate::TokenId;

/// A continuation: a range of the text.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    len: usize,
}

/// A map from n-grams to the tokens that followed them, as in arXiv 2507.01449 and its public code.
///
/// Keys are all n-grams of 1 to `max_ngram_size` tokens. A value holds the 1 to `num_pred_tokens`
/// tokens after the key. A later value replaces an earlier one if it is at least as long. So the
/// latest full-length value wins, and near the end of the text an older, longer value stays.
///
/// | operation | cost |
/// |---|---|
/// | [`build`](Self::build) | `O(text × max_ngram_size)` map insertions |
/// | [`update`](Self::update) | `O(num_pred_tokens × max_ngram_size)` map insertions |
/// | [`lookup`](Self::lookup) | at most `max_ngram_size` map reads |
///
/// ```
/// use logitspec::pool::NgramPool;
///
/// let mut pool = NgramPool::new(3, 20);
/// pool.build(&[1, 2, 3, 4, 1, 2]);
/// assert_eq!(pool.lookup(&[9, 1, 2]), Some(&[3, 4, 1, 2][..]));
/// ```
#[derive(Clone, Debug)]
pub struct NgramPool {
    num_pred_tokens: usize,
    /// `maps[n - 1]` holds the keys of `n` tokens.
    maps: Vec<FxHashMap<Box<[TokenId]>, Span>>,
    text: Vec<TokenId>,
}

impl NgramPool {
    /// An empty pool with keys of 1 to `max_ngram_size` tokens and values of at most
    /// `num_pred_tokens`.
    ///
    /// Either may be 0. The pool then never finds anything.
    pub fn new(max_ngram_size: usize, num_pred_tokens: usize) -> Self {
        Self {
            num_pred_tokens,
            maps: vec![FxHashMap::default(); max_ngram_size],
            text: Vec::new(),
        }
    }

    /// Length of the longest keys.
    pub fn max_ngram_size(&self) -> usize {
        self.maps.len()
    }

    /// The tokens the pool was built from, in order.
    pub fn text(&self) -> &[TokenId] {
        &self.text
    }

    /// Replaces the text and indexes all of it.
    pub fn build(&mut self, text: &[TokenId]) {
        self.maps.iter_mut().for_each(FxHashMap::clear);
        self.text.clear();
        self.text.extend_from_slice(text);
        self.index_from(0);
    }

    /// Appends `tokens`. Like the published code, it indexes the last `2 × num_pred_tokens`
    /// positions
    /// again, because their continuations may have grown.
    pub fn update(&mut self, tokens: &[TokenId]) {
        self.text.extend_from_slice(tokens);
        self.index_from(self.text.len().saturating_sub(2 * self.num_pred_tokens));
    }

    /// The continuation of the longest suffix of `tail` that is a key.
    pub fn lookup(&self, tail: &[TokenId]) -> Option<&[TokenId]> {
        (1..=self.maps.len().min(tail.len()))
            .rev()
            .find_map(|len| self.maps[len - 1].get(&tail[tail.len() - len..]))
            .map(|span| &self.text[span.start..span.start + span.len])
    }

    fn index_from(&mut self, first: usize) {
        let end = self.text.len();
        if self.num_pred_tokens == 0 {
            return;
        }
        for start in first..end {
            for (map, key_len) in self.maps.iter_mut().zip(1..) {
                let value_start = start + key_len;
                if value_start >= end {
                    break;
                }
                let fresh = Span {
                    start: value_start,
                    len: self.num_pred_tokens.min(end - value_start),
                };
                let key = &self.text[start..value_start];
                match map.get_mut(key) {
                    Some(stored) if fresh.len >= stored.len => *stored = fresh,
                    Some(_) => {}
                    None => {
                        map.insert(key.into(), fresh);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_full_length_continuation_wins() {
        let mut pool = NgramPool::new(1, 2);
        pool.build(&[7, 1, 2, 7, 3, 4, 7]);
        assert_eq!(pool.lookup(&[7]), Some(&[3, 4][..]));
    }

    #[test]
    fn near_the_end_an_older_longer_continuation_stays() {
        let mut pool = NgramPool::new(1, 3);
        pool.build(&[7, 1, 2, 3, 7, 4]);
        assert_eq!(pool.lookup(&[7]), Some(&[1, 2, 3][..]));
        pool.update(&[5]);
        assert_eq!(pool.lookup(&[7]), Some(&[1, 2, 3][..]));
        pool.update(&[6]);
        assert_eq!(pool.lookup(&[7]), Some(&[4, 5, 6][..]));
    }

    #[test]
    fn the_longest_key_wins_and_the_last_token_has_no_continuation() {
        let mut pool = NgramPool::new(2, 4);
        pool.build(&[1, 2, 9, 3, 2, 8]);
        assert_eq!(pool.lookup(&[1, 2]), Some(&[9, 3, 2, 8][..]));
        assert_eq!(pool.lookup(&[5, 2]), Some(&[9, 3, 2, 8][..]));
        assert_eq!(pool.lookup(&[8]), None);
        assert_eq!(pool.lookup(&[]), None);
    }

    #[test]
    fn zero_parameters_find_nothing() {
        for (n, p) in [(0, 4), (4, 0), (0, 0)] {
            let mut pool = NgramPool::new(n, p);
            pool.build(&[1, 1, 1]);
            pool.update(&[1]);
            assert_eq!(pool.lookup(&[1]), None);
        }
    }
}
