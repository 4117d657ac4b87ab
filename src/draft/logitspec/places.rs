//! Places in the pools that agree with the tree's paths.

use std::cmp::Reverse;
use std::ops::Range;

use crate::TokenId;
use crate::draft::logitspec::evidence::Evidence;
use crate::draft::logitspec::grow::Reach;
use crate::pool::{Retrieve, SuffixMatch};
use crate::tree::Source;

/// The pools, with the names that their nodes get.
pub(super) type Pools<'a> = [(Source, &'a dyn Retrieve)];

/// A match counts beside a longer one if it is at least this part of it.
const COMPARABLE: usize = 4;

/// Tokens that are copied from a place at first. Most places are left after one or two; of those
/// that are followed further, more is copied.
const FIRST_COPY: usize = 4;

/// A place in a pool, with what followed there.
#[derive(Clone, Debug)]
struct Place {
    /// Index of its pool.
    pool: usize,
    source: Source,
    /// What was found; the length is that at the node at which it was looked up.
    found: SuffixMatch,
    /// The first tokens that followed, in [`Places::followed`].
    followed: Range<usize>,
    /// Whether there may be more of them.
    more: bool,
}

/// A place that agrees with the path down to some node, and goes on.
#[derive(Clone, Copy, Debug)]
struct Alive {
    place: usize,
    /// How many tokens of what followed there are on the path already.
    taken: usize,
    /// Tokens that agree, up to the node.
    len: usize,
    /// The token that follows there.
    next: TokenId,
}

/// The places found while one tree grows. Those of a node are a [`Range`] of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    places: Vec<Place>,
    alive: Vec<Alive>,
    followed: Vec<TokenId>,
    found: Vec<SuffixMatch>,
    proposed: Vec<TokenId>,
    look_ups: usize,
}

