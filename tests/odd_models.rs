//! Models with metadata that cannot be right, or with damaged weights.
#![cfg(feature = "cli")]

mod program;

use std::path::PathBuf;
use std::process::Output;

use program::gguf::{Gguf, Value};
use program::{assert_refused, command, json, model_path, run, stderr, stdout, with_stdin};

/// A folder with one changed model.
struct Changed {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Changed {
    fn of(name: &str, change: impl FnOnce(Gguf) -> Gguf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changed.gguf");
        change(Gguf::read(model_path(name))).write(&path);
        Self {
            _folder: folder,
            path,
        }
    }

    fn llama(key: &str, value: Value<'_>) -> Self {
        Self::of("tiny-llama.gguf", |model| model.set(key, value))
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn generate(&self, args: &[&str]) -> Output {
        let model = ["generate", "-t", "1", "-p", "one two", "-m", self.path()];
        run(&[&model, args].concat())
    }
}

/// Exit code 1, no answer, and a last line that says why.
fn assert_no_answer(output: &Output) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{said}");
    assert!(last.contains("no finite logit"), "{said}");
}

#[test]
fn a_model_without_finite_logits_gives_no_answer() {
    let broken = Changed::of("tiny-llama.gguf", |model| {
        model.fill("output_norm.weight", 64, f32::NAN)
    });
    let samples: [&[&str]; 4] = [
        &[],
        &["--method", "baseline"],
        &["--temp", "0.8"],
        &["--repeat-penalty", "1.2"],
    ];
    for args in samples {
        let output = broken.generate(args);
        assert_no_answer(&output);
        assert_eq!(stdout(&output).trim(), "", "{args:?}");
    }
    let chat = command(&["chat", "-t", "1", "-m", broken.path()]);
    assert_no_answer(&with_stdin(chat, b"Hello\n"));

    let folder = tempfile::tempdir().unwrap();
    let questions = folder.path().join("question.jsonl");
    let line = r#"{"question_id": 1, "category": "qa", "turns": ["one two"]}"#;
    std::fs::write(&questions, format!("{line}\n")).unwrap();
    for warmup in ["0", "1"] {
        let questions = questions.to_str().unwrap();
        let args = ["bench", "-t", "1", "-n", "8", "--warmup", warmup];
        let files = ["-m", broken.path(), "--questions", questions];
        assert_no_answer(&run(&[&args[..], &files].concat()));
    }
    let answers = folder.path().join("model_answer");
    for file in std::fs::read_dir(answers).unwrap().flatten() {
        let is_answers = file.path().extension().is_some_and(|it| it == "jsonl");
        assert!(
            !is_answers || file.metadata().unwrap().len() == 0,
            "{file:?}"
        );
    }
}

#[test]
fn one_damaged_token_is_never_chosen() {
    let whole = json(&run(&[
        "generate",
        "-t",
        "1",
        "-m",
        &model_path("tiny-llama.gguf"),
        "-p",
        "one two",
        "-n",
        "1",
        "--json",
    ]));
    let damaged = Changed::of("tiny-llama.gguf", |model| {
        // The first token's row of the output matrix.
        model.fill("output.weight", 64, f32::NAN)
    });
    for args in [&[][..], &["--temp", "1.5", "--top-k", "0", "--top-p", "1"]] {
        let answer = json(&damaged.generate(&[args, &["-n", "24", "--json"]].concat()));
        let tokens = answer["tokens"].as_array().unwrap();
        assert!(
            !tokens.is_empty() && !tokens.contains(&0.into()),
            "{answer}"
        );
    }
    assert!(!whole["tokens"].as_array().unwrap().is_empty());
}

#[test]
fn an_absurd_context_length_is_noted_and_not_used() {
    for length in [u32::MAX, 1 << 31, 0] {
        let model = Changed::llama("llama.context_length", Value::U32(length));
        let output = model.generate(&["-n", "4"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let note = said.lines().find(|line| line.starts_with("note: "));
        let note = note.unwrap_or_default();
        assert!(note.contains(&format!("of {length} tokens")), "{said}");
        assert!(note.contains("changed.gguf"), "{said}");

        let inspected = run(&["inspect", model.path(), "--json"]);
        assert_eq!(json(&inspected)["context_length"], length);
        let inspected = run(&["inspect", model.path()]);
        assert_eq!(inspected.status.code(), Some(0), "{}", stderr(&inspected));
        assert!(stdout(&inspected).contains(&format!("{length} tokens")));
        let chat = command(&["chat", "-t", "1", "-n", "2", "-m", model.path()]);
        let chat = with_stdin(chat, b"Hello\n");
        assert_eq!(chat.status.code(), Some(0), "{}", stderr(&chat));
    }
}

#[test]
fn metadata_that_ends_llama_cpp_is_refused_by_name() {
    let cases = [
        ("llama.block_count", Value::U32(0), "from 1 to 512"),
        ("llama.block_count", Value::U32(u32::MAX), "4294967295"),
        ("llama.block_count", Value::I32(-1), "-1"),
        ("llama.nextn_predict_layers", Value::U32(3), "from 0 to 2"),
        (
            "llama.expert_count",
            Value::U32(8),
            "expert_used_count is 0",
        ),
        ("llama.expert_used_count", Value::U32(2), "must be 0"),
        (
            "llama.attention.head_count",
            Value::U32(u32::MAX),
            "4294967295",
        ),
        (
            "llama.attention.head_count_kv",
            Value::U64(u64::MAX),
            "18446744073709551615",
        ),
        ("llama.embedding_length", Value::U32(1 << 31), "2147483648"),
        ("llama.rope.dimension_count", Value::U32(63), "even"),
        ("llama.rope.dimension_count", Value::U32(0), "from 2 to 64"),
        (
            "llama.rope.dimension_count",
            Value::U32(65536),
            "from 2 to 64",
        ),
        ("llama.rope.scaling.type", Value::Text("x"), "linear"),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Value::F32(-1.0),
            "at least 0",
        ),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Value::F32(f32::NAN),
            "NaN",
        ),
        (
            "tokenizer.ggml.tokens",
            Value::Texts(&["a", "b", "", "", "a"]),
            "\"a\" twice",
        ),
    ];
    for (key, value, reason) in cases {
        let model = Changed::llama(key, value);
        let words = ["changed.gguf", key, reason];
        assert_refused(&model.generate(&[]), &words);
        assert_refused(&run(&["inspect", model.path()]), &words);
    }
}

/// Whatever is wrong, it is said in one line.
#[test]
fn other_impossible_metadata_is_refused_in_one_line() {
    let cases = [
        ("llama.context_length", Value::Text("long")),
        ("llama.context_length", Value::I32(-5)),
        ("llama.block_count", Value::Bool(true)),
        ("llama.embedding_length", Value::U32(0)),
        ("llama.attention.head_count", Value::U32(0)),
        ("llama.attention.key_length", Value::U32(u32::MAX)),
        ("llama.feed_forward_length", Value::U32(u32::MAX)),
        ("general.alignment", Value::U32(3)),
        ("tokenizer.ggml.scores", Value::U32(1)),
        ("tokenizer.ggml.tokens", Value::Texts(&[])),
        ("tokenizer.ggml.bos_token_id", Value::Text("x")),
    ];
    for (key, value) in cases {
        let model = Changed::llama(key, value);
        assert_refused(&model.generate(&[]), &["changed.gguf"]);
    }
}

/// llama.cpp looks at these only when it computes.
#[test]
fn where_llama_cpp_gives_up_there_is_one_line() {
    let pattern = "gemma3.attention.sliding_window_pattern";
    let model = Changed::of("tiny-swa.gguf", |model| model.set(pattern, Value::U32(1)));
    assert_refused(&model.generate(&[]), &["changed.gguf", "is_swa_any"]);
}

#[test]
fn token_ids_out_of_range_do_no_harm() {
    for id in [640, i32::MAX as u32, u32::MAX] {
        for key in ["bos", "eos", "eot", "padding"] {
            let key = format!("tokenizer.ggml.{key}_token_id");
            let model = Changed::llama(&key, Value::U32(id));
            let output = model.generate(&["-n", "4"]);
            assert_eq!(output.status.code(), Some(0), "{key}: {}", stderr(&output));
        }
    }
}
