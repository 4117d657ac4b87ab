//! Growing a tree, best guess first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::TokenId;
use crate::draft::logitspec::evidence::{Evidence, Kind};
use crate::draft::logitspec::rates::Rates;
use crate::draft::logitspec::recycle::Recycled;
use crate::draft::{DraftInput, DraftTree, NodeId, PassCost, ROOT, Source};
use crate::pool::{Retrieve, SuffixMatch};

/// What a tree is grown from.
pub(super) struct Sources<'a> {
    /// The pools, with the names that their nodes get.
    pub pools: &'a [(Source, &'a dyn Retrieve)],
    pub recycled: Option<&'a Recycled>,
    /// Whether the runners-up of the last logits are candidates below the root.
    pub runners_up: bool,
    pub rates: &'a Rates,
}

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Longest match that is told apart from a longer one.
    pub max_match: usize,
    /// Most places that one look-up gives.
    pub places: usize,
    /// Most tokens copied from one place.
    pub num_pred_tokens: usize,
    /// Most nodes, the root counted, for which earlier requests and the corpus are searched.
    pub look_ups: usize,
    /// Tokens that a unit of [`PassCost`] must bring: what is paid for on average.
    pub price: f64,
}

/// A match counts beside a longer one if it is at least this part of it.
const COMPARABLE: usize = 4;
/// Nodes with fewer places than this look for more.
const FEW: usize = 3;

/// A place in a pool, with what followed there.
#[derive(Clone, Debug)]
struct Place {
    source: Source,
    /// Tokens that agree up to the node at which it was looked up.
    len: usize,
    /// Position of what followed, in its pool.
    next: usize,
    /// What followed, in [`Growth::followed`].
    followed: Range<usize>,
}

/// A place that agrees with the path down to some node.
#[derive(Clone, Copy, Debug)]
struct Alive {
    place: usize,
    /// How many tokens of what followed there are on the path already.
    taken: usize,
}

/// A token that may follow a node.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    token: TokenId,
    evidence: Evidence,
    kind: Kind,
    /// Probability that it follows if no better candidate does.
    rate: f32,
}

/// What is known of a node of the tree.
#[derive(Clone, Debug)]
struct Grown {
    /// Its candidates in [`Growth::candidates`], best first.
    candidates: Range<usize>,
    /// The places that agree with the path down to it, in [`Growth::alive`].
    alive: Range<usize>,
}

/// A candidate that waits for its place in the tree.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Probability that the path down to it is accepted.
    gain: f32,
    parent: NodeId,
    /// Index in [`Growth::candidates`].
    candidate: usize,
    /// Probability that the path down to its parent is accepted and no better sibling follows.
    mass: f32,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    /// By gain; among equals the one that was found first.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_gain = self.gain.total_cmp(&other.gain);
        by_gain.then(other.candidate.cmp(&self.candidate))
    }
}

/// A tree being grown, and afterwards what is needed to learn from it. Its buffers serve for all steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Growth {
    nodes: Vec<Grown>,
    candidates: Vec<Candidate>,
    alive: Vec<Alive>,
    places: Vec<Place>,
    followed: Vec<TokenId>,
    waiting: BinaryHeap<Waiting>,
    found: Vec<SuffixMatch>,
    tail: Vec<TokenId>,
    sibling: Vec<Candidate>,
    look_ups: usize,
}

impl Growth {
    /// Grows `tree` below its root: always the candidate with the best chance of being accepted next, as long as
    /// it brings more tokens than its share of the pass costs at `reach.price`.
    pub(super) fn grow(
        &mut self,
        sources: &Sources<'_>,
        reach: &Reach,
        input: &DraftInput<'_>,
        tree: &mut DraftTree,
    ) {
        self.clear();
        let context = &input.text[input.text.len().saturating_sub(reach.max_match)..];
        self.tail.extend_from_slice(context);
        self.tail.push(input.root);
        let rooted = self.tail.len();

        self.expand_root(sources, reach, input);
        let mut expected = 1.0;
        let mut best = Best::new(reach.price, input.cost);
        while let Some(next) = self.waiting.pop() {
            if tree.is_full() || best.is_final(tree, expected, next.gain, input.cost) {
                break;
            }
            self.offer_sibling(&next);
            let candidate = self.candidates[next.candidate];
            let Some(node) = tree.push(next.parent, candidate.token) else {
                continue; // a leaf or a level too many; chains elsewhere may still grow
            };
            tree.set_source(node, candidate.evidence.source());
            expected += f64::from(next.gain);
            best.consider(tree.len(), expected, input.cost);
            let path = tree.path_to(node);
            self.tail.truncate(rooted);
            self.tail.extend(path.iter().map(|&node| tree.token(node)));
            self.expand(sources, reach, &next, node);
        }
        tree.truncate(best.nodes);
    }

