//! Caches after failures, and memories that cannot be truncated.

use std::ops::Range;

use logitspec::runtime::DecodeError;
use logitspec::tree::{DraftTree, NodeId, ROOT, TreeLimits};

use super::*;

/// A tree whose root has `children` children with different tokens.
fn bush(children: usize, first: TokenId) -> DraftTree {
    let mut tree = DraftTree::new(first, TreeLimits::nodes(children + 1));
    for (token, _) in (first + 1..).zip(0..children) {
        tree.push(ROOT, token).unwrap();
    }
    tree
}

/// The largest difference between two rows.
fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

/// A model that is computed on the CPU.
fn on_cpu(name: &str) -> Model {
    let options = ModelOptions {
        n_gpu_layers: Some(0),
        ..ModelOptions::default()
    };
    Model::load(&model_path(name), &options).unwrap()
}

/// The rows of `nodes`, copied.
fn rows(target: &LlamaTarget<'_>, nodes: Range<NodeId>) -> Vec<Vec<f32>> {
    nodes
        .map(|node| target.row(0, node).logits().to_vec())
        .collect()
}

/// Checks that `target` holds `text`: the next row must equal that of a fresh cache.
fn assert_holds(
    model: &Model,
    target: &mut LlamaTarget<'_>,
    context: &ContextOptions,
    text: &[TokenId],
) {
    assert_eq!(target.n_past(0), text.len());
    target.append(0, &[7]).unwrap();
    let mut fresh = model.context(context).unwrap();
    fresh.append(0, text).unwrap();
    fresh.append(0, &[7]).unwrap();
    let worst = max_difference(target.row(0, ROOT).logits(), fresh.row(0, ROOT).logits());
    assert!(worst < 1e-3, "rows differ by {worst}");
}

#[test]
fn a_tree_without_room_does_not_change_the_cache() {
    let model = load("tiny-llama.gguf");
    let context = ContextOptions {
        n_ctx: Some(256),
        ..CONTEXT
    };
    let mut target = model.context(&context).unwrap();
    let text: Vec<TokenId> = (0..245).map(|at| 3 + at % 50).collect();
    target.append(0, &text).unwrap();
    let outcome = target.decode_tree(0, &[], &bush(20, 5));
    assert!(
        matches!(outcome, Err(DecodeError::NoRoom { batch: 21 })),
        "{outcome:?}"
    );
    assert_holds(&model, &mut target, &context, &text);
}

#[test]
fn a_tree_that_llama_cpp_refuses_does_not_change_the_cache() {
    let model = load("tiny-llama.gguf");
    let mut target = model.context(&CONTEXT).unwrap();
    let text: Vec<TokenId> = (0..40).map(|at| 3 + at % 20).collect();
    target.append(0, &text).unwrap();
    let beyond = target.n_vocab() as TokenId;
    let outcome = target.decode_tree(0, &[], &bush(6, beyond - 2));
    let Err(DecodeError::Failed { code, .. }) = &outcome else {
        panic!("{outcome:?}");
    };
    assert!(*code < 0, "{code}");
    assert_holds(&model, &mut target, &CONTEXT, &text);
}

