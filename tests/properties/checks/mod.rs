//! What must hold, as functions of plain data.
//!
//! Each check compares the crate with a naive twin written for obviousness, and panics where they
//! differ. The property tests beside this folder and the fuzz targets (`fuzz/`) feed the same
//! checks, so a finding of either can be replayed by the other.

// Every fuzz target compiles all checks and runs one.
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
pub mod suffix;
pub mod target;
pub mod token_files;
pub mod tree;
