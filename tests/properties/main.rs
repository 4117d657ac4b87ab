//! The invariants, as properties. One file for each subject; what is checked lies in [`checks`],
//! which the fuzz targets share.

mod checks;
mod engine;
mod kv;
mod layout;
mod pools;
mod reference;
mod sampling;
mod sharing;
mod token_files;
mod tree;
mod verify;
