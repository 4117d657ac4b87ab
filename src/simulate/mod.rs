//! Measures drafters on recorded text, without a model.
//!
//! Under greedy decoding, a draft is accepted exactly as far as it agrees with the model's answer.
//! If the answer is recorded, no model is needed to know how far that is. [`replay()`] takes the
//! recorded tokens of a [`Request`] step by step, as a [`Session`](crate::engine::Session) with the
//! model would, and records the drafted and the accepted tokens. [`Figures`] sums them up.
//!
//! A replay knows only what was recorded. Drafters that use the logits get the candidates that a
//! [trace](read_trace) holds, and none from plain text. On plain text, their figures show what the
//! text alone gives them.

mod figures;
mod input;
mod replay;
#[cfg(feature = "report")]
mod tokenizer;
mod trace;
#[cfg(feature = "llama")]
mod vocabulary;

pub use figures::{Figures, SourceFigures, Tally};
pub use input::{
    Fields, InputError, LinePart, LineRead, RecordKind, RecordedAnswer, RecordedChoice,
    RequestEncoder, SpecialToken, TextTokenizer, holds_chats, read_jsonl, read_recorded_answers,
    requests_from_answers,
};
pub use replay::{Record, Replay, Request, Settings, Turn, replay};
#[cfg(feature = "report")]
pub use tokenizer::JsonTokenizer;
#[cfg(feature = "cli")]
pub(crate) use tokenizer::{continuation, first_line, raw};
pub use trace::read_trace;
