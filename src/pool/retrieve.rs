//! The trait of everything that finds suffix matches.

use std::sync::Arc;

use crate::TokenId;

/// An earlier occurrence of the last tokens of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuffixMatch {
    /// Number of tokens that match, counted back from the end of the tail.
    pub len: usize,
    /// Position of the next token in the searched text. Positions count from the first token that
    /// was ever appended, so they stay valid when older text is evicted.
    pub next: usize,
}

/// A token text that finds earlier occurrences of the last tokens (the tail) of another text.
///
/// The text may be one request, all earlier requests, or a corpus. Neither a match nor a
/// continuation crosses the end of a document.
pub trait Retrieve {
    /// Finds positions where a suffix of `tail` occurs and another token follows.
    ///
    /// The longest match comes first, and among equals the newest. Returns at most `limit` matches.
    /// Matches longer than `max_len` count as `max_len`. `found` is cleared first.
    fn matches_into(
        &self,
        tail: &[TokenId],
        max_len: usize,
        limit: usize,
        found: &mut Vec<SuffixMatch>,
    );

    /// Appends up to `max` tokens from position `from.next` on to `out`. Stops at the end of the
    /// document.
    ///
    /// A match that was evicted since it was found has no continuation.
    fn continuation_into(&self, from: SuffixMatch, max: usize, out: &mut Vec<TokenId>);
}

impl<T: Retrieve + ?Sized> Retrieve for Arc<T> {
    fn matches_into(
        &self,
        tail: &[TokenId],
        max_len: usize,
        limit: usize,
        found: &mut Vec<SuffixMatch>,
    ) {
        (**self).matches_into(tail, max_len, limit, found);
    }

    fn continuation_into(&self, from: SuffixMatch, max: usize, out: &mut Vec<TokenId>) {
        (**self).continuation_into(from, max, out);
    }
}
