//! Tokens in a ring, with chains through all places that share a context.
//!
//! For each context length in [`ORDERS`] there is a table from the hash of so many tokens to the newest place that
//! ends with them, and at every place a link to the next older one: what zstd and others call hash chains. A
//! lookup walks the chain of the longest context first and compares tokens, so that neither a collision nor a
//! stale link ever makes a false match.
//!
//! All cells are atomics: one writer may append while others search. The writer first raises the floor, then
//! overwrites what fell below it; a reader looks at the floor again when it is done and drops what fell meanwhile.
//! Relaxed loads and stores cost what plain ones do, so the pool of a single request uses the same ring.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use crate::TokenId;
use crate::pool::SuffixMatch;
use crate::pool::suffix::insert_ranked;

/// Context lengths that have chains. The short ones stand close, because there the chains are long and a chain
/// whose places all match equally far can be left as soon as enough are found.
const ORDERS: [usize; 7] = [1, 2, 3, 4, 8, 16, 32];

/// Most places that a lookup compares for each context length, newest first.
pub(super) const PROBES: usize = 64;

/// Most links that a lookup follows for each context length: collisions and text still being written count here.
const STEPS: usize = 4 * PROBES;

/// Largest capacity: the chains of all orders are numbered in 32 bits.
const MAX_CAPACITY: usize = 1 << 29;

/// No chain: fewer tokens stand before than the order takes.
const NO_CHAIN: u32 = u32::MAX;

/// Tokens that are added in one go.
const BLOCK: usize = 16;

/// Smallest capacity. Contexts are hashed over the last 32 tokens, of which a document that is forgotten from its
/// start may hold fewer; they must not have been overwritten yet.
const MIN_CAPACITY: usize = 1 << 6;

/// Hashes are polynomials in this number over the mixed tokens, newest token last, modulo 2^64.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

const POWERS: [u64; ORDERS.len()] = {
    let mut powers = [1u64; ORDERS.len()];
    let mut index = 0;
    while index < ORDERS.len() {
        let mut factors = 0;
        while factors < ORDERS[index] {
            powers[index] = powers[index].wrapping_mul(BASE);
            factors += 1;
        }
        index += 1;
    }
    powers
};

