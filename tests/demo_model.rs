//! The demo model of this repository on the questions of data/demo_bench.
//!
//! scripts/demo_model makes both. The questions are not part of the training data. Its check.py
//! does
//! the same as this test without llama.cpp.
#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use logitspec::TokenId;
use logitspec::bench::prompt::Prompter;
use logitspec::bench::{Question, read_questions};
use logitspec::engine::{FinishReason, Method, Session, SessionOptions};
use logitspec::runtime::ChatTemplate;
use logitspec::runtime::llama::{ContextOptions, FlashAttention, LlamaTarget, Model, ModelOptions};

fn context() -> ContextOptions {
    ContextOptions {
        n_ctx: Some(2048),
        threads: Some(1),
        flash_attention: FlashAttention::Off,
        ..ContextOptions::default()
    }
}

/// More tokens than the longest answer of the corpus.
const MAX_TOKENS: usize = 400;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load() -> Model {
    Model::load(
        &file("data/models/logitspec-demo.gguf"),
        &ModelOptions::default(),
    )
    .unwrap()
}

fn questions() -> Vec<Question> {
    let set = read_questions(file("data/demo_bench/question.jsonl")).unwrap();
    assert!(set.skipped.is_empty(), "{:?}", set.skipped);
    set.questions
}

/// A prompter with the template of the model file.
fn prompter(model: &Model) -> Prompter<'_> {
    let vocabulary = model.vocabulary();
    let source = model.chat_template().unwrap();
    let template = ChatTemplate::new("own", &source, &vocabulary.bos(), &vocabulary.eos()).unwrap();
    Prompter::new(vocabulary, Some(template), Vec::new())
}

fn references(question: &Question) -> Vec<String> {
    serde_json::from_value(question.extra["reference"].clone()).unwrap()
}

/// The words of a text, in lower case, without punctuation.
fn words(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

fn last_number(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_ascii_digit())
        .rfind(|number| !number.is_empty())
}

/// Whether an answer is correct.
///
/// - Math: the last number equals the reference.
/// - Writing and roleplay: the answer contains every item of the reference, word for word.
/// - All others: the answer equals the reference.
fn is_correct(category: &str, answer: &str, reference: &str) -> bool {
    match category {
        "math_reasoning" => last_number(answer) == Some(reference),
        "writing" | "roleplay" => {
            let answer = format!(" {} ", words(answer));
            let contained = |item| answer.contains(&format!(" {} ", words(item)));
            reference.split("; ").all(contained)
        }
        _ => words(answer) == words(reference),
    }
}

/// Whether eight tokens occur three times in a row.
fn loops(tokens: &[TokenId]) -> bool {
    tokens
        .windows(24)
        .any(|span| span[..8] == span[8..16] && span[..8] == span[16..])
}

struct Turn {
    tokens: Vec<TokenId>,
    text: String,
    finish: FinishReason,
}

fn ask(
    session: &mut Session<LlamaTarget<'_>>,
    prompter: &Prompter,
    question: &Question,
) -> Vec<Turn> {
    session.reset();
    let mut conversation = prompter.conversation();
    let mut answers = Vec::new();
    for turn in &question.turns {
        let prompt = conversation.next(turn, session.text()).unwrap();
        let mut go_on = |_, _| ControlFlow::Continue(());
        session
            .prefill_behind(prompt.keep, &prompt.tokens, &mut go_on)
            .unwrap();
        let answer = session
            .generate(MAX_TOKENS, &mut |_| ControlFlow::Continue(()))
            .unwrap();
        conversation.answered(&answer.tokens);
        answers.push(Turn {
            text: prompter.text(&answer.tokens),
            tokens: answer.tokens,
            finish: answer.finish,
        });
    }
    answers
}

fn session(model: &Model, method: Method) -> Session<LlamaTarget<'_>> {
    let options = SessionOptions {
        method,
        ..SessionOptions::default()
    };
    Session::open(model, &context(), options).unwrap()
}