    /// Learns what came true: `accepted` are nodes of the tree grown last, from the root down, with the token that
    /// followed each.
    pub(super) fn learn(
        &self,
        rates: &mut Rates,
        accepted: impl Iterator<Item = (NodeId, TokenId)>,
    ) {
        for (node, truth) in accepted {
            let Some(grown) = self.nodes.get(node) else {
                break;
            };
            for candidate in &self.candidates[grown.candidates.clone()] {
                let hit = candidate.token == truth;
                rates.learn(candidate.kind, hit);
                if hit {
                    break;
                }
            }
        }
    }

    fn clear(&mut self) {
        self.nodes.clear();
        self.candidates.clear();
        self.alive.clear();
        self.places.clear();
        self.followed.clear();
        self.waiting.clear();
        self.tail.clear();
        self.look_ups = 0;
    }

    fn expand_root(&mut self, sources: &Sources<'_>, reach: &Reach, input: &DraftInput<'_>) {
        let none = self.alive.len()..self.alive.len();
        let alive = self.look_up(sources, reach, none);
        self.sibling.clear();
        self.add_retrieved(alive.clone(), sources.rates);
        let ranked = if sources.runners_up {
            input.ranked
        } else {
            &[]
        };
        let runners_up = ranked.iter().filter(|it| it.token != input.root);
        for (runner_up, rank) in runners_up.zip(1..) {
            let evidence = Evidence::LastLogits { rank };
            self.add(runner_up.token, evidence, sources.rates);
        }
        self.add_recycled(input.root, sources);
        let candidates = self.settle();
        self.nodes.push(Grown { candidates, alive });
        self.offer_first(ROOT, 1.0);
    }

    /// Candidates below a node that was just added.
    fn expand(&mut self, sources: &Sources<'_>, reach: &Reach, added: &Waiting, node: NodeId) {
        let token = self.candidates[added.candidate].token;
        let mut alive = self.follow(added.parent, token);
        if alive.len() < FEW {
            // Shorter matches, or after a guess that came from elsewhere, any.
            alive = self.look_up(sources, reach, alive);
        }
        self.sibling.clear();
        self.add_retrieved(alive.clone(), sources.rates);
        self.add_recycled(token, sources);
        let candidates = self.settle();
        debug_assert_eq!(self.nodes.len(), node);
        self.nodes.push(Grown { candidates, alive });
        self.offer_first(node, added.gain);
    }

    /// Places where the tail stood before, added to those `known`, which are the last ones in [`Growth::alive`].
    fn look_up(
        &mut self,
        sources: &Sources<'_>,
        reach: &Reach,
        known: Range<usize>,
    ) -> Range<usize> {
        debug_assert_eq!(known.end, self.alive.len());
        let far = self.look_ups < reach.look_ups;
        self.look_ups += 1;
        // The conversation comes first, and is short.
        for &(source, pool) in sources.pools {
            if source != Source::Text && !far {
                continue;
            }
            pool.matches_into(&self.tail, reach.max_match, reach.places, &mut self.found);
            for &found in &self.found {
                let is_known = self.alive[known.clone()].iter().any(|alive| {
                    let place = &self.places[alive.place];
                    place.source == source && place.next + alive.taken == found.next
                });
                if is_known {
                    continue;
                }
                let from = self.followed.len();
                pool.continuation_into(found, reach.num_pred_tokens, &mut self.followed);
                if self.followed.len() == from {
                    continue;
                }
                self.alive.push(Alive {
                    place: self.places.len(),
                    taken: 0,
                });
                self.places.push(Place {
                    source,
                    len: found.len,
                    next: found.next,
                    followed: from..self.followed.len(),
                });
            }
        }
        known.start..self.alive.len()
    }

    /// The places of `parent` at which `token` followed.
    fn follow(&mut self, parent: NodeId, token: TokenId) -> Range<usize> {
        let start = self.alive.len();
        for index in self.nodes[parent].alive.clone() {
            let Alive { place, taken } = self.alive[index];
            if self.next_of(self.alive[index]) == Some(token) {
                let taken = taken + 1;
                self.alive.push(Alive { place, taken });
            }
        }
        start..self.alive.len()
    }

    fn next_of(&self, alive: Alive) -> Option<TokenId> {
        let followed = &self.places[alive.place].followed;
        self.followed[followed.clone()].get(alive.taken).copied()
    }

    /// Adds what followed at `alive` places, source by source.
    fn add_retrieved(&mut self, alive: Range<usize>, rates: &Rates) {
        // Source by source, the longest match first; a stable sort leaves the newest first among equals.
        let Self {
            alive: all, places, ..
        } = self;
        all[alive.clone()].sort_by_key(|alive| {
            let place = &places[alive.place];
            (place.source, std::cmp::Reverse(place.len + alive.taken))
        });
        let mut from = alive.start;
        while from < alive.end {
            let source = self.places[self.alive[from].place].source;
            let of_source = |at: &usize| self.places[self.alive[*at].place].source == source;
            let to = (from..alive.end)
                .find(|at| !of_source(at))
                .unwrap_or(alive.end);
            self.add_source(source, from..to, rates);
            from = to;
        }
    }

