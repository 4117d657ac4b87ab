//! Caches after failures, and memories that cannot be cut back.

use std::ops::Range;

use logitspec::runtime::DecodeError;
use logitspec::tree::{DraftTree, NodeId, ROOT, TreeLimits};

use super::*;

/// A tree whose root has `children` children, tokens of their own.
fn bush(children: usize, first: TokenId) -> DraftTree {
    let mut tree = DraftTree::new(first, TreeLimits::nodes(children + 1));
    for (token, _) in (first + 1..).zip(0..children) {
        tree.push(ROOT, token).unwrap();
    }
    tree
}

/// The largest difference between two rows.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, f32::max)
}

/// A model whose rows are computed on the processor.
fn on_the_processor(name: &str) -> Model {
    let options = ModelOptions {
        n_gpu_layers: Some(0),
        ..ModelOptions::default()
    };
    Model::load(&model_path(name), &options).unwrap()
}

/// The rows of `nodes`, copied.
fn rows(target: &LlamaTarget<'_>, nodes: Range<NodeId>) -> Vec<Vec<f32>> {
    nodes
        .map(|node| target.row(node).logits().to_vec())
        .collect()
}

/// The row after `text` on a fresh cache must be that of one more token on `target`.
fn assert_goes_on(
    model: &Model,
    target: &mut LlamaTarget<'_>,
    context: &ContextOptions,
    text: &[TokenId],
) {
    assert_eq!(target.n_past(), text.len());
    target.append(&[7]).unwrap();
    let mut fresh = model.context(context).unwrap();
    fresh.append(text).unwrap();
    fresh.append(&[7]).unwrap();
    let worst = apart(target.row(ROOT).logits(), fresh.row(ROOT).logits());
    assert!(worst < 1e-3, "rows differ by {worst}");
}

#[test]
fn a_tree_without_room_leaves_the_cache_as_it_was() {
    let model = load("tiny-llama.gguf");
    let context = ContextOptions {
        n_ctx: Some(256),
        ..CONTEXT
    };
    let mut target = model.context(&context).unwrap();
    let text: Vec<TokenId> = (0..245).map(|at| 3 + at % 50).collect();
    target.append(&text).unwrap();
    let outcome = target.decode_tree(&[], &bush(20, 5));
    assert!(
        matches!(outcome, Err(DecodeError::NoRoom { batch: 21 })),
        "{outcome:?}"
    );
    assert_goes_on(&model, &mut target, &context, &text);
}

#[test]
fn a_tree_that_llama_cpp_refuses_leaves_the_cache_as_it_was() {
    let model = load("tiny-llama.gguf");
    let mut target = model.context(&CONTEXT).unwrap();
    let text: Vec<TokenId> = (0..40).map(|at| 3 + at % 20).collect();
    target.append(&text).unwrap();
    let beyond = target.n_vocab() as TokenId;
    let outcome = target.decode_tree(&[], &bush(6, beyond - 2));
    let Err(DecodeError::Failed { code, .. }) = &outcome else {
        panic!("{outcome:?}");
    };
    assert!(*code < 0, "{code}");
    assert_goes_on(&model, &mut target, &CONTEXT, &text);
}

#[test]
fn each_node_has_its_own_row_through_redecoded_tokens_and_commits() {
    let model = on_the_processor("tiny-llama.gguf");
    let mut target = model.context(&CONTEXT).unwrap();
    let mut text: Vec<TokenId> = (0..300).map(|at| 3 + at % 50).collect();
    target.append(&text).unwrap();
    let mut redecode = Vec::new();
    for round in 0..42 {
        let mut tree = bush(20 + round % 30, 5);
        let mut path = vec![1];
        for token in 80..80 + round as TokenId % 4 {
            path.extend(tree.push(path[path.len() - 1], token));
        }
        path.truncate(round % 3);
        target.decode_tree(&redecode, &tree).unwrap();
        let before = rows(&target, ROOT..tree.len());
        if !redecode.is_empty() {
            for node in [ROOT, 1, 2] {
                let path = [ROOT].into_iter().chain(tree.path_to(node));
                let path = path.map(|node| tree.token(node));
                let mut fresh = model.context(&CONTEXT).unwrap();
                let all: Vec<_> = text.iter().copied().chain(path).collect();
                fresh.append(&all).unwrap();
                let worst = apart(&before[node], fresh.row(ROOT).logits());
                assert!(worst < 1e-3, "round {round}, node {node}: {worst}");
            }
        }
        let kept = if round % 4 == 1 { &[] } else { &path[..] };
        target.commit(&tree, kept);
        assert!(rows(&target, ROOT..tree.len()) == before, "round {round}");
        text.push(tree.token(ROOT));
        text.extend(path.iter().map(|&node| tree.token(node)));
        // What was not kept is decoded with the next tree.
        redecode = text[target.n_past()..].to_vec();
        match round % 5 {
            0 if redecode.is_empty() => {
                assert_goes_on(&model, &mut target, &CONTEXT, &text);
                text.push(7);
            }
            1 => target.truncate(target.n_past()),
            2 => assert!(target.graphs_reused().is_some()),
            _ => {}
        }
    }
    target.append(&redecode).unwrap();
    assert_goes_on(&model, &mut target, &CONTEXT, &text);
}

#[test]
fn memories_that_cannot_be_cut_back_decode_plainly() {
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
        let prompt = model.vocabulary().tokenize(PROMPTS[2]);
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
fn recurrent_models_take_a_second_turn() {
    let model = load("tiny-mamba.gguf");
    let vocabulary = model.vocabulary();
    let mut session = Session::open(&model, &CONTEXT, options(Method::Logitspec, 32)).unwrap();
    answer(&mut session, &vocabulary.tokenize("one two"), 10);
    answer(
        &mut session,
        &vocabulary.tokenize_continuation(" three"),
        10,
    );
    let text = session.text().to_vec();
    // The same text afresh has the same next token.
    let next = answer(&mut session, &vocabulary.tokenize_continuation(" four"), 1);
    let all = [text, vocabulary.tokenize_continuation(" four")].concat();
    assert_eq!(plain_answer(&model, &all, 1), next);
}

#[test]
fn recurrent_models_start_over_when_a_prompt_is_called_off() {
    let model = load("tiny-mamba.gguf");
    let vocabulary = model.vocabulary();
    let context = ContextOptions {
        n_batch: 4,
        ..CONTEXT
    };
    let prompt = vocabulary.tokenize(PROMPTS[2]);
    let expected = plain_answer(&model, &prompt, 40);
    let mut session = Session::open(&model, &context, options(Method::Logitspec, 1)).unwrap();
    let first = answer(&mut session, &prompt, 20);
    call_off(&mut session, &prompt);
    // The state cannot be taken back, so it is computed anew.
    assert_eq!(session.model().n_past(), 0);
    let more = session
        .generate(20, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(more.finish, FinishReason::Length);
    let ours = [first, more.tokens].concat();
    assert_same(&model, &prompt, &ours, &expected, "started over");
}
