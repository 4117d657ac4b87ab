//! The loop: draft, decode, verify, commit.
//!
//! A [`Session`] is one conversation with a model: its KV cache, its drafter with the text so far,
//! and the decode step. It works on any [`TargetModel`](crate::runtime::TargetModel); with
//! llama.cpp it comes from `Session::open`.

mod answer;
pub mod calibrate;
mod conversation;
mod cost;
mod drafting;
mod error;
#[cfg(feature = "llama")]
mod llama;
mod method;
mod options;
mod pass;
mod request;
mod scheduler;
mod session;
mod stats;
mod stops;
mod stream;

pub use answer::{FinishReason, Generation, Step, StepSources, StepView, Stepped};
pub use cost::{CostModel, Curve, MOST_TOKENS, Pass, SizeCost};
pub use drafting::{Draft, DraftStep};
pub use error::GenerateError;
pub use method::{Method, MethodParams, UnknownMethod};
pub use options::SessionOptions;
pub use request::RequestOptions;
pub use scheduler::{Event, NewRequest, RequestId, Scheduler, SchedulerOptions, SlotStatus};
pub use session::Session;
pub use stats::{StepTimes, Timings};
pub use stops::{HeldBack, StopHit, StopState, Stops};
pub use stream::TextStream;