/// Spreads a token's bits, so that neighbouring numbers do not make neighbouring polynomials.
fn mix(token: TokenId) -> u64 {
    let spread = (u64::from(token) + 1).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (spread ^ (spread >> 29)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}

/// A position as a cell holds it: 0 is none.
fn as_link(position: u64) -> u32 {
    (position as u32).wrapping_add(1)
}

/// Token text of bounded length with its chains. See the module for who may do what at the same time.
#[derive(Debug)]
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

    /// [`Retrieve::matches_into`](crate::pool::Retrieve::matches_into); positions count from `base`.
    pub(super) fn matches_into(
        &self,
        tail: &[TokenId],
        max_len: usize,
        limit: usize,
        base: u64,
        found: &mut Vec<SuffixMatch>,
    ) {
        found.clear();
        let tail = &tail[tail.len() - tail.len().min(max_len)..];
        if tail.is_empty() || limit == 0 {
            return;
        }
        let (floor, end) = self.range();
        let mut search = Search {
            ring: self,
            tail,
            limit,
            floor,
            end,
            base,
            most: tail.len(),
            seen: u64::MAX,
        };
        let (heads, orders) = self.chains_of(tail);
        for order in (0..orders).rev() {
            if search.walk(order, heads[order], found) {
                break;
            }
        }
        // What was overwritten while we looked may have been anything.
        fence(Acquire);
        let floor = self.floor.load(Relaxed);
        found.retain(|place| place.next as u64 + base >= floor + place.len as u64);
    }

    /// The newest place of each chain that `tail` belongs to, and how many orders `tail` is long enough for.
    fn chains_of(&self, tail: &[TokenId]) -> ([u32; ORDERS.len()], usize) {
        let mut heads = [0; ORDERS.len()];
        let mut orders = 0;
        let (mut hash, mut power) = (0u64, 1u64);
        for (&token, len) in tail.iter().rev().zip(1..) {
            hash = hash.wrapping_add(mix(token).wrapping_mul(power));
            power = power.wrapping_mul(BASE);
            if ORDERS[orders] == len {
                heads[orders] = self.heads[self.chain(orders, hash) as usize].load(Acquire);
                orders += 1;
                if orders == ORDERS.len() {
                    break;
                }
            }
        }
        (heads, orders)
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

/// One lookup under way.
struct Search<'a> {
    ring: &'a Ring,
    tail: &'a [TokenId],
    limit: usize,
    floor: u64,
    end: u64,
    base: u64,
    /// Places that agree in more tokens were looked for in the chains of longer contexts.
    most: usize,
    /// The last of those chains was followed back to here.
    seen: u64,
}

impl Search<'_> {
    /// Follows one chain; tells whether nothing better can follow in any other.
    fn walk(&mut self, order: usize, head: u32, found: &mut Vec<SuffixMatch>) -> bool {
        if self.is_settled(found) {
            return true;
        }
        let mut oldest = 0;
        let mut probes = 0;
        let mut place = self.first(head);
        for step in 0..STEPS {
            let Some(at) = place else { break };
            let len = self.agreeing(at);
            // Nothing follows the text's last token, and what lies beyond is still being written.
            if len >= ORDERS[order] && at + 1 < self.end {
                probes += 1;
                self.take(at, len, found);
                if self.is_settled(found) {
                    return true;
                }
            }
            if probes == PROBES || step + 1 == STEPS {
                oldest = at;
                break;
            }
            place = self.older(at, order);
        }
        self.most = ORDERS[order] - 1;
        self.seen = oldest;
        false
    }

    /// Whether as many places are wanted as were found, and none that is still to be found can be better.
    fn is_settled(&self, found: &[SuffixMatch]) -> bool {
        found.len() == self.limit && found.last().is_some_and(|worst| worst.len >= self.most)
    }

    /// Ranks a place, unless it was already found by a longer context.
    fn take(&self, at: u64, len: usize, found: &mut Vec<SuffixMatch>) {
        let next = (at + 1 - self.base) as usize;
        let known =
            len > self.most && (at >= self.seen || found.iter().any(|old| old.next == next));
        if !known && !self.ring.starts_document(at + 1) {
            insert_ranked(found, self.limit, SuffixMatch { len, next });
        }
    }

    /// The place that a chain's head names. It may lie beyond the end, where text is being written.
    fn first(&self, head: u32) -> Option<u64> {
        let ahead = head.wrapping_sub(as_link(self.end)).cast_signed();
        let at = self.end.checked_add_signed(ahead.into())?;
        (head != 0 && at >= self.floor).then_some(at)
    }

    /// The next older place of a chain.
    fn older(&self, at: u64, order: usize) -> Option<u64> {
        let link = self.ring.links[self.ring.slot(at)][order].load(Relaxed);
        let back = as_link(at).wrapping_sub(link);
        let older = at.checked_sub(back.into())?;
        (link != 0 && back != 0 && older >= self.floor).then_some(older)
    }

    /// How many of the tail's last tokens stand at `at` and right before it in the same document.
    fn agreeing(&self, at: u64) -> usize {
        let mut len = 0;
        for (&token, position) in self.tail.iter().rev().zip((self.floor..=at).rev()) {
            if token != self.ring.token(position) {
                break;
            }
            len += 1;
            if self.ring.starts_document(position) {
                break;
            }
        }
        len
    }
}

/// The one who appends to a ring.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    max_tokens: usize,
    /// Position of the next token.
    end: u64,
    /// First positions of the documents held, oldest first; the last may be open.
    documents: VecDeque<u64>,
    /// Where the open document began, although that may be forgotten.
    opened: u64,
    /// Whether the next token starts a document.
    fresh: bool,
    /// Hashes of the last tokens of the open document, one for each order.
    hashes: [u64; ORDERS.len()],
}

impl Writer {
    /// A writer and its empty ring, which is to hold at most `max_tokens` (at least 1).
    pub(super) fn new(max_tokens: usize) -> (Self, Ring) {
        let writer = Self {
            max_tokens: max_tokens.clamp(1, MAX_CAPACITY),
            end: 0,
            documents: VecDeque::new(),
            opened: 0,
            fresh: true,
            hashes: [0; ORDERS.len()],
        };
        (writer, Ring::new(0, 0))
    }

    /// Most tokens held.
    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Number of documents held.
    pub(super) fn documents(&self) -> usize {
        self.documents.len()
    }

