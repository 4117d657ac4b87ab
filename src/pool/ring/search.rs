//! Looking up a tail.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::fence;

use super::{BASE, ORDERS, Ring, as_link, mix};
use crate::TokenId;
use crate::pool::SuffixMatch;
use crate::pool::suffix::insert_ranked;

/// Most places that a lookup compares for each context length, newest first.
const PROBES: usize = 64;

/// Most links that a lookup follows for each context length: collisions and text still being
/// written count here.
const STEPS: usize = 4 * PROBES;

impl Ring {
    /// [`Retrieve::matches_into`](crate::pool::Retrieve::matches_into); positions count from
    /// `base`.
    pub(in crate::pool) fn matches_into(
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

    /// The newest place of each chain that `tail` belongs to, and how many orders `tail` is long
    /// enough for.
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

    /// Whether as many places are wanted as were found, and none that is still to be found can be
    /// better.
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
