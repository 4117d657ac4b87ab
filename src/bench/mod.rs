//! The files of a benchmark: question sets in, answer files and manifests out.
//!
//! Everything here is about files and knows no engine. The formats are those that Spec-Bench and the tools around
//! it read and write, so that a file made elsewhere can be reported here and the other way round:
//!
//! * [`question`] reads `question.jsonl`;
//! * [`answer`] is one record of an answer file, [`answer_file`] writes such files so that a killed run loses at most
//!   the question it was at, and reads them back;
//! * [`manifest`] says what a run was made with and how two runs' settings differ.

pub mod answer;
pub mod answer_file;
pub mod manifest;
pub mod question;

mod files;

pub use answer::{Answer, Choice, Timings};
pub use answer_file::{AnswerError, AnswerFile, AnswerLog, AnswerNotice, read_answers};
pub use manifest::{Difference, Manifest, ManifestError, ModelFile, sha256_of_file};
pub use question::{Question, QuestionError, QuestionSet, SkippedQuestion, read_questions};
