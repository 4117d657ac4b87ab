//! What followed these tokens before? Several answers.
//!
//! Text repeats itself: an answer quotes its question, code reuses its names. A *pool* holds the
//! tokens of a request (prompt and answer so far) and finds earlier places where the last few
//! tokens stood, to copy what followed there as a draft.
//!
//! - [`NgramPool`] is the pool that LogitSpec's authors published: a map from n-grams of bounded
//!   length to one continuation each. It is kept exact, for comparison.
//! - [`RequestPool`] is this project's own: no bound on the match, several continuations. It scans
//!   short texts ([`SuffixPool`]) and indexes long ones ([`IndexedPool`]).
//! - [`SharedPool`] remembers earlier requests, for all sessions of a process at once.
//! - [`SuffixAutomaton`] counts all substrings; the rival method `suffix` drafts from it.
//!
//! All but the first and the last find places the same way, and a drafter searches any of them
//! through [`Retrieve`].

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
