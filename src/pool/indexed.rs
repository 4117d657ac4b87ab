//! The indexed suffix pool, for long texts of one owner.

use crate::TokenId;
use crate::pool::ring::{Ring, Writer};
use crate::pool::{Retrieve, SuffixMatch};

/// Token text with an index, for texts too long to scan at every step.
///
/// Finds what [`SuffixPool`](crate::pool::SuffixPool) finds, newest places first, but compares at
/// most 64 places for each of seven context lengths (1, 2, 3, 4, 8, 16 and 32 tokens). So the
/// result is exact wherever at most 64 places share the tail's last token; where more do, places
/// that match long are still found by their longer context, however old they are, and what may be
/// missed are old places among many similar ones.
///
/// Appending costs seven table entries a token, whatever the text's length (amortised: the table
/// doubles, up to `max_tokens`); a lookup costs at most 7 × 64 comparisons of at most `max_len`
/// tokens. A token takes about 60 bytes, up to twice that right after a doubling.
///
/// The text consists of documents, which neither matches nor continuations leave. When `max_tokens`
/// are held, the oldest documents are forgotten whole; a document longer than that is forgotten
/// from its start.
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
    /// Position in the ring of the text's first token.
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

    /// Forgets everything; positions begin at 0 again, and the memory stays for the next text.
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

    /// What is appended from here on is another document.
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

    fn continuation_into(&self, place: SuffixMatch, max: usize, out: &mut Vec<TokenId>) {
        let next = self.base + place.next as u64;
        self.ring.continuation_into(next, max, out);
    }
}
