//! What is copied from beyond the conversation changes no word: pool files, corpora, poison.
#![cfg(feature = "cli")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use logitspec::TokenId;
use logitspec::corpus::{Corpus, CorpusBuilder};
use logitspec::draft::{Drafter, Memory, Verified};
use logitspec::engine::{Generation, Method, MethodParams, Session, SessionOptions};
use logitspec::logits::Row;
use logitspec::pool::SharedPool;
use logitspec::runtime::llama::{ContextOptions, FlashAttention, Model, ModelOptions};
use logitspec::tree::{DraftTree, Source, TreeLimits};
use serde_json::Value;

mod program;

use program::{assert_refused, json, model_path};

const PROMPT: &str = "one two three one two three one two";

fn generate(args: &[&str]) -> Output {
    let always = ["-fa", "off", "-n", "40", "--json", "-p", PROMPT];
    program::generate(&[&always, args].concat())
}

#[test]
fn a_pool_file_remembers_and_changes_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool");
    let flags = ["--fill-tree", "--pool-file", file.to_str().unwrap()];
    let plain = json(&generate(&["--method", "baseline"]));
    let first = json(&generate(&flags));
    let second = json(&generate(&flags));
    assert_eq!(first["tokens"], plain["tokens"]);
    assert_eq!(second["tokens"], plain["tokens"]);
    let other = generate(&[&flags[..], &["--method", "suffix"]].concat());
    assert_eq!(json(&other)["tokens"], plain["tokens"]);
    let note = String::from_utf8_lossy(&other.stderr);
    let kept = std::fs::read(&file).unwrap();
    generate(
        &[
            &flags[..],
            &["--method", "baseline", "--pool-max-tokens", "3"],
        ]
        .concat(),
    );
    assert_eq!(std::fs::read(&file).unwrap(), kept, "not used, not written");
    assert!(
        note.contains("--pool-file does nothing with --method suffix"),
        "{note}"
    );
    // The second time the whole answer is remembered.
    assert!(first["sources"]["history"].is_null(), "{first}");
    let accepted = |run: &Value| run["mean_accepted_tokens"].as_f64().unwrap();
    assert!(
        accepted(&second) > accepted(&first) + 1.0,
        "{first} {second}"
    );
    assert!(second["sources"]["history"]["accepted"].as_u64().unwrap() > 10);
}

#[test]
fn foreign_damaged_and_other_vocabularies_pools_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool");
    let name = file.to_str().unwrap();
    json(&generate(&["--pool-file", name]));
    let good = std::fs::read(&file).unwrap();

    std::fs::write(
        &file,
        b"something else entirely, and long enough to have a header in it",
    )
    .unwrap();
    assert_refused(&generate(&["--pool-file", name]), &[name]);
    let mut damaged = good.clone();
    let middle = damaged.len() - 5;
    damaged[middle] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    assert_refused(&generate(&["--pool-file", name]), &[name, "damaged"]);
    std::fs::write(&file, &good).unwrap();
    let other = Command::new(env!("CARGO_BIN_EXE_logitspec"))
        .args([
            "generate",
            "-t",
            "1",
            "-p",
            "x",
            "-n",
            "1",
            "--pool-file",
            name,
            "-m",
        ])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/models/logitspec-demo.gguf"))
        .output()
        .unwrap();
    assert_refused(&other, &[name, "another vocabulary"]);
    assert_eq!(std::fs::read(&file).unwrap(), good, "left as it was");
    assert_refused(&generate(&["--corpus", name]), &[name]);
    #[cfg(unix)]
    assert_refused(&generate(&["--corpus", "/dev/zero"]), &["/dev/zero"]);
    assert_refused(
        &generate(&["--pool-file", folder.path().to_str().unwrap()]),
        &["cannot read the pool"],
    );
    #[cfg(unix)]
    assert_refused(
        &generate(&["--pool-file", "/dev/zero"]),
        &["/dev/zero", "is no pool"],
    );
    // Said before the answer, not after it.
    let nowhere = folder.path().join("missing").join("pool");
    let nowhere = nowhere.to_str().unwrap();
    assert_refused(
        &generate(&["--pool-file", nowhere]),
        &[nowhere, "cannot write the pool"],
    );
    let both = generate(&["--pool-file", name, "--no-shared-pool"]);
    assert_refused(&both, &["--no-shared-pool"]);
}

/// Answers of a model to [`PROMPT`], as token ids.
struct Answers {
    model: Model,
    prompt: Vec<TokenId>,
}

impl Answers {
    fn new() -> Self {
        let model = Model::load(
            model_path("tiny-llama.gguf").as_ref(),
            &ModelOptions::default(),
        )
        .unwrap();
        let prompt = model.vocabulary().tokenize(PROMPT).unwrap();
        Self { model, prompt }
    }

