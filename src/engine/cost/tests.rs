//! Known costs are learned, and wrong ones unlearned.

use std::ops::ControlFlow;

use super::curves::interpolate;
use super::*;
use crate::engine::{Method, Session, SessionOptions};
use crate::runtime::{Failure, ScriptedModel};

/// A pass on one sequence.
fn pass(tokens: usize, n_past: usize) -> Pass {
    Pass {
        tokens,
        sequences: 1,
        n_past,
        chosen: true,
    }
}

fn ratio(model: &CostModel, n: usize) -> f64 {
    model.cost().bare(n) / model.cost().bare(1)
}

#[test]
fn sizes_between_those_measured_are_interpolated() {
    let model = CostModel::learned(vec![Curve {
        n_past: 0,
        times: vec![(1, 1.0), (4, 1.6), (8, 4.0)],
    }]);
    let cost = model.cost();
    assert!((cost.bare(2) - 1.2).abs() < 1e-9);
    assert!((cost.bare(6) - 2.8).abs() < 1e-9);
    assert!((cost.bare(10) - 5.2).abs() < 1e-9);
    assert!(
        (cost.bare(300) - (4.0 + 292.0 * 0.6)).abs() < 1.0,
        "beyond the table"
    );
}

/// Milliseconds measured with weights in Q4_0, whose kernels take four tokens at once. 64 tokens took 307.
const FOUR_AT_ONCE: [(usize, f64); 8] = [
    (1, 20.8),
    (2, 34.8),
    (3, 47.6),
    (4, 34.3),
    (5, 45.8),
    (6, 62.5),
    (7, 76.5),
    (8, 59.1),
];

#[test]
fn larger_passes_than_measured_go_on_with_the_slope_of_the_larger_half() {
    // Not of the last step, which falls, and not the mean, in which the second token counts as much as the rest.
    let expected = 59.1 + 56.0 * (59.1 - 34.3) / 4.0;
    assert!((interpolate(&FOUR_AT_ONCE, 64) - expected).abs() < 1e-9);
    // The half by size, not by number.
    assert_eq!(
        interpolate(&[(1, 1.0), (2, 2.0), (3, 3.0), (8, 4.0)], 13),
        5.0
    );
    // The larger half falls: the mean. All fall: a little. One size: as if each token took a pass.
    assert_eq!(interpolate(&[(1, 3.0), (2, 9.0), (4, 6.0)], 6), 8.0);
    assert_eq!(interpolate(&[(1, 5.0), (2, 9.0), (4, 4.0)], 8), 4.08);
    assert_eq!(interpolate(&[(1, 5.0)], 3), 15.0);
}

#[test]
fn a_longer_context_with_fewer_sizes_goes_on_like_the_shorter_one() {
    let curve = |n_past, times: &[(usize, f64)]| Curve {
        n_past,
        times: times.to_vec(),
    };
    let mut model = CostModel::learned(vec![
        curve(0, &[(1, 1.0), (4, 2.0), (64, 12.0)]),
        curve(100, &[(1, 1.0), (4, 2.0), (64, 12.0)]),
        curve(1000, &[(1, 2.0), (4, 5.0)]),
        curve(2000, &[(1, 3.0)]),
    ]);
    model.observe(pass(1, 1000), 2.0);
    let at_1000 = [4, 64].map(|n| ratio(&model, n));
    assert!((at_1000[0] - 2.5).abs() < 1e-9);
    assert!((at_1000[1] - 2.5 * 6.0).abs() < 1e-9, "{at_1000:?}");
    // Between contexts, and beyond the last.
    model.observe(pass(1, 1536), 2.536);
    let expected = (5.0 + 0.536 * 2.5) / 2.536;
    assert!((ratio(&model, 4) - expected).abs() < 1e-6);
    model.observe(pass(1, 4096), 3.0);
    assert!((ratio(&model, 64) - 15.0).abs() < 1e-6);
}

#[test]
fn a_longer_context_that_was_measured_as_far_has_a_slope_of_its_own() {
    let curve = |n_past, times: [(usize, f64); 3]| Curve {
        n_past,
        times: times.to_vec(),
    };
    let mut model = CostModel::learned(vec![
        curve(0, [(1, 1.0), (2, 1.1), (4, 1.3)]),
        curve(1000, [(1, 1.0), (2, 2.0), (4, 4.0)]),
    ]);
    model.observe(pass(1, 1000), 1.0);
    assert!((ratio(&model, 8) - 8.0).abs() < 1e-9);
}

