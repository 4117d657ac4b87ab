//! Appending and evicting.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::fence;

use super::{BASE, MAX_CAPACITY, ORDERS, Ring, as_link, mix};
use crate::TokenId;

/// No chain: the document has fewer tokens than the context length.
const NO_CHAIN: u32 = u32::MAX;

/// Tokens that are added at once.
const BLOCK: usize = 16;

/// `BASE` to the power of each context length, to remove a token from a rolling hash.
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

/// The only writer of a ring.
#[derive(Clone, Debug)]
pub(in crate::pool) struct Writer {
    max_tokens: usize,
    /// Position of the next token.
    end: u64,
    /// Start positions of the documents held, oldest first. The last document may be open.
    documents: VecDeque<u64>,
    /// Where the open document began. This position may be evicted.
    opened: u64,
    /// Whether the next token starts a document.
    fresh: bool,
    /// Rolling hashes of the last tokens of the open document, one for each order.
    hashes: [u64; ORDERS.len()],
}

impl Writer {
    /// A writer and its empty ring, for at most `max_tokens` tokens (at least 1).
    pub(in crate::pool) fn new(max_tokens: usize) -> (Self, Ring) {
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

    /// Maximum number of tokens held.
    pub(in crate::pool) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Number of documents held.
    pub(in crate::pool) fn documents(&self) -> usize {
        self.documents.len()
    }

    /// Start positions of the documents held, oldest first.
    pub(in crate::pool) fn starts(&self) -> impl Iterator<Item = u64> + '_ {
        self.documents.iter().copied()
    }

    /// Ends the open document. The next token starts another one.
    pub(in crate::pool) fn end_document(&mut self) {
        self.fresh = true;
    }

    /// Evicts all text.
    pub(in crate::pool) fn clear(&mut self, ring: &Ring) {
        self.documents.clear();
        self.fresh = true;
        ring.floor.store(self.end, Relaxed);
        fence(Release);
    }

    /// A larger ring with the same text at the same positions. `None` if `more` tokens fit, or if
    /// the
    /// ring has its full size.
    pub(in crate::pool) fn grown(&mut self, ring: &Ring, more: usize) -> Option<Ring> {
        let (floor, end) = ring.range();
        let wanted = ((end - floor) as usize)
            .saturating_add(more)
            .min(self.max_tokens);
        if wanted <= ring.capacity() {
            return None;
        }
        let larger = Ring::new(wanted, floor);
        let mut copy = Self {
            end: floor,
            documents: VecDeque::with_capacity(self.documents.len()),
            ..Self::new(self.max_tokens).0
        };
        let mut document = Vec::new();
        for &start in &self.documents {
            document.clear();
            ring.continuation_into(start, usize::MAX, &mut document);
            copy.end_document();
            copy.push(&larger, &document);
        }
        copy.fresh = self.fresh || copy.end == floor;
        copy.publish(&larger);
        *self = copy;
        Some(larger)
    }

    /// Evicts the oldest documents until `more` tokens fit. If the open document is the only one
    /// left,
    /// its start is evicted.
    ///
    /// Positions below the floor may be overwritten from now on.
    pub(in crate::pool) fn make_room(&mut self, ring: &Ring, more: usize) {
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

    /// Adds tokens. There must be room for them. Readers see them after [`publish`](Self::publish).
    pub(in crate::pool) fn push(&mut self, ring: &Ring, tokens: &[TokenId]) {
        let mut chains = [[NO_CHAIN; ORDERS.len()]; BLOCK];
        for block in tokens.chunks(BLOCK) {
            for (&token, chains) in block.iter().zip(&mut chains) {
                *chains = self.store(ring, token);
            }
            // The heads lie far apart. Reading them all first waits for memory only once.
            let heads = chains[..block.len()].iter().flatten();
            let load = |&chain: &u32| {
                ring.heads
                    .get(chain as usize)
                    .map_or(0, |h| h.load(Relaxed))
            };
            black_box(heads.map(load).fold(0, u32::wrapping_add));
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

    /// Stores a token. Returns the chains of its position.
    fn store(&mut self, ring: &Ring, token: TokenId) -> [u32; ORDERS.len()] {
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

    /// Makes all added tokens visible to readers.
    pub(in crate::pool) fn publish(&self, ring: &Ring) {
        ring.end.store(self.end, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_stay_in_order_when_positions_exceed_32_bits() {
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
        let next: Vec<_> = found.iter().map(|it| it.next).collect();
        assert_eq!(next, [21, 18, 15, 12, 9, 6, 3]);
    }
}
