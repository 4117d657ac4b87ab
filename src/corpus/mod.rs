//! Large texts with a suffix array: documentation, sources, recorded answers.
//!
//! A [`Corpus`] holds tokens and the suffix array of the reversed text: all positions, sorted by
//! the
//! tokens before them. So all occurrences of a context lie side by side, and a binary search finds
//! them. A [`CorpusBuilder`] writes a corpus to a file. Programs that use it map the file into
//! memory.

mod build;
mod file;
mod search;

pub use build::CorpusBuilder;
pub use file::CorpusInfo;
pub use search::{Corpus, DEPTH};
