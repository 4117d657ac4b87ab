//! Sessions on llama.cpp, with tiny random models (made by scripts/tiny_models.py).
#![cfg(feature = "llama")]

mod cache;
mod exact;
#[path = "../gguf/mod.rs"]
mod gguf;
mod lora;
mod prompts;
mod quantized;
mod tokens;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use logitspec::TokenId;
use logitspec::draft::PassCost;
use logitspec::engine::{
    CostModel, FinishReason, GenerateError, Generation, Method, Session, SessionOptions,
};
use logitspec::runtime::llama::{
    CacheType, ContextOptions, FlashAttention, LlamaTarget, LoadError, Model, ModelOptions,
};
use logitspec::runtime::{ChatEncoder, ChatTemplate, Message, Role, TargetModel};
use logitspec::verify::SamplingParams;

fn model_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/models")
        .join(name)
}

fn load(name: &str) -> Model {
    Model::load(&model_path(name), &ModelOptions::default()).unwrap()
}

/// All models of a process use the kernels of the first one.
#[test]
#[cfg(few_token_kernels)]
fn a_second_model_with_other_kernels_is_refused() {
    load("tiny-llama.gguf");
    let llama = ModelOptions {
        llama_kernels: true,
        ..ModelOptions::default()
    };
    let refused = Model::load(&model_path("tiny-llama.gguf"), &llama);
    assert!(matches!(refused, Err(LoadError::Kernels { .. })));
    // This check does not apply to models that cannot be loaded or cannot compute.
    let missing = Model::load("no such model".as_ref(), &llama);
    assert!(matches!(missing, Err(LoadError::Unreadable { .. })));
    let info_only = ModelOptions {
        info_only: true,
        ..llama
    };
    assert!(Model::load(&model_path("tiny-llama.gguf"), &info_only).is_ok());
}

/// One thread, so that parallel tests do not wait for each other. No flash attention: with random
/// weights, its rounding gives ties.
const CONTEXT: ContextOptions = ContextOptions {
    n_ctx: Some(1024),
    n_batch: 2048,
    n_ubatch: Some(512),
    threads: Some(1),
    flash_attention: FlashAttention::Off,
    cache_type_k: CacheType::F16,
    cache_type_v: CacheType::F16,
    swa_full: true,
    draft_tree_capacity: 64,
};

const PROMPTS: [&str; 3] = [
    "The story of a small boat. The story of a small boat is long, and the sea is",
    "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return",
    "one two three one two three one two",
];

