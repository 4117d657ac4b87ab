//! `logitspec simulate` as its users meet it.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::program::{self, command, model_path};

fn tiny() -> String {
    model_path("tiny-llama.gguf")
}

/// A tokenizer of whole words, which ends answers with `</s>`.
pub const TOKENIZER: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [
        {"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
         "normalized": false, "special": true},
        {"id": 1, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
         "normalized": false, "special": true}
    ],
    "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
    "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "?",
        "vocab": {"<s>": 0, "</s>": 1, "?": 2, "a": 3, "b": 4, "c": 5, "d": 6, "e": 7}}
}"#;

pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("tokenizer.json", TOKENIZER);
        folder
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn simulate(args: &[&str]) -> Output {
    command(&[&["simulate"], args].concat()).output().unwrap()
}

pub fn json(args: &[&str]) -> Value {
    program::json(&simulate(&[args, &["--json"]].concat()))
}

/// Exit code 2 and one line that has all of `words`.
pub fn assert_refused(args: &[&str], words: &[&str]) {
    program::assert_refused(&simulate(args), words);
}

/// Two questions, one of two turns, with answers that copy.
fn record(folder: &Folder) -> [String; 6] {
    let questions = folder.write(
        "question.jsonl",
        r#"{"question_id": 1, "category": "writing", "turns": ["a b c d", "e"]}
           {"question_id": 2, "category": "qa", "turns": ["e d c b a"]}
           {"question_id": 3, "category": "qa", "turns": ["nobody answered"]}"#,
    );
    let answers = folder.write(
        "answers.jsonl",
        r#"{"question_id": 2.0, "choices": [{"turns": ["a a"]}]}
           {"question_id": 1, "choices": [{"turns": ["a b c d", "b c d"]}]}"#,
    );
    let tokenizer = folder.path("tokenizer.json");
    let flags = ["--questions", "--answers", "--tokenizer-path"].map(String::from);
    let [a, b, c] = flags;
    [a, questions, b, answers, c, tokenizer]
}

pub fn row<'a>(report: &'a Value, method: usize, category: &str) -> &'a Value {
    let rows = report["methods"][method]["categories"].as_array().unwrap();
    rows.iter().find(|row| row["category"] == category).unwrap()
}

