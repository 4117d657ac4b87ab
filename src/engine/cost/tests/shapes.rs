//! What a change of size has to bring.

use super::*;
use crate::TokenId;
use crate::draft::{DraftInput, NodeRows, Verified};
use crate::engine::cost::shapes::{
    CAUTION, FIRST_RELUCTANCE, HELD, LEAST_RELUCTANCE, MOST_RELUCTANCE,
};
use crate::engine::{Method, MethodParams};
use crate::logits::Candidate;
use crate::tree::{DraftTree, NodeId, TreeLimits};
use crate::verify::walk;

/// What a change to so many tokens has to bring, in passes of one token.
pub(super) fn charge(model: &CostModel, tokens: usize) -> f64 {
    let cost = model.cost();
    cost.change(tokens) / cost.bare(1)
}

fn without_graphs() -> CostModel {
    let curve = Curve::anywhere(&[(1, 1.0), (2, 1.1), (8, 2.0)]);
    CostModel::learned(vec![curve]).with_rebuild(0.0)
}

#[test]
fn the_charge_falls_while_sizes_are_held_and_rises_while_they_change() {
    let mut model = without_graphs();
    let (least, most) = (LEAST_RELUCTANCE, MOST_RELUCTANCE);
    // Nothing has a graph yet.
    assert!((charge(&model, 2) - FIRST_RELUCTANCE).abs() < 1e-9);
    (0..1000).for_each(|_| model.observe(pass(1, 0), 0.1));
    // To stay is no change.
    assert!(charge(&model, 1) < 1e-3);
    assert!((charge(&model, 4) - 2.0 * least).abs() < 1e-9);
    // A graph that costs more is charged for with a margin.
    let dear = model.clone().with_rebuild(0.5);
    assert!((charge(&dear, 4) - 2.0 * CAUTION * 0.5).abs() < 1e-9);
    // And more, the more are built.
    let more = |model: &CostModel| charge(model, 7);
    (0..10).for_each(|n| model.observe(pass(1 + n % 2, 0), 0.11));
    assert!((2.0 * least..8.0 * least).contains(&more(&model)));
    (0..100).for_each(|n| model.observe(pass(1 + n % 2, 0), 0.11));
    assert!((more(&model) - 2.0 * most).abs() < 1e-9);
}

#[test]
fn where_shapes_are_free_the_charge_is_as_little_as_it_may_be() {
    let mut model = without_graphs().with_free_shapes();
    assert!((charge(&model, 7) - LEAST_RELUCTANCE).abs() < 0.01);
    for step in 0..200 {
        model.observe(pass(1 + step % 2, 0), 0.1);
    }
    assert!((charge(&model, 7) - 2.0 * LEAST_RELUCTANCE).abs() < 0.01);
}

#[test]
fn what_nobody_chose_makes_no_change_dearer() {
    // Short turns, and plain passes that are asked for while they surprise, all others of one size.
    let mut model = without_graphs();
    let mut plain = 0;
    for step in 0..2_000 {
        if step % 5 == 0 {
            model.interrupted();
        }
        let tokens = if model.wants_plain() { 1 } else { 4 };
        plain += u32::from(tokens == 1);
        model.observe(
            pass(tokens, 60 * step),
            if plain % 2 == 0 { 0.1 } else { 0.3 },
        );
    }
    assert!(plain > 10, "{plain}");
    assert!(charge(&model, 7) < FIRST_RELUCTANCE);
}

#[test]
fn a_graph_that_is_to_be_built_in_any_case_makes_a_change_of_size_cheaper() {
    let mut model = without_graphs();
    model.observe(pass(4, 100), 0.1);
    // Four tokens after 252 are one piece of the cache, after 253 they are two.
    let [there_and_back, free] = [252, 253].map(|n_past| {
        model.expect(n_past, 0);
        charge(&model, 7)
    });
    assert!((free / there_and_back - 0.5).abs() < 1e-9);
    // Where a large pass took two pieces, the next as large finds its graph, and another size is a
    // change.
    model.observe(pass(64, 200), 0.1);
    model.expect(203, 0);
    assert_eq!(model.cost().time(64), model.cost().bare(64));
    let before = model.reluctance.unwrap().0;
    model.observe(pass(4, 203), 0.1);
    assert!(model.reluctance.unwrap().0 > before);
    // Unless it had to be.
    let before = model.reluctance.unwrap().0;
    let cut = Pass {
        chosen: false,
        ..pass(1, 210)
    };
    model.observe(cut, 0.1);
    model.observe(pass(4, 211), 0.1);
    assert_eq!(model.reluctance.unwrap().0, before);
}

