//! The pool of one request.

use crate::TokenId;
use crate::pool::{IndexedPool, Retrieve, SuffixMatch, SuffixPool};

/// Texts of up to this many tokens are scanned, longer ones are indexed. Measured with `cargo bench
/// --bench pool` (`docs/decisions/021-text-index.md`).
const LONGEST_SCAN: usize = 512;

/// The text of one request: the prompt and the answer so far.
///
/// Up to 512 tokens it is a [`SuffixPool`], which scans the text. Beyond that it is an
/// [`IndexedPool`], whose lookups cost the same at any length. Nothing is evicted, because the
/// model's context bounds a request.
///
/// ```
/// use logitspec::pool::{RequestPool, Retrieve, SuffixMatch};
///
/// let mut pool = RequestPool::default();
/// pool.append(&[5, 6, 7]);
/// let mut found = Vec::new();
/// pool.matches_into(&[5], 16, 8, &mut found);
/// assert_eq!(found, [SuffixMatch { len: 1, next: 1 }]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct RequestPool {
    /// The text while it is short; empty afterwards.
    scanned: SuffixPool,
    /// The text once it is long. Kept for the next text.
    indexed: Option<IndexedPool>,
    len: usize,
}

impl RequestPool {
    /// Number of tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Removes everything and keeps the memory.
    pub fn clear(&mut self) {
        self.scanned.clear();
        self.len = 0;
    }

    /// Adds tokens to the end of the text.
    pub fn append(&mut self, tokens: &[TokenId]) {
        let before = self.len;
        self.len += tokens.len();
        if self.len <= LONGEST_SCAN {
            return self.scanned.append(tokens);
        }
        let indexed = self
            .indexed
            .get_or_insert_with(|| IndexedPool::new(usize::MAX));
        if before <= LONGEST_SCAN {
            let short: Vec<_> = self.scanned.continuation(0, before).collect();
            self.scanned.clear();
            indexed.clear();
            indexed.append(&short);
        }
        indexed.append(tokens);
    }

    fn active(&self) -> &dyn Retrieve {
        match &self.indexed {
            Some(indexed) if self.len > LONGEST_SCAN => indexed,
            _ => &self.scanned,
        }
    }
}

impl Retrieve for RequestPool {
    fn matches_into(
        &self,
        tail: &[TokenId],
        max_len: usize,
        limit: usize,
        found: &mut Vec<SuffixMatch>,
    ) {
        self.active().matches_into(tail, max_len, limit, found);
    }

    fn continuation_into(&self, from: SuffixMatch, max: usize, out: &mut Vec<TokenId>) {
        self.active().continuation_into(from, max, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_finds_what_the_scan_finds() {
        let text: Vec<TokenId> = (0..3 * LONGEST_SCAN as TokenId)
            .map(|n| n * n % 701)
            .collect();
        let mut pool = RequestPool::default();
        let mut found = Vec::new();
        for round in 1..4 {
            let mut scan = SuffixPool::default();
            for piece in text.chunks(97 * round) {
                pool.append(piece);
                scan.append(piece);
                assert_eq!(pool.len(), scan.len());
                for end in (1..scan.len()).step_by(31) {
                    let tail = &text[end.saturating_sub(40)..end];
                    pool.matches_into(tail, 32, 8, &mut found);
                    assert_eq!(found, scan.matches(tail, 32, 8));
                    for &from in &found {
                        let mut out = Vec::new();
                        pool.continuation_into(from, 9, &mut out);
                        assert!(scan.continuation(from.next, 9).eq(out));
                    }
                }
            }
            assert!(pool.indexed.is_some() && pool.scanned.is_empty());
            pool.clear();
            pool.matches_into(&text, 32, 8, &mut found);
            assert!(found.is_empty() && pool.is_empty());
        }
    }
}
