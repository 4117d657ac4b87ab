//! A ring buffer of tokens with hash chains, like those of zstd's match finders.
//!
//! There is a hash table for each context length in [`ORDERS`]. It maps the hash of that many
//! tokens
//! to the newest position that ends with them. Each position links to the next older one. A lookup
//! walks the chain of the longest context first. It compares the tokens, so a collision or a stale
//! link never gives a wrong match.
//!
//! All cells are atomics: one writer may append while readers search. The writer first raises the
//! floor, then overwrites what lies below it. A reader checks the floor again at the end and drops
//! matches that were overwritten meanwhile. Relaxed loads and stores cost as much as plain ones, so
//! the pool of a single request uses the same ring.

mod search;
mod writer;

use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use crate::TokenId;

pub(super) use writer::Writer;

/// Context lengths that have chains. Short lengths are close to each other, because their chains
/// are
/// long: a search can stop early in a chain whose matches all have the same length.
const ORDERS: [usize; 7] = [1, 2, 3, 4, 8, 16, 32];

/// Largest capacity. Chain numbers have 32 bits.
const MAX_CAPACITY: usize = 1 << 29;

/// Smallest capacity. The hash of the longest context needs the last 32 tokens. They must not be
/// overwritten yet, even if the start of their document was evicted.
const MIN_CAPACITY: usize = 1 << 6;

/// Base of the rolling hash: a polynomial over the mixed tokens, modulo 2^64.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes the bits of a token, so that close numbers do not give close hashes.
fn mix(token: TokenId) -> u64 {
    let spread = (u64::from(token) + 1).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (spread ^ (spread >> 29)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}

/// A position as it is stored in a cell. 0 means none.
fn as_link(position: u64) -> u32 {
    (position as u32).wrapping_add(1)
}

/// The ring buffer and its chains. The module's documentation says what may happen concurrently.
pub(super) struct Ring {
    mask: u64,
    /// A hash is shifted right by this to give the number of its chain.
    shift: u32,
    tokens: Box<[AtomicU32]>,
    /// One bit for each position: whether a document starts there.
    starts: Box<[AtomicU32]>,
    links: Box<[[AtomicU32; ORDERS.len()]]>,
    /// The newest position of each chain; `capacity` chains for each order.
    heads: Box<[AtomicU32]>,
    /// Positions below are evicted.
    floor: AtomicU64,
    /// The next position.
    end: AtomicU64,
}

fn cells(count: usize) -> Box<[AtomicU32]> {
    std::iter::repeat_with(AtomicU32::default)
        .take(count)
        .collect()
}

impl fmt::Debug for Ring {
    /// Leaves out the cells. There may be millions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (floor, end) = self.range();
        f.debug_struct("Ring")
            .field("capacity", &self.capacity())
            .field("positions", &(floor..end))
            .finish_non_exhaustive()
    }
}

impl Clone for Ring {
    fn clone(&self) -> Self {
        let copied = |cell: &AtomicU32| AtomicU32::new(cell.load(Relaxed));
        let (floor, end) = self.range();
        Self {
            tokens: self.tokens.iter().map(copied).collect(),
            starts: self.starts.iter().map(copied).collect(),
            links: self
                .links
                .iter()
                .map(|links| links.each_ref().map(copied))
                .collect(),
            heads: self.heads.iter().map(copied).collect(),
            floor: floor.into(),
            end: end.into(),
            ..*self
        }
    }
}

impl Ring {
    /// An empty ring for at least `tokens` tokens. Its next position is `end`.
    fn new(tokens: usize, end: u64) -> Self {
        let capacity = tokens.clamp(MIN_CAPACITY, MAX_CAPACITY).next_power_of_two();
        Self {
            mask: capacity as u64 - 1,
            shift: u64::BITS - capacity.trailing_zeros(),
            tokens: cells(capacity),
            starts: cells(capacity.div_ceil(32)),
            links: std::iter::repeat_with(Default::default)
                .take(capacity)
                .collect(),
            heads: cells(capacity * ORDERS.len()),
            floor: end.into(),
            end: end.into(),
        }
    }

    fn capacity(&self) -> usize {
        self.tokens.len()
    }

    fn slot(&self, position: u64) -> usize {
        (position & self.mask) as usize
    }

    fn token(&self, position: u64) -> TokenId {
        self.tokens[self.slot(position)].load(Relaxed)
    }

    fn starts_document(&self, position: u64) -> bool {
        let slot = self.slot(position);
        self.starts[slot / 32].load(Relaxed) >> (slot % 32) & 1 != 0
    }

    /// The index in `heads` of the chain of a context.
    fn chain(&self, order: usize, hash: u64) -> u32 {
        let chain = hash.wrapping_mul(BASE) >> self.shift;
        (order * self.capacity()) as u32 + chain as u32
    }

    /// The first position held, and the one after the last.
    pub(super) fn range(&self) -> (u64, u64) {
        let end = self.end.load(Acquire);
        (self.floor.load(Relaxed).min(end), end)
    }

    /// Appends up to `max` tokens from `next` on to `out`. Stops at the end of the document.
    pub(super) fn continuation_into(&self, next: u64, max: usize, out: &mut Vec<TokenId>) {
        let (floor, end) = self.range();
        if !(floor..end).contains(&next) {
            return;
        }
        let before = out.len();
        let last = end.min(next.saturating_add(max as u64));
        for position in next..last {
            if position > next && self.starts_document(position) {
                break;
            }
            out.push(self.token(position));
        }
        fence(Acquire);
        if self.floor.load(Relaxed) > next {
            out.truncate(before);
        }
    }
}
