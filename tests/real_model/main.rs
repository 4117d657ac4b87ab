//! A real model, SmolLM2-135M-Instruct. `scripts/fetch_model.sh` fetches it; then
//! `cargo test --release --test real_model -- --ignored` runs these tests. They have more than a
//! model that was trained for this project can show: a tokenizer, a template and answers that other
//! people made.
#![cfg(feature = "cli")]

mod answers;
#[path = "../gguf/mod.rs"]
mod gguf;
#[path = "../program/mod.rs"]
mod program;
mod tokens;

use std::path::{Path, PathBuf};

/// The model file.
fn file() -> PathBuf {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("data/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(
        path.is_file(),
        "{} is missing: run scripts/fetch_model.sh",
        path.display()
    );
    path
}

/// The model file, as an argument.
fn model() -> String {
    file().to_str().unwrap().to_owned()
}
