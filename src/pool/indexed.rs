//! An indexed pool for long texts.

use crate::TokenId;
use crate::pool::ring::{Ring, Writer};
use crate::pool::{Retrieve, SuffixMatch};

/// A text with a hash index, for texts that are too long to scan at every step.
///
/// The text consists of documents. Neither a match nor a continuation crosses the end of a
/// document.
/// Beyond `max_tokens`, the oldest documents are evicted whole. A longer document loses its start.
///
/// # Result
/// The index has seven context lengths: 1, 2, 3, 4, 8, 16 and 32 tokens. A lookup compares the 64
/// newest candidates for each. The matches are those of [`SuffixPool`](crate::pool::SuffixPool) if
/// at most 64 positions share the last token. Otherwise old matches may be missing; a long match is
/// still found through its longer context.
///
/// # Cost
/// Appending a token writes seven table entries, whatever the length of the text (amortized: the
/// table doubles as it fills). A lookup makes at most 7 × 64 comparisons of at most `max_len`
/// tokens.
/// A token takes about 60 bytes, or up to twice that right after the table doubled.
///
/// ```
/// use logitspec::pool::{IndexedPool, Retrieve, SuffixMatch};
///
/// let mut pool = IndexedPool::new(1_000_000);
/// pool.append(&[1, 2, 3, 9, 2, 3, 4]);
/// let mut found = Vec::new();
/// pool.matches_into(&[1, 2, 3], 16, 8, &mut found);
/// assert_eq!(found, [SuffixMatch { len: 3, next: 3 }, SuffixMatch { len: 2, next: 6 }]);
/// ```
#[derive(Clone, Debug)]
pub struct IndexedPool {
    ring: Ring,
    writer: Writer,
    /// Position of the text's first token in the ring.
    base: u64,
}

impl IndexedPool {
    /// An empty pool that holds at most `max_tokens` tokens (at least 1, at most 2^29).
    pub fn new(max_tokens: usize) -> Self {
        let (writer, ring) = Writer::new(max_tokens);
        Self {
            ring,
            writer,
            base: 0,
        }
    }

    /// Number of tokens held.
    pub fn len(&self) -> usize {
        let (floor, end) = self.ring.range();
        (end - floor) as usize
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of documents held, the open one included.
    pub fn documents(&self) -> usize {
        self.writer.documents()
    }

    /// Removes everything and keeps the memory. Positions start at 0 again.
    pub fn clear(&mut self) {
        self.writer.clear(&self.ring);
        self.base = self.ring.range().1;
    }

    /// Adds tokens to the end of the open document.
    pub fn append(&mut self, tokens: &[TokenId]) {
        for chunk in tokens.chunks(self.writer.max_tokens()) {
            if let Some(larger) = self.writer.grown(&self.ring, chunk.len()) {
                self.ring = larger;
            }
            self.writer.make_room(&self.ring, chunk.len());
            self.writer.push(&self.ring, chunk);
            self.writer.publish(&self.ring);
        }
    }

    /// Ends the open document. The next token starts another one.
    pub fn end_document(&mut self) {
        self.writer.end_document();
    }
}

impl Retrieve for IndexedPool {
    fn matches_into(
        &self,
        tail: &[TokenId],
        max_len: usize,
        limit: usize,
        found: &mut Vec<SuffixMatch>,
    ) {
        self.ring
            .matches_into(tail, max_len, limit, self.base, found);
    }

    fn continuation_into(&self, from: SuffixMatch, max: usize, out: &mut Vec<TokenId>) {
        let next = self.base + from.next as u64;
        self.ring.continuation_into(next, max, out);
    }
}
