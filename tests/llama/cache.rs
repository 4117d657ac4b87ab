//! Caches after failures, and memories that cannot be cut back.

use std::ops::Range;

use logitspec::draft::{DraftTree, NodeId, ROOT, ROW_CANDIDATES, TreeLimits};
use logitspec::runtime::DecodeError;
use logitspec::verify::top_k;

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
fn on_the_processor(name: &str) -> Engine {
    let options = ModelOptions {
        n_gpu_layers: Some(0),
        ..ModelOptions::default()
    };
    Engine::load(&model(name), &options).unwrap()
}

/// Each row has the best that a look at it finds. How many of the rows have them known before.
fn known_rows(target: &LlamaTarget<'_>, rows: Range<NodeId>) -> usize {
    let known = rows.filter(|&node| {
        let row = target.row(node);
        let best = top_k(row.logits(), ROW_CANDIDATES);
        assert_eq!(row.logits(), target.logits(node));
        assert_eq!(row.argmax(), best[0].token);
        let known = !row.best().is_empty();
        assert!(!known || row.best() == best, "node {node}");
        known
    });
    known.count()
}

/// Rows are looked through while they are copied, if the linker has llama.cpp do it here.
fn expected_rows(rows: usize) -> usize {
    if cfg!(few_token_kernels) { rows } else { 0 }
}

#[test]
fn the_best_of_rows_are_known_also_where_a_tree_is_computed_in_parts() {
    let engine = on_the_processor("tiny-llama.gguf");
    // 31 tokens, and with three missing 34: parts of all sizes, of one row, too.
    for n_ubatch in [64, 16, 10, 11, 1] {
        let context = ContextOptions {
            n_ubatch: Some(n_ubatch),
            ..CONTEXT
        };
        let mut target = engine.context(&context).unwrap();
        let row = target.append(&[3, 4, 5, 6, 7]).unwrap();
        assert_eq!(known_rows(&target, row..row + 1), expected_rows(1));
        for missing in [&[][..], &[9, 10, 11]] {
            let tree = bush(30, 5);
            target.decode_tree(missing, &tree).unwrap();
            assert_eq!(
                known_rows(&target, ROOT..tree.len()),
                expected_rows(31),
                "{n_ubatch}"
            );
            target.commit(&tree, &[]);
        }
        let row = target.append(&[8]).unwrap();
        assert_eq!(known_rows(&target, row..row + 1), expected_rows(1));
    }
}

#[test]
fn the_best_of_rows_are_each_context_s_own_and_those_of_its_last_decode() {
    let engine = on_the_processor("tiny-llama.gguf");
    let [mut one, mut other] = [(); 2].map(|()| engine.context(&CONTEXT).unwrap());
    let trees = [bush(20, 5), bush(30, 40)];
    one.append(&[3, 4, 5]).unwrap();
    other.append(&[6, 7]).unwrap();
    one.decode_tree(&[], &trees[0]).unwrap();
    other.decode_tree(&[], &trees[1]).unwrap();
    assert_eq!(known_rows(&one, ROOT..trees[0].len()), expected_rows(21));
    assert_eq!(known_rows(&other, ROOT..trees[1].len()), expected_rows(31));
    other.commit(&trees[1], &[]);
    let beyond = other.n_vocab() as TokenId;
    other.decode_tree(&[], &bush(6, beyond - 2)).unwrap_err();
    other.append(&[1]).unwrap();
    assert_eq!(known_rows(&other, ROOT..ROOT + 1), expected_rows(1));
    assert_eq!(known_rows(&one, ROOT..trees[0].len()), expected_rows(21));
}

/// The row after `text` on a fresh cache must be that of one more token on `target`.
fn assert_goes_on(
    engine: &Engine,
    target: &mut LlamaTarget<'_>,
    context: &ContextOptions,
    text: &[TokenId],
) {
    assert_eq!(target.n_past(), text.len());
    let row = target.append(&[7]).unwrap();
    let ours = target.logits(row).to_vec();
    let mut fresh = engine.context(context).unwrap();
    fresh.append(text).unwrap();
    let row = fresh.append(&[7]).unwrap();
    let worst = apart(&ours, fresh.logits(row));
    assert!(worst < 1e-3, "rows differ by {worst}");
}