    fn of(&self, params: MethodParams, method: Method, memory: Memory) -> Generation {
        self.with(method, method.drafter_with(params, memory))
    }

    fn with(&self, method: Method, drafter: Box<dyn Drafter>) -> Generation {
        let context = ContextOptions {
            n_ctx: Some(512),
            threads: Some(1),
            flash_attention: FlashAttention::Off,
            ..ContextOptions::default()
        };
        let options = SessionOptions {
            method,
            fill_tree: true,
            ..SessionOptions::default()
        };
        let session = Session::open(&self.model, &context, options).unwrap();
        let mut session = session.with_drafter(drafter);
        session
            .prefill(&self.prompt, &mut |_, _| ControlFlow::Continue(()))
            .unwrap();
        session
            .generate(60, &mut |_| ControlFlow::Continue(()))
            .unwrap()
    }

    fn plain(&self) -> Vec<TokenId> {
        let params = MethodParams::default();
        self.of(params, Method::Baseline, Memory::none()).tokens
    }

    fn corpus(&self, documents: &[Vec<TokenId>]) -> Memory {
        let vocabulary = self.model.vocabulary().fingerprint();
        let mut builder = CorpusBuilder::default();
        documents.iter().for_each(|document| builder.add(document));
        let bytes = builder.encode(&vocabulary).unwrap();
        let corpus = Corpus::from_bytes(bytes, Path::new("corpus"), Some(&vocabulary)).unwrap();
        Memory {
            corpus: Some(Arc::new(corpus)),
            history: None,
            prediction: None,
        }
    }

    /// What the model says, twenty times, with every third token replaced.
    fn poison(&self) -> Vec<Vec<TokenId>> {
        let n_vocab = TokenId::try_from(self.model.vocabulary().len()).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let text = [self.prompt.clone(), self.plain()].concat();
        let mut poisoned = || -> Vec<TokenId> {
            let mut spoil = |&token: &TokenId| match random.u8(..3) {
                0 => random.u32(..n_vocab),
                _ => token,
            };
            text.iter().map(&mut spoil).collect()
        };
        (0..20).map(|_| poisoned()).collect()
    }
}

#[test]
fn a_corpus_of_the_answer_is_copied_from_unless_it_is_left_out() {
    let answers = Answers::new();
    let plain = answers.plain();
    let memory = answers.corpus(&[[answers.prompt.clone(), plain.clone()].concat()]);
    for method in Method::ALL {
        let answer = answers.of(MethodParams::default(), method, memory.clone());
        assert_eq!(answer.tokens, plain, "{method}");
        if method == Method::Logitspec {
            let accepted = answer.sources.accepted.of(Source::Corpus);
            assert!(accepted > plain.len() / 2, "{accepted} of {}", plain.len());
        }
    }
    let params = MethodParams {
        leave_out: [Source::Corpus].into_iter().collect(),
        ..MethodParams::default()
    };
    let without = answers.of(params, Method::Logitspec, memory);
    assert_eq!(without.tokens, plain);
    assert_eq!(without.sources.drafted.of(Source::Corpus), 0);
}

#[test]
fn poison_changes_no_token() {
    let answers = Answers::new();
    let (plain, poison) = (answers.plain(), answers.poison());
    let pool = SharedPool::new(1 << 16);
    poison.iter().for_each(|text| pool.insert(text));
    let memories = [
        (Source::History, Memory::of_history(Arc::new(pool))),
        (Source::Corpus, answers.corpus(&poison)),
    ];
    for (source, memory) in memories {
        for method in Method::ALL {
            let answer = answers.of(MethodParams::default(), method, memory.clone());
            assert_eq!(answer.tokens, plain, "{method}, {source:?}");
            let drafted = answer.sources.drafted.of(source);
            if method == Method::Logitspec {
                let accepted = answer.sources.accepted.of(source);
                assert!(drafted > accepted, "the poison was tried");
            }
        }
    }
}

