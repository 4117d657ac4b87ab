//! Matches in the pools that agree with the tree's paths.

use std::cmp::Reverse;
use std::ops::Range;

use crate::TokenId;
use crate::draft::logitspec::builder::SearchLimits;
use crate::draft::logitspec::evidence::Evidence;
use crate::pool::{Retrieve, SuffixMatch};
use crate::tree::Source;

/// The pools, with the sources of the nodes that come from them.
pub(super) type Pools<'a> = [(Source, &'a dyn Retrieve)];

/// A match is counted beside a longer one if it has at least a fourth of its length.
const COMPARABLE: usize = 4;

/// Tokens that are copied from a match at first. Most matches end after one or two. From those that
/// are followed further, more is copied.
const FIRST_COPY: usize = 4;

/// A match in a pool, with what follows it there.
#[derive(Clone, Debug)]
struct Match {
    /// Index of its pool.
    pool: usize,
    source: Source,
    /// Its length is that at the node at which it was looked up.
    found: SuffixMatch,
    /// The first tokens that follow, in [`MatchSet::continuations`].
    continuation: Range<usize>,
    /// Whether there may be more of them.
    more: bool,
}

/// A match that agrees with the path down to some node, and goes on.
#[derive(Clone, Copy, Debug)]
struct ActiveMatch {
    /// Its index in [`MatchSet::matches`].
    index: usize,
    /// How many tokens of its continuation are on the path already.
    taken: usize,
    /// Tokens that agree, up to the node.
    len: usize,
    /// The token that follows.
    next: TokenId,
}

/// The matches found while one tree grows. Those of a node are a [`Range`] of the active ones.
#[derive(Clone, Debug, Default)]
pub(super) struct MatchSet {
    matches: Vec<Match>,
    active: Vec<ActiveMatch>,
    continuations: Vec<TokenId>,
    found: Vec<SuffixMatch>,
    proposed: Vec<TokenId>,
    lookups: usize,
}

impl MatchSet {
    /// Forgets all matches; the memory stays allocated.
    pub(super) fn clear(&mut self) {
        self.matches.clear();
        self.active.clear();
        self.continuations.clear();
        self.lookups = 0;
    }

    /// The matches of `tail`, added to those `known`, which must be the last that were returned.
    pub(super) fn look_up(
        &mut self,
        pools: &Pools<'_>,
        limits: &SearchLimits,
        tail: &[TokenId],
        known: Range<usize>,
    ) -> Range<usize> {
        debug_assert_eq!(known.end, self.active.len());
        let all_pools = self.lookups < limits.max_lookups;
        self.lookups += 1;
        let mut found = std::mem::take(&mut self.found);
        for (pool, &(source, texts)) in pools.iter().enumerate() {
            // The conversation is short, so searching it is cheap.
            if source != Source::Text && !all_pools {
                continue;
            }
            texts.matches_into(tail, limits.max_match, limits.max_matches, &mut found);
            for &found in &found {
                let is_known = self.active[known.clone()].iter().any(|active| {
                    let it = &self.matches[active.index];
                    it.pool == pool && it.found.next + active.taken == found.next
                });
                if !is_known {
                    self.matches.push(Match {
                        pool,
                        source,
                        found,
                        continuation: 0..0,
                        more: true,
                    });
                    self.activate(pools, limits, self.matches.len() - 1, 0);
                }
            }
        }
        self.found = found;
        known.start..self.active.len()
    }

    /// Those of the `active` matches that go on with `token`, one token further.
    pub(super) fn follow(
        &mut self,
        pools: &Pools<'_>,
        limits: &SearchLimits,
        active: Range<usize>,
        token: TokenId,
    ) -> Range<usize> {
        let start = self.active.len();
        for at in active {
            let ActiveMatch {
                index, taken, next, ..
            } = self.active[at];
            if next == token {
                self.activate(pools, limits, index, taken + 1);
            }
        }
        start..self.active.len()
    }

