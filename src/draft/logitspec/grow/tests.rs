//! What is grown, and how far.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::draft::logitspec::evidence;
use crate::draft::{PassCost, Shapes};
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

/// A tree after `text` and `root`, the probability of each of its nodes, and how often the text was
/// searched.
fn grown_at(
    cost: &PassCost,
    rates: &Rates,
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
    let reach = Reach {
        max_match: 32,
        places: 32,
        num_pred_tokens: 48,
        look_ups: 6,
        price: 1.0,
    };
    let mut tree = DraftTree::new(root, TreeLimits::nodes(capacity));
    let mut growth = Growth::default();
    growth.grow(&sources, &reach, &input, &mut Hold::default(), &mut tree);
    let gains = growth.nodes[..tree.len()].iter().map(|it| it.gain.into());
    (tree, gains.collect(), pool.searches.get())
}

fn grown(text: &[TokenId], root: TokenId, capacity: usize) -> (DraftTree, usize) {
    let rates = Rates::new(evidence::priors());
    let (tree, _, searches) = grown_at(&PassCost::flat(), &rates, text, root, capacity);
    (tree, searches)
}

proptest! {
    /// Whatever the cost does, stopping as early as possible loses nothing against growing as far
    /// as possible and cutting where it is worth most.
    #[test]
    fn no_size_is_worth_more(
        text in prop::collection::vec(0u32..6, 0..80),
        steps in prop::collection::vec(prop_oneof![3 => Just(0.0), 2 => 0.0..0.6f64], 1..40),
        root in 0u32..6,
        seed in any::<u64>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let rates = Rates::new((0..evidence::KINDS).map(|_| 0.9 * random.f32()));
        let mut sum = 0.3;
        let times: Vec<f64> = steps.iter().map(|step| { sum += step; sum }).collect();
        let cost = PassCost::from_times(times);
        let worth = |gains: &[f64]| gains.iter().sum::<f64>() - cost.of(gains.len());
        let capacity = 40;
        let (_, all, _) = grown_at(&PassCost::flat(), &rates, &text, root, capacity);
        let most = (1..=all.len()).map(|len| worth(&all[..len])).fold(f64::MIN, f64::max);
        let (_, taken, _) = grown_at(&cost, &rates, &text, root, capacity);
        prop_assert!(worth(&taken) >= most - 1e-5, "{} < {most}", worth(&taken));
    }
}

proptest! {
    /// Of the sizes that trees have where shapes matter, a tree has the best where a change costs
    /// nothing.
    #[test]
    fn no_size_that_passes_have_is_worth_more(
        text in prop::collection::vec(0u32..6, 0..80),
        steps in prop::collection::vec(prop_oneof![3 => Just(0.0), 2 => 0.0..0.6f64], 1..40),
        root in 0u32..6,
        capacity in 2usize..40,
        ahead in 0usize..4,
        seed in any::<u64>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let rates = Rates::new((0..evidence::KINDS).map(|_| 0.9 * random.f32()));
        let mut sum = 0.3;
        let times: Vec<f64> = steps.iter().map(|step| { sum += step; sum }).collect();
        let mut cost = PassCost::from_times(times);
        cost.set_ahead(ahead);
        let worth = |gains: &[f64]| gains.iter().sum::<f64>() - cost.of(gains.len());
        let (_, all, _) = grown_at(&PassCost::flat(), &rates, &text, root, capacity);
        let usual = |&nodes: &usize| {
            nodes == 1 || nodes == capacity || (ahead + nodes).is_power_of_two()
        };
        let sizes = (1..=all.len()).filter(usual);
        let most = sizes.map(|len| worth(&all[..len])).fold(f64::MIN, f64::max);
        let mut shaped = cost.clone();
        shaped.set_shapes(Shapes { last: None, rebuild: 0.0, charge: 0.0, shares: vec![] });
        let (tree, taken, _) = grown_at(&shaped, &rates, &text, root, capacity);
        prop_assert!(usual(&tree.len()), "{}", tree.len());
        prop_assert!(worth(&taken) >= most - 1e-5, "{} < {most}", worth(&taken));
    }
}

#[test]
fn nothing_is_looked_for_below_nodes_that_the_tree_ends_with() {
    let (tree, searches) = grown(&[1, 2, 3, 4, 5], 2, 2);
    assert_eq!((tree.len(), searches), (2, 1));
    // 31 runners-up that never stood in the text: none is worth a look while others wait.
    let (tree, searches) = grown(&[1, 2, 3], 7, 32);
    assert_eq!((tree.len(), tree.leaf_count()), (32, 31));
    assert!(searches < 16, "{searches}");
}

#[test]
fn large_trees_rather_go_on_below_their_leaves_than_have_more_of_them() {
    // What follows the root was followed by others, too.
    let text: Vec<TokenId> = (0..60)
        .flat_map(|n| [9, 1000 + n, 2000 + n, 3000 + n])
        .collect();
    for (capacity, leaves) in [(64, 32), (65, 32), (80, 40)] {
        let (tree, _) = grown(&text, 9, capacity);
        assert_eq!(tree.len(), capacity);
        assert!(tree.leaf_count() <= leaves, "{}", tree.leaf_count());
    }
    // Nowhere to go on.
    for capacity in [33, 64, 256] {
        let (tree, _) = grown(&[1, 2, 3], 7, capacity);
        assert_eq!((tree.len(), tree.leaf_count()), (capacity, capacity - 1));
    }
}

#[test]
fn a_long_match_is_followed_before_runners_up_are_taken() {
    let text: Vec<TokenId> = (0..40).chain(0..20).collect();
    let (tree, _) = grown(&text, 20, 12);
    let chain: Vec<_> = tree.tokens().take(12).collect();
    assert_eq!(chain, (20..32).collect::<Vec<_>>());
    assert_eq!(tree.leaf_count(), 1);
}
