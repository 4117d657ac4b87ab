//! The decode loop on a scripted model: whatever is drafted, however it is interrupted, it says
//! what plain decoding says.

use std::ops::ControlFlow;

use logitspec::TokenId;
use logitspec::engine::{GenerateError, Method, Session, SessionOptions, StepView};
use logitspec::runtime::ScriptedModel;
use logitspec::verify::SamplingParams;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::engine::{Scenario, check};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_way_to_draft_says_what_plain_decoding_says(
        setup in any::<[u8; 16]>(),
        actions in vec(any::<(u8, u8)>(), 0..10),
    ) {
        check(&Scenario::new(setup, &[]), &actions);
    }

    #[test]
    fn failures_of_the_model_change_nothing_that_is_said(
        setup in any::<[u8; 16]>(),
        actions in vec(any::<(u8, u8)>(), 0..14),
        failures in vec(any::<(u8, bool)>(), 1..8),
    ) {
        check(&Scenario::new(setup, &failures), &actions);
    }
}

/// A session on a model that draws its words, drafted for by prompt lookup or not at all.
fn drawing(method: Method) -> Session<ScriptedModel> {
    let options = SessionOptions {
        method,
        sampling: SamplingParams {
            temperature: 1.0,
            seed: 5,
            ..SamplingParams::default()
        },
        ..SessionOptions::default()
    };
    Session::new(ScriptedModel::new(6, 1, 9, 500, 64), options)
}

fn hear(session: &mut Session<ScriptedModel>, prompt: &[TokenId]) {
    let patient = &mut |_, _| ControlFlow::Continue(());
    session.prefill(prompt, patient).unwrap();
}

fn say(session: &mut Session<ScriptedModel>, count: usize) {
    let patient = &mut |_: &StepView<'_>| ControlFlow::Continue(());
    session.generate(count, patient).unwrap();
}

#[test]
fn an_answer_cut_short_leaves_the_random_numbers_where_plain_decoding_leaves_them() {
    let texts = Method::ALL.map(|method| {
        let mut session = drawing(method);
        for count in 1..20 {
            hear(&mut session, &[1, 2, 3]);
            say(&mut session, count);
            say(&mut session, count);
        }
        session.text().to_vec()
    });
    assert!(texts.iter().all(|text| *text == texts[0]));
}

#[test]
fn a_prompt_called_off_takes_no_random_number() {
    let texts = [false, true].map(|calls_off| {
        let mut session = drawing(Method::Logitspec);
        hear(&mut session, &[1, 2, 3]);
        for _ in 0..20 {
            let impatient = &mut |_: &StepView<'_>| ControlFlow::Break(());
            session.generate(50, impatient).unwrap();
            if calls_off {
                let outcome = session.prefill(&[4], &mut |_, _| ControlFlow::Break(()));
                assert_eq!(outcome, Err(GenerateError::Cancelled));
            }
        }
        session.text().to_vec()
    });
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn drafters_know_the_text_that_a_truncation_left() {
    let model = ScriptedModel::new(6, 0, 9, 500, 64);
    let options = SessionOptions {
        method: Method::PromptLookup,
        ..SessionOptions::default()
    };
    let mut session = Session::new(model, options);
    hear(&mut session, &[1; 10]);
    say(&mut session, 20);
    session.truncate(15);
    let truncated = session.text().to_vec();
    let answer = session
        .generate(10, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    // The model says one word for ever, and the text that is left ends in it.
    assert_eq!(truncated[14], answer.tokens[0]);
    assert_eq!(answer.accept_lengths, [10]);
}
