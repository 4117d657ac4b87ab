//! Tokens in a ring, with chains through all places that share a context.
//!
//! For each context length in [`ORDERS`] there is a table from the hash of so many tokens to the
//! newest place that ends with them, and at every place a link to the next older one: what zstd and
//! others call hash chains. A lookup walks the chain of the longest context first and compares
//! tokens, so that neither a collision nor a stale link ever makes a false match.
//!
//! All cells are atomics: one writer may append while others search. The writer first raises the
//! floor, then overwrites what fell below it; a reader looks at the floor again when it is done and
//! drops what fell meanwhile. Relaxed loads and stores cost what plain ones do, so the pool of a
//! single request uses the same ring.

mod search;
mod writer;

use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use crate::TokenId;

pub(super) use writer::Writer;

/// Context lengths that have chains. The short ones stand close, because there the chains are long
/// and a chain whose places all match equally far can be left as soon as enough are found.
const ORDERS: [usize; 7] = [1, 2, 3, 4, 8, 16, 32];

/// Largest capacity: the chains of all orders are numbered in 32 bits.
const MAX_CAPACITY: usize = 1 << 29;

/// Smallest capacity. Contexts are hashed over the last 32 tokens, of which a document that is
/// forgotten from its start may hold fewer; they must not have been overwritten yet.
const MIN_CAPACITY: usize = 1 << 6;

/// Hashes are polynomials in this number over the mixed tokens, newest token last, modulo 2^64.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads a token's bits, so that neighbouring numbers do not make neighbouring polynomials.
fn mix(token: TokenId) -> u64 {
    let spread = (u64::from(token) + 1).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (spread ^ (spread >> 29)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}

/// A position as a cell holds it: 0 is none.
fn as_link(position: u64) -> u32 {
    (position as u32).wrapping_add(1)
}

/// Token text of bounded length with its chains. See the module for who may do what at the same
/// time.
pub(super) struct Ring {
    mask: u64,
    /// Hashes are shifted by this to number a chain.
    shift: u32,
    tokens: Box<[AtomicU32]>,
    /// One bit a place: whether a document starts here.
    starts: Box<[AtomicU32]>,
    links: Box<[[AtomicU32; ORDERS.len()]]>,
    /// The newest place of each chain; one run of `capacity` chains for each order.
    heads: Box<[AtomicU32]>,
    /// Positions below are forgotten.
    floor: AtomicU64,
    /// Positions from here on do not exist yet.
    end: AtomicU64,
}

fn cells(count: usize) -> Box<[AtomicU32]> {
    std::iter::repeat_with(AtomicU32::default)
        .take(count)
        .collect()
}

impl fmt::Debug for Ring {
    /// Without the cells, of which there may be millions.
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
    /// An empty ring for at least `tokens` tokens, whose next position is `end`.
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

    /// Index in `heads` of the chain of a context.
    fn chain(&self, order: usize, hash: u64) -> u32 {
        let chain = hash.wrapping_mul(BASE) >> self.shift;
        (order * self.capacity()) as u32 + chain as u32
    }

    /// The first position held and the one after the last.
    pub(super) fn range(&self) -> (u64, u64) {
        let end = self.end.load(Acquire);
        (self.floor.load(Relaxed).min(end), end)
    }

    /// Appends what stands from `next` on, up to `max` tokens or the document's end.
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
