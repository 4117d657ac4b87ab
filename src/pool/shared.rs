//! Memory across requests.

use std::sync::{Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::TokenId;
use crate::pool::ring::{Ring, Writer};
use crate::pool::{Retrieve, SuffixMatch};

/// What earlier requests said: prompts with their answers, searched by all sessions of a process.
///
/// Put it into an [`Arc`](std::sync::Arc) and hand clones to sessions and threads. Each finished
/// request is [inserted](Self::insert) as one document; neither matches nor continuations leave a
/// document. When `max_tokens` are held, the oldest documents are forgotten whole.
///
/// Readers take no lock: they see the documents that were complete when their lookup began, less
/// those that were forgotten during it. Writers take turns. Places keep their meaning across
/// lookups: what is forgotten between [`matches_into`](Retrieve::matches_into) and
/// [`continuation_into`](Retrieve::continuation_into) simply has no continuation.
///
/// Bounds and costs are those of [`IndexedPool`](crate::pool::IndexedPool). The tables double as
/// the pool fills, in the insertion that needs it, beside the old ones that readers go on using.
///
/// What one request said becomes a draft for others. Drafts never change an answer, but whoever can
/// time another's answers can tell that something alike was said before.
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

    /// Most tokens held.
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

    /// Adds a document, forgetting the oldest ones if there is no room. Of one that is longer than
    /// the whole pool, the end is kept.
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

    /// [`insert`](Self::insert)s a document unless its tokens stand in the pool already, in a row:
    /// what is asked again and answered alike should not push other text out.
    ///
    /// Whether it does is told by a few of the newest places, so one now and then is added all the
    /// same.
    pub fn insert_new(&self, document: &[TokenId]) {
        if !self.holds(document) {
            self.insert(document);
        }
    }

    /// Whether a document has these tokens in a row.
    fn holds(&self, tokens: &[TokenId]) -> bool {
        const PLACES: usize = 8;
        let Some((&last, before)) = tokens.split_last() else {
            return true;
        };
        let (mut found, mut next) = (Vec::new(), Vec::new());
        self.matches_into(before, before.len(), PLACES, &mut found);
        found.iter().any(|&place| {
            next.clear();
            self.continuation_into(place, 1, &mut next);
            place.len == before.len() && next == [last]
        })
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.writer().clear(&self.ring.load());
    }

    /// Copies of all documents, oldest first, as they stand at one moment. Insertions wait
    /// meanwhile.
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
        // A writer that panicked left at worst a document without its end.
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

    fn continuation_into(&self, place: SuffixMatch, max: usize, out: &mut Vec<TokenId>) {
        self.ring
            .load()
            .continuation_into(place.next as u64, max, out);
    }
}