#[test]
fn answers_are_replayed_by_category() {
    let folder = Folder::new();
    let record = record(&folder);
    let flags: Vec<&str> = record.iter().map(String::as_str).collect();
    let cost = folder.write("cost.json", r#"{"seconds": [1.0, 1.0, 1.0, 1.5]}"#);
    let more = [
        "--template",
        "none",
        "--methods",
        "baseline,prompt-lookup",
        "--cost",
        &cost,
    ];
    let report = json(&[&flags[..], &more].concat());
    assert_eq!(report["requests"], 2);
    let baseline = row(&report, 0, "overall");
    // Four, three and two words, each with its end.
    assert_eq!(
        (&baseline["tokens"], &baseline["steps"]),
        (&12.into(), &12.into())
    );
    assert_eq!(baseline["expected_speedup"], 1.0);
    // "a b c d" in one step and its end; "b c d" likewise.
    let mt_bench = row(&report, 1, "mt_bench");
    assert_eq!(
        (&mt_bench["tokens"], &mt_bench["steps"]),
        (&9.into(), &4.into())
    );
    assert_eq!(mt_bench["mean_accepted_tokens"], 2.25);
    let qa = row(&report, 1, "qa");
    assert_eq!((&qa["tokens"], &qa["requests"]), (&3.into(), &1.into()));
    // The same again, but for the times.
    let again = json(&[&flags[..], &more].concat());
    let without_times = |mut report: Value| {
        for method in report["methods"].as_array_mut().unwrap() {
            for row in method["categories"].as_array_mut().unwrap() {
                row.as_object_mut().unwrap().remove("draft_us").unwrap();
            }
        }
        report
    };
    assert_eq!(without_times(again), without_times(report));
}

#[test]
fn slices_and_halves_of_the_requests() {
    let folder = Folder::new();
    let record = record(&folder);
    let flags: Vec<&str> = record.iter().map(String::as_str).collect();
    let tokens = |more: &[&str]| {
        let common = ["--template", "none", "--methods", "baseline"];
        let report = json(&[&flags[..], &common, more].concat());
        row(&report, 0, "overall")["tokens"].as_u64().unwrap()
    };
    assert_eq!(tokens(&["--question-begin", "1"]), 3);
    assert_eq!(tokens(&["--question_end", "1"]), 9);
    assert_eq!(tokens(&["--every", "2"]), 9);
    assert_eq!(tokens(&["--every", "2", "--offset", "1"]), 3);
    // Cut off after two tokens, so not ended.
    assert_eq!(tokens(&["-n", "2"]), 6);
    let empty = [&flags[..], &["--question-begin", "2"]].concat();
    assert_refused(&empty, &["no request left of 2", "--question-begin"]);
    let offset = [&flags[..], &["--every", "2", "--offset", "2"]].concat();
    assert_refused(&offset, &["--offset 2 is out of range"]);
}

#[test]
fn earlier_requests_are_remembered_on_demand() {
    let folder = Folder::new();
    let line = r#"{"q": "e", "r": "a b c d a c b"}"#;
    let log = folder.write("log.jsonl", &[line; 4].join("\n"));
    let tokenizer = folder.path("tokenizer.json");
    let flags = [
        "--jsonl",
        &log,
        "--prompt-field",
        "q",
        "--response-field",
        "r",
        "--methods",
        "suffix",
    ];
    let common = [&flags[..], &["--tokenizer-path", &tokenizer]].concat();
    let steps = |more: &[&str]| {
        let report = json(&[&common[..], more].concat());
        row(&report, 0, "overall")["steps"].as_u64().unwrap()
    };
    let (fresh, history) = (steps(&[]), steps(&["--history"]));
    assert!(history < fresh, "{history} of {fresh}");
    assert!(steps(&["--history", "--max-spec-offset", "9"]) < history);
}

#[test]
fn token_ids_need_no_text() {
    let folder = Folder::new();
    let log = folder.write(
        "log.jsonl",
        r#"{"prompt": [3, 4, 5], "response": [3, 4, 5, 1]}"#,
    );
    let report = json(&["--jsonl", &log, "-m", &tiny(), "--methods", "prompt-lookup"]);
    let overall = row(&report, 0, "overall");
    assert_eq!(overall["tokens"], 4);
    assert!(overall["mean_accepted_tokens"].as_f64().unwrap() > 1.0);
}

#[test]
fn a_real_trace_replays_to_the_steps_that_it_has() {
    let folder = Folder::new();
    let trace = folder.path("trace.jsonl");
    let output = Command::new(env!("CARGO_BIN_EXE_logitspec"))
        .args([
            "generate",
            "--raw",
            "-m",
            &tiny(),
            "-t",
            "1",
            "-p",
            "one two three one two",
            "-n",
            "40",
        ])
        .args(["--method", "logitspec-reference", "--trace", &trace])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let steps = std::fs::read_to_string(&trace).unwrap().lines().count() - 1;
    let report = json(&["--trace", &trace, "--methods", "logitspec-reference"]);
    let overall = row(&report, 0, "overall");
    assert_eq!(overall["steps"], steps);
    assert_eq!(overall["tokens"], 40);
}

#[test]
fn token_ids_of_any_size_cost_no_memory() {
    let folder = Folder::new();
    let trace = folder.write(
        "trace.jsonl",
        r#"{"prompt": [4000000000]}
        {"n_past": 1, "root": 3, "ranked": [3, 4000000001], "logits": [2.0, 1.0], "accepted": [3]}
        {"n_past": 2, "root": 4, "ranked": [4, 3], "logits": [2.0, 1.0], "accepted": [4]}"#,
    );
    let report = json(&["--trace", &trace, "--methods", "token-recycling,logitspec"]);
    assert_eq!(row(&report, 0, "overall")["tokens"], 2);
}

#[test]
fn a_prompt_is_templated_whatever_the_response_is_given_as() {
    let folder = Folder::new();
    let log = folder.write(
        "log.jsonl",
        r#"{"prompt": "a", "response": [4, 5, 3, 4, 5, 1]}
           {"prompt": "a", "response": "b c a b c"}"#,
    );
    let template = folder.write("template", "a b c {{ messages[0].content }}");
    let tokenizer = folder.path("tokenizer.json");
    let flags = ["--jsonl", &log, "--tokenizer-path", &tokenizer];
    let more = ["--methods", "prompt-lookup", "--template", &template];
    let steps = |which: [&str; 2]| {
        let report = json(&[&flags[..], &more, &which].concat());
        row(&report, 0, "overall")["steps"].as_u64().unwrap()
    };
    // The template says what the response repeats.
    let told = steps(["--question-end", "1"]);
    assert_eq!(told, steps(["--question-begin", "1"]));
    assert!(told < 4, "{told}");
}

#[test]
fn every_method_is_replayed_unless_told_otherwise() {
    let folder = Folder::new();
    let log = folder.write("log.jsonl", r#"{"prompt": "a b", "response": "a b c"}"#);
    let output = simulate(&[
        "--jsonl",
        &log,
        "--tokenizer-path",
        &folder.path("tokenizer.json"),
    ]);
    let table = String::from_utf8(output.stdout).unwrap();
    for method in logitspec::engine::Method::ALL {
        assert!(table.contains(method.name()), "{table}");
    }
}

#[test]
fn bad_input_is_one_line_and_exit_code_2() {
    let folder = Folder::new();
    let record = record(&folder);
    let [_, questions, _, answers, _, tokenizer] = &record;
    let with = |questions: &str, answers: &str, tokenizer: &str, words: &[&str]| {
        let flags = [
            "--questions",
            questions,
            "--answers",
            answers,
            "--tokenizer-path",
            tokenizer,
        ];
        assert_refused(&flags, words);
    };
    let absent = folder.path("absent");
    with(&absent, answers, tokenizer, &["absent", "question file"]);
    with(questions, &absent, tokenizer, &["absent", "answer file"]);
    with(questions, answers, &absent, &["absent", "tokenizer"]);
    let broken = folder.write("broken.jsonl", "\n{\"question_id\": 1,");
    with(
        questions,
        &broken,
        tokenizer,
        &["broken.jsonl:2", "not an answer"],
    );
    with(
        questions,
        answers,
        &broken,
        &["broken.jsonl", "tokenizer.json"],
    );
    let stray = folder.write(
        "stray.jsonl",
        r#"{"question_id": 9, "choices": [{"turns": ["a"]}]}"#,
    );
    with(
        questions,
        &stray,
        tokenizer,
        &["question 9", "which is not in", "question.jsonl"],
    );
    let long = folder.write(
        "long.jsonl",
        r#"{"question_id": 2, "choices": [{"turns": ["a", "b"]}]}"#,
    );
    with(questions, &long, tokenizer, &["question 2", "2 turns"]);
    let ranked = folder.write(
        "ranked.jsonl",
        concat!(
            r#"{"question_id": 2, "choices": [{"turns": ["a"], "token_ids": [[3, 1]], "#,
            r#""ranked": [[[[3, 0.5]]]]}]}"#
        ),
    );
    with(
        questions,
        &ranked,
        tokenizer,
        &["ranked.jsonl:1", "ranked one per token"],
    );
    let none = folder.write("none.jsonl", "\n");
    with(questions, &none, tokenizer, &["holds no answer"]);

    let log = folder.write("log.jsonl", r#"{"prompt": "a", "answer": "b"}"#);
    let log = ["--jsonl", &log, "--tokenizer-path", tokenizer.as_str()];
    assert_refused(&log, &["log.jsonl:1", "\"response\"", "--response-field"]);
    let no_token = [&log[..], &["--response-field", "answer", "--eos", "<end>"]].concat();
    assert_refused(&no_token, &["no token <end>", "--eos"]);
    assert_refused(
        &["--questions", questions, "--answers", answers],
        &["no tokenizer", "--tokenizer-path"],
    );
    assert_refused(&["--questions", questions], &["--answers"]);
    assert_refused(&[], &["nothing to replay", "--jsonl"]);
    let bad_cost = folder.write("cost.json", r#"{"seconds": [1.0, 0.0]}"#);
    assert_refused(&["--cost", &bad_cost], &["--cost", "cost.json"]);
    assert_refused(&["--trace", &absent], &["absent", "trace"]);
    for (flag, value) in [
        ("--min-token-prob", "NaN"),
        ("--min-token-prob", "1.5"),
        ("--max-spec-factor", "-1"),
        ("--max-spec-offset", "inf"),
    ] {
        assert_refused(&[flag, value], &[flag, value]);
    }
    assert_refused(&["--methods", "nonsense"], &["nonsense", "token-recycling"]);
    assert!(Path::new(questions).exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said() {
    let folder = Folder::new();
    let flags = record(&folder);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    for format in [&[][..], &["--json"]] {
        let args = [&["simulate"], &flags[..], format].concat();
        program::assert_full_disk_is_said(command(&args));
    }
}
