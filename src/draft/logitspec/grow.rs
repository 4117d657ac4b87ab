//! Growing a tree, best guess first.

use std::ops::Range;

use crate::TokenId;
use crate::draft::DraftInput;
use crate::draft::logitspec::evidence::{Evidence, Kind};
use crate::draft::logitspec::hold::{Hold, Outlook, Sizes};
use crate::draft::logitspec::places::{Places, Pools};
use crate::draft::logitspec::queue::{Queue, Waiting, What};
use crate::draft::logitspec::rates::Rates;
use crate::draft::logitspec::recycle::Recycled;
use crate::draft::logitspec::worth::Best;
use crate::tree::{DraftTree, NodeId, ROOT};

/// What a tree is grown from.
pub(super) struct Sources<'a> {
    pub pools: &'a Pools<'a>,
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
    /// Tokens that must be expected for a unit of [`PassCost`](crate::draft::PassCost): what is
    /// paid for on average.
    pub price: f64,
}

/// Nodes with fewer places than this look for more.
const FEW: usize = 3;

/// What a node's best candidate is taken to be worth until it is looked for, as a part of the
/// node's own worth.
///
/// Looking takes most of a draft's time, so it waits until nothing known is worth more than this.
/// Where the tree's size is bounded by its capacity, nodes that come last are never looked below;
/// that costs nothing, since what is found below unlikely guesses comes true less often than its
/// kind of evidence suggests ("Looking late" in `docs/decisions.md`).
const HOPE: f32 = 0.25;

/// Most leaves of a tree, as long as it can grow elsewhere. Each is a sequence of the cache, and
/// each takes llama.cpp microseconds to bring up to date; the last leaves of a large tree are its
/// unlikeliest guesses ("Fewer leaves" in `docs/decisions.md`).
fn most_leaves(capacity: usize) -> usize {
    (capacity / 2).max(32)
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
#[derive(Clone, Debug, Default)]
struct Grown {
    /// Probability that the path down to it is accepted.
    gain: f32,
    /// Its candidates in [`Growth::candidates`], best first; none until they were looked for.
    candidates: Range<usize>,
    /// The places that agree with the path down to it; none until they were looked for.
    places: Range<usize>,
}

/// A tree being grown, and afterwards what is needed to learn from it. Its buffers serve for all
/// steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Growth {
    nodes: Vec<Grown>,
    candidates: Vec<Candidate>,
    places: Places,
    queue: Queue,
    tail: Vec<TokenId>,
    /// The candidates of the node being expanded.
    siblings: Vec<Candidate>,
    /// What trees of `1..` nodes are worth.
    worths: Vec<f64>,
}

impl Growth {
    /// Grows `tree` below its root: of the candidates known, the one with the best chance of being
    /// accepted next, as long as it brings more tokens than its share of the pass costs at
    /// `reach.price`, or to the size that `hold` keeps. What follows a node becomes known late, see
    /// [`HOPE`].
    pub(super) fn grow(
        &mut self,
        sources: &Sources<'_>,
        reach: &Reach,
        input: &DraftInput<'_>,
        hold: &mut Hold,
        tree: &mut DraftTree,
    ) {
        self.clear();
        let context = &input.text[input.text.len().saturating_sub(reach.max_match)..];
        self.tail.extend_from_slice(context);
        self.tail.push(input.root);
        let rooted = self.tail.len();

        self.expand_root(sources, reach, input);
        let mut expected = 1.0;
        let capacity = tree.limits().capacity;
        let mut leaves = most_leaves(capacity);
        let sizes = Sizes::of(input.cost, capacity);
        let mut best = Best::new(reach.price, sizes, input.cost);
        // The most that a further node would bring.
        let mut rest = 0.0;
        let held = hold.nodes(input.cost);
        self.worths.push(best.of(1, expected, input.cost));
        while !tree.is_full() {
            let Some(next) = self.queue.pop() else {
                if !self.queue.take_up_too_wide() {
                    break;
                }
                // Chains have come to their ends: better more leaves than fewer nodes.
                leaves = usize::MAX;
                continue;
            };
            let Waiting { gain, what, .. } = next;
            let (parent, candidate, mass) = match what {
                What::Take {
                    parent,
                    candidate,
                    mass,
                } => (parent, candidate, mass),
                What::Expand(node) => {
                    // Whatever waits is worth no more than this node.
                    let gain = self.nodes[node].gain;
                    if tree.len() >= held && best.is_final(tree, expected, gain, input.cost) {
                        if !self.queue.take_up_too_wide() {
                            rest = gain;
                            break;
                        }
                        // What had no place may still pay.
                        leaves = usize::MAX;
                        self.queue.put_back(next);
                        continue;
                    }
                    self.tail.truncate(rooted);
                    tree.append_path(node, &mut self.tail);
                    self.expand(sources, reach, tree, node);
                    self.queue.take_up_unpaid();
                    continue;
                }
            };
            if tree.len() >= held && best.is_final(tree, expected, gain, input.cost) {
                // Nor do its siblings pay, unless something is found first that fills the size up
                // to a step of the cost.
                self.queue.put_off_unpaid(next);
                continue;
            }
            if tree.leaf_count() >= leaves && !tree.is_leaf(parent) {
                self.queue.put_off_too_wide(next);
                continue; // its siblings come after it
            }
            self.offer_sibling(parent, candidate, mass);
            let Candidate {
                token, evidence, ..
            } = self.candidates[candidate];
            let Some(node) = tree.push(parent, token) else {
                continue; // a leaf or a level too many; chains elsewhere may still grow
            };
            tree.set_source(node, evidence.source());
            expected += f64::from(gain);
            let worth = best.consider(tree.len(), expected, input.cost);
            self.worths.push(worth);
            debug_assert_eq!(self.nodes.len(), node);
            self.nodes.push(Grown {
                gain,
                ..Grown::default()
            });
            self.queue.push(HOPE * gain, What::Expand(node));
        }
        rest = rest.max(self.queue.most_unpaid());
        let nodes = if input.cost.has_shapes() {
            let outlook = Outlook {
                worths: &self.worths,
                expected,
                rest: rest.into(),
                price: reach.price,
            };
            hold.settle(&outlook, sizes, input.cost)
        } else {
            best.nodes
        };
        tree.truncate(nodes);
    }

