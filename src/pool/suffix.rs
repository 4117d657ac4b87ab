//! The suffix-style pool.

use memchr::memmem;

use crate::TokenId;
use crate::pool::{Retrieve, SuffixMatch};

const BYTES: usize = size_of::<TokenId>();

/// Append-only token text that finds where a tail of tokens stood before, however long the match
/// is.
///
/// The text is kept as little-endian bytes so that [`memchr::memmem`] does the searching. All
/// places that share the tail's last token come out of one search; each is then extended backwards
/// token by token, which gives the longest match and all shorter ones at once.
///
/// Appending costs a copy of the new tokens. A lookup scans the text once, at memory speed, and
/// spends the length of the match at every place that shares the last token: worst case `O(text ×
/// match length)`, which `max_len` bounds.
///
/// ```
/// use logitspec::pool::{SuffixMatch, SuffixPool};
///
/// let mut pool = SuffixPool::default();
/// pool.append(&[1, 2, 3, 9, 2, 3, 4]);
/// let found = pool.matches(&[1, 2, 3], 16, 8);
/// assert_eq!(found, [SuffixMatch { len: 3, next: 3 }, SuffixMatch { len: 2, next: 6 }]);
/// assert_eq!(pool.continuation(3, 2).collect::<Vec<_>>(), [9, 2]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct SuffixPool {
    bytes: Vec<u8>,
}

impl SuffixPool {
    /// Number of tokens held.
    pub fn len(&self) -> usize {
        self.bytes.len() / BYTES
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets everything; the memory stays for the next text.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Adds tokens to the end of the text.
    pub fn append(&mut self, tokens: &[TokenId]) {
        self.bytes
            .extend(tokens.iter().flat_map(|token| token.to_le_bytes()));
    }

    /// The token at `index`.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    pub fn token(&self, index: usize) -> TokenId {
        let at = index * BYTES;
        let bytes = self.bytes[at..at + BYTES].try_into();
        TokenId::from_le_bytes(bytes.expect("a slice of that length"))
    }

    /// The up to `max` tokens from `start` on.
    pub fn continuation(&self, start: usize, max: usize) -> impl Iterator<Item = TokenId> + '_ {
        (start..self.len().min(start.saturating_add(max))).map(|index| self.token(index))
    }

    /// Places where a suffix of `tail` stood before and something followed: longest match first,
    /// newest first among equals, at most `limit`. Matches longer than `max_len` tokens count as
    /// `max_len`.
    pub fn matches(&self, tail: &[TokenId], max_len: usize, limit: usize) -> Vec<SuffixMatch> {
        let mut found = Vec::new();
        self.matches_into(tail, max_len, limit, &mut found);
        found
    }

    /// How many of `before`'s last tokens equal those right before `index`.
    fn agreeing(&self, index: usize, before: &[TokenId]) -> usize {
        before
            .iter()
            .rev()
            .zip((0..index).rev())
            .take_while(|&(&token, at)| token == self.token(at))
            .count()
    }
}

impl Retrieve for SuffixPool {
    fn matches_into(
        &self,
        tail: &[TokenId],
        max_len: usize,
        limit: usize,
        found: &mut Vec<SuffixMatch>,
    ) {
        found.clear();
        let (Some((&last, before)), Some(searched)) =
            (tail.split_last(), self.bytes.len().checked_sub(BYTES))
        else {
            return;
        };
        if max_len == 0 || limit == 0 {
            return;
        }
        let before = &before[before.len() - before.len().min(max_len - 1)..];
        let needle = last.to_le_bytes();
        let finder = memmem::Finder::new(&needle);
        // The last token of the text has nothing after it, so it is not searched.
        let mut start = 0;
        while let Some(ahead) = finder.find(&self.bytes[start..searched]) {
            let at = start + ahead;
            if !at.is_multiple_of(BYTES) {
                // A hit that straddles two tokens is none, but it may overlap a true one.
                start = at + 1;
                continue;
            }
            start = at + BYTES;
            let index = at / BYTES;
            let len = 1 + self.agreeing(index, before);
            let next = index + 1;
            insert_newer(found, limit, SuffixMatch { len, next });
        }
    }

    fn continuation_into(&self, place: SuffixMatch, max: usize, out: &mut Vec<TokenId>) {
        out.extend(self.continuation(place.next, max));
    }
}

/// Puts a place that is newer than all in `found` before those that match no longer, and drops the
/// last if there are more than `limit`.
fn insert_newer(found: &mut Vec<SuffixMatch>, limit: usize, new: SuffixMatch) {
    let at = found.partition_point(|old| old.len > new.len);
    if at == limit {
        return;
    }
    if found.len() == limit {
        found.pop();
    }
    found.insert(at, new);
}

/// Keeps `found` sorted, longest first, earlier insertions first among equals, and at most `limit`
/// long.
pub(super) fn insert_ranked(found: &mut Vec<SuffixMatch>, limit: usize, new: SuffixMatch) {
    if found.len() == limit {
        if found[limit - 1].len >= new.len {
            return;
        }
        found.pop();
    }
    let at = found.partition_point(|old| old.len >= new.len);
    found.insert(at, new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_across_token_borders_do_not_count() {
        let mut pool = SuffixPool::default();
        // 0x0000_0100 followed by 0: the bytes 00 01 00 00 | 00 00 00 00 hold 01 00 00 00 at offset
        // 1.
        pool.append(&[0x100, 0, 5]);
        assert_eq!(pool.matches(&[1], 8, 8), []);
        assert_eq!(pool.matches(&[0], 8, 8), [SuffixMatch { len: 1, next: 2 }]);
    }

    #[test]
    fn a_true_hit_beneath_a_straddling_one_is_found() {
        let mut pool = SuffixPool::default();
        // All zero but the last token: raw hits of 00 00 00 00 lie at every offset.
        pool.append(&[0, 0, 0x0100_0000]);
        let found = pool.matches(&[0, 0], 8, 8);
        let expected = [(2, 2), (1, 1)].map(|(len, next)| SuffixMatch { len, next });
        assert_eq!(found, expected);
    }

    #[test]
    fn newest_first_among_equally_long() {
        let mut pool = SuffixPool::default();
        pool.append(&[7, 1, 7, 2, 7, 3]);
        let next = |found: Vec<SuffixMatch>| found.iter().map(|m| m.next).collect::<Vec<_>>();
        assert_eq!(next(pool.matches(&[7], 8, 8)), [5, 3, 1]);
        assert_eq!(next(pool.matches(&[7], 8, 2)), [5, 3]);
        assert_eq!(next(pool.matches(&[2, 7], 8, 2)), [5, 3]);
    }

    #[test]
    fn empty_pools_tails_and_limits_find_nothing() {
        let mut pool = SuffixPool::default();
        assert_eq!(pool.matches(&[1], 8, 8), []);
        pool.append(&[1, 1]);
        assert_eq!(pool.matches(&[], 8, 8), []);
        assert_eq!(pool.matches(&[1], 0, 8), []);
        assert_eq!(pool.matches(&[1], 8, 0), []);
        assert_eq!(pool.matches(&[1], 8, 8).len(), 1);
    }
}
