//! `logitspec chat` through a pipe.
#![cfg(feature = "cli")]

use std::process::Output;

use serde_json::Value;

mod program;

use program::{stderr, stdout, tiny, with_stdin};

/// Asks these questions, one a line.
fn converse(args: &[&str], questions: &[u8]) -> Output {
    with_stdin(tiny("chat", &[&["-n", "12"], args].concat()), questions)
}

/// The objects that `--json` prints, one a line.
fn objects(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    lines(output)
}

fn lines(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_conversation_goes_on_from_line_to_line() {
    let output = converse(
        &["--json"],
        b"Who are you?\nAnd who am I?\n/reset\nWho are you?\n/exit\nignored\n",
    );
    let turns = objects(&output);
    assert_eq!(turns.len(), 3);
    assert!(turns[1]["prompt_tokens"].as_u64() < turns[0]["prompt_tokens"].as_u64());
    assert_eq!(turns[2]["tokens"], turns[0]["tokens"]);
}

#[test]
fn a_conversation_that_is_over_is_copied_from_unless_told_otherwise() {
    let talk = b"one two three one two\n/reset\none two three one two\n";
    let steps = |method: &str, more: &[&str]| {
        let flags = ["--json", "--fill-tree", "--method", method];
        let turns = objects(&converse(&[&flags[..], more].concat(), talk));
        assert_eq!(turns[1]["tokens"], turns[0]["tokens"], "{method}");
        [&turns[0], &turns[1]].map(|turn| turn["decode_steps"].as_u64().unwrap())
    };
    for method in ["logitspec", "suffix", "token-recycling"] {
        let [first, second] = steps(method, &[]);
        assert!(second < first, "{method}: {second} of {first}");
        let [first, second] = steps(method, &["--no-shared-pool"]);
        assert_eq!(first, second, "{method}");
    }
}

#[test]
fn colours_are_for_terminals() {
    let output = converse(&["--color-drafts", "--fill-tree"], b"one two one two\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(!stdout(&output).contains('\x1b') && !stderr(&output).contains('\x1b'));
}

#[test]
fn a_question_that_is_no_utf8_is_asked_all_the_same() {
    let output = converse(&["--json"], b"\xff\xfe hi\nWho are you?");
    assert_eq!(objects(&output).len(), 2);
    let told = stderr(&output);
    assert_eq!(told.matches("not valid UTF-8").count(), 1, "{told}");
}

#[test]
fn every_question_has_an_object_with_all_that_generate_tells() {
    let long = "word ".repeat(2000);
    let questions = format!("Who are you?\n{long}\nAnd who am I?\n");
    let args = ["--json", "-c", "512", "--method", "prompt-lookup"];
    let output = converse(&args, questions.as_bytes());
    let turns = lines(&output);
    assert_eq!(turns.len(), 3);
    assert_eq!(output.status.code(), Some(2), "one has no answer");
    let told = stderr(&output);
    assert!(told.contains("one question was not answered"), "{told}");
    for turn in &turns {
        let lengths = turn["accept_lengths"].as_array().unwrap();
        let sum: u64 = lengths.iter().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(turn["new_tokens"], sum);
        assert_eq!(turn["method"], "prompt-lookup");
        assert_eq!(turn["parameters"]["max_new_tokens"], 12);
    }
    for answered in [&turns[0], &turns[2]] {
        assert_eq!(answered["finish_reason"], "length");
        assert_eq!(answered["error"], Value::Null);
        assert_eq!(answered["new_tokens"], 12);
    }
    let refused = &turns[1];
    assert_eq!(refused["finish_reason"], "error");
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("the context holds 512"), "{error}");
    assert_eq!(refused["new_tokens"], 0);
    assert!(refused["prompt_tokens"].as_u64().unwrap() > 512);
}

#[test]
fn a_template_that_leaves_out_the_question_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("template");
    std::fs::write(&file, "USER: ASSISTANT:").unwrap();
    let args = ["--template", file.to_str().unwrap()];
    let told = stderr(&converse(&args, b"Who are you?\n"));
    assert!(told.contains("warning: the chat template"), "{told}");
    let told = stderr(&converse(&[], b"Who are you?\n"));
    assert!(!told.contains("warning"), "{told}");
}