/// Rivals have a memory of their own: what was said, and what the model thought of saying.
#[test]
fn poisoned_answers_and_rows_change_no_token() {
    let answers = Answers::new();
    let (plain, poison) = (answers.plain(), answers.poison());
    for method in [Method::Suffix, Method::TokenRecycling, Method::Logitspec] {
        let memory = Memory::of_history(Arc::new(SharedPool::new(1 << 16)));
        let mut drafter = method.drafter_with(MethodParams::default(), memory);
        for text in &poison {
            drafter.begin(&text[..1]);
            for said in 1..text.len() {
                let tree = DraftTree::new(text[said], TreeLimits::nodes(1));
                let mut row = vec![0.0; answers.model.vocabulary().len()];
                for (rank, &token) in text[said + 1..].iter().take(8).enumerate() {
                    row[token as usize] = 9.0 - rank as f32;
                }
                drafter.observe(&Verified {
                    tree: &tree,
                    path: &[],
                    next: text.get(said + 1).copied(),
                    rows: &|_| Row::from(&row),
                });
                drafter.extend(&text[..=said], 1);
            }
            drafter.next_request();
        }
        let answer = answers.with(method, drafter);
        assert_eq!(answer.tokens, plain, "{method}");
        let sources = answer.sources;
        let drafted: usize = sources.drafted.iter().map(|(_, count)| count).sum();
        let accepted: usize = sources.accepted.iter().map(|(_, count)| count).sum();
        assert!(drafted > accepted + 20, "the poison was tried");
    }
}

#[test]
fn calibration_is_kept_and_used_and_a_damaged_one_is_named() {
    let cache = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_logitspec"))
            .args(args)
            .args(["-t", "1", "-m"])
            .arg(model_path("tiny-llama.gguf"))
            .env("LOGITSPEC_CACHE", cache.path())
            .output()
            .unwrap()
    };
    let measured = json(&run(&[
        "calibrate",
        "--json",
        "--repeats",
        "1",
        "--max-tokens",
        "8", // too few to contradict each other, however busy the machine
    ]));
    let sizes: Vec<u64> = measured["times"]
        .as_array()
        .unwrap()
        .iter()
        .map(|time| time["tokens"].as_u64().unwrap())
        .collect();
    assert!(
        sizes.starts_with(&[1, 2, 3, 4]) && sizes.iter().max() == Some(&8),
        "{sizes:?}"
    );
    assert_eq!(measured["seconds"].as_array().unwrap().len(), 256);
    let file = PathBuf::from(measured["file"].as_str().unwrap());
    assert!(file.starts_with(cache.path()) && file.exists());

    // What cannot be kept is shown all the same.
    let nowhere = program::command(&["calibrate", "--json", "--repeats", "1", "--max-tokens", "3"])
        .args(["-t", "1", "-c", "64", "-m"])
        .arg(model_path("tiny-llama.gguf"))
        .env("LOGITSPEC_CACHE", file.join("cache"))
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    let shown: Value = serde_json::from_slice(&nowhere.stdout).unwrap();
    let shown: Vec<_> = shown["times"].as_array().unwrap().iter().collect();
    assert_eq!(shown.len(), 3, "after 16 tokens");
    let line = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(
        line.contains(file.to_str().unwrap()) && line.contains("nothing is kept"),
        "{line}"
    );

    // A context that hardly holds the shortest text of the plan still holds large passes after a
    // shorter one.
    let narrow = ["calibrate", "--json", "--repeats", "1"];
    let largest = |n_ctx: &str| {
        let measured = json(&run(&[&narrow[..], &["-c", n_ctx]].concat()));
        let times = measured["times"].as_array().unwrap().clone();
        let tokens = times.iter().map(|time| time["tokens"].as_u64().unwrap());
        (tokens.max().unwrap(), measured["file"].is_string())
    };
    assert_eq!(largest("129").0, 96);
    assert_eq!(largest("6"), (5, false), "too little to keep");

    let asked = ["generate", "-p", PROMPT, "-n", "8", "--json"];
    let quiet = run(&asked);
    assert!(
        quiet.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&quiet.stderr)
    );
    // What it says of two tokens decides whether anything is drafted.
    let drafted = |of_two: f64| {
        let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        for time in kept["times"].as_array_mut().unwrap() {
            let dear = time["tokens"].as_u64() > Some(1);
            time["reused"] = (1e-3 * if dear { of_two } else { 1.0 }).into();
        }
        std::fs::write(&file, kept.to_string()).unwrap();
        json(&run(&["generate", "-p", PROMPT, "-n", "24", "--json"]))["drafted_tokens"].clone()
    };
    assert_eq!(drafted(1000.0), 0);
    assert!(drafted(1.0).as_u64() > Some(0));

    std::fs::write(&file, "{").unwrap();
    let warned = run(&asked);
    assert_eq!(json(&warned)["tokens"], json(&quiet)["tokens"]);
    let line = String::from_utf8_lossy(&warned.stderr).into_owned();
    assert!(
        line.contains("calibrat") && line.contains(file.to_str().unwrap()),
        "{line}"
    );
    let mamba = Command::new(env!("CARGO_BIN_EXE_logitspec"))
        .args(["calibrate", "-m"])
        .arg(model_path("tiny-mamba.gguf"))
        .output()
        .unwrap();
    assert_refused(&mamba, &["nothing to calibrate"]);
}
