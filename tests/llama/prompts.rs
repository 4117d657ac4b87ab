//! Prompts: physical batches, checks and cancellation.

use super::*;

#[test]
fn the_physical_batch_depends_on_the_device_and_not_on_the_tree() {
    let on_processor = ModelOptions {
        n_gpu_layers: Some(0),
        ..ModelOptions::default()
    };
    let model = Model::load(&model_path("tiny-llama.gguf"), &on_processor).unwrap();
    let size = |n_ubatch, n_batch, draft_tree_capacity| {
        let context = ContextOptions {
            n_ubatch,
            n_batch,
            draft_tree_capacity,
            ..CONTEXT
        };
        let target = model.context(&context).unwrap();
        assert_eq!(target.prompt_piece(), model.n_ubatch(&context) as usize);
        target.prompt_piece()
    };
    assert_eq!(size(None, 2048, 64), 256);
    // So one calibration is right for all trees, and all methods split prompts in the same way.
    assert_eq!(size(None, 2048, 1000), 256);
    assert_eq!(size(None, 100, 64), 100);
    assert_eq!(size(Some(0), 2048, 64), 1);
    assert_eq!(size(Some(512), 2048, 64), 512);
}

#[test]
fn several_physical_batches_do_not_change_the_answer() {
    let model = load("tiny-llama.gguf");
    let context = ContextOptions {
        n_ubatch: None,
        ..CONTEXT
    };
    let prompt: Vec<TokenId> = (0..600).map(|at| 3 + at * at % 50).collect();
    let expected = plain_answer(&model, &prompt, 60);
    for capacity in [1, 64, 300] {
        let options = options(Method::Logitspec, capacity);
        let what = format!("{capacity} tokens");
        assert_session_gives(&model, &context, options, &prompt, 60, &expected, &what);
    }
}

#[test]
fn a_long_prompt_can_be_cancelled_between_physical_batches() {
    let model = load("tiny-llama.gguf");
    let context = ContextOptions {
        n_ubatch: Some(64),
        ..CONTEXT
    };
    let prompt: Vec<TokenId> = (0..300).map(|at| 3 + at % 50).collect();
    let mut session = Session::open(&model, &context, options(Method::Baseline, 1)).unwrap();
    let mut reports = Vec::new();
    let outcome = session.prefill(&prompt, &mut |done, _| {
        reports.push(done);
        if done < 128 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    assert!(matches!(outcome, Err(GenerateError::Cancelled)));
    assert_eq!(reports, [0, 64, 128]);
}

#[test]
fn prompts_are_checked_and_a_cancelled_prompt_does_not_change_the_text() {
    let model = load("tiny-llama.gguf");
    let vocabulary = model.vocabulary();
    let context = ContextOptions {
        n_batch: 8,
        ..CONTEXT
    };
    let mut session = Session::open(&model, &context, options(Method::Logitspec, 8)).unwrap();
    assert_eq!(
        session.prefill(&[], &mut go_on),
        Err(GenerateError::EmptyPrompt)
    );
    let unknown = session.prefill(&[1, 640], &mut go_on);
    assert!(matches!(
        unknown,
        Err(GenerateError::UnknownToken { token: 640, .. })
    ));
    let nothing = session.generate(5, &mut |_| ControlFlow::Continue(()));
    assert_eq!(nothing, Err(GenerateError::EmptyPrompt));

    let prompt = vocabulary.tokenize(PROMPTS[0]).unwrap();
    let first = answer(&mut session, &prompt, 30);
    let text = session.text().to_vec();
    cancel_prompt(&mut session, &prompt);
    assert_eq!(session.text(), text);
    // The answer can be continued.
    let more = session
        .generate(30, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    let expected = plain_answer(&model, &prompt, 60);
    assert_same(
        &model,
        &prompt,
        &[first, more.tokens].concat(),
        &expected,
        "resumed",
    );
}
