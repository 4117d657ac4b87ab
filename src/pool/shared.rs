//! A pool of earlier requests that all sessions share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::TokenId;
use crate::pool::ring::{Ring, Writer};
use crate::pool::{Retrieve, SuffixMatch};

/// Earlier requests: prompts with their answers, searched by all sessions of a process.
///
/// Put it into an [`Arc`](std::sync::Arc) and share clones between sessions and threads. Each
/// finished request is [inserted](Self::insert) as one document. Neither a match nor a continuation
/// crosses the end of a document. Beyond `max_tokens`, the oldest documents are evicted whole.
///
/// # Threads
/// Readers take no lock. A lookup sees the documents that were complete when it began, except those
/// evicted meanwhile. Writers wait for each other. A match that is evicted before
/// [`continuation_into`](Retrieve::continuation_into) is called has no continuation.
///
/// # Cost
/// As for [`IndexedPool`](crate::pool::IndexedPool). An insertion that needs larger tables copies
/// them while readers use the old ones.
///
/// # Privacy
/// One request's text becomes drafts for others. Drafts never change an answer, but they change its
/// speed. So a user can learn from the time an answer takes that somebody asked for similar text.
///
/// ```
/// use std::sync::Arc;
/// use logitspec::pool::{Retrieve, SharedPool, SuffixMatch};
///
/// let pool = Arc::new(SharedPool::new(1 << 20));
/// pool.insert(&[1, 2, 3, 4]);
/// pool.insert(&[3, 5]);
/// let mut found = Vec::new();
/// pool.matches_into(&[2, 3], 16, 8, &mut found);
/// assert_eq!(found, [SuffixMatch { len: 2, next: 3 }, SuffixMatch { len: 1, next: 5 }]);
/// let mut out = Vec::new();
/// pool.continuation_into(found[0], 9, &mut out);
/// assert_eq!(out, [4]); // the document ends there
/// ```
#[derive(Debug)]
pub struct SharedPool {
    ring: ArcSwap<Ring>,
    writer: Mutex<Writer>,
}

impl SharedPool {
    /// An empty pool that holds at most `max_tokens` tokens (at least 1, at most 2^29).
    pub fn new(max_tokens: usize) -> Self {
        let (writer, ring) = Writer::new(max_tokens);
        Self {
            ring: ArcSwap::from_pointee(ring),
            writer: writer.into(),
        }
    }

    /// Maximum number of tokens held.
    pub fn max_tokens(&self) -> usize {
        self.writer().max_tokens()
    }

    /// Number of tokens held.
    pub fn len(&self) -> usize {
        let (floor, end) = self.ring.load().range();
        (end - floor) as usize
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a document. Evicts the oldest documents if there is no room. If the document is longer
    /// than the pool, only its end is kept.
    pub fn insert(&self, document: &[TokenId]) {
        let mut writer = self.writer();
        let document = &document[document.len() - document.len().min(writer.max_tokens())..];
        let mut ring = self.ring.load_full();
        if let Some(larger) = writer.grown(&ring, document.len()) {
            ring = larger.into();
            self.ring.store(ring.clone());
        }
        writer.make_room(&ring, document.len());
        writer.push(&ring, document);
        writer.end_document();
        writer.publish(&ring);
    }

    /// Like [`insert`](Self::insert), but skips a document that the pool already contains. So a
    /// repeated request does not evict other text.
    ///
    /// Only the 8 best matches are checked, so a duplicate is added now and then.
    pub fn insert_new(&self, document: &[TokenId]) {
        if !self.contains(document) {
            self.insert(document);
        }
    }

    /// Whether a document contains these tokens in a row.
    fn contains(&self, tokens: &[TokenId]) -> bool {
        const MATCHES: usize = 8;
        let Some((&last, before)) = tokens.split_last() else {
            return true;
        };
        let (mut found, mut next) = (Vec::new(), Vec::new());
        self.matches_into(before, before.len(), MATCHES, &mut found);
        found.iter().any(|&it| {
            next.clear();
            self.continuation_into(it, 1, &mut next);
            it.len == before.len() && next == [last]
        })
    }

    /// Removes everything.
    pub fn clear(&self) {
        self.writer().clear(&self.ring.load());
    }

    /// Copies of all documents, oldest first. Insertions wait meanwhile.
    pub fn documents(&self) -> Vec<Vec<TokenId>> {
        let writer = self.writer();
        let ring = self.ring.load();
        let mut starts = writer.starts().peekable();
        let mut documents = Vec::with_capacity(writer.documents());
        while let Some(start) = starts.next() {
            let end = starts.peek().copied().unwrap_or(ring.range().1);
            let mut document = Vec::with_capacity((end - start) as usize);
            ring.continuation_into(start, usize::MAX, &mut document);
            documents.push(document);
        }
        documents
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        // After a panic in a writer, the worst case is a document without its end.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Retrieve for SharedPool {
    fn matches_into(
        &self,
        tail: &[TokenId],
        max_len: usize,
        limit: usize,
        found: &mut Vec<SuffixMatch>,
    ) {
        self.ring
            .load()
            .matches_into(tail, max_len, limit, 0, found);
    }

    fn continuation_into(&self, from: SuffixMatch, max: usize, out: &mut Vec<TokenId>) {
        self.ring
            .load()
            .continuation_into(from.next as u64, max, out);
    }
}