#[test]
fn a_wrong_prior_is_corrected_where_passes_were_seen_and_around() {
    let mut model = CostModel::cpu(false);
    for i in 0..200 {
        let n = [1, 4, 1, 8][i % 4];
        let truth = [0.0, 0.05, 0.0, 0.0, 0.12, 0.0, 0.0, 0.0, 0.2][n];
        model.observe(
            pass(n, 100),
            truth * (1.0 + 0.05 * ((i * 7 % 5) as f64 - 2.0)),
        );
    }
    assert!(
        (ratio(&model, 4) / 2.4 - 1.0).abs() < 0.1,
        "{}",
        ratio(&model, 4)
    );
    assert!(
        (ratio(&model, 8) / 4.0 - 1.0).abs() < 0.1,
        "{}",
        ratio(&model, 8)
    );
    assert!(ratio(&model, 6) > 2.5, "{}", ratio(&model, 6));
}

#[test]
fn a_slower_machine_changes_no_ratio_and_a_hiccup_little() {
    let mut model = CostModel::cpu(true);
    let truth = |n: usize| 0.01 * interpolate(&[(1, 1.0), (4, 2.0), (8, 3.0)], n);
    (0..300).for_each(|i| model.observe(pass([1, 4, 8][i % 3], 0), truth([1, 4, 8][i % 3])));
    let before = ratio(&model, 4);
    (0..300).for_each(|i| model.observe(pass([1, 4, 8][i % 3], 0), 3.0 * truth([1, 4, 8][i % 3])));
    assert!((ratio(&model, 4) / before - 1.0).abs() < 0.05);
    model.observe(pass(4, 0), 100.0 * truth(4));
    assert!((ratio(&model, 4) / before - 1.0).abs() < 0.06);
}

#[test]
fn a_size_measured_at_a_bad_moment_gets_another_chance() {
    let mut model = CostModel::cpu(false);
    model.observe(pass(1, 0), 0.01);
    (0..3).for_each(|_| model.observe(pass(4, 0), 0.1));
    let bad = ratio(&model, 4);
    (0..2000).for_each(|_| model.observe(pass(1, 0), 0.01));
    assert!(ratio(&model, 4) < 0.8 * bad, "{} {bad}", ratio(&model, 4));
}

#[test]
fn context_lengths_are_interpolated() {
    let curve = |n_past, slope: f64| Curve {
        n_past,
        times: vec![(1, 1.0), (2, 1.0 + slope)],
    };
    let mut model = CostModel::learned(vec![curve(0, 0.2), curve(1000, 0.6)]);
    model.observe(pass(1, 500), 1.0);
    assert!((ratio(&model, 2) - 1.4).abs() < 1e-6);
    model.observe(pass(1, 9000), 1.0);
    assert!((ratio(&model, 2) - 1.6).abs() < 0.05);
}

#[test]
fn the_sweep_gives_what_each_size_gives_alone() {
    let mut model = CostModel::cpu(true);
    for (i, n) in [3, 17, 3, 64, 1, 200].into_iter().enumerate() {
        model.observe(pass(n, 10 * i), 0.01 * (n + i) as f64);
        model.refresh();
        for n in 1..=MOST_TOKENS {
            let alone =
                (prior(&model.curves, model.n_past, n).ln() + model.speed + model.correction(n))
                    .exp();
            assert!((model.cost().bare(n) / alone - 1.0).abs() < 1e-9, "{n}");
        }
    }
}

#[test]
fn the_time_to_build_a_graph_is_told_from_the_time_of_the_pass() {
    let mut model = CostModel::cpu(false);
    let truth = |n: usize| 0.001 * [0.0, 1.0, 1.5, 1.8, 2.0][n];
    let sizes = [1, 1, 1, 1, 4, 1, 1, 2, 2, 1, 1, 1, 4, 4, 1];
    let mut last = 0;
    for i in 0..600 {
        let n = sizes[i % sizes.len()];
        let noise = 1.0 + 0.02 * ((i * 7 % 11) as f64 - 5.0);
        let rebuild = if n == last { 0.0 } else { 0.0003 };
        model.observe(pass(n, 100), truth(n) * noise + rebuild);
        last = n;
    }
    let cost = model.cost();
    let bare = |n: usize| cost.bare(n) / cost.bare(1);
    assert!((bare(2) / 1.5 - 1.0).abs() < 0.1, "{}", bare(2));
    assert!((bare(4) / 2.0 - 1.0).abs() < 0.1, "{}", bare(4));
    let rebuild = (cost.time(4) - cost.bare(4)) / cost.bare(1);
    assert!((rebuild - 0.3).abs() < 0.05, "{rebuild}");
    assert_eq!(cost.time(1), cost.bare(1), "the last pass was of one token");
    model.interrupted();
    let cost = model.cost();
    assert!(cost.time(1) > 1.2 * cost.bare(1), "its graph is gone");
}

