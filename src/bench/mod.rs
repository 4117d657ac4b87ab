//! Benchmarks: question sets in, answer files and manifests out.
//!
//! The file formats are those of Spec-Bench and related tools, so their files can be used here and
//! ours there:
//!
//! * [`question`] reads `question.jsonl`;
//! * [`answer`] is one record of an answer file. [`answer_file`] reads and writes such files; a
//!   killed run loses at most the question in progress;
//! * [`manifest`] holds the settings of a run and compares those of two runs.
//!
//! [`run`](mod@run) asks the questions and keeps the answers. A trait stands for the methods that
//! answer: `engine` implements it on llama.cpp, `server` on a `llama-server`.
//! [`compare`] measures a few prompts without files.

pub mod answer;
pub mod answer_file;
pub mod category;
pub mod compare;
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
    AnswerError, AnswerFile, AnswerNotice, AnswerRecords, check_replaceable, read_answers,
};
pub use manifest::{Difference, Manifest, ManifestError, ModelFile, sha256_of_file};
pub use question::{Question, QuestionError, QuestionSet, SkippedQuestion, read_questions};