fn go_on(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn answer(session: &mut Session<LlamaTarget<'_>>, prompt: &[TokenId], n: usize) -> Vec<TokenId> {
    generated(session, prompt, n).tokens
}

fn generated(session: &mut Session<LlamaTarget<'_>>, prompt: &[TokenId], n: usize) -> Generation {
    session.prefill(prompt, &mut go_on).unwrap();
    let answer = session
        .generate(n, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(
        answer.accept_lengths.iter().sum::<usize>(),
        answer.tokens.len()
    );
    answer
}

fn plain_answer(model: &Model, prompt: &[TokenId], n: usize) -> Vec<TokenId> {
    let plain = Session::open(model, &CONTEXT, options(Method::Baseline, 1));
    answer(&mut plain.unwrap(), prompt, n)
}

/// Starts to decode a prompt and cancels it at the third report of progress.
fn cancel_prompt(session: &mut Session<LlamaTarget<'_>>, prompt: &[TokenId]) {
    let mut calls = 0;
    let outcome = session.prefill(prompt, &mut |_, _| {
        calls += 1;
        if calls > 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!(outcome, Err(GenerateError::Cancelled));
}

fn options(method: Method, capacity: usize) -> SessionOptions {
    SessionOptions {
        method,
        draft_tree_capacity: capacity,
        // Large trees test more.
        fill_tree: true,
        ..SessionOptions::default()
    }
}

/// Panics unless `ours` equals the tokens of plain decoding. Where ggml's kernels cannot be chosen,
/// a rounding tie is no failure.
fn assert_same(model: &Model, prompt: &[TokenId], ours: &[TokenId], plain: &[TokenId], what: &str) {
    let common = ours.iter().zip(plain).take_while(|(a, b)| a == b).count();
    if common == ours.len() && ours.len() == plain.len() {
        return;
    }
    if cfg!(few_token_kernels) {
        panic!("{what}: token {common} differs");
    }
    let mut referee = Session::open(model, &CONTEXT, options(Method::Baseline, 1)).unwrap();
    referee
        .prefill(&[prompt, &plain[..common]].concat(), &mut go_on)
        .unwrap();
    let row = referee.last_logits().unwrap();
    let (a, b) = (row[ours[common] as usize], row[plain[common] as usize]);
    let gap = (a - b).abs() / a.abs().max(b.abs());
    assert!(
        gap < 1e-3,
        "{what}: token {common} differs, logits {a} and {b}"
    );
}

/// Panics unless a session with these options generates the `expected` tokens of plain decoding.
fn assert_session_gives(
    model: &Model,
    context: &ContextOptions,
    options: SessionOptions,
    prompt: &[TokenId],
    n: usize,
    expected: &[TokenId],
    what: &str,
) {
    let mut session = Session::open(model, context, options).unwrap();
    let ours = answer(&mut session, prompt, n);
    assert_same(model, prompt, &ours, expected, what);
}

#[test]
fn every_method_and_capacity_gives_the_tokens_of_plain_decoding() {
    let model = load("tiny-llama.gguf");
    for text in PROMPTS {
        let prompt = model.vocabulary().tokenize(text).unwrap();
        let expected = plain_answer(&model, &prompt, 120);
        for method in Method::ALL {
            for capacity in [1, 2, 8, 64, 300] {
                let what = format!("{method} at {capacity} on {text:?}");
                let options = options(method, capacity);
                assert_session_gives(&model, &CONTEXT, options, &prompt, 120, &expected, &what);
            }
        }
    }
}

#[test]
fn trees_sized_by_cost_give_the_tokens_of_plain_decoding() {
    let model = load("tiny-llama.gguf");
    let costs = [
        CostModel::cpu(false),
        CostModel::cpu(true),
        CostModel::gpu(),
    ];
    // What those draft depends on this machine's speed. This one does not, and larger trees pay.
    let times = (0..64).map(|n| 1.0 + 0.01 * f64::from(n)).collect();
    let known = CostModel::fixed(PassCost::from_times(times));
    let cases: Vec<_> = costs.iter().chain([&known]).collect();
    let mut drafted = 0;
    for text in PROMPTS {
        let prompt = model.vocabulary().tokenize(text).unwrap();
        let expected = plain_answer(&model, &prompt, 200);
        for &cost in &cases {
            let sized = SessionOptions {
                fill_tree: false,
                ..options(Method::Logitspec, 64)
            };
            let session = Session::open(&model, &CONTEXT, sized).unwrap();
            let ours = generated(&mut session.with_cost(cost.clone()), &prompt, 200);
            assert_same(&model, &prompt, &ours.tokens, &expected, text);
            drafted += ours.drafted;
        }
    }
    assert!(drafted > 0);
}

#[test]
fn drafts_are_accepted_on_repetitive_text() {
    let model = load("tiny-llama.gguf");
    let prompt = model.vocabulary().tokenize(PROMPTS[0]).unwrap();
    let mut session = Session::open(&model, &CONTEXT, options(Method::Logitspec, 64)).unwrap();
    session.prefill(&prompt, &mut go_on).unwrap();
    let answer = session
        .generate(300, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert!(
        answer.mean_accepted_tokens() > 1.05,
        "{}",
        answer.mean_accepted_tokens()
    );
    assert!(answer.drafted > answer.accept_lengths.len());
}

#[test]
fn the_last_row_equals_that_of_a_fresh_decode_after_every_step() {
    let model = load("tiny-llama.gguf");
    let prompt = model.vocabulary().tokenize(PROMPTS[2]).unwrap();
    for method in Method::ALL {
        let mut session = Session::open(&model, &CONTEXT, options(method, 24)).unwrap();
        let mut fresh = Session::open(&model, &CONTEXT, options(Method::Baseline, 1)).unwrap();
        session.prefill(&prompt, &mut go_on).unwrap();
        for _ in 0..40 {
            session.step(usize::MAX).unwrap().unwrap();
            // Up to one eighth of the tokens of a pass may be missing, to be decoded again.
            let missing = session.text().len() - session.model().n_past();
            assert!(missing <= 24 / 8, "{missing}");
            fresh.reset();
            fresh.prefill(session.text(), &mut go_on).unwrap();
            let (ours, theirs) = (session.last_logits().unwrap(), fresh.last_logits().unwrap());
            let scale = theirs.iter().fold(0f32, |most, v| most.max(v.abs()));
            let worst = ours
                .iter()
                .zip(theirs)
                .fold(0f32, |worst, (a, b)| worst.max((a - b).abs() / scale));
            // Measured: below 2e-3. A wrong cell changes logits by tenths.
            assert!(worst < 1e-2, "{method}: last rows differ by {worst}");
        }
    }
}

#[test]
fn a_second_turn_continues_the_first_one() {
    let model = load("tiny-llama.gguf");
    let vocabulary = model.vocabulary();
    let source = model.chat_template().unwrap();
    let template = ChatTemplate::new("own", &source, &vocabulary.bos(), &vocabulary.eos()).unwrap();
    let question = |text: &str| Message::new(Role::User, text);
    let first = question("Who are you?");
    let encoder = ChatEncoder {
        tokenizer: &vocabulary,
        template: Some(&template),
        parse_special: false,
    };
    let opening = encoder.first(std::slice::from_ref(&first)).unwrap().tokens;

    let mut whole = Vec::new();
    for method in Method::ALL {
        let mut session = Session::open(&model, &CONTEXT, options(method, 32)).unwrap();
        let said = answer(&mut session, &opening, 25);
        let held = session.text().to_vec();
        let messages = [
            first.clone(),
            vocabulary.answer(&said),
            question("And who am I?"),
        ];
        // The answer was cut short, so the end token of the template is needed. After an end token
        // of the model, it is left out.
        let next = encoder.next(&messages, &held).unwrap();
        assert_eq!(next.text, "</s>USER: And who am I? ASSISTANT:");
        assert_eq!(next.keep, held.len());
        let end = vocabulary.tokenize_continuation("</s>").unwrap();
        assert_eq!(next.tokens[..1], end[..]);
        let ended = encoder.next(&messages, &[&held[..], &end].concat());
        assert_eq!(ended.unwrap().tokens, next.tokens[1..]);
        answer(&mut session, &next.tokens, 25);
        assert_eq!(
            session.text()[..held.len()],
            held[..],
            "the first turn has changed"
        );
        whole.push(session.text().to_vec());
    }
    let prompt_len = opening.len();
    for text in &whole[1..] {
        let (opening, ours, plain) = (
            &text[..prompt_len],
            &text[prompt_len..],
            &whole[0][prompt_len..],
        );
        assert_same(&model, opening, ours, plain, "two turns");
    }
}

#[test]
fn a_continuation_gets_no_extra_space() {
    let model = load("tiny-llama.gguf");
    let vocabulary = model.vocabulary();
    for tail in ["b c", ", y", "\nnext", " spaced", "é"] {
        let tokens = vocabulary.tokenize_continuation(tail).unwrap();
        let text: Vec<u8> = tokens.iter().flat_map(|&t| vocabulary.bytes(t)).collect();
        assert_eq!(String::from_utf8_lossy(&text), tail);
    }
}

#[test]
fn the_same_seed_gives_the_same_answer_with_every_method() {
    let model = load("tiny-llama.gguf");
    let prompt = model.vocabulary().tokenize(PROMPTS[1]).unwrap();
    let sampling = SamplingParams {
        temperature: 0.8,
        repeat_penalty: 1.1,
        seed: 11,
        ..SamplingParams::default()
    };
    let answer_with = |method| {
        let session = Session::open(&model, &CONTEXT, options(method, 16)).unwrap();
        answer(
            &mut session.with_request(sampling.clone().into()),
            &prompt,
            60,
        )
    };
    let expected = answer_with(Method::Baseline);
    for method in Method::ALL {
        assert_eq!(answer_with(method), expected, "{method}");
    }
}

#[test]
fn the_context_can_be_filled() {
    let model = load("tiny-llama.gguf");
    let prompt = model.vocabulary().tokenize(PROMPTS[0]).unwrap();
    let context = ContextOptions {
        n_ctx: Some(100),
        ..CONTEXT
    };
    let mut plain = Session::open(&model, &context, options(Method::Baseline, 1)).unwrap();
    let expected = answer(&mut plain, &prompt, 1000);
    // The last token needs no cell.
    assert_eq!(prompt.len() + expected.len(), 101);
    for method in Method::ALL {
        let mut session = Session::open(&model, &context, options(method, 64)).unwrap();
        session.prefill(&prompt, &mut go_on).unwrap();
        let ours = session
            .generate(1000, &mut |_| ControlFlow::Continue(()))
            .unwrap();
        assert_eq!(ours.finish, FinishReason::Length);
        assert_eq!(ours.tokens.len(), expected.len());
        assert_same(&model, &prompt, &ours.tokens, &expected, method.name());
        let more = session.prefill(&prompt, &mut go_on);
        assert!(matches!(
            more,
            Err(GenerateError::PromptTooLong { n_ctx: 100, .. })
        ));
    }
}

#[test]
fn small_batches_and_many_leaves_do_not_change_the_answer() {
    let model = load("tiny-llama.gguf");
    let prompt = model.vocabulary().tokenize(PROMPTS[0]).unwrap();
    let expected = plain_answer(&model, &prompt, 60);
    let small = ContextOptions {
        n_batch: 16,
        n_ubatch: Some(4),
        ..CONTEXT
    };
    for (context, capacity) in [(small, 40), (CONTEXT, 600)] {
        for method in Method::ALL {
            let mut session = Session::open(&model, &context, options(method, capacity)).unwrap();
            assert!(session.model().max_leaves() <= 256);
            let ours = answer(&mut session, &prompt, 60);
            assert_same(&model, &prompt, &ours, &expected, method.name());
        }
    }
}

#[test]
fn bad_files_have_different_errors() {
    let load = |path: &Path| Model::load(path, &ModelOptions::default()).err().unwrap();
    assert!(matches!(
        load(&model_path("none.gguf")),
        LoadError::Unreadable { .. }
    ));
    assert!(matches!(
        load(&model_path("")),
        LoadError::Unreadable { .. }
    ));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    assert!(matches!(load(&script), LoadError::NotGguf { .. }));
    let bert = load(&model_path("tiny-bert.gguf"));
    assert!(
        matches!(bert, LoadError::NotALanguageModel { .. }),
        "{bert}"
    );

    let whole = std::fs::read(model_path("tiny-llama.gguf")).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for cut in [3, 10, 2_000, 300_000] {
        let path = folder.join(format!("cut-{cut}.gguf"));
        std::fs::write(&path, &whole[..cut]).unwrap();
        let error = load(&path);
        let expected = matches!(error, LoadError::NotGguf { .. }) == (cut < 4);
        assert!(expected, "{error}");
        let line = error.to_string();
        assert!(
            !line.contains('\n') && line.contains(&format!("cut-{cut}.gguf")),
            "{line}"
        );
    }
}