impl Places {
    /// Forgets all places; the memory stays.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.alive.clear();
        self.followed.clear();
        self.look_ups = 0;
    }

    /// The places where `tail` stood before, added to those `known`, which must be the last that
    /// were returned.
    pub(super) fn look_up(
        &mut self,
        pools: &Pools<'_>,
        reach: &Reach,
        tail: &[TokenId],
        known: Range<usize>,
    ) -> Range<usize> {
        debug_assert_eq!(known.end, self.alive.len());
        let far = self.look_ups < reach.look_ups;
        self.look_ups += 1;
        let mut found = std::mem::take(&mut self.found);
        // The conversation comes first, and is short.
        for (pool, &(source, texts)) in pools.iter().enumerate() {
            if source != Source::Text && !far {
                continue;
            }
            texts.matches_into(tail, reach.max_match, reach.places, &mut found);
            for &found in &found {
                let is_known = self.alive[known.clone()].iter().any(|alive| {
                    let place = &self.places[alive.place];
                    place.pool == pool && place.found.next + alive.taken == found.next
                });
                if !is_known {
                    self.places.push(Place {
                        pool,
                        source,
                        found,
                        followed: 0..0,
                        more: true,
                    });
                    self.keep(pools, reach, self.places.len() - 1, 0);
                }
            }
        }
        self.found = found;
        known.start..self.alive.len()
    }

    /// Those of `places` at which `token` followed, one token further.
    pub(super) fn follow(
        &mut self,
        pools: &Pools<'_>,
        reach: &Reach,
        places: Range<usize>,
        token: TokenId,
    ) -> Range<usize> {
        let start = self.alive.len();
        for index in places {
            let Alive {
                place, taken, next, ..
            } = self.alive[index];
            if next == token {
                self.keep(pools, reach, place, taken + 1);
            }
        }
        start..self.alive.len()
    }

    /// Keeps a place, `taken` tokens on, if it goes on there.
    fn keep(&mut self, pools: &Pools<'_>, reach: &Reach, place: usize, taken: usize) {
        let it = &mut self.places[place];
        if it.more && taken >= it.followed.len() {
            let wanted = (4 * it.followed.len())
                .max(FIRST_COPY)
                .min(reach.num_pred_tokens);
            let from = self.followed.len();
            let texts = pools[it.pool].1;
            texts.continuation_into(it.found, wanted, &mut self.followed);
            it.followed = from..self.followed.len();
            it.more = it.followed.len() == wanted && wanted < reach.num_pred_tokens;
        }
        if let Some(&next) = self.followed[it.followed.clone()].get(taken) {
            self.alive.push(Alive {
                place,
                taken,
                len: it.found.len + taken,
                next,
            });
        }
    }

    /// Hands what followed at `places` to `add`: source by source, first what followed the longest
    /// match, then the newest.
    pub(super) fn propose(&mut self, places: Range<usize>, mut add: impl FnMut(TokenId, Evidence)) {
        let Self {
            places: all, alive, ..
        } = self;
        let alive = &mut alive[places];
        // A stable sort leaves the newest first among equals.
        alive.sort_by_key(|alive| (all[alive.place].source, Reverse(alive.len)));
        for alive in alive.chunk_by(|a, b| all[a.place].source == all[b.place].source) {
            let source = all[alive[0].place].source;
            self.proposed.clear();
            for &Alive { len, next, .. } in alive {
                if self.proposed.contains(&next) {
                    continue;
                }
                // Much shorter matches have no say in how sure this one is.
                let total = alive.partition_point(|other| COMPARABLE * other.len >= len);
                let agree = |other: &&Alive| other.next == next;
                let evidence = Evidence::Retrieved {
                    source,
                    len,
                    rank: self.proposed.len(),
                    count: alive[..total].iter().filter(agree).count(),
                    total,
                };
                self.proposed.push(next);
                add(next, evidence);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::SuffixPool;

    fn reach(num_pred_tokens: usize) -> Reach {
        Reach {
            max_match: 8,
            places: 8,
            num_pred_tokens,
            look_ups: 8,
            price: 0.0,
        }
    }

    /// The tokens that follow `tail` in `text` at one place, as far as they are copied.
    fn copied(text: &[TokenId], tail: &[TokenId], num_pred_tokens: usize) -> Vec<TokenId> {
        let mut pool = SuffixPool::default();
        pool.append(text);
        let pools: [(Source, &dyn Retrieve); 1] = [(Source::Text, &pool)];
        let reach = reach(num_pred_tokens);
        let mut places = Places::default();
        let mut here = places.look_up(&pools, &reach, tail, 0..0);
        let mut tokens = Vec::new();
        loop {
            let mut next = None;
            places.propose(here.clone(), |token, _| next = next.or(Some(token)));
            let Some(next) = next else { break };
            tokens.push(next);
            here = places.follow(&pools, &reach, here, next);
        }
        tokens
    }

    #[test]
    fn a_place_is_followed_to_the_end_of_the_text_or_of_what_may_be_copied() {
        let text: Vec<TokenId> = (0..60).collect();
        for may in [1, 3, FIRST_COPY, FIRST_COPY + 1, 17, 48, 100] {
            let expected: Vec<TokenId> = (10..60).take(may).collect();
            assert_eq!(copied(&text, &[8, 9], may), expected, "{may}");
        }
        assert!(copied(&text, &[99], 8).is_empty());
    }

    #[test]
    fn places_that_are_known_are_not_found_again() {
        let mut pool = SuffixPool::default();
        pool.append(&[1, 2, 3, 4, 9, 2, 3, 5]);
        let pools: [(Source, &dyn Retrieve); 1] = [(Source::Text, &pool)];
        let reach = reach(8);
        let mut places = Places::default();
        let root = places.look_up(&pools, &reach, &[1, 2], 0..0);
        let mut found = Vec::new();
        places.propose(root.clone(), |token, evidence| {
            found.push((token, evidence))
        });
        // Both places say 3, so it is one candidate that both speak for.
        let both = Evidence::Retrieved {
            source: Source::Text,
            len: 2,
            rank: 0,
            count: 2,
            total: 2,
        };
        assert_eq!(found, [(3, both)]);
        let below = places.follow(&pools, &reach, root, 3);
        let again = places.look_up(&pools, &reach, &[1, 2, 3], below.clone());
        assert_eq!(again, below);
        let mut tokens = Vec::new();
        places.propose(again, |token, _| tokens.push(token));
        assert_eq!(tokens, [4, 5], "the longer match first");
    }
}