    /// Makes a match active, `taken` tokens on, if it goes on there.
    fn activate(&mut self, pools: &Pools<'_>, limits: &SearchLimits, index: usize, taken: usize) {
        let it = &mut self.matches[index];
        if it.more && taken >= it.continuation.len() {
            let wanted = (4 * it.continuation.len())
                .max(FIRST_COPY)
                .min(limits.num_pred_tokens);
            let from = self.continuations.len();
            let texts = pools[it.pool].1;
            texts.continuation_into(it.found, wanted, &mut self.continuations);
            it.continuation = from..self.continuations.len();
            it.more = it.continuation.len() == wanted && wanted < limits.num_pred_tokens;
        }
        if let Some(&next) = self.continuations[it.continuation.clone()].get(taken) {
            self.active.push(ActiveMatch {
                index,
                taken,
                len: it.found.len + taken,
                next,
            });
        }
    }

    /// Hands the tokens that follow the `active` matches to `add`: source by source, after the
    /// longest match first, then the newest.
    pub(super) fn propose(&mut self, active: Range<usize>, mut add: impl FnMut(TokenId, Evidence)) {
        let Self {
            matches,
            active: all,
            ..
        } = self;
        let source = |it: &ActiveMatch| matches[it.index].source;
        let active = &mut all[active];
        // A stable sort leaves the newest first among equals.
        active.sort_by_key(|it| (source(it), Reverse(it.len)));
        for active in active.chunk_by(|a, b| source(a) == source(b)) {
            let source = source(&active[0]);
            self.proposed.clear();
            for &ActiveMatch { len, next, .. } in active {
                if self.proposed.contains(&next) {
                    continue;
                }
                // Much shorter matches do not count.
                let total = active.partition_point(|other| COMPARABLE * other.len >= len);
                let agree = |other: &&ActiveMatch| other.next == next;
                let evidence = Evidence::Retrieved {
                    source,
                    len,
                    rank: self.proposed.len(),
                    count: active[..total].iter().filter(agree).count(),
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

    fn limits(num_pred_tokens: usize) -> SearchLimits {
        SearchLimits {
            max_match: 8,
            max_matches: 8,
            num_pred_tokens,
            max_lookups: 8,
        }
    }

    /// The tokens that follow `tail` in `text`, as far as they are copied.
    fn copied(text: &[TokenId], tail: &[TokenId], num_pred_tokens: usize) -> Vec<TokenId> {
        let mut pool = SuffixPool::default();
        pool.append(text);
        let pools: [(Source, &dyn Retrieve); 1] = [(Source::Text, &pool)];
        let limits = limits(num_pred_tokens);
        let mut matches = MatchSet::default();
        let mut here = matches.look_up(&pools, &limits, tail, 0..0);
        let mut tokens = Vec::new();
        loop {
            let mut next = None;
            matches.propose(here.clone(), |token, _| next = next.or(Some(token)));
            let Some(next) = next else { break };
            tokens.push(next);
            here = matches.follow(&pools, &limits, here, next);
        }
        tokens
    }

    #[test]
    fn a_match_is_followed_to_the_end_of_the_text_or_of_num_pred_tokens() {
        let text: Vec<TokenId> = (0..60).collect();
        for may in [1, 3, FIRST_COPY, FIRST_COPY + 1, 17, 48, 100] {
            let expected: Vec<TokenId> = (10..60).take(may).collect();
            assert_eq!(copied(&text, &[8, 9], may), expected, "{may}");
        }
        assert!(copied(&text, &[99], 8).is_empty());
    }

    #[test]
    fn known_matches_are_not_found_again() {
        let mut pool = SuffixPool::default();
        pool.append(&[1, 2, 3, 4, 9, 2, 3, 5]);
        let pools: [(Source, &dyn Retrieve); 1] = [(Source::Text, &pool)];
        let limits = limits(8);
        let mut matches = MatchSet::default();
        let root = matches.look_up(&pools, &limits, &[1, 2], 0..0);
        let mut found = Vec::new();
        matches.propose(root.clone(), |token, evidence| {
            found.push((token, evidence))
        });
        // Token 3 follows both matches, so it is one candidate with a count of two.
        let both = Evidence::Retrieved {
            source: Source::Text,
            len: 2,
            rank: 0,
            count: 2,
            total: 2,
        };
        assert_eq!(found, [(3, both)]);
        let below = matches.follow(&pools, &limits, root, 3);
        let again = matches.look_up(&pools, &limits, &[1, 2, 3], below.clone());
        assert_eq!(again, below);
        let mut tokens = Vec::new();
        matches.propose(again, |token, _| tokens.push(token));
        assert_eq!(tokens, [4, 5], "the longer match first");
    }
}
