//! What a pass costs is measured at first use, kept, and refined by every answer.
#![cfg(feature = "cli")]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

mod program;

use program::{json, stderr, tiny, with_stdin};

const PROMPT: &str = "one two three one two three one two";

/// A folder to keep measurements in.
struct Cache(tempfile::TempDir);

impl Cache {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A subcommand on the tiny model with this folder.
    fn command(&self, subcommand: &str, args: &[&str]) -> Command {
        let mut command = tiny(subcommand, args);
        command.env("LOGITSPEC_CACHE", self.0.path());
        command
    }

    fn run(&self, subcommand: &str, args: &[&str]) -> Output {
        let output = self.command(subcommand, args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        output
    }

    fn answer(&self, args: &[&str]) -> (Value, String) {
        let common = ["-p", PROMPT, "-n", "24", "--json"];
        let output = self.run("generate", &[&common[..], args].concat());
        (json(&output), stderr(&output))
    }

    /// The files of this kind.
    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.0.path()).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let is_one = |path: &PathBuf| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(kind)
        };
        files.filter(is_one).collect()
    }

    /// The content of the only file with what was learned, and the passes of one token behind it.
    fn learned(&self) -> (String, u64) {
        let [file] = &self.files("learned-")[..] else {
            panic!("{:?}", self.files(""))
        };
        let text = std::fs::read_to_string(file).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let passes = value["sizes"][0]["passes"].as_u64().unwrap();
        (text, passes)
    }
}

#[test]
fn the_first_answer_measures_and_says_so_once() {
    let cache = Cache::new();
    let asked = ["-p", PROMPT, "-n", "24"];
    let told = stderr(&cache.run("generate", &asked));
    assert!(
        told.contains("note: measured the cost of a pass in "),
        "{told}"
    );
    assert!(told.contains("kept for the next run"), "{told}");
    let told = stderr(&cache.run("generate", &asked));
    assert!(!told.contains("cost of a pass"), "{told}");

    let cache = Cache::new();
    let (first, told) = cache.answer(&[]);
    assert_eq!(
        (&first["pass_cost"]["source"], told.as_str()),
        (&"measured".into(), "")
    );
    assert!(first["pass_cost"]["seconds"].as_f64() < Some(10.0));
    let (second, _) = cache.answer(&[]);
    assert_eq!(
        second["pass_cost"],
        serde_json::json!({"source": "learned"})
    );
    assert_eq!(first["tokens"], second["tokens"]);
    // Other settings are another machine.
    let (other, _) = cache.answer(&["-ctk", "q8_0"]);
    assert_eq!(other["pass_cost"]["source"], "measured");
    assert_eq!(cache.files("learned-").len(), 2);
}

#[test]
fn what_does_not_weigh_costs_measures_nothing() {
    let cache = Cache::new();
    for args in [&["--method", "baseline"][..], &["--fill-tree"]] {
        let (answer, _) = cache.answer(args);
        assert_eq!(answer["pass_cost"]["source"], "guess", "{args:?}");
    }
    assert!(cache.files("").is_empty());
}

#[test]
fn every_subcommand_that_answers_learns() {
    let cache = Cache::new();
    let mut before = 0;
    let mut grown = |what: &str| {
        let (_, passes) = cache.learned();
        assert!(passes > before, "{what}: {passes}, {before} before");
        before = passes;
    };
    cache.answer(&[]);
    grown("generate");
    let chat = cache.command("chat", &["-n", "24", "--json"]);
    with_stdin(chat, b"one two three\n");
    grown("chat");
    cache.run(
        "compare",
        &["-p", PROMPT, "-n", "24", "--runs", "1", "--json"],
    );
    grown("compare");
    let questions = cache.0.path().join("question.jsonl");
    let line = format!("{{\"question_id\": 1, \"category\": \"qa\", \"turns\": [\"{PROMPT}\"]}}");
    std::fs::write(&questions, line).unwrap();
    let set = [
        "--questions",
        questions.to_str().unwrap(),
        "--json",
        "-n",
        "24",
    ];
    cache.run("bench", &set);
    grown("bench");
}

#[test]
fn a_calibration_comes_first_and_stays_as_it_is() {
    let cache = Cache::new();
    cache.answer(&[]);
    cache.run(
        "calibrate",
        &["--repeats", "1", "--max-tokens", "8", "--json"],
    );
    let [full] = &cache.files("calibration-")[..] else {
        panic!("{:?}", cache.files(""))
    };
    let (table, learned) = (std::fs::read(full).unwrap(), cache.learned());
    let (answer, _) = cache.answer(&[]);
    assert_eq!(answer["pass_cost"]["source"], "calibrated");
    assert_eq!(std::fs::read(full).unwrap(), table);
    assert_eq!(cache.learned(), learned);
}

#[test]
fn files_that_cannot_be_used_are_told_of_and_replaced() {
    let cache = Cache::new();
    cache.answer(&[]);
    let [file] = &cache.files("learned-")[..] else {
        panic!("{:?}", cache.files(""))
    };
    let (text, _) = cache.learned();
    for damaged in ["{", &text.replace("\"threads\": 1", "\"threads\": 7")] {
        std::fs::write(file, damaged).unwrap();
        let (answer, told) = cache.answer(&[]);
        assert_eq!(answer["pass_cost"]["source"], "measured");
        assert!(
            told.contains("note: not used: ") && told.contains("learned-"),
            "{told}"
        );
        assert_eq!(cache.answer(&[]).1, "");
    }
    // A file is no folder: nothing can be kept, which ends nothing.
    let common = ["-p", PROMPT, "-n", "4"];
    let mut nowhere = tiny("generate", &common);
    let nowhere = nowhere.env("LOGITSPEC_CACHE", file).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(0));
    assert!(
        stderr(&nowhere).contains("; not kept: "),
        "{}",
        stderr(&nowhere)
    );
}
