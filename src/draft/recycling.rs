//! Token Recycling.

use rustc_hash::FxHashMap;

use crate::TokenId;
use crate::draft::{DraftInput, Drafter, PassCost, ROW_CANDIDATES, Verified};
use crate::logits::Candidate;
use crate::tree::{DraftTree, NodeId, ROOT, Source};

/// Candidates stored for each token.
const K: usize = ROW_CANDIDATES;

/// Levels of the tree below the root.
const LEVELS: usize = 6;

/// Assumed probability that the candidate of each rank is accepted. Determines the shape of the
/// tree.
const RANK_PROBABILITIES: [f64; K] = [0.52, 0.13, 0.075, 0.055, 0.042, 0.033, 0.028, 0.023];

/// "No candidate". No vocabulary has this token.
const NONE: TokenId = TokenId::MAX;

/// Parameters of [`TokenRecycling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecyclingParams {
    /// Nodes of the tree below the root.
    pub nodes: usize,
}

impl Default for RecyclingParams {
    fn default() -> Self {
        Self { nodes: 80 }
    }
}

/// Method `token-recycling`: Token Recycling (arXiv 2408.08696).
///
/// An adjacency matrix holds the 8 best next tokens of every token. They come from the last logits
/// that a verified tree had for the token, accepted or not. A draft tree of fixed shape is filled
/// from
/// the matrix: the children of a node are the candidates of its token.
///
/// Differences from the authors' implementation:
///
/// - The shape has as many nodes (80) and levels (6) as theirs, and levels of about the same width.
///   It is the best-first tree for assumed acceptance rates of the ranks. Smaller trees are its
///   first
///   nodes.
/// - Missing candidates are left out instead of being drafted as token 0.
/// - Only the last row of a prompt is read.
///
/// A step costs a search for 8 candidates in the row of every verified node.
#[derive(Clone, Debug)]
pub struct TokenRecycling {
    /// Parent and rank of every node below the root. `None` is the root; parents come first.
    shape: Vec<(Option<usize>, usize)>,
    /// The adjacency matrix. Missing candidates are [`NONE`].
    matrix: FxHashMap<TokenId, [TokenId; K]>,
    found: Vec<Candidate>,
    ids: Vec<Option<NodeId>>,
}

impl TokenRecycling {
    /// A drafter with an empty matrix.
    pub fn new(params: RecyclingParams) -> Self {
        Self {
            shape: shape(params.nodes),
            matrix: FxHashMap::default(),
            found: Vec::new(),
            ids: Vec::new(),
        }
    }

    fn set_candidates(&mut self, token: TokenId, candidates: &[Candidate]) {
        let row = self.matrix.entry(token).or_insert([NONE; K]);
        row.fill(NONE);
        for (entry, candidate) in row.iter_mut().zip(candidates) {
            *entry = candidate.token;
        }
    }

    fn candidate(&self, token: TokenId, rank: usize) -> Option<TokenId> {
        let row = self.matrix.get(&token)?;
        row.get(rank).copied().filter(|&token| token != NONE)
    }
}

/// The `nodes` most probable paths of ranks, parents first. Assumes that the ranks of a path are
/// independent.
fn shape(nodes: usize) -> Vec<(Option<usize>, usize)> {
    // Probability, level, and parent and rank of the nodes that can be added.
    let mut open: Vec<(f64, usize, (Option<usize>, usize))> = Vec::new();
    let below = |probability: f64, level: usize, parent| {
        (0..K).map(move |rank| {
            (
                probability * RANK_PROBABILITIES[rank],
                level,
                (parent, rank),
            )
        })
    };
    open.extend(below(1.0, 1, None));
    let mut shape = Vec::new();
    while shape.len() < nodes && !open.is_empty() {
        let best = (0..open.len())
            .reduce(|best, at| if open[at].0 > open[best].0 { at } else { best })
            .unwrap_or(0);
        let (probability, level, node) = open.swap_remove(best);
        shape.push(node);
        if level < LEVELS {
            open.extend(below(probability, level + 1, Some(shape.len() - 1)));
        }
    }
    shape
}

