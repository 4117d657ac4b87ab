//! `logitspec compare`: the tiny model against itself.
#![cfg(feature = "cli")]

mod program;

use program::{assert_refused, json, run, stderr, stdout, tiny};
use std::process::Output;

fn compare(args: &[&str]) -> Output {
    tiny("compare", &[&["-n", "24", "--runs", "1"], args].concat())
        .output()
        .unwrap()
}

#[test]
fn both_answer_the_built_in_prompts_alike() {
    let output = compare(&["--json"]);
    let report = json(&output);
    assert_eq!(stdout(&output).trim_end().lines().count(), 1);
    let prompts = report["prompts"].as_array().unwrap();
    let names: Vec<&str> = prompts
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["edit", "summary", "chat", "translation"]);
    for prompt in prompts {
        let [plain, ours] = &prompt["answers"].as_array().unwrap()[..] else {
            panic!("{prompt}")
        };
        assert_eq!(
            (&plain["name"], &ours["name"]),
            (&"plain".into(), &"logitspec".into())
        );
        assert_eq!(plain["new_tokens"], ours["new_tokens"]);
        assert_eq!(ours["same_text"], true);
        assert_eq!(plain["mean_accepted_tokens"], 1.0);
        assert!(ours["tokens_per_second"].as_f64() > Some(0.0));
    }
    // Two turns of at most 24 tokens.
    let tokens = |number: usize| {
        prompts[number]["answers"][0]["new_tokens"]
            .as_u64()
            .unwrap()
    };
    assert!(tokens(0) <= 24 && tokens(2) <= 48);
    let ratio = report["overall"][1]["ratio"].as_f64().unwrap();
    let sentence = report["sentence"].as_str().unwrap();
    assert!(
        sentence.contains(&format!("LogitSpec is {ratio:.2} times as fast")),
        "{sentence}"
    );
    assert!(sentence.ends_with("with the same answers."), "{sentence}");
}

#[test]
fn prompts_are_typed_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, questions) = (path("one.txt"), path("question.jsonl"));
    std::fs::write(&file, "one two three one two three").unwrap();
    let line = "{\"question_id\": 7, \"category\": \"qa\", \"turns\": [\"Who?\"]}\n";
    std::fs::write(&questions, line).unwrap();
    let given = [
        "-p",
        "one two",
        "-f",
        &file,
        "--method",
        "suffix",
        "--fill-tree",
        "--runs",
        "2",
    ];
    let output = tiny("compare", &[&given[..], &["-n", "24"]].concat())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stdout(&output);
    let rows: Vec<&str> = said.lines().collect();
    assert!(
        rows[0].starts_with("tokens/s") && rows[0].contains("suffix"),
        "{said}"
    );
    assert!(
        rows[1].starts_with("-p ") && rows[2].starts_with("one.txt "),
        "{said}"
    );
    assert!(
        rows[3].starts_with("all prompts ") && rows[3].ends_with("yes"),
        "{said}"
    );
    assert!(said.contains("Medians of 2 runs."), "{said}");
    assert!(said.ends_with("with the same answers.\n"), "{said}");
    let report = json(&compare(&["--questions", &questions, "--json"]));
    assert_eq!(report["prompts"][0]["name"], "qa 7");
}

#[test]
fn bad_input_is_refused() {
    assert_refused(&compare(&["-p", " "]), &["-p is empty"]);
    assert_refused(&compare(&["-f", "/no/such"]), &["/no/such", "check -f"]);
    assert_refused(
        &compare(&["--questions", "/no/such"]),
        &["/no/such", "--questions"],
    );
    assert_refused(
        &compare(&["-p", "x", "--method", "baseline"]),
        &["--method baseline"],
    );
    let long = "word ".repeat(3000);
    assert_refused(
        &compare(&["-p", &long]),
        &["cannot answer the prompt", "2048"],
    );
    assert_refused(
        &run(&["compare", "-m", "nowhere.gguf"]),
        &["nowhere.gguf", "-m"],
    );
}

#[test]
fn a_model_without_a_template_continues_the_prompts() {
    let mamba = program::model_path("tiny-mamba.gguf");
    let output = run(&[
        "compare", "-m", &mamba, "-n", "8", "--runs", "1", "-t", "1", "-p", "one",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(
        told.contains("no chat template") && told.contains("nothing is drafted"),
        "{told}"
    );
}
