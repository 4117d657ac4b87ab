//! Answers under JSON schemas: each one parses and meets its schema, and drafts change none.
//!
//! The test of the suite takes a few answers of the demo model. For 200 under each schema, of any
//! model:
//!
//! ```console
//! $ LOGITSPEC_MODEL=model.gguf cargo test --release --test schemas -- --ignored --nocapture
//! ```
#![cfg(all(feature = "llama", feature = "grammar"))]

mod validate;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use logitspec::engine::{
    FinishReason, Generation, Method, MethodParams, RequestOptions, Session, SessionOptions,
    StepView,
};
use logitspec::runtime::llama::{ContextOptions, LlamaTarget, Model, ModelOptions};
use logitspec::tree::Source;
use logitspec::verify::{Grammar, GrammarSource, SamplingParams};
use serde_json::Value;

use validate::validate;

/// The schemas with their names.
fn schemas() -> Vec<(String, Value)> {
    let all: Value = serde_json::from_str(include_str!("all.json")).unwrap();
    let named = |it: &Value| {
        (
            it["name"].as_str().unwrap().to_owned(),
            it["schema"].clone(),
        )
    };
    all.as_array().unwrap().iter().map(named).collect()
}

/// Tokens and steps of many answers.
#[derive(Default)]
struct Count {
    tokens: usize,
    steps: usize,
}

impl Count {
    fn add(&mut self, answer: &Generation) {
        self.tokens += answer.tokens.len();
        self.steps += answer.accept_lengths.len();
    }

    fn mean(&self) -> f64 {
        self.tokens as f64 / self.steps as f64
    }
}

/// A session that answers again and again.
struct Answerer<'m>(Option<Session<LlamaTarget<'m>>>);

impl<'m> Answerer<'m> {
    fn new(model: &'m Model, method: Method, leave_out: Option<Source>) -> Self {
        let options = SessionOptions {
            method,
            method_params: MethodParams {
                leave_out: leave_out.into_iter().collect(),
                ..MethodParams::default()
            },
            draft_tree_capacity: 32,
            ..SessionOptions::default()
        };
        let context = ContextOptions {
            n_ctx: Some(1024),
            ..ContextOptions::default()
        };
        Self(Some(Session::open(model, &context, options).unwrap()))
    }

    fn answer(&mut self, prompt: &[u32], request: &RequestOptions) -> Generation {
        let mut session = self.0.take().unwrap().with_request(request.clone());
        session.reset();
        let mut patient = |_, _| ControlFlow::Continue(());
        session.prefill(prompt, &mut patient).unwrap();
        let mut on = |_: &StepView<'_>| ControlFlow::Continue(());
        let answer = session.generate(400, &mut on).unwrap();
        self.0 = Some(session);
        answer
    }
}

fn assert_valid(model: &Model, schema: &Value, tokens: &[u32], what: &str) {
    let bytes = tokens.iter().map(|&token| model.vocabulary().bytes(token));
    let text = String::from_utf8(bytes.flatten().collect()).unwrap();
    let value = serde_json::from_str(&text);
    let value: Value = value.unwrap_or_else(|error| panic!("{what}: {error}: {text}"));
    validate(schema, schema, &value).unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// Takes `outputs` answers under each schema, half of them greedily, and checks them.
fn check(model: &Model, outputs: usize) -> [Count; 2] {
    let mut plain = Answerer::new(model, Method::Baseline, None);
    let mut with = Answerer::new(model, Method::Logitspec, None);
    let mut without = Answerer::new(model, Method::Logitspec, Some(Source::Grammar));
    let mut all = [Count::default(), Count::default()];
    for (name, schema) in schemas() {
        let source = GrammarSource::JsonSchema(schema.to_string());
        let grammar: Grammar = model.grammars().unwrap().compile(&source).unwrap();
        let mut counts = [Count::default(), Count::default()];
        let mut cut = 0;
        for number in 0..outputs {
            let prompt = format!("Record {number}, {name}, as JSON:\n");
            let prompt = model.vocabulary().tokenize(&prompt).unwrap();
            let request = RequestOptions {
                sampling: SamplingParams {
                    temperature: (number % 2) as f32,
                    seed: number as u64,
                    ..SamplingParams::default()
                },
                grammar: Some(grammar.clone()),
                ..RequestOptions::default()
            };
            let answers = [&mut plain, &mut with, &mut without];
            let [plain, with, without] = answers.map(|it| it.answer(&prompt, &request));
            let what = format!("{name}, answer {number}");
            assert_eq!(with.tokens, plain.tokens, "{what}");
            assert_eq!(
                without.tokens, plain.tokens,
                "{what}, without forced tokens"
            );
            match plain.finish {
                FinishReason::Stop => assert_valid(model, &schema, &plain.tokens, &what),
                // A number may have endless digits.
                _ => cut += 1,
            }
            for (count, answer) in counts.iter_mut().zip([&with, &without]) {
                count.add(answer);
            }
            let of = |answer: &Generation| answer.sources.accepted.of(Source::Grammar);
            assert_eq!(
                of(&with),
                with.sources.drafted.of(Source::Grammar),
                "{what}: certain"
            );
            assert_eq!(of(&without), 0, "{what}");
        }
        assert!(cut <= outputs / 20, "{name}: {cut} answers are endless");
        let [with, without] = &counts;
        println!(
            "{name}: {outputs} answers, {cut} cut; \
             tokens per step {:.2} with forced tokens, {:.2} without",
            with.mean(),
            without.mean()
        );
        for (all, count) in all.iter_mut().zip(counts) {
            all.tokens += count.tokens;
            all.steps += count.steps;
        }
    }
    let [with, without] = &all;
    println!(
        "all: tokens per step {:.2} with forced tokens, {:.2} without",
        with.mean(),
        without.mean()
    );
    all
}

fn load(path: &Path) -> Model {
    Model::load(path, &ModelOptions::default()).unwrap()
}

#[test]
fn answers_meet_their_schemas_and_forced_tokens_cost_no_step() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/models/logitspec-demo.gguf");
    let [with, without] = check(&load(&demo), 2);
    assert!(
        with.mean() > 1.5 * without.mean(),
        "{}, {}",
        with.mean(),
        without.mean()
    );
}

#[test]
#[ignore = "takes minutes, and a model of your own"]
fn two_hundred_answers_meet_each_schema() {
    let model = std::env::var_os("LOGITSPEC_MODEL").expect("LOGITSPEC_MODEL names a GGUF file");
    let outputs = std::env::var("LOGITSPEC_OUTPUTS").map_or(200, |it| it.parse().unwrap());
    check(&load(&PathBuf::from(model)), outputs);
}