impl Drafter for TokenRecycling {
    fn name(&self) -> &'static str {
        "token-recycling"
    }

    fn candidates(&self, _capacity: usize, _cost: &PassCost) -> usize {
        K
    }

    fn begin(&mut self, _text: &[TokenId]) {}

    fn extend(&mut self, _text: &[TokenId], _fresh: usize) {}

    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree) {
        // The last row of the prompt. Recorded text has no logits: then the root is the only entry.
        if let (Some(&last), true) = (input.text.last(), input.ranked.len() > 1) {
            self.set_candidates(last, &input.ranked[..input.ranked.len().min(K)]);
        }
        self.ids.clear();
        for at in 0..self.shape.len() {
            let (parent, rank) = self.shape[at];
            let parent = match parent {
                None => Some(ROOT),
                Some(parent) => self.ids[parent],
            };
            let id = parent.and_then(|parent| {
                let token = self.candidate(tree.token(parent), rank)?;
                let id = tree.push(parent, token)?;
                tree.set_source(id, Source::Recycled);
                Some(id)
            });
            self.ids.push(id);
            if tree.is_full() {
                break;
            }
        }
    }

    fn observe(&mut self, verified: &Verified<'_>) {
        let mut found = std::mem::take(&mut self.found);
        for node in ROOT..verified.tree.len() {
            if verified.rows.top_k(node, K, &mut found) {
                self.set_candidates(verified.tree.token(node), &found);
            }
        }
        self.found = found;
    }

    fn next_request(&mut self) {}

    fn rewind(&mut self) {}

    fn reset(&mut self) {
        self.matrix.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TreeLimits;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, HashMap};

    /// Rows by node. Each has the whole vocabulary, best token first.
    struct Rows(Vec<Option<Vec<TokenId>>>);

    impl crate::draft::NodeRows for Rows {
        fn top_k(&self, node: NodeId, k: usize, found: &mut Vec<Candidate>) -> bool {
            found.clear();
            let Some(row) = self.0.get(node).and_then(Option::as_ref) else {
                return false;
            };
            let logit = 0.0;
            found.extend(row.iter().take(k).map(|&token| Candidate { token, logit }));
            true
        }
    }

    /// The tokens on the path to each node.
    fn paths(tree: &DraftTree) -> BTreeSet<Vec<TokenId>> {
        let path = |node| {
            tree.path_to(node)
                .into_iter()
                .map(|id| tree.token(id))
                .collect()
        };
        (ROOT + 1..tree.len()).map(path).collect()
    }

    fn draft(drafter: &mut TokenRecycling, root: TokenId, capacity: usize) -> DraftTree {
        let mut tree = DraftTree::new(root, TreeLimits::nodes(capacity));
        let input = DraftInput {
            text: &[],
            root,
            ranked: &[],
            cost: &PassCost::flat(),
        };
        drafter.draft(&input, &mut tree);
        tree
    }

    #[test]
    fn the_shape_has_parents_first_and_favors_better_ranks() {
        let shape = shape(80);
        assert_eq!(shape.len(), 80);
        let below = |parent| shape.iter().filter(|it| it.0 == parent).count();
        assert_eq!(below(None), K);
        assert_eq!(shape[0], (None, 0));
        for (number, &(parent, rank)) in shape.iter().enumerate() {
            assert!(parent.is_none_or(|parent| parent < number) && rank < K);
            // A better sibling has no fewer children.
            let worse = shape.iter().position(|&it| it == (parent, rank + 1));
            assert!(worse.is_none_or(|worse| below(Some(worse)) <= below(Some(number))));
        }
        let level = |mut node: usize| {
            let mut level = 1;
            while let (Some(parent), _) = shape[node] {
                node = parent;
                level += 1;
            }
            level
        };
        assert_eq!((0..80).map(level).max(), Some(LEVELS));
    }

    #[test]
    fn only_a_reset_clears_the_matrix() {
        let mut drafter = TokenRecycling::new(RecyclingParams::default());
        let tree = DraftTree::new(1, TreeLimits::nodes(1));
        drafter.observe(&Verified {
            tree: &tree,
            path: &[],
            next: None,
            rows: &Rows(vec![Some(vec![2, 3])]),
        });
        drafter.next_request();
        assert_eq!(
            paths(&draft(&mut drafter, 1, 9)),
            BTreeSet::from([vec![2], vec![3]])
        );
        drafter.reset();
        assert_eq!(draft(&mut drafter, 1, 9).drafted(), 0);
    }

    /// A row of 12 tokens in random order.
    fn row() -> impl Strategy<Value = Vec<TokenId>> {
        Just((0..12).collect::<Vec<_>>()).prop_shuffle()
    }

    proptest! {
        #[test]
        fn trees_are_filled_from_the_latest_rows(
            rows in prop::collection::vec((0u32..6, prop::option::of(row())), 0..20),
            root in 0u32..6,
        ) {
            let mut drafter = TokenRecycling::new(RecyclingParams::default());
            let mut latest: HashMap<TokenId, Vec<TokenId>> = HashMap::new();
            for (token, row) in rows {
                let tree = DraftTree::new(token, TreeLimits::nodes(1));
                let rows = Rows(vec![row.clone()]);
                drafter.observe(&Verified { tree: &tree, path: &[], next: None, rows: &rows });
                latest.extend(row.map(|row| (token, row)));
            }
            // Follow each path of ranks separately.
            let shape = shape(80);
            let mut expected = BTreeSet::new();
            for number in 0..shape.len() {
                let mut ranks = Vec::new();
                let mut at = Some(number);
                while let Some(node) = at {
                    ranks.insert(0, shape[node].1);
                    at = shape[node].0;
                }
                let mut path = vec![root];
                for rank in ranks {
                    match latest.get(&path[path.len() - 1]) {
                        Some(row) => path.push(row[rank]),
                        None => break,
                    }
                }
                expected.insert(path[1..].to_vec());
            }
            expected.remove(&Vec::new());
            prop_assert_eq!(paths(&draft(&mut drafter, root, 100)), expected.clone());
            let small = paths(&draft(&mut drafter, root, 10));
            prop_assert_eq!(small.len(), expected.len().min(9));
            prop_assert!(small.is_subset(&expected));
        }
    }
}
