//! Pools: token texts that find earlier occurrences of the last tokens.
//!
//! Text repeats itself: an answer quotes its question, and code reuses its names. A pool holds the
//! tokens of a request, the prompt and the answer so far. It finds where the last few tokens
//! occurred before. A drafter copies what followed there.
//!
//! | pool | holds | finds |
//! |---|---|---|
//! | [`RequestPool`] | one request | suffix matches of any length, several continuations |
//! | [`SuffixPool`] | a short text | the same, by scanning |
//! | [`IndexedPool`] | a long text | the same, by a hash index |
//! | [`SharedPool`] | earlier requests, for all sessions | the same, by a hash index |
//! | [`NgramPool`] | one request | n-grams of bounded length, one continuation each, as published |
//! | [`SuffixAutomaton`] | one or more texts | counts of all substrings, for the method `suffix` |
//!
//! The first four implement [`Retrieve`], so a drafter can search any of them.

mod automaton;
mod file;
mod indexed;
mod ngram;
mod request;
mod retrieve;
mod ring;
mod shared;
mod suffix;

pub use automaton::{START, StateId, SuffixAutomaton};
pub use indexed::IndexedPool;
pub use ngram::NgramPool;
pub use request::RequestPool;
pub use retrieve::{Retrieve, SuffixMatch};
pub use shared::SharedPool;
pub use suffix::SuffixPool;
