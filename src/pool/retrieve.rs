//! What everything that finds earlier places has in common.

use std::sync::Arc;

use crate::TokenId;

/// An earlier place where the last tokens of a text stood before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuffixMatch {
    /// How many tokens agree, counted back from the end of the tail.
    pub len: usize,
    /// The token that followed, as a position in the text that was searched: tokens are counted
    /// from the first that was ever appended, so a position keeps its meaning when older text is
    /// forgotten.
    pub next: usize,
}

/// A text of tokens that finds where a tail stood before.
///
/// The text may be one request, all earlier requests, or a corpus. Borders between documents are
/// never crossed: neither a match nor a continuation runs from one into another.
pub trait Retrieve {
    /// Places where a suffix of `tail` stood before and something followed: longest match first,
    /// newest first among equals, at most `limit`. Matches longer than `max_len` count as
    /// `max_len`. `found` is cleared first.
    fn matches_into(
        &self,
        tail: &[TokenId],
        max_len: usize,
        limit: usize,
        found: &mut Vec<SuffixMatch>,
    );

    /// Appends the up to `max` tokens that follow at `place.next` to `out`, fewer where the
    /// document ends.
    ///
    /// A place that was forgotten since it was found has no continuation.
    fn continuation_into(&self, place: SuffixMatch, max: usize, out: &mut Vec<TokenId>);
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

    fn continuation_into(&self, place: SuffixMatch, max: usize, out: &mut Vec<TokenId>) {
        (**self).continuation_into(place, max, out);
    }
}
