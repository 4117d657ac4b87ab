//! Property tests of the invariants. There is one file for each subject. The checks themselves are
//! in
//! [`checks`], which the fuzz targets share.

mod broken;
mod checks;
mod engine;
#[cfg(feature = "grammar")]
mod grammar;
mod kv;
mod layout;
mod logprobs;
mod pools;
mod reference;
mod sampling;
mod sharing;
mod stops;
mod token_files;
mod tree;
mod verify;
