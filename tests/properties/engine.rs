//! Sessions on a scripted model give the tokens of plain decoding, with any drafts and any
//! interruptions.

use std::ops::ControlFlow;

use logitspec::TokenId;
use logitspec::engine::{GenerateError, Method, Session, SessionOptions, StepView};
use logitspec::runtime::ScriptedModel;
use logitspec::verify::SamplingParams;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::engine::check;
use crate::checks::scenario::Scenario;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_drafter_gives_the_tokens_of_plain_decoding(
        setup in any::<[u8; 16]>(),
        actions in vec(any::<(u8, u8)>(), 0..10),
    ) {
        check(&Scenario::new(setup, &[]), &actions);
    }

    #[test]
    fn failures_do_not_change_the_tokens(
        setup in any::<[u8; 16]>(),
        actions in vec(any::<(u8, u8)>(), 0..14),
        failures in vec(any::<(u8, bool)>(), 1..8),
    ) {
        check(&Scenario::new(setup, &failures), &actions);
    }
}

/// A session with sampling.
fn sampling_session(method: Method) -> Session<ScriptedModel> {
    let options = SessionOptions {
        method,
        ..SessionOptions::default()
    };
    let sampling = SamplingParams {
        temperature: 1.0,
        seed: 5,
        ..SamplingParams::default()
    };
    Session::new(ScriptedModel::new(6, 1, 9, 500, 64), options).with_request(sampling.into())
}

fn prefill(session: &mut Session<ScriptedModel>, prompt: &[TokenId]) {
    let go_on = &mut |_, _| ControlFlow::Continue(());
    session.prefill(prompt, go_on).unwrap();
}

fn generate(session: &mut Session<ScriptedModel>, count: usize) {
    let go_on = &mut |_: &StepView<'_>| ControlFlow::Continue(());
    session.generate(count, go_on).unwrap();
}

#[test]
fn all_methods_use_the_same_random_numbers_when_answers_are_cut_short() {
    let texts = Method::ALL.map(|method| {
        let mut session = sampling_session(method);
        for count in 1..20 {
            prefill(&mut session, &[1, 2, 3]);
            generate(&mut session, count);
            generate(&mut session, count);
        }
        session.text().to_vec()
    });
    assert!(texts.iter().all(|text| *text == texts[0]));
}

#[test]
fn a_cancelled_prompt_uses_no_random_number() {
    let texts = [false, true].map(|cancels| {
        let mut session = sampling_session(Method::Logitspec);
        prefill(&mut session, &[1, 2, 3]);
        for _ in 0..20 {
            let stop = &mut |_: &StepView<'_>| ControlFlow::Break(());
            session.generate(50, stop).unwrap();
            if cancels {
                let outcome = session.prefill(&[4], &mut |_, _| ControlFlow::Break(()));
                assert_eq!(outcome, Err(GenerateError::Cancelled));
            }
        }
        session.text().to_vec()
    });
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn drafters_know_the_text_after_a_truncation() {
    let model = ScriptedModel::new(6, 0, 9, 500, 64);
    let options = SessionOptions {
        method: Method::PromptLookup,
        ..SessionOptions::default()
    };
    let mut session = Session::new(model, options);
    prefill(&mut session, &[1; 10]);
    generate(&mut session, 20);
    session.truncate(15);
    let truncated = session.text().to_vec();
    let answer = session
        .generate(10, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    // The model repeats one token, and the truncated text ends with it.
    assert_eq!(truncated[14], answer.tokens[0]);
    assert_eq!(answer.accept_lengths, [10]);
}

/// Passes of several tokens move the logits, and near ties are common.
#[test]
fn near_ties_are_left_to_passes_of_one_token() {
    let model = ScriptedModel::new(12, 3, 4, 600, 32).with_rounding(0.3);
    let answer = |method| {
        let options = SessionOptions {
            method,
            fill_tree: true,
            ..SessionOptions::default()
        };
        let mut session = Session::new(model.clone(), options);
        prefill(&mut session, &[1, 2, 3]);
        let go_on = &mut |_: &StepView<'_>| ControlFlow::Continue(());
        session.generate(500, go_on).unwrap()
    };
    let plain = answer(Method::Baseline);
    assert_eq!(plain.near_ties, 0);
    for method in Method::ALL {
        let drafted = answer(method);
        assert_eq!(drafted.tokens, plain.tokens, "{method}");
        if method != Method::Baseline {
            let steps = drafted.accept_lengths.len();
            assert!(steps < 450, "{method} accepts nothing");
            assert!(drafted.near_ties > steps / 20, "{}", drafted.near_ties);
            assert!(drafted.near_ties < steps, "{}", drafted.near_ties);
        }
    }
}
