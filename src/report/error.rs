//! What can be wrong with a report's input.

use std::path::PathBuf;

use crate::bench::run::RunError;
use crate::bench::{AnswerError, ManifestError};

/// Why no report could be made. Each message is one line that names the file and the mend; all are
/// for whoever chose the files to put right.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// An answer file cannot be read.
    #[error(transparent)]
    Answers(#[from] AnswerError),
    /// A manifest beside an answer file cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A list of questions left out, beside an answer file, cannot be read.
    #[error(transparent)]
    Skips(#[from] RunError),
    /// No files given.
    #[error("no {0} given; name at least one answer file")]
    NoFiles(&'static str),
    /// A file without a record.
    #[error("{}: no answers in it; leave it out, or run its benchmark first", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file with records of two methods.
    #[error("{}: holds answers of both {first} and {second}; give each method a file of its own", path.display())]
    MixedFile {
        /// The file.
        path: PathBuf,
        /// One method.
        first: String,
        /// Another.
        second: String,
    },
    /// Two files of one method answer the same question.
    #[error(
        "{}: question {question_id} of {method} is in {} too; give --mean-report if these are repeated runs, else one of the two files",
        path.display(),
        other.display()
    )]
    Overlap {
        /// The file.
        path: PathBuf,
        /// The other one.
        other: PathBuf,
        /// The first question that both answer.
        question_id: i64,
        /// The method.
        method: String,
    },
    /// The base's files are of more than one method.
    #[error("{}: is of {second}, but the base is {first}; give --base the files of one method", path.display())]
    TwoBases {
        /// The file.
        path: PathBuf,
        /// The base's name.
        first: String,
        /// The other.
        second: String,
    },
    /// The question files of a method and of the base are not the same.
    #[error(
        "{}: answers another question file than {} does (their manifests give different questions-sha256); give --base the answers to the same questions",
        path.display(),
        other.display()
    )]
    QuestionSets {
        /// The method's file.
        path: PathBuf,
        /// The base's.
        other: PathBuf,
    },
    /// A question is not the same on both sides.
    #[error(
        "{}: question {question_id} is of category {category:?}, in {} of {other_category:?}; give --base the answers to the same questions",
        path.display(),
        other.display()
    )]
    Category {
        /// The method's file.
        path: PathBuf,
        /// The base's.
        other: PathBuf,
        /// The question's number.
        question_id: i64,
        /// Its category in the method's file.
        category: String,
        /// Its category in the base's.
        other_category: String,
    },
    /// Runs cannot be paired.
    #[error(
        "{method} has {runs} runs and the base {base_runs}; give one base run for each, or just one for all"
    )]
    RunCount {
        /// The method.
        method: String,
        /// Its runs.
        runs: usize,
        /// The base's.
        base_runs: usize,
    },
    /// The tokenizer cannot be used.
    #[error("{}: not a usable tokenizer: {reason}; give the tokenizer.json of the model", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