    /// First positions of the documents held, oldest first.
    pub(super) fn starts(&self) -> impl Iterator<Item = u64> + '_ {
        self.documents.iter().copied()
    }

    /// Tokens from here on belong to another document.
    pub(super) fn end_document(&mut self) {
        self.fresh = true;
    }

    /// Forgets all text.
    pub(super) fn clear(&mut self, ring: &Ring) {
        self.documents.clear();
        self.fresh = true;
        ring.floor.store(self.end, Relaxed);
        fence(Release);
    }

    /// A larger ring with the same text at the same positions, if `more` tokens do not fit into `ring` although
    /// they may be held.
    pub(super) fn grown(&mut self, ring: &Ring, more: usize) -> Option<Ring> {
        let (floor, end) = ring.range();
        let wanted = ((end - floor) as usize)
            .saturating_add(more)
            .min(self.max_tokens);
        if wanted <= ring.capacity() {
            return None;
        }
        let larger = Ring::new(wanted, floor);
        let mut again = Self {
            end: floor,
            documents: VecDeque::with_capacity(self.documents.len()),
            ..Self::new(self.max_tokens).0
        };
        let mut document = Vec::new();
        for &start in &self.documents {
            document.clear();
            ring.continuation_into(start, usize::MAX, &mut document);
            again.end_document();
            again.push(&larger, &document);
        }
        again.fresh = self.fresh || again.end == floor;
        again.publish(&larger);
        *self = again;
        Some(larger)
    }

    /// Forgets the oldest documents until `more` tokens may be added. The open document, if it is the only one, is
    /// forgotten from its start.
    ///
    /// What falls below the floor may be overwritten from now on.
    pub(super) fn make_room(&mut self, ring: &Ring, more: usize) {
        let lowest = (self.end + more as u64).saturating_sub(self.max_tokens as u64);
        if ring.floor.load(Relaxed) >= lowest {
            return;
        }
        while self.documents.front().is_some_and(|&start| start < lowest) {
            self.documents.pop_front();
        }
        let mut floor = self.documents.front().copied();
        if floor.is_none() && !self.fresh {
            self.documents.push_back(lowest);
            floor = Some(lowest);
        }
        ring.floor.store(floor.unwrap_or(self.end), Relaxed);
        fence(Release);
    }

    /// Adds tokens, for which there must be room. Readers see them after [`publish`](Self::publish).
    pub(super) fn push(&mut self, ring: &Ring, tokens: &[TokenId]) {
        let mut chains = [[NO_CHAIN; ORDERS.len()]; BLOCK];
        for block in tokens.chunks(BLOCK) {
            for (&token, chains) in block.iter().zip(&mut chains) {
                *chains = self.place(ring, token);
            }
            // The heads lie all over the memory. Asked for all at once they are waited for once.
            let heads = chains[..block.len()].iter().flatten();
            let near = |&chain: &u32| {
                ring.heads
                    .get(chain as usize)
                    .map_or(0, |h| h.load(Relaxed))
            };
            black_box(heads.map(near).fold(0, u32::wrapping_add));
            let first = self.end - block.len() as u64;
            for (chains, position) in chains[..block.len()].iter().zip(first..) {
                let links = &ring.links[ring.slot(position)];
                for (&chain, link) in chains.iter().zip(links) {
                    match ring.heads.get(chain as usize) {
                        Some(head) => {
                            link.store(head.load(Relaxed), Relaxed);
                            head.store(as_link(position), Release);
                        }
                        None => link.store(0, Relaxed),
                    }
                }
            }
        }
    }

    /// Stores a token, and tells which chains its place belongs to.
    fn place(&mut self, ring: &Ring, token: TokenId) -> [u32; ORDERS.len()] {
        let position = self.end;
        if self.fresh {
            self.documents.push_back(position);
            self.opened = position;
            self.hashes = [0; ORDERS.len()];
        }
        let slot = ring.slot(position);
        let bits = &ring.starts[slot / 32];
        let bit = 1 << (slot % 32);
        let others = bits.load(Relaxed) & !bit;
        bits.store(if self.fresh { others | bit } else { others }, Relaxed);
        self.fresh = false;
        ring.tokens[slot].store(token, Relaxed);
        let before = (position - self.opened) as usize;
        let entering = mix(token);
        self.end = position + 1;
        std::array::from_fn(|order| {
            let len = ORDERS[order];
            let mut hash = self.hashes[order].wrapping_mul(BASE).wrapping_add(entering);
            if before >= len {
                let leaving = mix(ring.token(position - len as u64));
                hash = hash.wrapping_sub(leaving.wrapping_mul(POWERS[order]));
            }
            self.hashes[order] = hash;
            if before + 1 >= len {
                ring.chain(order, hash)
            } else {
                NO_CHAIN
            }
        })
    }

    /// Lets readers see all that was added.
    pub(super) fn publish(&self, ring: &Ring) {
        ring.end.store(self.end, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_beyond_32_bits_keep_their_order() {
        let (mut writer, _) = Writer::new(1 << 20);
        writer.end = (1 << 32) - 5;
        let ring = Ring::new(64, writer.end);
        let base = writer.end;
        let mut found = Vec::new();
        for _ in 0..8 {
            writer.make_room(&ring, 3);
            writer.push(&ring, &[1, 2, 3]);
            writer.publish(&ring);
        }
        ring.matches_into(&[2, 3], 8, 16, base, &mut found);
        let next: Vec<_> = found.iter().map(|place| place.next).collect();
        assert_eq!(next, [21, 18, 15, 12, 9, 6, 3]);
    }
}
