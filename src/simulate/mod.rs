//! How much would speculation help? Recorded text, replayed through a drafter, without a model.
//!
//! Under greedy decoding a draft is accepted exactly as far as it says what the model said. If what
//! the model said is on record, no model is needed to know how far that is: [`replay()`] takes the
//! recorded tokens of a [`Request`] step by step, as a [`Session`](crate::engine::Session) with
//! that model would have, and notes what was drafted and what of it was accepted. [`Figures`] sums
//! that up.
//!
//! What a record does not have, a replay cannot know: drafters that look at the runners-up of the
//! logits get those that a [trace](read_trace) holds, and none from bare text. Figures of such
//! drafters on bare text are what the text alone gives them.

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
    Fields, InputError, Reading, RecordedAnswer, RecordedChoice, TextTokens, TokenizeError,
    read_jsonl, read_recorded_answers, requests_of,
};
pub use replay::{Record, Replay, Request, Settings, Turn, replay};
#[cfg(feature = "report")]
pub use tokenizer::JsonTokenizer;
#[cfg(feature = "cli")]
pub(crate) use tokenizer::{continuation, first_line, raw};
pub use trace::read_trace;
