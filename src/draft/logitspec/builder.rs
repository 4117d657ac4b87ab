//! Building a tree, the likeliest candidate first.

use std::ops::Range;

use crate::TokenId;
use crate::draft::DraftInput;
use crate::draft::logitspec::acceptance::AcceptanceRates;
use crate::draft::logitspec::evidence::{Evidence, EvidenceClass};
use crate::draft::logitspec::matches::{MatchSet, Pools};
use crate::draft::logitspec::queue::{Action, Entry, Queue};
use crate::draft::logitspec::recycled::RecycledRows;
use crate::draft::logitspec::size::BestSize;
use crate::tree::{DraftTree, NodeId, ROOT};

/// What a tree is built from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub pools: &'a Pools<'a>,
    pub recycled: Option<&'a RecycledRows>,
    /// Whether the runners-up of the last logits are candidates below the root.
    pub runners_up: bool,
    pub rates: &'a AcceptanceRates,
}

/// How far to search the pools.
#[derive(Clone, Copy, Debug)]
pub(super) struct SearchLimits {
    /// Longer matches count as this long.
    pub max_match: usize,
    /// Most matches of one look-up.
    pub max_matches: usize,
    /// Most tokens copied from one match.
    pub num_pred_tokens: usize,
    /// Most look-ups that search the history and the corpus, too.
    pub max_lookups: usize,
}

/// A node with fewer active matches looks for more.
const FEW_MATCHES: usize = 3;

/// Until a node is expanded, its best child is assumed to have this fraction of the node's own
/// probability.
///
/// Looking takes most of a draft's time. So it waits until nothing known is likelier. Where the
/// capacity bounds the tree, the last nodes are never expanded. That loses nothing: what is found
/// below unlikely guesses is accepted less often than its evidence suggests
/// (`docs/decisions/010-late-look-ups.md`).
const UNEXPANDED: f32 = 0.25;

/// Most leaves of a tree, as long as it can grow elsewhere. Each leaf is a sequence of the cache,
/// which llama.cpp takes microseconds to update, and the last leaves of a large tree are its
/// unlikeliest guesses.
fn max_leaves(capacity: usize) -> usize {
    (capacity / 2).max(32)
}

/// A token that may follow a node.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    token: TokenId,
    evidence: Evidence,
    class: EvidenceClass,
    /// Probability that it follows if no better candidate does.
    rate: f32,
}

/// What is known of a node of the tree.
#[derive(Clone, Debug, Default)]
struct NodeState {
    /// Probability that the path down to it is accepted.
    probability: f32,
    /// Whether it is on the tree's principal path.
    principal: bool,
    /// Its candidates in [`TreeBuilder::candidates`], best first; empty until it is expanded.
    candidates: Range<usize>,
    /// The matches that agree with the path down to it; empty until it is expanded.
    matches: Range<usize>,
}

/// A tree under construction, and afterwards what is needed to learn from it. Its buffers are used
/// again in every step.
#[derive(Clone, Debug, Default)]
pub(super) struct TreeBuilder {
    nodes: Vec<NodeState>,
    candidates: Vec<Candidate>,
    matches: MatchSet,
    queue: Queue,
    /// The end of the text, the root, and the path to the node that is expanded.
    tail: Vec<TokenId>,
    /// Length of `tail` with the root.
    rooted: usize,
    /// The candidates of the node that is expanded.
    siblings: Vec<Candidate>,
}

/// What one call to [`TreeBuilder::build`] works on.
struct Build<'a> {
    sources: &'a Sources<'a>,
    limits: &'a SearchLimits,
    tree: &'a mut DraftTree,
    best: BestSize<'a>,
    max_leaves: usize,
}

