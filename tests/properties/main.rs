//! Property tests of the invariants. There is one file for each subject. The checks themselves are
//! in
//! [`checks`], which the fuzz targets share.

mod broken;
mod checks;
mod engine;
mod kv;
mod layout;
mod pools;
mod reference;
mod sampling;
mod sharing;
mod slots;
mod token_files;
mod tree;
mod verify;
