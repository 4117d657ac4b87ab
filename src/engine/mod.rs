//! The loop: draft, decode, verify, commit.
//!
//! A [`Session`] is one conversation with a model: its KV cache, its drafter with the text so far, and the decode
//! step. It works on any [`TargetModel`](crate::runtime::TargetModel); with llama.cpp it comes from
//! `runtime::llama::Engine`.

mod method;
mod session;
mod stats;
mod stream;

pub use method::{Method, MethodParams};
pub use session::{
    FinishReason, GenerateError, Generation, Session, SessionOptions, Step, StepView, Stepped,
};
pub use stats::{StepTimes, Timings};
pub use stream::TextStream;