impl TreeBuilder {
    /// Grows `tree` below its root. Adds the likeliest known candidate, again and again, and leaves
    /// the tree at the size that pays best, where a unit of time must bring `lambda` tokens.
    pub(super) fn build(
        &mut self,
        sources: &Sources<'_>,
        limits: &SearchLimits,
        lambda: f64,
        input: &DraftInput<'_>,
        tree: &mut DraftTree,
    ) {
        self.start(limits, input);
        self.expand_root(sources, limits, input);
        let mut build = Build {
            sources,
            limits,
            max_leaves: max_leaves(tree.limits().capacity),
            tree,
            best: BestSize::new(lambda, input.cost),
        };
        while !build.tree.is_full() {
            let Some(entry) = self.queue.pop() else {
                if !self.queue.restore_too_wide() {
                    break;
                }
                // All chains have ended. More leaves are better than fewer nodes.
                build.max_leaves = usize::MAX;
                continue;
            };
            match entry.action {
                Action::Take { .. } if build.is_final(entry.probability) => {
                    // Its siblings do not pay either. But something found later may fill the tree
                    // up to a size at which they do.
                    self.queue.defer_unprofitable(entry);
                }
                Action::Take {
                    parent,
                    candidate,
                    remaining,
                } => self.take(&mut build, entry, parent, candidate, remaining),
                // Nothing in the queue is likelier than this node.
                Action::Expand(node) if build.is_final(self.nodes[node].probability) => {
                    if !self.queue.restore_too_wide() {
                        break;
                    }
                    build.max_leaves = usize::MAX;
                    self.queue.put_back(entry);
                }
                Action::Expand(node) => {
                    self.expand(&build, node);
                    self.queue.restore_unprofitable();
                }
            }
        }
        let nodes = build.best.nodes();
        tree.truncate(nodes);
    }

    fn start(&mut self, limits: &SearchLimits, input: &DraftInput<'_>) {
        self.nodes.clear();
        self.candidates.clear();
        self.matches.clear();
        self.queue.clear();
        self.tail.clear();
        let context = &input.text[input.text.len().saturating_sub(limits.max_match)..];
        self.tail.extend_from_slice(context);
        self.tail.push(input.root);
        self.rooted = self.tail.len();
    }

    /// Adds a candidate to the tree.
    fn take(
        &mut self,
        build: &mut Build<'_>,
        entry: Entry,
        parent: NodeId,
        candidate: usize,
        remaining: f32,
    ) {
        let tree = &mut *build.tree;
        if tree.leaf_count() >= build.max_leaves && !tree.is_leaf(parent) {
            // Its siblings come after it.
            return self.queue.defer_too_wide(entry);
        }
        self.offer_sibling(parent, candidate, remaining);
        let Candidate {
            token, evidence, ..
        } = self.candidates[candidate];
        let principal = self.nodes[parent].principal && tree.is_leaf(parent);
        let Some(node) = tree.push(parent, token) else {
            return; // A leaf or a level too many. Chains elsewhere may still grow.
        };
        tree.set_source(node, evidence.source());
        build
            .best
            .add_node(tree.len(), entry.probability, principal);
        debug_assert_eq!(self.nodes.len(), node);
        self.nodes.push(NodeState {
            probability: entry.probability,
            principal,
            ..NodeState::default()
        });
        let unexpanded = UNEXPANDED * entry.probability;
        self.queue.push(unexpanded, Action::Expand(node));
    }

    /// Learns which candidates were accepted: `accepted` are nodes of the last tree, from the root
    /// down, with the token that followed each.
    pub(super) fn learn(
        &self,
        rates: &mut AcceptanceRates,
        accepted: impl Iterator<Item = (NodeId, TokenId)>,
    ) {
        for (node, next) in accepted {
            let Some(state) = self.nodes.get(node) else {
                break;
            };
            for candidate in &self.candidates[state.candidates.clone()] {
                let hit = candidate.token == next;
                rates.learn(candidate.class, hit);
                if hit {
                    break;
                }
            }
        }
    }

