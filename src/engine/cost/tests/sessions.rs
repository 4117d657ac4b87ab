//! How sessions use the cost model.

use std::ops::ControlFlow;

use super::*;
use crate::TokenId;
use crate::draft::{DraftInput, Drafter};
use crate::engine::{Session, SessionOptions};
use crate::runtime::{Failure, ScriptedModel, TargetModel};
use crate::tree::{DraftTree, ROOT};

/// Guesses every token of a small vocabulary, whatever a pass costs, so that one is always right
/// and how fast this machine is makes no difference.
struct EveryToken(TokenId);

impl Drafter for EveryToken {
    fn name(&self) -> &'static str {
        "every-token"
    }

    fn begin(&mut self, _: &[TokenId]) {}

    fn extend(&mut self, _: &[TokenId], _: usize) {}

    fn draft(&mut self, _: &DraftInput<'_>, tree: &mut DraftTree) {
        (0..self.0).for_each(|token| {
            tree.push(ROOT, token);
        });
    }

    fn reset(&mut self) {}
}

#[test]
fn a_session_probes_one_token_now_and_then_if_it_weighs_costs() {
    let probes = |fill_tree| {
        let model = ScriptedModel::new(3, 0, 1, 2_000, 16);
        let options = SessionOptions {
            fill_tree,
            ..SessionOptions::default()
        };
        let mut session = Session::new(model, options)
            .with_drafter(Box::new(EveryToken(3)))
            .with_cost(CostModel::gpu());
        let prompt: Vec<_> = [0, 1, 2].into_iter().cycle().take(60).collect();
        session
            .prefill(&prompt, &mut |_, _| ControlFlow::Continue(()))
            .unwrap();
        let sizes = (0..40).map(|_| session.step(1_000).unwrap().unwrap().tree.len());
        sizes.filter(|&size| size == 1).count()
    };
    // Whether a second is wanted depends on how long the first took.
    assert!((1..=2).contains(&probes(false)));
    assert_eq!(probes(true), 0);
}

#[test]
fn accepted_tokens_off_the_principal_path_are_redecoded() {
    for exact in [true, false] {
        let model = ScriptedModel::new(9, 2, 1, 2_000, 16);
        let options = SessionOptions {
            exact,
            ..SessionOptions::default()
        };
        let mut session = Session::new(model, options)
            .with_drafter(Box::new(EveryToken(9)))
            .with_cost(CostModel::gpu());
        session
            .prefill(&[1, 2, 3, 4], &mut |_, _| ControlFlow::Continue(()))
            .unwrap();
        let mut seen = 0;
        // Until the context is nearly full: the last steps need no pass.
        while session.text().len() < 1_800 {
            let stepped = session.step(1_000).unwrap().unwrap();
            let (redecoded, nodes) = (stepped.step.redecoded, stepped.tree.len());
            let cost = session.cost().cost();
            // Another tree as large, with as many redecoded tokens, would reuse the graph.
            assert_eq!(cost.of_tree(nodes), cost.of(redecoded + nodes));
            let off = stepped.path.first().is_some_and(|&node| node != 1);
            let behind = session.text().len() - session.model().n_past(0);
            assert_eq!(behind, usize::from(exact && off));
            assert!(!exact || session.model().is_in_order());
            seen += redecoded;
        }
        assert_eq!(seen > 0, exact);
    }
}

/// Whether the next pass of so many tokens would reuse a graph.
fn has_graph(session: &Session<ScriptedModel>, tokens: usize) -> bool {
    let cost = session.cost().cost();
    cost.of_tree(tokens) == cost.of(tokens)
}

#[test]
fn a_session_forgets_a_graph_that_is_gone() {
    let go_on = &mut |_: usize, _: usize| ControlFlow::Continue(());
    // The first tree finds no room: its root alone is decoded instead.
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
