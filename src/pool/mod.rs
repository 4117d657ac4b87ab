//! What followed these tokens before? Two answers.
//!
//! Text repeats itself: an answer quotes its question, code reuses its names. A *pool* holds the tokens of a
//! request (prompt and answer so far) and finds earlier places where the last few tokens stood, to copy
//! what followed there as a draft.
//!
//! - [`NgramPool`] is the pool that LogitSpec's authors published: a map from n-grams of bounded length to one
//!   continuation each. It is kept exact, for comparison.
//! - [`SuffixPool`] is this project's own: no bound on the match, no key per n-gram, several continuations.

mod automaton;
mod indexed;
mod ngram;
mod retrieve;
mod ring;
mod shared;
mod suffix;

pub use automaton::{START, StateId, SuffixAutomaton};
pub use indexed::IndexedPool;
pub use ngram::NgramPool;
pub use retrieve::{Retrieve, SuffixMatch};
pub use shared::SharedPool;
pub use suffix::SuffixPool;