/// What a change to so many tokens has to bring, in passes of one token.
fn charge(model: &CostModel, tokens: usize) -> f64 {
    let cost = model.cost();
    cost.change(tokens) / cost.bare(1)
}

fn without_graphs() -> CostModel {
    let curve = Curve::anywhere(&[(1, 1.0), (2, 1.1), (8, 2.0)]);
    CostModel::learned(vec![curve])
        .with_rebuild(0.0)
        .holding_shapes()
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
fn where_shapes_are_not_held_the_charge_is_as_little_as_it_may_be() {
    let mut model = CostModel::cpu(false).with_rebuild(0.0);
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
    // Where a large pass took two pieces, the next as large finds its graph, and another size is a change.
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

#[test]
fn what_one_token_costs_comes_to_light_although_trees_seem_to_be_free() {
    // Measured at a bad moment: one token seems to cost nearly what eight do, or even more.
    for (one, passes) in [(1.0, 200), (2.0, 500)] {
        let wrong = Curve::anywhere(&[(1, one), (8, 1.1), (256, 40.0)]);
        let mut model = CostModel::learned(vec![wrong]);
        let mut plain = 0;
        let mut pass = |model: &mut CostModel| {
            let n = if model.wants_plain() { 1 } else { 8 };
            model.observe(pass(n, 100), [1.0, 4.0][usize::from(n == 8)]);
            plain += usize::from(n == 1);
        };
        (0..passes).for_each(|_| pass(&mut model));
        assert!(ratio(&model, 8) > 2.5, "{}", ratio(&model, 8));
        (0..10_000).for_each(|_| pass(&mut model));
        assert!((ratio(&model, 8) / 4.0 - 1.0).abs() < 0.1);
        assert!((10..=200).contains(&plain), "{plain}");
    }
    let mut model = CostModel::cpu(false);
    // Who decodes plainly anyway is not told to, nor is one who has nothing to learn.
    (0..1000).for_each(|_| model.observe(pass(1, 100), 1.0));
    assert!(!model.wants_plain());
    let mut flat = CostModel::flat();
    (0..1000).for_each(|_| flat.observe(pass(8, 100), 1.0));
    assert!(!flat.wants_plain());
}

#[test]
fn a_session_passes_one_token_now_and_then_if_it_weighs_costs() {
    let plain_passes = |fill_tree| {
        let model = ScriptedModel::new(3, 0, 1, 2_000, 16);
        let options = SessionOptions {
            fill_tree,
            ..SessionOptions::default()
        };
        // A drafter that does not look at the cost, so that how fast this machine is makes no difference.
        let drafter = Method::PromptLookup.drafter(options.method_params);
        let mut session = Session::new(model, options)
            .with_drafter(drafter)
            .with_cost(CostModel::gpu());
        let prompt: Vec<_> = [0, 1, 2].into_iter().cycle().take(60).collect();
        session
            .prefill(&prompt, &mut |_, _| ControlFlow::Continue(()))
            .unwrap();
        let sizes = (0..40).map(|_| session.step(1_000).unwrap().unwrap().tree.len());
        sizes.filter(|&size| size == 1).count()
    };
    // Whether the first is believed depends on how long it took.
    assert!((1..=2).contains(&plain_passes(false)));
    assert_eq!(plain_passes(true), 0);
}

#[test]
fn more_tokens_never_cost_less_and_what_they_cost_may_be_unknown() {
    let times = FOUR_AT_ONCE.to_vec();
    let mut model = CostModel::learned(vec![Curve { n_past: 0, times }]).with_rebuild(0.0);
    assert_eq!(model.seconds_of(1, 1), f64::INFINITY, "in no unit yet");
    let one = model.cost().bare(1);
    model.observe(pass(1, 0), one);
    assert!((model.seconds_of(1, 1) - 14.0).abs() < 1e-9);
    assert!((model.seconds_of(2, 4) - 28.2).abs() < 1e-9);
    assert_eq!(model.seconds_of(1, 7), 0.0, "eight take less than seven");
    assert_eq!(model.seconds_of(0, 7), 0.0);
    let unknown = CostModel::flat();
    assert_eq!(unknown.seconds_of(0, 7), 0.0);
    assert_eq!(unknown.seconds_of(1, 7), f64::INFINITY);
}

#[test]
fn accepted_tokens_are_decoded_again_if_calls_to_the_cache_take_longer() {
    use std::time::Duration;
    for (cost, fill_tree) in [(CostModel::gpu(), false), (CostModel::flat(), true)] {
        for seconds in [0, 10] {
            let model =
                ScriptedModel::new(9, 2, 1, 2_000, 16).with_call_time(Duration::from_secs(seconds));
            let options = SessionOptions {
                fill_tree,
                draft_tree_capacity: 16,
                ..SessionOptions::default()
            };
            let mut session = Session::new(model.clone(), options).with_cost(cost.clone());
            let prompt = [1, 2, 3, 4];
            session
                .prefill(&prompt, &mut |_, _| ControlFlow::Continue(()))
                .unwrap();
            let answer = session
                .generate(400, &mut |view| {
                    assert!(view.step.decoded_again + view.tree.len() <= 16);
                    ControlFlow::Continue(())
                })
                .unwrap();
            // No pass takes ten seconds here, and calls that take no time keep nobody waiting.
            assert_eq!(answer.decoded_again > 0, seconds > 0);
            let mut text = prompt.to_vec();
            for &token in &answer.tokens {
                let row = model.logits_after(&text);
                assert_eq!(token, crate::verify::argmax(&row));
                text.push(token);
            }
        }
    }
}

#[test]
fn tokens_decoded_again_are_part_of_the_pass_that_is_paid_for() {
    let model =
        ScriptedModel::new(9, 2, 1, 2_000, 16).with_call_time(std::time::Duration::from_secs(10));
    let mut session = Session::new(model, SessionOptions::default()).with_cost(CostModel::gpu());
    session
        .prefill(&[1, 2, 3, 4], &mut |_, _| ControlFlow::Continue(()))
        .unwrap();
    let mut seen = 0;
    // Until the context is nearly full: the last steps need no pass.
    while session.text().len() < 1_800 {
        let stepped = session.step(1_000).unwrap().unwrap();
        let (again, nodes) = (stepped.step.decoded_again, stepped.tree.len());
        let cost = session.cost().cost();
        // Another tree as large, with as much ahead of it, would find its graph.
        assert_eq!(cost.time(nodes), cost.bare(again + nodes));
        assert_ne!(cost.time(nodes + 1), cost.bare(again + nodes + 1));
        seen += again;
    }
    assert!(seen > 0);
}

#[test]
fn known_costs_stay_as_they_are() {
    let mut model = CostModel::flat();
    model.observe(pass(9, 0), 5.0);
    assert!(model.cost().is_flat());
}

/// Whether the next pass of so many tokens is taken to have its graph.
fn has_graph(session: &Session<ScriptedModel>, tokens: usize) -> bool {
    let cost = session.cost().cost();
    cost.time(tokens) == cost.bare(tokens)
}

#[test]
fn a_session_tells_when_a_graph_is_gone() {
    let go_on = &mut |_: usize, _: usize| ControlFlow::Continue(());
    // After the prompt and three roots, which are held to, the first tree finds no room: its root alone is decoded instead.
    let model = ScriptedModel::new(3, 0, 1, 200, 16).with_failures([(4, Failure::NoRoom)]);
    let mut session = Session::new(model, SessionOptions::default()).with_cost(CostModel::gpu());
    session.prefill(&[1, 2, 1, 2], go_on).unwrap();
    let graphs = [(); 5].map(|()| {
        let size = session.step(1_000).unwrap().unwrap().tree.len();
        has_graph(&session, size)
    });
    assert_eq!(graphs, [true, true, true, false, true]);
    session.prefill(&[1], go_on).unwrap();
    let any = (1..100).any(|tokens| has_graph(&session, tokens));
    assert!(!any, "the prompt's pass came in between");
}

#[test]
fn trees_to_be_filled_are_filled_whatever_a_pass_is_said_to_cost() {
    let largest = |fill_tree| {
        let options = SessionOptions {
            fill_tree,
            draft_tree_capacity: 16,
            ..SessionOptions::default()
        };
        let model = ScriptedModel::new(9, 2, 1, 2_000, 16);
        let dear = PassCost::from_times(vec![1.0, 1000.0]);
        let mut session = Session::new(model, options).with_cost(CostModel::fixed(dear));
        session
            .prefill(&[1, 2, 3, 4], &mut |_, _| ControlFlow::Continue(()))
            .unwrap();
        let sizes = (0..40).map(|_| session.step(1_000).unwrap().unwrap().tree.len());
        sizes.max()
    };
    assert_eq!(largest(false), Some(1));
    assert_eq!(largest(true), Some(16));
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
