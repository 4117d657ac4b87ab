//! Many requests in one pass of llama.cpp, each with the answer that it gets alone.
#![cfg(few_token_kernels)]

use std::collections::HashMap;

use logitspec::engine::{Event, NewRequest, RequestId, Scheduler, SchedulerOptions};
use tempfile::TempDir;

use super::quantized::quantized;
use super::*;

fn context(slots: usize) -> ContextOptions {
    ContextOptions {
        n_ctx: Some(900),
        flash_attention: FlashAttention::On,
        slots,
        ..CONTEXT
    }
}

/// The answers of all prompts, with so many slots.
fn served(
    model: &Model,
    slots: usize,
    prompts: &[Vec<TokenId>],
    requests: impl Fn(usize) -> NewRequest,
) -> Vec<Vec<TokenId>> {
    let options = SchedulerOptions {
        max_batch_tokens: 48,
        exact: true,
    };
    let target = model.context(&context(slots)).unwrap();
    let mut scheduler = Scheduler::new(target, CostModel::flat(), options);
    let mut ids: HashMap<RequestId, usize> = HashMap::new();
    let mut answers = vec![Vec::new(); prompts.len()];
    let mut next = 0;
    for pass in 0.. {
        // A new one every third pass, while others run.
        if next < prompts.len() && pass % 3 == 0 {
            ids.insert(scheduler.submit(requests(next)).unwrap(), next);
            next += 1;
        }
        for (id, event) in scheduler.step() {
            if let Event::Finished(answer) = event {
                answers[ids[&id]] = answer.tokens;
            }
        }
        if scheduler.is_idle() && next == prompts.len() {
            break;
        }
    }
    answers
}

#[test]
fn requests_get_the_same_answers_at_any_load() {
    let folder = TempDir::new().unwrap();
    for kind in ["Q8_0", "F16", "Q4_0"] {
        let model = quantized(&folder, kind);
        // Some begin alike.
        let token = |prompt: usize, at: usize| {
            let own = if at < 40 * (prompt % 3) { 0 } else { prompt };
            (300 + (at * 37 + own * 91) % 500) as TokenId
        };
        let prompt = |prompt: usize| (0..90 + 13 * prompt).map(|at| token(prompt, at)).collect();
        let prompts: Vec<Vec<TokenId>> = (0..7).map(prompt).collect();
        let alone = |prompt: &Vec<TokenId>| {
            let plain = options(Method::Baseline, 1);
            let mut session = Session::open(&model, &context(1), plain).unwrap();
            answer(&mut session, prompt, 40)
        };
        let plain: Vec<_> = prompts.iter().map(alone).collect();
        for slots in [1, 3, 8] {
            let request = |at: usize| NewRequest {
                options: options(Method::ALL[at % Method::ALL.len()], 4 + 3 * at),
                ..NewRequest::new(prompts[at].clone(), 40)
            };
            let answers = served(&model, slots, &prompts, request);
            assert_eq!(answers, plain, "{kind} with {slots} slots");
        }
    }
}
