//! `--trace` of the published method, step by step against the naive implementation.
#![cfg(feature = "cli")]

use logitspec::TokenId;
use serde_json::Value;

#[path = "properties/checks/mod.rs"]
mod checks;
mod program;

use checks::published::{TracedStep, check_trace};
use program::generate;

fn tokens(value: &Value) -> Vec<TokenId> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Answers `prompt` and checks the trace. Returns the number of steps and of nodes accepted below
/// roots.
fn trace(prompt: &str, capacity: usize) -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.jsonl");
    let most = capacity.to_string();
    let output = generate(&[
        "-p",
        prompt,
        "-n",
        "150",
        "--method",
        "logitspec-reference",
        "--draft-tree-capacity",
        &most,
        "--trace",
        file.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let header: Value = lines.next().unwrap();
    assert_eq!(header["method"], "logitspec-reference");
    let steps: Vec<_> = lines
        .inspect(|line: &Value| {
            let logits: Vec<f32> = serde_json::from_value(line["logits"].clone()).unwrap();
            assert_eq!(logits.len(), line["ranked"].as_array().unwrap().len());
            assert!(logits.is_sorted_by(|a, b| a >= b), "{logits:?}");
        })
        .map(|line: Value| TracedStep {
            n_past: line["n_past"].as_u64().unwrap() as usize,
            root: line["root"].as_u64().unwrap() as TokenId,
            ranked: tokens(&line["ranked"]),
            nodes: tokens(&line["nodes"]),
            parents: serde_json::from_value(line["parents"].clone()).unwrap(),
            accepted: tokens(&line["accepted"]),
        })
        .collect();
    check_trace(&tokens(&header["prompt"]), capacity, &steps);
    let accepted = steps.iter().map(|step| step.accepted.len() - 1).sum();
    (steps.len(), accepted)
}

#[test]
fn every_step_of_a_trace_is_what_was_published() {
    let mut accepted = 0;
    for capacity in [1, 12, 64, 200] {
        for prompt in [
            "The story of a small boat. The story of a small boat is long, and the sea is",
            "one two three one two three one two",
        ] {
            let (steps, of_drafts) = trace(prompt, capacity);
            assert!(steps > 10, "{steps} steps show little");
            accepted += of_drafts;
        }
    }
    assert!(accepted > 20, "{accepted} accepted nodes show little");
}
