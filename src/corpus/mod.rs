//! Text made searchable beforehand: documentation, sources, recorded answers.
//!
//! A [`Corpus`] holds tokens and all places among them, sorted by what stands before each: a suffix
//! array, read backwards. The places where the last tokens of a text stood lie side by side in it,
//! however large it is. It is built once ([`CorpusBuilder`]), written to a file, and mapped into
//! memory by whoever uses it.

mod build;
mod file;
mod search;

pub use build::CorpusBuilder;
pub use file::CorpusInfo;
pub use search::{Corpus, DEPTH};
