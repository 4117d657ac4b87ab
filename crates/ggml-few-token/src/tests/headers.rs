//! The files of ggml whose internals this crate copies, by their checksums.
//!
//! If this fails after an upgrade of llama.cpp, compare each file that it names with the version
//! before. Then mend what has changed in the places named beside it, and update the checksum.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use sha2::{Digest, Sha256};

use super::require;

/// Each file below `ggml/src/`, the beginning of its SHA-256, and what is copied from it.
const FILES: [(&str, &str, &str); 11] = [
    (
        "ggml-cpu/ggml-cpu-impl.h",
        "785a19aac84bd356",
        "ggml.rs: ComputeParams, threads",
    ),
    (
        "ggml-cpu/ggml-cpu.c",
        "45b22f8c83b2cbcc",
        "mul_mat/op.rs: conversion, work buffer",
    ),
    (
        "ggml-cpu/traits.h",
        "26e1b41879091a66",
        "interpose.rs: the hook",
    ),
    (
        "ggml-cpu/traits.cpp",
        "a85bd3ff50c91cb6",
        "interpose.rs: whom ggml asks",
    ),
    (
        "ggml-cpu/quants.h",
        "918d6755b3e601ec",
        "ggml.rs: quantize_row_q8_0",
    ),
    (
        "ggml-quants.h",
        "28ae5fca1f3be636",
        "ggml.rs: quantize_row_q8_K_ref",
    ),
    (
        "ggml-common.h",
        "0061131b615c5721",
        "ggml.rs, mul_mat: blocks",
    ),
    (
        "ggml-cpu/repack.h",
        "d392cb13586c8c91",
        "mul_mat/vnni: q4_0_x8.rs, q4_k_x8.rs",
    ),
    (
        "ggml-cpu/repack.cpp",
        "5fa9f24cc2631609",
        "mul_mat/layout.rs: CPU_REPACK",
    ),
    (
        "ggml-cpu/amx/amx.cpp",
        "0d1641ce16917e3f",
        "mul_mat/layout.rs: AMX",
    ),
    (
        "ggml-cpu/amx/mmq.cpp",
        "0f95c80e0300eca3",
        "mul_mat/vnni: amx_blocks.rs, amx_k_quants.rs",
    ),
];

#[test]
fn ggml_s_internals_are_those_that_were_copied() {
    let source = source();
    require!(source.is_some(), "the source of llama-cpp-sys-2");
    let source = source.expect("looked at above").join("llama.cpp/ggml/src");
    let mut changed = String::new();
    for (file, expected, copied) in FILES {
        let bytes = std::fs::read(source.join(file)).unwrap_or_default();
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if digest != expected {
            writeln!(changed, "{file} is {digest} now; copied in {copied}").expect("memory");
        }
    }
    assert!(changed.is_empty(), "llama.cpp has changed:\n{changed}");
}

/// Where Cargo has the source of llama-cpp-sys-2.
fn source() -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let mut packages = metadata["packages"].as_array()?.iter();
    let package = packages.find(|package| package["name"] == "llama-cpp-sys-2")?;
    let manifest = PathBuf::from(package["manifest_path"].as_str()?);
    Some(manifest.parent()?.to_owned())
}