    fn add_source(&mut self, source: Source, places: Range<usize>, rates: &Rates) {
        let length = |it: &Self, alive: Alive| it.places[alive.place].len + alive.taken;
        let mut tokens: Vec<TokenId> = Vec::new();
        for at in places.clone() {
            let Some(token) = self.next_of(self.alive[at]) else {
                continue;
            };
            if tokens.contains(&token) {
                continue;
            }
            let len = length(self, self.alive[at]);
            // Much shorter matches have no say in how sure this one is.
            let (mut count, mut total) = (0, 0);
            for other in places.clone() {
                let other = self.alive[other];
                if COMPARABLE * length(self, other) < len {
                    break;
                }
                if let Some(next) = self.next_of(other) {
                    total += 1;
                    count += usize::from(next == token);
                }
            }
            let evidence = Evidence::Retrieved {
                source,
                len,
                rank: tokens.len(),
                count,
                total,
            };
            tokens.push(token);
            self.add(token, evidence, rates);
        }
    }

    fn add_recycled(&mut self, token: TokenId, sources: &Sources<'_>) {
        if let Some(row) = sources.recycled.and_then(|rows| rows.after(token)) {
            for (rank, (token, probability)) in row.iter().enumerate() {
                let evidence = Evidence::Recycled { rank, probability };
                self.add(token, evidence, sources.rates);
            }
        }
    }

    /// Adds a candidate of the node being expanded. Of several pieces of evidence for a token the strongest counts,
    /// and that there were others.
    fn add(&mut self, token: TokenId, evidence: Evidence, rates: &Rates) {
        let kind = evidence.kind(false);
        let rate = rates.of(kind);
        let new = Candidate {
            token,
            evidence,
            kind,
            rate,
        };
        match self.sibling.iter_mut().find(|known| known.token == token) {
            Some(known) => {
                let stronger = if rate > rates.of(known.evidence.kind(false)) {
                    evidence
                } else {
                    known.evidence
                };
                let kind = stronger.kind(true);
                *known = Candidate {
                    token,
                    evidence: stronger,
                    kind,
                    rate: rates.of(kind),
                };
            }
            None => self.sibling.push(new),
        }
    }

    /// Orders the candidates of the node being expanded and keeps them.
    fn settle(&mut self) -> Range<usize> {
        let start = self.candidates.len();
        self.sibling.sort_by(|a, b| b.rate.total_cmp(&a.rate));
        self.candidates.append(&mut self.sibling);
        start..self.candidates.len()
    }

    fn offer_first(&mut self, node: NodeId, mass: f32) {
        let candidates = &self.nodes[node].candidates;
        if !candidates.is_empty() {
            let candidate = candidates.start;
            self.offer(node, candidate, mass);
        }
    }

    /// The next candidate of the same parent.
    fn offer_sibling(&mut self, taken: &Waiting) {
        let next = taken.candidate + 1;
        if next < self.nodes[taken.parent].candidates.end {
            let rate = self.candidates[taken.candidate].rate;
            self.offer(taken.parent, next, taken.mass * (1.0 - rate));
        }
    }

    fn offer(&mut self, parent: NodeId, candidate: usize, mass: f32) {
        self.waiting.push(Waiting {
            gain: mass * self.candidates[candidate].rate,
            parent,
            candidate,
            mass,
        });
    }
}

/// The number of nodes that is worth most, so far.
///
/// The time that a decoder saves in the long run is greatest if each pass is as large as makes
/// `expected tokens − price × cost` greatest, where the price is what a unit of time brings on average (renewal
/// reward). Costs go up in jumps, so a size that does not pay may come before one that does.
struct Best {
    price: f64,
    nodes: usize,
    worth: f64,
}

impl Best {
    fn new(price: f64, cost: &PassCost) -> Self {
        Self {
            price,
            nodes: 1,
            worth: 1.0 - price * cost.of(1),
        }
    }

    fn consider(&mut self, nodes: usize, expected: f64, cost: &PassCost) {
        let worth = expected - self.price * cost.of(nodes);
        if worth >= self.worth {
            (self.nodes, self.worth) = (nodes, worth);
        }
    }

    /// Whether no larger tree can be worth more, since no further node brings more than `gain`.
    fn is_final(&self, tree: &DraftTree, expected: f64, gain: f32, cost: &PassCost) -> bool {
        if cost.is_flat() {
            return false;
        }
        let sizes = tree.len() + 1..=tree.limits().capacity;
        !sizes.into_iter().any(|nodes| {
            let more = (nodes - tree.len()) as f64 * f64::from(gain);
            expected + more - self.price * cost.of(nodes) > self.worth
        })
    }
}