#[test]
fn a_tree_without_room_leaves_the_cache_as_it_was() {
    let engine = engine("tiny-llama.gguf");
    let context = ContextOptions {
        n_ctx: Some(256),
        ..CONTEXT
    };
    let mut target = engine.context(&context).unwrap();
    let text: Vec<TokenId> = (0..245).map(|at| 3 + at % 50).collect();
    target.append(&text).unwrap();
    let outcome = target.decode_tree(&[], &bush(20, 5));
    assert!(
        matches!(outcome, Err(DecodeError::NoRoom { batch: 21 })),
        "{outcome:?}"
    );
    assert_goes_on(&engine, &mut target, &context, &text);
}

#[test]
fn a_tree_that_llama_cpp_refuses_leaves_the_cache_as_it_was() {
    let engine = engine("tiny-llama.gguf");
    let mut target = engine.context(&CONTEXT).unwrap();
    let text: Vec<TokenId> = (0..40).map(|at| 3 + at % 20).collect();
    target.append(&text).unwrap();
    let beyond = target.n_vocab() as TokenId;
    let outcome = target.decode_tree(&[], &bush(6, beyond - 2));
    let Err(DecodeError::Failed { code, .. }) = &outcome else {
        panic!("{outcome:?}");
    };
    assert!(*code < 0, "{code}");
    assert_goes_on(&engine, &mut target, &CONTEXT, &text);
}

/// With so many leaves, cells are moved beside the thread that decodes.
#[test]
fn rows_stay_and_nothing_comes_between_while_cells_are_moved() {
    let engine = on_the_processor("tiny-llama.gguf");
    let mut target = engine.context(&CONTEXT).unwrap();
    let mut text: Vec<TokenId> = (0..300).map(|at| 3 + at % 50).collect();
    target.append(&text).unwrap();
    let mut missing = Vec::new();
    for round in 0..42 {
        let mut tree = bush(20 + round % 30, 5);
        let mut path = vec![1];
        for token in 80..80 + round as TokenId % 4 {
            path.extend(tree.push(path[path.len() - 1], token));
        }
        path.truncate(round % 3);
        target.decode_tree(&missing, &tree).unwrap();
        let read = |target: &LlamaTarget<'_>| {
            let rows = (0..tree.len()).map(|node| target.logits(node).to_vec());
            rows.collect::<Vec<_>>()
        };
        let before = read(&target);
        assert_eq!(
            known_rows(&target, ROOT..tree.len()),
            expected_rows(tree.len())
        );
        if !missing.is_empty() {
            // Each node has its own row, with the missing tokens ahead.
            for node in [ROOT, 1, 2] {
                let path = [ROOT].into_iter().chain(tree.path_to(node));
                let path = path.map(|node| tree.token(node));
                let mut fresh = engine.context(&CONTEXT).unwrap();
                let row = fresh
                    .append(&text.iter().copied().chain(path).collect::<Vec<_>>())
                    .unwrap();
                let worst = apart(&before[node], fresh.logits(row));
                assert!(worst < 1e-3, "round {round}, node {node}: {worst}");
            }
        }
        let kept = if round % 4 == 1 { &[] } else { &path[..] };
        target.commit(&tree, kept);
        assert!(read(&target) == before, "round {round}");
        assert_eq!(
            known_rows(&target, ROOT..tree.len()),
            expected_rows(tree.len())
        );
        text.push(tree.token(ROOT));
        text.extend(path.iter().map(|&node| tree.token(node)));
        // What was not kept is decoded with the next tree.
        missing = text[target.n_past()..].to_vec();
        match round % 5 {
            0 if missing.is_empty() => {
                assert_goes_on(&engine, &mut target, &CONTEXT, &text);
                text.push(7);
            }
            1 => target.truncate(target.n_past()),
            2 => assert!(target.graphs_reused().is_some()),
            _ => {}
        }
    }
    target.append(&missing).unwrap();
    assert_goes_on(&engine, &mut target, &CONTEXT, &text);
    // Whoever goes away in the middle of it waits, too.
    let tree = bush(60, 5);
    for _ in 0..10 {
        let mut target = engine.context(&CONTEXT).unwrap();
        target.append(&text).unwrap();
        target.decode_tree(&[], &tree).unwrap();
        target.commit(&tree, &[1]);
    }
}

