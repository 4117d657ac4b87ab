//! The log-probabilities of a drafted answer are those of the plain one, bit by bit.

use std::ops::ControlFlow;

use logitspec::TokenId;
use logitspec::engine::{Generation, Method, RequestOptions, Session, SessionOptions, StepView};
use logitspec::runtime::ScriptedModel;
use logitspec::verify::SamplingParams;
use proptest::prelude::*;

const PROMPT: [TokenId; 3] = [1, 2, 3];

/// Two answers, the first of which is cancelled after some steps.
fn answers(model: &ScriptedModel, method: Method, request: &RequestOptions) -> [Generation; 2] {
    let options = SessionOptions {
        method,
        ..SessionOptions::default()
    };
    let mut session = Session::new(model.clone(), options).with_request(request.clone());
    let mut patient = |_, _| ControlFlow::Continue(());
    session.prefill(&PROMPT, &mut patient).unwrap();
    let mut on = |_: &StepView<'_>| ControlFlow::Continue(());
    let first = session.generate(20, &mut on).unwrap();
    let second = session.generate(20, &mut on).unwrap();
    [first, second]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn drafted_tokens_have_the_log_probabilities_of_plain_ones(
        memory in 0usize..4,
        seed in any::<u64>(),
        sampled in any::<bool>(),
        k in 0usize..5,
    ) {
        let model = ScriptedModel::new(12, memory, seed, 400, 24);
        let request = RequestOptions {
            sampling: SamplingParams {
                temperature: if sampled { 0.9 } else { 0.0 },
                repeat_penalty: 1.2,
                seed,
                ..SamplingParams::default()
            },
            logprobs: Some(k),
            ..RequestOptions::default()
        };
        let plain = answers(&model, Method::Baseline, &request);
        for method in Method::ALL {
            let found = answers(&model, method, &request);
            for (found, plain) in found.iter().zip(&plain) {
                prop_assert_eq!(&found.tokens, &plain.tokens, "{}", method);
                prop_assert_eq!(&found.logprobs, &plain.logprobs, "{}", method);
            }
        }
        // And they are the model's own, before the samplers.
        let mut text = PROMPT.to_vec();
        for answer in &plain {
            prop_assert_eq!(answer.logprobs.len(), answer.tokens.len());
            for (of, &token) in answer.logprobs.iter().zip(&answer.tokens) {
                let row = model.logits_after(&text);
                let sum: f64 = row.iter().map(|&it| f64::from(it).exp()).sum();
                let expected = f64::from(row[token as usize]) - sum.ln();
                prop_assert_eq!(of.token, token);
                prop_assert!((f64::from(of.logprob) - expected).abs() < 1e-5);
                prop_assert_eq!(of.top.len(), k);
                prop_assert!(of.top.iter().all(|it| it.1 <= of.top[0].1));
                text.push(token);
            }
        }
    }
}
