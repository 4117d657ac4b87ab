//! A pool that scans its text.

use memchr::memmem;

use crate::TokenId;
use crate::pool::{Retrieve, SuffixMatch};

const BYTES: usize = size_of::<TokenId>();

/// An append-only text that finds suffix matches of any length by scanning.
///
/// The text is stored as little-endian bytes, so [`memchr::memmem`] can search it. One search finds
/// all positions of the tail's last token. Each is then compared backwards, token by token.
///
/// Appending copies the new tokens. A lookup scans the text once and compares the matching tokens
/// of
/// each candidate: `O(text × max_len)` in the worst case.
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

    /// Removes everything and keeps the memory.
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

    /// Up to `max` tokens from `start` on.
    pub fn continuation(&self, start: usize, max: usize) -> impl Iterator<Item = TokenId> + '_ {
        (start..self.len().min(start.saturating_add(max))).map(|index| self.token(index))
    }

    /// [`matches_into`](Retrieve::matches_into) a new vector.
    pub fn matches(&self, tail: &[TokenId], max_len: usize, limit: usize) -> Vec<SuffixMatch> {
        let mut found = Vec::new();
        self.matches_into(tail, max_len, limit, &mut found);
        found
    }

    /// How many of `before`'s last tokens equal the tokens right before `index`.
    fn matching_before(&self, index: usize, before: &[TokenId]) -> usize {
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
        // Nothing follows the last token of the text, so it is not searched.
        let mut start = 0;
        while let Some(ahead) = finder.find(&self.bytes[start..searched]) {
            let at = start + ahead;
            if !at.is_multiple_of(BYTES) {
                // This hit spans two tokens. It may overlap a real match.
                start = at + 1;
                continue;
            }
            start = at + BYTES;
            let index = at / BYTES;
            let len = 1 + self.matching_before(index, before);
            let next = index + 1;
            insert_newest(found, limit, SuffixMatch { len, next });
        }
    }

    fn continuation_into(&self, from: SuffixMatch, max: usize, out: &mut Vec<TokenId>) {
        out.extend(self.continuation(from.next, max));
    }
}

/// Inserts a match before all that are not longer. Drops the last one beyond `limit`.
fn insert_newest(found: &mut Vec<SuffixMatch>, limit: usize, new: SuffixMatch) {
    let at = found.partition_point(|old| old.len > new.len);
    if at == limit {
        return;
    }
    if found.len() == limit {
        found.pop();
    }
    found.insert(at, new);
}

/// Inserts a match behind all that are at least as long. Drops the last one beyond `limit`.
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
    fn hits_across_two_tokens_do_not_count() {
        let mut pool = SuffixPool::default();
        // The bytes 00 01 00 00 | 00 00 00 00 contain 01 00 00 00 at offset 1.
        pool.append(&[0x100, 0, 5]);
        assert_eq!(pool.matches(&[1], 8, 8), []);
        assert_eq!(pool.matches(&[0], 8, 8), [SuffixMatch { len: 1, next: 2 }]);
    }

    #[test]
    fn a_match_that_overlaps_a_hit_across_two_tokens_is_found() {
        let mut pool = SuffixPool::default();
        // The bytes 00 00 00 00 occur at every offset.
        pool.append(&[0, 0, 0x0100_0000]);
        let found = pool.matches(&[0, 0], 8, 8);
        let expected = [(2, 2), (1, 1)].map(|(len, next)| SuffixMatch { len, next });
        assert_eq!(found, expected);
    }

    #[test]
    fn equal_matches_are_newest_first() {
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