    fn expand_root(
        &mut self,
        sources: &Sources<'_>,
        limits: &SearchLimits,
        input: &DraftInput<'_>,
    ) {
        let (pools, rates) = (sources.pools, sources.rates);
        let matches = self.matches.look_up(pools, limits, &self.tail, 0..0);
        self.add_retrieved(matches.clone(), rates);
        let ranked = if sources.runners_up {
            input.ranked
        } else {
            &[]
        };
        let runners_up = ranked.iter().filter(|it| it.token != input.root);
        for (runner_up, rank) in runners_up.zip(1..) {
            let evidence = Evidence::LastLogits { rank };
            add(&mut self.siblings, runner_up.token, evidence, rates);
        }
        self.add_recycled(input.root, sources);
        self.nodes.push(NodeState {
            probability: 1.0,
            principal: true,
            candidates: 0..0,
            matches,
        });
        self.keep_siblings(ROOT);
    }

    /// Looks for a node's candidates.
    fn expand(&mut self, build: &Build<'_>, node: NodeId) {
        let (sources, limits, tree) = (build.sources, build.limits, &*build.tree);
        self.tail.truncate(self.rooted);
        tree.append_path(node, &mut self.tail);
        let token = tree.token(node);
        let of_parent = self.nodes[tree.parent(node).unwrap_or(ROOT)]
            .matches
            .clone();
        let pools = sources.pools;
        let mut matches = self.matches.follow(pools, limits, of_parent, token);
        if matches.len() < FEW_MATCHES {
            // Shorter matches. Below a guess that was not retrieved, any matches.
            matches = self.matches.look_up(pools, limits, &self.tail, matches);
        }
        self.add_retrieved(matches.clone(), sources.rates);
        self.add_recycled(token, sources);
        self.nodes[node].matches = matches;
        self.keep_siblings(node);
    }

    fn add_retrieved(&mut self, matches: Range<usize>, rates: &AcceptanceRates) {
        let siblings = &mut self.siblings;
        self.matches.propose(matches, |token, evidence| {
            add(siblings, token, evidence, rates);
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

    /// Sorts the candidates found below `node`, keeps them and offers the best one.
    fn keep_siblings(&mut self, node: NodeId) {
        let start = self.candidates.len();
        self.siblings.sort_by(|a, b| b.rate.total_cmp(&a.rate));
        self.candidates.append(&mut self.siblings);
        self.nodes[node].candidates = start..self.candidates.len();
        if start < self.candidates.len() {
            self.offer(node, start, self.nodes[node].probability);
        }
    }

    /// Offers the next candidate of the same parent.
    fn offer_sibling(&mut self, parent: NodeId, taken: usize, remaining: f32) {
        if taken + 1 < self.nodes[parent].candidates.end {
            let rate = self.candidates[taken].rate;
            self.offer(parent, taken + 1, remaining * (1.0 - rate));
        }
    }

    fn offer(&mut self, parent: NodeId, candidate: usize, remaining: f32) {
        let probability = remaining * self.candidates[candidate].rate;
        let action = Action::Take {
            parent,
            candidate,
            remaining,
        };
        self.queue.push(probability, action);
    }
}

impl Build<'_> {
    fn is_final(&self, probability: f32) -> bool {
        self.best.is_final(self.tree, probability)
    }
}

/// Adds a candidate. If a token is proposed more than once, keeps the strongest evidence and marks
/// it as corroborated.
fn add(siblings: &mut Vec<Candidate>, token: TokenId, evidence: Evidence, rates: &AcceptanceRates) {
    let class = evidence.class(false);
    let rate = rates.of(class);
    let Some(known) = siblings.iter_mut().find(|known| known.token == token) else {
        return siblings.push(Candidate {
            token,
            evidence,
            class,
            rate,
        });
    };
    if rate > rates.of(known.evidence.class(false)) {
        known.evidence = evidence;
    }
    known.class = known.evidence.class(true);
    known.rate = rates.of(known.class);
}

#[cfg(test)]
mod tests;
