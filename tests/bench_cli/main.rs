//! `logitspec bench` as its users meet it, on a tiny model: files, resuming, killing, bad input, a
//! `llama-server`.
#![cfg(feature = "cli")]

#[allow(dead_code)]
#[path = "../../build.rs"]
mod build_script;
mod commit;
mod ends;
mod eval;
mod files;
mod input;
mod memory;
#[path = "../program/mod.rs"]
mod program;
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use logitspec::bench::{Answer, Choice, read_answers};
use serde_json::{Value, json};
use tempfile::TempDir;

use program::{command, model_path, stderr, stdout};

/// A folder with a question set, `data/set/question.jsonl`.
struct Set(TempDir);

impl Set {
    /// `count` questions, every other one of two turns.
    fn of(count: usize) -> Self {
        let lines = (0..count).map(|number| {
            let mut turns = vec![format!("one two three {number} one two three")];
            if number % 2 == 1 {
                turns.push("and then one two".into());
            }
            let category = ["writing", "qa", "coding"][number % 3];
            json!({"question_id": 81 + number, "category": category, "turns": turns}).to_string()
                + "\n"
        });
        Self::with(&lines.collect::<String>())
    }

    /// A question file with this text.
    fn with(text: &str) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(this.path("data/set")).unwrap();
        std::fs::write(this.path("data/set/question.jsonl"), text).unwrap();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Where the answers of a method are if nothing else is said.
    fn answers(&self, method: &str) -> PathBuf {
        self.path(&format!(
            "data/set/model_answer/tiny-{method}-temp-0.0.jsonl"
        ))
    }

    /// `logitspec bench` on the set, in its folder: one thread, no warming up, 24 tokens, and full
    /// trees, as else the times decide how much is drafted and so how many steps an answer takes.
    fn command(&self, args: &[&str]) -> Command {
        let common = [
            "bench",
            "-m",
            &model_path("tiny-llama.gguf"),
            "--bench-name",
            "set",
            "--model-id",
            "tiny",
            "--template",
            "none",
            "-t",
            "1",
            "-fa",
            "off",
            "-n",
            "24",
            "--warmup",
            "0",
        ];
        // A flag that is given again takes the place of the common one.
        let given = |flag: &str| args.contains(&flag);
        let mut kept = vec![common[0]];
        for pair in common[1..].chunks(2) {
            let replaced = pair[0] == "--bench-name" && given("--questions");
            if !given(pair[0]) && !replaced {
                kept.extend(pair);
            }
        }
        kept.push("--fill-tree");
        logitspec(&[&kept[..], args].concat(), self.0.path())
    }

    fn bench(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs and has to succeed.
    fn done(&self, args: &[&str]) -> Output {
        let output = self.bench(args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        output
    }

    fn report(&self, args: &[&str]) -> Output {
        let output = logitspec(&[&["report"], args].concat(), self.0.path());
        let output = { output }.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        output
    }
}

fn logitspec(args: &[&str], folder: &Path) -> Command {
    let mut command = command(args);
    command.current_dir(folder);
    command
}

/// The one JSON object on standard output.
fn object(output: &Output) -> Value {
    let text = stdout(output);
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Exit code 2 and one line of error that has all of `words`; notes may stand before it.
fn assert_refused(output: &Output, words: &[&str]) {
    let all = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{all}");
    let errors: Vec<&str> = all
        .lines()
        .filter(|line| !line.starts_with("note: "))
        .collect();
    assert_eq!(errors.len(), 1, "{all}");
    assert!(errors[0].starts_with("error: "), "{all}");
    for word in words {
        assert!(errors[0].contains(word), "{word:?} is not in {all}");
    }
    assert!(output.stdout.is_empty());
}

/// The records of a file, with all that differs between two equal runs taken off: when, and how
/// long it took.
fn timeless(path: &Path) -> BTreeMap<i64, Answer> {
    let log = read_answers(path).unwrap();
    assert_eq!(log.notices, []);
    let lines = std::fs::read_to_string(path).unwrap().lines().count();
    assert_eq!(lines, log.answers.len(), "each question has one line");
    let timeless = |answer: Answer| Answer {
        tstamp: 0.0,
        choices: answer
            .choices
            .into_iter()
            .map(|choice| Choice {
                wall_time: Vec::new(),
                timings: None,
                step_us: None,
                ..choice
            })
            .collect(),
        ..answer
    };
    let answers = log.answers.into_iter();
    answers
        .map(|answer| (answer.question_id, timeless(answer)))
        .collect()
}
