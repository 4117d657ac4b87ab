//! Lookups.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::fence;

use super::{BASE, ORDERS, Ring, as_link, mix};
use crate::TokenId;
use crate::pool::SuffixMatch;
use crate::pool::suffix::insert_ranked;

/// Most candidates that a lookup compares for each context length, newest first.
const PROBES: usize = 64;

/// Most links that a lookup follows for each context length. Hash collisions and text that is still
/// being written count too.
const STEPS: usize = 4 * PROBES;

impl Ring {
    /// [`Retrieve::matches_into`](crate::pool::Retrieve::matches_into), with positions counted from
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
            max_len_left: tail.len(),
            searched_from: u64::MAX,
        };
        let (heads, orders) = self.heads_of(tail);
        for order in (0..orders).rev() {
            if search.walk(order, heads[order], found) {
                break;
            }
        }
        // Drop matches whose tokens may have been overwritten meanwhile.
        fence(Acquire);
        let floor = self.floor.load(Relaxed);
        found.retain(|it| it.next as u64 + base >= floor + it.len as u64);
    }

    /// The heads of the chains of `tail`, and the number of orders that `tail` is long enough for.
    fn heads_of(&self, tail: &[TokenId]) -> ([u32; ORDERS.len()], usize) {
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

/// The state of a lookup.
struct Search<'a> {
    ring: &'a Ring,
    tail: &'a [TokenId],
    limit: usize,
    floor: u64,
    end: u64,
    base: u64,
    /// Matches longer than this were found in the chains of longer contexts.
    max_len_left: usize,
    /// The chain of the next longer context was searched back to this position.
    searched_from: u64,
}

impl Search<'_> {
    /// Searches one chain. Returns whether the lookup is complete.
    fn walk(&mut self, order: usize, head: u32, found: &mut Vec<SuffixMatch>) -> bool {
        if self.is_complete(found) {
            return true;
        }
        let mut oldest = 0;
        let mut probes = 0;
        let mut candidate = self.first(head);
        for step in 0..STEPS {
            let Some(at) = candidate else { break };
            let len = self.match_len(at);
            // Nothing follows the last token. Beyond it, text may still be being written.
            if len >= ORDERS[order] && at + 1 < self.end {
                probes += 1;
                self.add(at, len, found);
                if self.is_complete(found) {
                    return true;
                }
            }
            if probes == PROBES || step + 1 == STEPS {
                oldest = at;
                break;
            }
            candidate = self.older(at, order);
        }
        self.max_len_left = ORDERS[order] - 1;
        self.searched_from = oldest;
        false
    }

    /// Whether `limit` matches were found and no match still to be found can be longer.
    fn is_complete(&self, found: &[SuffixMatch]) -> bool {
        found.len() == self.limit
            && found
                .last()
                .is_some_and(|worst| worst.len >= self.max_len_left)
    }

    /// Adds a match, unless the chain of a longer context had it already.
    fn add(&self, at: u64, len: usize, found: &mut Vec<SuffixMatch>) {
        let next = (at + 1 - self.base) as usize;
        let known = len > self.max_len_left
            && (at >= self.searched_from || found.iter().any(|old| old.next == next));
        if !known && !self.ring.starts_document(at + 1) {
            insert_ranked(found, self.limit, SuffixMatch { len, next });
        }
    }

    /// The position of a chain's head. It may lie beyond the end, where text is being written.
    fn first(&self, head: u32) -> Option<u64> {
        let ahead = head.wrapping_sub(as_link(self.end)).cast_signed();
        let at = self.end.checked_add_signed(ahead.into())?;
        (head != 0 && at >= self.floor).then_some(at)
    }

    /// The next older position of a chain.
    fn older(&self, at: u64, order: usize) -> Option<u64> {
        let link = self.ring.links[self.ring.slot(at)][order].load(Relaxed);
        let back = as_link(at).wrapping_sub(link);
        let older = at.checked_sub(back.into())?;
        (link != 0 && back != 0 && older >= self.floor).then_some(older)
    }

    /// How many of the tail's last tokens end at `at` in the same document.
    fn match_len(&self, at: u64) -> usize {
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
