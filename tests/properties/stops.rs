//! An answer with stops is the plain answer, cut at the first stop, however its text is cut into
//! tokens and whatever is drafted.

use std::ops::ControlFlow;
use std::sync::Arc;

use logitspec::engine::{
    FinishReason, HeldBack, Method, RequestOptions, Session, SessionOptions, StepView, Stops,
};
use logitspec::runtime::ScriptedModel;
use logitspec::verify::SamplingParams;
use logitspec::{TokenBytes, TokenId};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::drafters::{Oracle, RandomDrafter};

const N_VOCAB: usize = 6;
const PROMPT: [TokenId; 3] = [1, 2, 3];
const LENGTH: usize = 40;

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// The text, as it was shown step by step.
    shown: Vec<u8>,
    tokens: Vec<TokenId>,
    finish: FinishReason,
    kept: usize,
    /// The conversation afterwards.
    text: Vec<TokenId>,
    /// The answer to another prompt behind it.
    next: Vec<TokenId>,
}

fn outcome(drafts: u8, model: &ScriptedModel, request: &RequestOptions) -> Outcome {
    let method = Method::ALL[usize::from(drafts) % Method::ALL.len()];
    let options = SessionOptions {
        method,
        draft_tree_capacity: 1 + usize::from(drafts) % 20,
        ..SessionOptions::default()
    };
    let mut session = Session::new(model.clone(), options).with_request(request.clone());
    let random = fastrand::Rng::with_seed(drafts.into());
    session = match drafts % 3 {
        0 => session,
        1 => session.with_drafter(Box::new(RandomDrafter {
            random,
            n_vocab: N_VOCAB,
        })),
        _ => session.with_drafter(Box::new(Oracle {
            random,
            model: model.clone(),
        })),
    };
    let mut patient = |_, _| ControlFlow::Continue(());
    session.prefill(&PROMPT, &mut patient).unwrap();
    let mut held = HeldBack::new(request.stops.clone());
    let mut shown = Vec::new();
    let mut keep = |pieces: Vec<(Vec<u8>, ())>| {
        shown.extend(pieces.into_iter().flat_map(|(bytes, ())| bytes));
    };
    let answer = session
        .generate(LENGTH, &mut |view: &StepView<'_>| {
            for &token in &view.step.accepted {
                keep(held.push(token, ()));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    keep(held.finish());
    let text = session.text().to_vec();
    session.prefill(&[4, 5], &mut patient).unwrap();
    let mut on = |_: &StepView<'_>| ControlFlow::Continue(());
    let next = session.generate(5, &mut on).unwrap();
    Outcome {
        shown,
        tokens: answer.tokens,
        finish: answer.finish,
        kept: answer.kept,
        text,
        next: next.tokens,
    }
}

/// Where a text ends: at the first byte where a stop is complete, before the longest of those.
fn cut(text: &[u8], stops: &[String]) -> Option<usize> {
    (1..=text.len()).find_map(|end| {
        let complete = stops
            .iter()
            .filter(|stop| text[..end].ends_with(stop.as_bytes()));
        complete.map(String::len).max().map(|len| end - len)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn an_answer_with_stops_is_the_plain_one_cut_at_the_first(
        tokens in vec("[abc]{0,4}", N_VOCAB),
        strings in vec("[abc]{1,6}", 0..4),
        stop_token in proptest::option::of(0..N_VOCAB as TokenId),
        memory in 0usize..4,
        seed in any::<u64>(),
        sampled in any::<bool>(),
        drafts in any::<u8>(),
    ) {
        let model = ScriptedModel::new(N_VOCAB, memory, seed, 400, 24);
        let bytes: Arc<TokenBytes> = Arc::new(tokens.iter().collect());
        let sampling = SamplingParams {
            temperature: if sampled { 1.0 } else { 0.0 },
            seed,
            ..SamplingParams::default()
        };
        let plain = outcome(0, &model, &sampling.clone().into());
        let request = RequestOptions {
            sampling,
            stops: Stops::new(
                strings.clone(),
                stop_token.into_iter().collect(),
                Arc::clone(&bytes),
            ),
            ..RequestOptions::default()
        };
        let found = outcome(drafts, &model, &request);
        // The same request without drafts, in every respect.
        prop_assert_eq!(&found, &outcome(0, &model, &request));

        // A stop token ends the text that strings are looked for in.
        let said = plain.tokens.iter().position(|&token| Some(token) == stop_token);
        let until = &plain.tokens[..said.unwrap_or(plain.tokens.len())];
        let text: Vec<u8> = until.iter().flat_map(|&token| bytes.of(token).to_vec()).collect();
        let end = cut(&text, &strings);
        prop_assert_eq!(&found.shown[..], &text[..end.unwrap_or(text.len())]);
        let stops = end.is_some() || said.is_some();
        let finish = if stops { FinishReason::Stop } else { FinishReason::Length };
        prop_assert_eq!(&found.finish, &finish);
        // Nothing was said behind the stop, and whole tokens stay.
        prop_assert!(plain.tokens.starts_with(&found.tokens));
        let kept = &found.tokens[..found.kept];
        let kept_text = kept.iter().map(|&token| bytes.of(token).len()).sum::<usize>();
        prop_assert!(kept_text <= found.shown.len());
        if end.is_some() {
            prop_assert!(kept_text + bytes.of(found.tokens[found.kept]).len() > found.shown.len());
        } else {
            prop_assert_eq!(kept, until);
        }
        prop_assert_eq!(&found.text, &[&PROMPT[..], kept].concat());
    }
}
