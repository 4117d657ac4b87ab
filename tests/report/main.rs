//! Reports, from files to text: against a naive computation of the original's figures, with files
//! in every arrangement that users have them in, and with text that tries to break out of each
//! output.
#![cfg(feature = "report")]

mod files;
mod manifests;
mod original;
mod outputs;
mod plots;

use std::path::PathBuf;
use std::slice::from_ref;

use logitspec::bench::{Answer, Choice};
use logitspec::report::{MethodReport, Options, Report, ReportError};
use tempfile::TempDir;

/// A folder with answer files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Writes answers to `name`.jsonl, `name` being their model_id too.
    fn answers(&self, name: &str, answers: &[Answer]) -> PathBuf {
        self.answers_of(name, name, answers)
    }

    fn answers_of(&self, name: &str, model_id: &str, answers: &[Answer]) -> PathBuf {
        let lines = answers.iter().map(|answer| {
            let answer = Answer {
                model_id: model_id.into(),
                ..answer.clone()
            };
            serde_json::to_string(&answer).unwrap() + "\n"
        });
        self.text(&format!("{name}.jsonl"), lines.collect::<String>())
    }
}

/// An answer of one turn that committed `accept_lengths` in `seconds`.
fn answer(question_id: i64, category: &str, accept_lengths: &[u64], seconds: f64) -> Answer {
    let new_tokens: u64 = accept_lengths.iter().sum();
    Answer {
        question_id,
        category: category.into(),
        answer_id: question_id.to_string(),
        choices: vec![Choice {
            turns: vec!["the words that were said".into()],
            decoding_steps: vec![accept_lengths.len() as u64],
            new_tokens: vec![new_tokens],
            wall_time: vec![seconds],
            accept_lengths: accept_lengths.to_vec(),
            ..Choice::default()
        }],
        ..Answer::default()
    }
}

fn report(answers: &[PathBuf], base: &[PathBuf]) -> Result<Report, ReportError> {
    Report::new(answers, base, &Options::default())
}

fn mean_report(answers: &[PathBuf], base: &[PathBuf]) -> Result<Report, ReportError> {
    Report::new(
        answers,
        base,
        &Options {
            mean_report: true,
            ..Options::default()
        },
    )
}

/// The row of a category.
fn row<'a>(
    method: &'a MethodReport,
    category: &str,
) -> &'a logitspec::report::category::CategoryReport {
    method
        .categories
        .iter()
        .find(|row| row.category == category)
        .unwrap()
}