#[test]
fn memories_that_cannot_be_cut_back_decode_plainly() {
    for (name, swa_full, drafts) in [
        ("tiny-mamba.gguf", true, false),
        ("tiny-swa.gguf", false, false),
        ("tiny-swa.gguf", true, true),
    ] {
        let engine = engine(name);
        let context = ContextOptions {
            swa_full,
            ..CONTEXT
        };
        assert_eq!(engine.cannot_draft(&context).is_none(), drafts, "{name}");
        let prompt = engine.vocabulary().tokenize(PROMPTS[2]);
        let mut plain = engine
            .session(&context, options(Method::Baseline, 1))
            .unwrap();
        let expected = answer(&mut plain, &prompt, 40);
        let mut session = engine
            .session(&context, options(Method::Logitspec, 32))
            .unwrap();
        session.prefill(&prompt, &mut go_on).unwrap();
        let ours = session
            .generate(40, &mut |_| ControlFlow::Continue(()))
            .unwrap();
        assert_eq!(ours.drafted > 0, drafts, "{name}");
        assert_same(&engine, &prompt, &ours.tokens, &expected, name);
    }
}

#[test]
fn recurrent_models_take_a_second_turn() {
    let engine = engine("tiny-mamba.gguf");
    let vocabulary = engine.vocabulary();
    let mut session = engine
        .session(&CONTEXT, options(Method::Logitspec, 32))
        .unwrap();
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
    assert_eq!(plain_answer(&engine, &all, 1), next);
}

#[test]
fn recurrent_models_start_over_when_a_prompt_is_called_off() {
    let engine = engine("tiny-mamba.gguf");
    let vocabulary = engine.vocabulary();
    let context = ContextOptions {
        n_batch: 4,
        ..CONTEXT
    };
    let prompt = vocabulary.tokenize(PROMPTS[2]);
    let expected = plain_answer(&engine, &prompt, 40);
    let mut session = engine
        .session(&context, options(Method::Logitspec, 1))
        .unwrap();
    let first = answer(&mut session, &prompt, 20);
    call_off(&mut session, &prompt);
    // The state cannot be taken back, so it is computed anew.
    assert_eq!(session.model().n_past(), 0);
    let more = session
        .generate(20, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(more.finish, FinishReason::Length);
    let ours = [first, more.tokens].concat();
    assert_same(&engine, &prompt, &ours, &expected, "started over");
}

/// A thread that is bound to one processor has nobody to move cells beside it.
#[cfg(target_os = "linux")]
#[test]
fn on_one_processor_every_call_keeps_the_next_pass_waiting() {
    let bound = std::thread::spawn(|| {
        let ours = rustix::thread::sched_getaffinity(None).unwrap();
        let first = (0..).find(|&at| ours.is_set(at)).unwrap();
        let mut one = rustix::thread::CpuSet::new();
        one.set(first);
        rustix::thread::sched_setaffinity(None, &one).unwrap();
        let engine = engine("tiny-llama.gguf");
        let mut target = engine.context(&CONTEXT).unwrap();
        let mut text: Vec<TokenId> = (0..200).map(|at| 3 + at % 50).collect();
        target.append(&text).unwrap();
        let tree = bush(60, 5);
        target.decode_tree(&[], &tree).unwrap();
        assert!(target.commit_delay(&[1]) > std::time::Duration::ZERO);
        target.commit(&tree, &[1]);
        text.extend([5, 6]);
        assert_goes_on(&engine, &mut target, &CONTEXT, &text);
    });
    bound.join().unwrap();
}
