//! What a tree is built of, and how large it gets.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::draft::logitspec::evidence;
use crate::draft::{Graph, PassCost};
use crate::logits;
use crate::pool::{Retrieve, SuffixMatch, SuffixPool};
use crate::tree::{Source, TreeLimits};

/// A pool that counts how often it is searched.
#[derive(Default)]
struct Counting {
    pool: SuffixPool,
    searches: Cell<usize>,
}

impl Retrieve for Counting {
    fn matches_into(
        &self,
        tail: &[TokenId],
        max_len: usize,
        limit: usize,
        found: &mut Vec<SuffixMatch>,
    ) {
        self.searches.set(self.searches.get() + 1);
        self.pool.matches_into(tail, max_len, limit, found);
    }
    fn continuation_into(&self, place: SuffixMatch, max: usize, out: &mut Vec<TokenId>) {
        self.pool.continuation_into(place, max, out);
    }
}

/// A tree after `text` and `root`, the probability of each of its nodes, and the number of searches
/// of the text.
fn built_with(
    cost: &PassCost,
    rates: &AcceptanceRates,
    text: &[TokenId],
    root: TokenId,
    capacity: usize,
) -> (DraftTree, Vec<f64>, usize) {
    let mut pool = Counting::default();
    pool.pool.append(text);
    let ranked: Vec<_> = (0..capacity)
        .map(|rank| logits::Candidate {
            token: if rank == 0 {
                root
            } else {
                1000 + rank as TokenId
            },
            logit: -(rank as f32),
        })
        .collect();
    let input = DraftInput {
        text,
        root,
        ranked: &ranked,
        cost,
    };
    let sources = Sources {
        pools: &[(Source::Text, &pool)],
        recycled: None,
        runners_up: true,
        rates,
    };
    let limits = SearchLimits {
        max_match: 32,
        max_matches: 32,
        num_pred_tokens: 48,
        max_lookups: 6,
    };
    let mut tree = DraftTree::new(root, TreeLimits::nodes(capacity));
    let mut builder = TreeBuilder::default();
    builder.build(&sources, &limits, 1.0, &input, &mut tree);
    let states = builder.nodes[..tree.len()].iter();
    let probabilities = states.map(|it| it.probability.into());
    (tree, probabilities.collect(), pool.searches.get())
}

fn built(text: &[TokenId], root: TokenId, capacity: usize) -> (DraftTree, usize) {
    let rates = AcceptanceRates::new(evidence::priors());
    let (tree, _, searches) = built_with(&PassCost::flat(), &rates, text, root, capacity);
    (tree, searches)
}

proptest! {
    /// Stopping early loses nothing, whatever passes cost: a tree built to its capacity has no size
    /// of greater net value.
    #[test]
    fn no_size_has_a_greater_net_value(
        text in prop::collection::vec(0u32..6, 0..80),
        steps in prop::collection::vec(prop_oneof![3 => Just(0.0), 2 => 0.0..0.6f64], 1..40),
        root in 0u32..6,
        redecode in 0usize..4,
        graph in prop::option::of((0usize..50, 0.0..2.0f64)),
        seed in any::<u64>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let rates = AcceptanceRates::new((0..evidence::CLASSES).map(|_| 0.9 * random.f32()));
        let mut sum = 0.3;
        let times: Vec<f64> = steps.iter().map(|step| { sum += step; sum }).collect();
        let mut cost = PassCost::from_times(times);
        cost.set_redecode(redecode);
        if let Some((tokens, build)) = graph {
            cost.set_graph(Graph { tokens: Some(tokens), build });
        }
        let net_value = |probabilities: &[f64]| {
            probabilities.iter().sum::<f64>() - cost.of_tree(probabilities.len())
        };
        let capacity = 40;
        let (_, all, _) = built_with(&PassCost::flat(), &rates, &text, root, capacity);
        let sizes = 1..=all.len();
        let most = sizes.map(|len| net_value(&all[..len])).fold(f64::MIN, f64::max);
        let (_, taken, _) = built_with(&cost, &rates, &text, root, capacity);
        prop_assert!(net_value(&taken) >= most - 1e-5, "{} < {most}", net_value(&taken));
    }
}

#[test]
fn nodes_that_the_tree_ends_with_are_not_expanded() {
    let (tree, searches) = built(&[1, 2, 3, 4, 5], 2, 2);
    assert_eq!((tree.len(), searches), (2, 1));
    // 31 runners-up that are not in the text: none is expanded while others can be taken.
    let (tree, searches) = built(&[1, 2, 3], 7, 32);
    assert_eq!((tree.len(), tree.leaf_count()), (32, 31));
    assert!(searches < 16, "{searches}");
}

#[test]
fn large_trees_grow_deeper_before_they_get_more_leaves() {
    // Each token that follows the root is followed by others.
    let text: Vec<TokenId> = (0..60)
        .flat_map(|n| [9, 1000 + n, 2000 + n, 3000 + n])
        .collect();
    for (capacity, leaves) in [(64, 32), (65, 32), (80, 40)] {
        let (tree, _) = built(&text, 9, capacity);
        assert_eq!(tree.len(), capacity);
        assert!(tree.leaf_count() <= leaves, "{}", tree.leaf_count());
    }
    // No leaf can go on.
    for capacity in [33, 64, 256] {
        let (tree, _) = built(&[1, 2, 3], 7, capacity);
        assert_eq!((tree.len(), tree.leaf_count()), (capacity, capacity - 1));
    }
}

#[test]
fn a_long_match_is_followed_before_runners_up_are_taken() {
    let text: Vec<TokenId> = (0..40).chain(0..20).collect();
    let (tree, _) = built(&text, 20, 12);
    let chain: Vec<_> = tree.tokens().take(12).collect();
    assert_eq!(chain, (20..32).collect::<Vec<_>>());
    assert_eq!(tree.leaf_count(), 1);
}
