//! Checks of invariants, as functions of plain data.
//!
//! Each check compares the crate with a simple reference implementation and panics if they differ.
//! Property tests and fuzz targets (`fuzz/`) call the same checks, so either can replay a finding
//! of
//! the other.

// Each fuzz target compiles all checks and runs one.
#![allow(dead_code)]

pub mod corpus;
pub mod documents;
pub mod drafters;
pub mod engine;
pub mod greedy;
pub mod kv;
pub mod layout;
pub mod ngram;
pub mod oracle;
pub mod published;
pub mod samplers;
pub mod scenario;
pub mod suffix;
pub mod target;
pub mod token_files;
pub mod tree;
