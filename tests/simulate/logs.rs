//! Logs as people have them: chats, a file without a flag, costs that are kept.

use std::slice::from_ref;

use serde_json::json as object;

use crate::command::{Folder, json};
use crate::program::{self, command, model_path, stderr, stdout};

fn message(role: &str, content: &str) -> serde_json::Value {
    object!({"role": role, "content": content})
}

/// The figures of a log with the tiny model, and what is said of it.
fn replayed(folder: &Folder, lines: &[serde_json::Value]) -> (serde_json::Value, String) {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    let log = folder.write("log.jsonl", &lines.join("\n"));
    let tiny = model_path("tiny-llama.gguf");
    let args = [
        "simulate",
        &log,
        "-m",
        &tiny,
        "--methods",
        "prompt-lookup",
        "--json",
    ];
    let output = command(&args).output().unwrap();
    let report = program::json(&output);
    let rows = report["methods"][0]["categories"].as_array().unwrap();
    (rows.last().unwrap().clone(), stderr(&output))
}

#[test]
fn a_chat_is_replayed_as_its_turns_or_as_its_last_answer() {
    let folder = Folder::new();
    let system = message("system", "Be brief.");
    let (asked, said) = (
        message("user", "one two three"),
        message("assistant", "one two three"),
    );
    let again = message("user", "one two three again");
    let whole = object!({"messages": [system, asked, said, again, said]});
    let (figures, told) = replayed(&folder, from_ref(&whole));
    let of_both = figures["tokens"].as_u64().unwrap();
    assert_eq!((&figures["requests"], told.as_str()), (&1.into(), ""));
    // It copies from the question, which the template leaves in the prompt.
    assert!(
        figures["mean_accepted_tokens"].as_f64() > Some(1.0),
        "{figures}"
    );

    let beside = object!({
        "request": {"messages": [system, asked, said, again]},
        "response": {"choices": [{"message": said}]}
    });
    let (figures, _) = replayed(&folder, &[beside]);
    assert_eq!(
        figures["tokens"].as_u64(),
        Some(of_both / 2),
        "of one answer"
    );

    let call = object!({"role": "assistant", "content": null, "tool_calls": [{}]});
    let lines = [
        whole,
        object!({"messages": [asked, said, again, call]}),
        object!({"messages": [asked, call, message("tool", "3"), said]}),
    ];
    let (figures, told) = replayed(&folder, &lines);
    assert_eq!(figures["tokens"].as_u64(), Some(of_both + of_both / 2));
    assert!(told.contains("note: chats replayed in part: 1") && told.contains("left out: 1"));
}

#[test]
fn the_history_and_the_system_message_of_a_chat_are_in_its_prompt() {
    let folder = Folder::new();
    let text = "one two three four five six";
    let mean = |messages: &[serde_json::Value]| {
        let line = object!({"messages": messages, "response": text});
        let (figures, _) = replayed(&folder, &[line]);
        figures["mean_accepted_tokens"].as_f64().unwrap()
    };
    let again = message("user", "Again!");
    let alone = mean(from_ref(&again));
    let history = [
        message("user", text),
        message("assistant", "Yes."),
        again.clone(),
    ];
    assert!(mean(&history) > alone, "{} {alone}", mean(&history));
    let system = [message("system", text), again];
    assert!(mean(&system) > alone, "{} {alone}", mean(&system));
}

#[test]
fn a_file_is_told_by_its_content() {
    let folder = Folder::new();
    let tiny = model_path("tiny-llama.gguf");
    let log = folder.write("log", r#"{"prompt": "one two", "response": "one two"}"#);
    let flags = ["-m", &tiny, "--methods", "prompt-lookup"];
    let plain = json(&[&["--jsonl", &log], &flags[..]].concat());
    assert_eq!(
        json(&[&[&log[..]], &flags[..]].concat())["requests"],
        plain["requests"]
    );
    let trace = folder.path("trace.jsonl");
    let ask = [
        "generate", "-m", &tiny, "-t", "1", "-p", "one two", "-n", "9", "--trace", &trace,
    ];
    assert_eq!(command(&ask).output().unwrap().status.code(), Some(0));
    let with_flag = json(&["--trace", &trace, "--methods", "logitspec"]);
    let report = json(&[&trace, "--methods", "logitspec"]);
    let steps = |it: &serde_json::Value| it["methods"][0]["categories"][0]["steps"].clone();
    assert_eq!(steps(&report), steps(&with_flag));
}

#[test]
fn speedups_come_with_the_costs_that_are_kept_here() {
    let folder = Folder::new();
    let tiny = model_path("tiny-llama.gguf");
    let log = folder.write(
        "log",
        r#"{"prompt": "one two three", "response": "one two three"}"#,
    );
    let run = |args: &[&str]| {
        let mut command = command(args);
        let output = command
            .env("LOGITSPEC_CACHE", folder.path("cache"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        output
    };
    let simulate = ["simulate", &log, "-m", &tiny, "--methods", "prompt-lookup"];
    let with_json = [&simulate[..], &["--json"]].concat();
    let figures = |report: &serde_json::Value| {
        let figures = &report["methods"][0]["categories"][0];
        (
            report["cost"].clone(),
            figures["expected_speedup"].is_number(),
        )
    };
    let said = stdout(&run(&simulate));
    assert!(
        said.contains("No speedups: what passes cost here is not known"),
        "{said}"
    );
    assert!(said.contains("The record has no logits"), "{said}");
    assert_eq!(
        figures(&program::json(&run(&with_json))),
        (object!(null), false)
    );

    // An answer measures it.
    run(&["generate", "-m", &tiny, "-p", "one two", "-n", "4"]);
    assert_eq!(
        figures(&program::json(&run(&with_json))),
        (object!("kept"), true)
    );
    let said = stdout(&run(&simulate));
    assert!(said.contains("Speedups are of decoding alone"), "{said}");
    assert!(said.contains("measured on this machine"), "{said}");
    let cost = folder.write("cost.json", r#"{"seconds": [1.0, 1.1]}"#);
    let named = program::json(&run(&[&with_json[..], &["--cost", &cost]].concat()));
    assert_eq!(figures(&named), (object!("file"), true));
}
