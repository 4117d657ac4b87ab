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

/// The answers to these lines, and what is said on standard error.
fn told(args: &[&str], lines: &str) -> (Output, String) {
    let output = with_stdin(tiny("chat", args), lines.as_bytes());
    let told = stderr(&output);
    (output, told)
}

#[test]
fn several_lines_are_one_question() {
    let prompts = |args: &[&str], lines: &str| -> Vec<u64> {
        let turns = objects(&converse(&[&["--json"], args].concat(), lines.as_bytes()));
        let count = |turn: &Value| turn["prompt_tokens"].as_u64().unwrap();
        turns.iter().map(count).collect()
    };
    let [one] = prompts(&[], "one\n")[..] else {
        panic!("not one question")
    };
    for (args, lines) in [
        (&[][..], "one \\\ntwo \\\nthree\n"),
        (&[], "\"\"\"one\ntwo\n\nthree\"\"\"\n"),
        (&[], "\"\"\"\none\ntwo\nthree"),
        (&["-mli"], "one\ntwo\nthree\\\n"),
        (&["--multiline-input"], "one\n/etc is two\nthree"),
    ] {
        let asked = prompts(args, lines);
        assert!(asked.len() == 1 && asked[0] > one, "{lines:?}: {asked:?}");
    }
    // The last line has no end, and what is after a text of several lines is another question.
    assert_eq!(prompts(&[], "one \\\ntwo\nthree").len(), 2);
}

#[test]
fn a_saved_conversation_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my talk.json");
    let file = file.to_str().unwrap();
    let talk = format!("/system Be brief.\nWho are you?\n/save {file}\nAnd who am I?\n");
    let first = objects(&converse(&["--json"], talk.as_bytes()));
    let saved = std::fs::read_to_string(file).unwrap();
    let value: Value = serde_json::from_str(&saved).unwrap();
    let roles = value["messages"].as_array().unwrap().iter();
    let roles: Vec<_> = roles.map(|it| it["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant"]);
    assert_eq!(saved.lines().count(), 1, "simulate reads a line");

    let again = format!("/load {file}\nAnd who am I?\n/system\n");
    let output = converse(&["--json"], again.as_bytes());
    let second = objects(&output);
    assert!(
        stderr(&output).contains("\nBe brief.\n"),
        "{}",
        stderr(&output)
    );
    assert_eq!(second.len(), 1);
    // All of it is read at once.
    let length = |turn: &Value| turn["prompt_tokens"].as_u64().unwrap();
    assert!(length(&second[0]) > length(&first[0]) + length(&first[1]));

    let (output, told) = told(&["-n", "2"], &format!("/load {file}x\n/save\n/clear\nHi\n"));
    assert_eq!(output.status.code(), Some(2));
    assert!(told.contains("my talk.jsonx: No such file"), "{told}");
    assert!(told.contains("/save needs a FILE"), "{told}");
    assert!(
        told.contains("error: 2 commands failed: see above"),
        "{told}"
    );
}

#[test]
fn other_instructions_count_from_the_next_question_on() {
    // Longer than those of the template.
    let text = "one two three four five six seven eight nine ten ".repeat(8);
    let text = text.trim();
    let system = format!("/system {text}\n");
    let turns = |lines: &str| objects(&converse(&["--json"], lines.as_bytes()));
    let length = |turn: &Value| turn["prompt_tokens"].as_u64().unwrap();
    let with = turns(&format!("{system}Who are you?\n"));
    let flag = objects(&converse(&["--json", "--system", text], b"Who are you?\n"));
    let without = turns("Who are you?\n");
    assert_eq!(with[0]["tokens"], flag[0]["tokens"]);
    assert_eq!(length(&with[0]), length(&flag[0]));
    assert!(length(&with[0]) > length(&without[0]));
    // The conversation stays: it is read again behind the instructions.
    let later = turns(&format!("Who are you?\n{system}And who am I?\n"));
    assert!(length(&later[1]) > length(&with[0]) + 12, "{later:?}");
    let (_, plain) = told(&["--template", "none"], &system);
    assert!(plain.contains("plain text has no place"), "{plain}");
}

#[test]
fn a_context_that_slides_does_not_end() {
    let talk = "one two three four five\n".repeat(12);
    let args = ["-c", "256", "-n", "60", "--json"];
    let (output, said) = told(&args, &talk);
    assert_ne!(
        output.status.code(),
        Some(0),
        "the context is too short: {said}"
    );
    let slides = [&args[..], &["--context-shift"]].concat();
    let (output, said) = told(&slides, &talk);
    let turns = objects(&output);
    assert_eq!(turns.len(), 12);
    assert!(turns.iter().all(|turn| turn["new_tokens"] == 60), "{said}");
    assert!(
        said.contains("note: the context of 256 tokens was full: the oldest"),
        "{said}"
    );

    // An answer that is longer than the context goes on, too, in a template and as plain text.
    for more in [&[][..], &["--template", "none"]] {
        let long = [
            &["-c", "256", "-n", "400", "--json", "--context-shift"],
            more,
        ]
        .concat();
        let (output, said) = told(&long, "one two\nthree\n");
        let turns = objects(&output);
        assert!(turns.iter().all(|turn| turn["new_tokens"] == 400), "{said}");
        assert!(
            said.contains("the beginning of the text is left out"),
            "{said}"
        );
    }
}