#[test]
fn rows_are_right_after_commits_and_with_tokens_decoded_again() {
    let model = on_cpu("tiny-llama.gguf");
    let mut target = model.context(&CONTEXT).unwrap();
    let mut text: Vec<TokenId> = (0..300).map(|at| 3 + at % 50).collect();
    target.append(0, &text).unwrap();
    let mut redecode = Vec::new();
    for round in 0..42 {
        let mut tree = bush(20 + round % 30, 5);
        let mut path = vec![1];
        for token in 80..80 + round as TokenId % 4 {
            path.extend(tree.push(path[path.len() - 1], token));
        }
        path.truncate(round % 3);
        target.decode_tree(0, &redecode, &tree).unwrap();
        let before = rows(&target, ROOT..tree.len());
        if !redecode.is_empty() {
            for node in [ROOT, 1, 2] {
                let path = [ROOT].into_iter().chain(tree.path_to(node));
                let path = path.map(|node| tree.token(node));
                let mut fresh = model.context(&CONTEXT).unwrap();
                let all: Vec<_> = text.iter().copied().chain(path).collect();
                fresh.append(0, &all).unwrap();
                let worst = max_difference(&before[node], fresh.row(0, ROOT).logits());
                assert!(worst < 1e-3, "round {round}, node {node}: {worst}");
            }
        }
        let committed = if round % 4 == 1 { &[] } else { &path[..] };
        target.commit(0, &tree, committed);
        assert!(rows(&target, ROOT..tree.len()) == before, "round {round}");
        text.push(tree.token(ROOT));
        text.extend(path.iter().map(|&node| tree.token(node)));
        // Tokens that were not committed are decoded again with the next tree.
        redecode = text[target.n_past(0)..].to_vec();
        match round % 5 {
            0 if redecode.is_empty() => {
                assert_holds(&model, &mut target, &CONTEXT, &text);
                text.push(7);
            }
            1 => target.truncate(0, target.n_past(0)),
            2 => assert!(target.graphs_reused().is_some()),
            _ => {}
        }
    }
    target.append(0, &redecode).unwrap();
    assert_holds(&model, &mut target, &CONTEXT, &text);
}

#[test]
fn nothing_is_drafted_with_a_memory_that_cannot_be_truncated() {
    for (name, swa_full, drafts) in [
        ("tiny-mamba.gguf", true, false),
        ("tiny-swa.gguf", false, false),
        ("tiny-swa.gguf", true, true),
    ] {
        let model = load(name);
        let context = ContextOptions {
            swa_full,
            ..CONTEXT
        };
        assert_eq!(model.cannot_draft(&context).is_none(), drafts, "{name}");
        let prompt = model.vocabulary().tokenize(PROMPTS[2]).unwrap();
        let mut plain = Session::open(&model, &context, options(Method::Baseline, 1)).unwrap();
        let expected = answer(&mut plain, &prompt, 40);
        let mut session = Session::open(&model, &context, options(Method::Logitspec, 32)).unwrap();
        session.prefill(&prompt, &mut go_on).unwrap();
        let ours = session
            .generate(40, &mut |_| ControlFlow::Continue(()))
            .unwrap();
        assert_eq!(ours.drafted > 0, drafts, "{name}");
        assert_same(&model, &prompt, &ours.tokens, &expected, name);
    }
}

#[test]
fn recurrent_models_can_have_a_second_turn() {
    let model = load("tiny-mamba.gguf");
    let vocabulary = model.vocabulary();
    let mut session = Session::open(&model, &CONTEXT, options(Method::Logitspec, 32)).unwrap();
    answer(&mut session, &vocabulary.tokenize("one two").unwrap(), 10);
    answer(
        &mut session,
        &vocabulary.tokenize_continuation(" three").unwrap(),
        10,
    );
    let text = session.text().to_vec();
    // A fresh decode of the text gives the same next token.
    let next = answer(
        &mut session,
        &vocabulary.tokenize_continuation(" four").unwrap(),
        1,
    );
    let all = [text, vocabulary.tokenize_continuation(" four").unwrap()].concat();
    assert_eq!(plain_answer(&model, &all, 1), next);
}

#[test]
fn recurrent_models_start_over_after_a_cancelled_prompt() {
    let model = load("tiny-mamba.gguf");
    let vocabulary = model.vocabulary();
    let context = ContextOptions {
        n_batch: 4,
        ..CONTEXT
    };
    let prompt = vocabulary.tokenize(PROMPTS[2]).unwrap();
    let expected = plain_answer(&model, &prompt, 40);
    let mut session = Session::open(&model, &context, options(Method::Logitspec, 1)).unwrap();
    let first = answer(&mut session, &prompt, 20);
    cancel_prompt(&mut session, &prompt);
    // The state cannot be truncated, so it is computed again.
    assert_eq!(session.model().n_past(0), 0);
    let more = session
        .generate(20, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(more.finish, FinishReason::Length);
    let ours = [first, more.tokens].concat();
    assert_same(&model, &prompt, &ours, &expected, "started over");
}
