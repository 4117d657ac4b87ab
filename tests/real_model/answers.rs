//! Answers of the real model, from the built program.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::model;
use super::program::{command, json, run, stderr, with_stdin};

/// Questions whose answers copy from them, repeat themselves, and do neither.
fn questions() -> String {
    let edit = include_str!("../../scripts/demo_edit.txt");
    let new = include_str!("../../scripts/demo_new.txt");
    let chat = ["Name three fruits.", "Make a sentence of each of them."];
    let turns = [json!([edit]), json!([new]), json!(chat)];
    let line = |(number, turns)| {
        json!({ "question_id": number, "category": "any", "turns": turns }).to_string() + "\n"
    };
    (1..).zip(&turns).map(line).collect()
}

#[test]
#[ignore = "needs the model of scripts/fetch_model.sh"]
fn every_method_gives_the_answers_of_plain_decoding_with_two_kinds_of_weights() {
    let folder = tempfile::tempdir().unwrap();
    let asked = folder.path().join("questions.jsonl");
    std::fs::write(&asked, questions()).unwrap();
    let quantized = folder.path().join("Q8_0.gguf");
    let quantized = quantized.to_str().unwrap();
    let made = run(&["quantize", &model(), quantized, "Q8_0"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    for model in [&model(), quantized] {
        let flags = ["--capacities", "24", "-n", "48", "--json"];
        let asked = [
            "exactness",
            "-m",
            model,
            "--questions",
            asked.to_str().unwrap(),
        ];
        let output = run(&[&asked[..], &flags[..]].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let methods = report["methods"].as_array().unwrap();
        assert_eq!(
            methods.len(),
            6,
            "five methods, one of them with trees of two kinds"
        );
        for method in methods {
            assert_eq!(method["turns"], 4);
            // Elsewhere a pass of many tokens may round differently (docs/exactness.md).
            if cfg!(few_token_kernels) {
                assert_eq!(method["identical"], 4, "{model}: {method}");
                assert_eq!(method["equal_rows"], method["rows"], "{model}: {method}");
            }
        }
        let accepted = |method: &Value| method["mean_accepted_tokens"].as_f64().unwrap();
        assert!(methods.iter().all(|it| accepted(it) > 1.0), "{report}");
    }
}

#[test]
#[ignore = "needs the model of scripts/fetch_model.sh"]
fn an_answer_follows_its_schema_with_every_method() {
    let schema = r#"{
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 30 },
            "age": { "type": "integer", "minimum": 0, "maximum": 120 },
            "hobbies": {
                "type": "array",
                "items": { "type": "string", "maxLength": 30 },
                "minItems": 2,
                "maxItems": 3
            }
        },
        "required": ["name", "age", "hobbies"],
        "additionalProperties": false
    }"#;
    let prompt = "Make up a person: name, age and hobbies, as JSON.";
    let answer = |method: &str| {
        let model = model();
        let args = [
            "generate", "-m", &model, "-p", prompt, "-n", "100", "--json",
        ];
        json(&run(&[
            &args[..],
            &["--json-schema", schema, "--method", method],
        ]
        .concat()))
    };
    let plain = answer("baseline");
    assert_eq!(plain["finish_reason"], "stop");
    let person: Value = serde_json::from_str(plain["text"].as_str().unwrap()).unwrap();
    assert_eq!(person.as_object().unwrap().len(), 3, "{person}");
    assert!(person["name"].as_str().unwrap().chars().count() <= 30);
    assert!(person["age"].as_u64().unwrap() <= 120);
    assert!(
        [2, 3].contains(&person["hobbies"].as_array().unwrap().len()),
        "{person}"
    );
    for method in [
        "logitspec",
        "logitspec-reference",
        "prompt-lookup",
        "suffix",
    ] {
        assert_eq!(answer(method)["tokens"], plain["tokens"], "{method}");
    }
}

#[test]
#[ignore = "needs the model of scripts/fetch_model.sh"]
fn a_second_turn_continues_the_first_one() {
    let talk = b"What is the capital of France? Answer in one sentence.\n\
        And what is the capital of Italy?\n";
    let answers = |method: &str| {
        let model = model();
        let args = [
            "chat", "-m", &model, "-n", "60", "--json", "--method", method,
        ];
        let output = with_stdin(command(&args), talk);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let turns: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        turns
    };
    let plain = answers("baseline");
    assert_eq!(plain.len(), 2);
    let said = |turn: usize| plain[turn]["text"].as_str().unwrap();
    assert!(
        said(0).contains("Paris") && said(1).contains("Rome"),
        "{plain:?}"
    );
    assert!(
        plain.iter().all(|turn| turn["finish_reason"] == "stop"),
        "{plain:?}"
    );
    // Only the question is read, not the conversation so far.
    assert_eq!(plain[1]["prompt_tokens"], 18);
    for method in ["logitspec", "suffix", "token-recycling"] {
        let ours = answers(method);
        for turn in [0, 1] {
            assert_eq!(ours[turn]["tokens"], plain[turn]["tokens"], "{method}");
        }
    }
}

/// Smaller models are written before a signal can arrive.
#[test]
#[cfg(unix)]
#[ignore = "needs the model of scripts/fetch_model.sh"]
fn ctrl_c_stops_quantizing_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out.gguf");
    let model = model();
    let args = [
        "quantize",
        "-t",
        "1",
        &model,
        to.to_str().unwrap(),
        "Q4_K_M",
    ];
    let child = command(&args).spawn().unwrap();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    while files() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(files(), 0);
}