#[test]
fn nine_of_ten_questions_are_answered_correctly() {
    let model = load();
    let prompter = prompter(&model);
    let mut session = session(&model, Method::Logitspec);
    let questions = questions();
    assert!(questions.len() >= 60);
    let (mut wrong, mut faults) = (Vec::new(), Vec::new());
    let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for question in &questions {
        let references = references(question);
        assert_eq!(references.len(), question.turns.len());
        let mut all_correct = true;
        for (answer, reference) in ask(&mut session, &prompter, question)
            .iter()
            .zip(&references)
        {
            let text = &answer.text;
            let what = format!("{} {}: {text}", question.category, question.question_id);
            if answer.finish != FinishReason::Stop {
                faults.push(format!("no end: {what}"));
            }
            if loops(&answer.tokens) {
                faults.push(format!("a loop: {what}"));
            }
            if !is_correct(&question.category, text, reference) {
                all_correct = false;
                wrong.push(format!("{what}\n  expected: {reference}"));
            }
        }
        let (good, asked) = kinds.entry(&question.category).or_default();
        *good += usize::from(all_correct);
        *asked += 1;
    }
    let good: usize = kinds.values().map(|(good, _)| good).sum();
    println!(
        "{good} of {} correct; correct and asked by category: {kinds:?}",
        questions.len()
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        good * 10 >= questions.len() * 9,
        "only {good} of {} correct: {kinds:?}\n{}",
        questions.len(),
        wrong.join("\n")
    );
}

/// Training and llama.cpp must tokenize in the same way.
#[test]
fn prompts_have_the_tokens_of_training() {
    #[derive(serde::Deserialize)]
    struct Prompts {
        question_id: i64,
        prompts: Vec<Vec<TokenId>>,
    }
    let model = load();
    let prompter = prompter(&model);
    let vocabulary = model.vocabulary();
    let end = vocabulary.tokenize_continuation(&vocabulary.eos()).unwrap();
    assert_eq!(end.len(), 1);
    let text = std::fs::read_to_string(file("tests/demo_tokens.jsonl")).unwrap();
    let questions = questions();
    assert_eq!(text.lines().count(), questions.len());
    for (question, line) in questions.iter().zip(text.lines()) {
        let expected: Prompts = serde_json::from_str(line).unwrap();
        assert_eq!(expected.question_id, question.question_id);
        assert_eq!(expected.prompts.len(), question.turns.len());
        let mut conversation = prompter.conversation();
        let mut said = Vec::new();
        for (turn, tokens) in question.turns.iter().zip(expected.prompts) {
            let prompt = conversation.next(turn, &said).unwrap();
            assert_eq!(prompt.keep, said.len());
            assert_eq!(prompt.tokens, tokens, "{turn}");
            said.extend(prompt.tokens);
            said.extend(&end);
            conversation.answered(&end);
        }
    }
}

#[test]
fn wrong_answers_and_loops_are_detected() {
    assert!(is_correct(
        "qa",
        "The Museum\nis  old",
        "the museum is old."
    ));
    assert!(!is_correct(
        "qa",
        "The museum is older.",
        "The museum is old."
    ));
    assert!(is_correct(
        "math_reasoning",
        "3 + 4 = 7. The answer is 7.",
        "7"
    ));
    assert!(!is_correct(
        "math_reasoning",
        "3 + 4 = 7. The answer is 17.",
        "7"
    ));
    assert!(!is_correct("math_reasoning", "The answer is seven.", "7"));
    assert!(is_correct(
        "writing",
        "A brave baker, a lamp.",
        "a lamp; brave"
    ));
    assert!(!is_correct(
        "writing",
        "A brave baker, a lampshade.",
        "a lamp; brave"
    ));
    let once: Vec<TokenId> = (0..8).collect();
    assert!(loops(&[vec![9; 5], once.repeat(3)].concat()));
    assert!(!loops(&[once.repeat(2), vec![9], once].concat()));
}