#[test]
fn a_pass_on_more_sequences_has_a_graph_to_build() {
    let shape = |sequences| Pass {
        tokens: 8,
        sequences,
        n_past: 100,
        chosen: true,
    };
    let mut model = CostModel::gpu().with_rebuild(0.0);
    for step in 0..400 {
        // Every other pass lies on as many sequences as the one before, and takes half as long.
        let sequences = [2, 2, 5, 5][step % 4];
        model.observe(shape(sequences), [0.2, 0.1][step % 2]);
    }
    let cost = model.cost();
    assert!((cost.bare(8) / 0.1 - 1.0).abs() < 0.1, "{}", cost.bare(8));
}

#[test]
fn most_passes_hold_their_size_however_much_or_little_a_change_brings() {
    for gain in [0.2, 0.5, 1.5] {
        let mut model = without_graphs();
        let mut random = fastrand::Rng::with_seed(5);
        let (mut tokens, mut found) = (1, 0);
        let passes = 5_000;
        for _ in 0..passes {
            let other = 1 + tokens % 2;
            // Now and then another size would bring much.
            let brings = gain * -random.f64().ln();
            let next = if brings > charge(&model, other) {
                other
            } else {
                tokens
            };
            found += usize::from(next == tokens);
            tokens = next;
            model.observe(pass(tokens, 0), 0.1);
        }
        let share = found as f64 / f64::from(passes);
        assert!((share - HELD).abs() < 0.01, "{share} with {gain}");
    }
}

/// A text that goes back and forth between what was there before and what never was.
fn half_copied(tokens: usize) -> Vec<TokenId> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut text: Vec<TokenId> = (0..64).map(|_| random.u32(0..2_000)).collect();
    while text.len() < tokens {
        let piece = random.usize(4..24);
        if random.bool() {
            let start = random.usize(0..text.len() - piece);
            text.extend_from_within(start..start + piece);
        } else {
            text.extend((0..piece).map(|_| random.u32(0..2_000)));
        }
    }
    text
}

/// Rows that nobody can read.
struct NoRows;

impl NodeRows for NoRows {
    fn top_k(&self, _: NodeId, _: usize, _: &mut Vec<Candidate>) -> bool {
        false
    }
}

#[test]
fn nine_passes_of_ten_keep_their_size_with_trees_that_bring_something() {
    let share_and_accepted = |free_shapes: bool, slope: f64| {
        let seconds = |tokens: usize| 0.1 * (1.0 + slope * (tokens as f64 - 1.0));
        let curve = Curve::anywhere(&[(1, seconds(1)), (256, seconds(256))]);
        let mut model = CostModel::learned(vec![curve]).with_rebuild(0.0);
        if free_shapes {
            model = model.with_free_shapes();
        }
        let truth = half_copied(12_000);
        let mut drafter = Method::Logitspec.drafter(MethodParams::default());
        let mut at = 32;
        drafter.begin(&truth[..at]);
        let (mut passes, mut found, mut last) = (0, 0, None);
        while at + 100 < truth.len() {
            let (text, root) = (&truth[..at], truth[at]);
            model.expect(at, 0);
            let mut tree = DraftTree::new(root, TreeLimits::nodes(64));
            // As many as are asked for, and never right.
            let wanted = drafter.candidates(64, model.cost());
            let ranked: Vec<_> = std::iter::once(root)
                .chain(2_000..2_064)
                .take(wanted)
                .zip(0u16..)
                .map(|(token, rank)| Candidate {
                    token,
                    logit: -f32::from(rank),
                })
                .collect();
            let input = DraftInput {
                text,
                root,
                ranked: &ranked,
                cost: model.cost(),
            };
            drafter.draft(&input, &mut tree);
            let accepted = walk(&tree, |_, tokens| truth[at + tokens.len()], |_| false);
            drafter.observe(&Verified {
                tree: &tree,
                path: &accepted.path,
                next: accepted.next,
                rows: &NoRows,
            });
            let pass = pass(tree.len(), at);
            model.observe(pass, seconds(tree.len()));
            passes += 1;
            found += usize::from(last.replace(pass.shape()) == Some(pass.shape()));
            let fresh = 1 + accepted.path.len();
            at += fresh;
            drafter.extend(&truth[..at], fresh);
        }
        let per_pass = |count: usize| count as f64 / f64::from(passes);
        (per_pass(found), per_pass(at - 32))
    };
    for slope in [0.02, 0.1, 0.2] {
        let (held, accepted) = share_and_accepted(false, slope);
        assert!(held > 0.9, "{held} with {slope}");
        assert!(accepted > 1.3, "{accepted} with {slope}");
        let (free, _) = share_and_accepted(true, slope);
        assert!(free < held - 0.05, "{free}, {held} with {slope}");
    }
}