    /// Learns what came true: `accepted` are nodes of the tree grown last, from the root down, with
    /// the token that followed each.
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
        self.places.clear();
        self.queue.clear();
        self.tail.clear();
        self.worths.clear();
    }

    fn expand_root(&mut self, sources: &Sources<'_>, reach: &Reach, input: &DraftInput<'_>) {
        let places = self.places.look_up(sources.pools, reach, &self.tail, 0..0);
        self.add_retrieved(places.clone(), sources.rates);
        let ranked = if sources.runners_up {
            input.ranked
        } else {
            &[]
        };
        let runners_up = ranked.iter().filter(|it| it.token != input.root);
        for (runner_up, rank) in runners_up.zip(1..) {
            let evidence = Evidence::LastLogits { rank };
            add(&mut self.siblings, runner_up.token, evidence, sources.rates);
        }
        self.add_recycled(input.root, sources);
        self.nodes.push(Grown {
            gain: 1.0,
            candidates: 0..0,
            places,
        });
        self.settle(ROOT);
    }

    /// Looks for the candidates below a node, whose path is the end of the tail.
    fn expand(&mut self, sources: &Sources<'_>, reach: &Reach, tree: &DraftTree, node: NodeId) {
        let token = tree.token(node);
        let of_parent = self.nodes[tree.parent(node).unwrap_or(ROOT)].places.clone();
        let pools = sources.pools;
        let mut places = self.places.follow(pools, reach, of_parent, token);
        if places.len() < FEW {
            // Shorter matches, or after a guess that came from elsewhere, any.
            places = self.places.look_up(pools, reach, &self.tail, places);
        }
        self.add_retrieved(places.clone(), sources.rates);
        self.add_recycled(token, sources);
        self.nodes[node].places = places;
        self.settle(node);
    }

    fn add_retrieved(&mut self, places: Range<usize>, rates: &Rates) {
        let siblings = &mut self.siblings;
        self.places.propose(places, |token, evidence| {
            add(siblings, token, evidence, rates)
        });
    }

    fn add_recycled(&mut self, token: TokenId, sources: &Sources<'_>) {
        if let Some(row) = sources.recycled.and_then(|rows| rows.after(token)) {
            for (rank, (token, probability)) in row.iter().enumerate() {
                let evidence = Evidence::Recycled { rank, probability };
                add(&mut self.siblings, token, evidence, sources.rates);
            }
        }
    }

    /// Orders the candidates found below `node`, keeps them and offers the best.
    fn settle(&mut self, node: NodeId) {
        let start = self.candidates.len();
        self.siblings.sort_by(|a, b| b.rate.total_cmp(&a.rate));
        self.candidates.append(&mut self.siblings);
        self.nodes[node].candidates = start..self.candidates.len();
        if start < self.candidates.len() {
            self.offer(node, start, self.nodes[node].gain);
        }
    }

    /// The next candidate of the same parent.
    fn offer_sibling(&mut self, parent: NodeId, taken: usize, mass: f32) {
        if taken + 1 < self.nodes[parent].candidates.end {
            let rate = self.candidates[taken].rate;
            self.offer(parent, taken + 1, mass * (1.0 - rate));
        }
    }

    fn offer(&mut self, parent: NodeId, candidate: usize, mass: f32) {
        let gain = mass * self.candidates[candidate].rate;
        let take = What::Take {
            parent,
            candidate,
            mass,
        };
        self.queue.push(gain, take);
    }
}

/// Adds a candidate. Of several pieces of evidence for a token the strongest counts, and that there
/// were others.
fn add(siblings: &mut Vec<Candidate>, token: TokenId, evidence: Evidence, rates: &Rates) {
    let kind = evidence.kind(false);
    let rate = rates.of(kind);
    let Some(known) = siblings.iter_mut().find(|known| known.token == token) else {
        return siblings.push(Candidate {
            token,
            evidence,
            kind,
            rate,
        });
    };
    if rate > rates.of(known.evidence.kind(false)) {
        known.evidence = evidence;
    }
    known.kind = known.evidence.kind(true);
    known.rate = rates.of(known.kind);
}

#[cfg(test)]
mod tests;
