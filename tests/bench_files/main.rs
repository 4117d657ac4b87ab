//! The files of a benchmark, whole and broken in every way that a run or an editor can break them.

mod answers;
mod manifests;
mod questions;

use std::fs;
use std::path::PathBuf;

use logitspec::bench::{Answer, Choice};
use tempfile::TempDir;

fn file_with(text: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.jsonl");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn answer(question_id: i64, text: &str) -> Answer {
    Answer {
        question_id,
        category: "qa".into(),
        answer_id: format!("id-{question_id}"),
        model_id: "m-baseline".into(),
        choices: vec![Choice {
            index: 0,
            turns: vec![text.into()],
            decoding_steps: vec![2],
            new_tokens: vec![5],
            wall_time: vec![0.25],
            accept_lengths: vec![3, 2],
            ..Choice::default()
        }],
        tstamp: 1.5,
        ..Answer::default()
    }
}

fn line(question_id: i64, text: &str) -> String {
    serde_json::to_string(&answer(question_id, text)).unwrap() + "\n"
}
