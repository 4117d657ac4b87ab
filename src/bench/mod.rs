//! Benchmarks: question sets in, answer files and manifests out.
//!
//! The formats are those that Spec-Bench and the tools around
//! it read and write, so that a file made elsewhere can be reported here and the other way round:
//!
//! * [`question`] reads `question.jsonl`;
//! * [`answer`] is one record of an answer file, [`answer_file`] writes such files so that a killed
//!   run loses at most the question it was at, and reads them back;
//! * [`manifest`] says what a run was made with and how two runs' settings differ.
//!
//! [`run`](mod@run) brings the two ends together: it asks the questions and keeps the answers. What
//! answers stands behind a trait; `engine` has the one on llama.cpp, `server` the one that asks a
//! `llama-server`.

pub mod answer;
pub mod answer_file;
pub mod category;
pub mod manifest;
pub mod question;
pub mod run;

#[cfg(feature = "llama")]
pub mod engine;
#[cfg(feature = "llama")]
pub mod prompt;
#[cfg(feature = "cli")]
pub mod server;

pub use answer::{Answer, Choice, RankedTokens, SourceTokens, Timings};
pub use answer_file::{
    AnswerError, AnswerFile, AnswerLog, AnswerNotice, check_replaceable, read_answers,
};
pub use manifest::{Difference, Manifest, ManifestError, ModelFile, sha256_of_file};
pub use question::{Question, QuestionError, QuestionSet, SkippedQuestion, read_questions};
