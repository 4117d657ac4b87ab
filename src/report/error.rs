//! What can be wrong with the input of a report.

use std::path::PathBuf;

use crate::bench::run::RunError;
use crate::bench::{AnswerError, ManifestError};

/// Why no report could be made. Each message is one line that names the file. All are errors of the
/// input.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// An answer file cannot be read.
    #[error(transparent)]
    Answers(#[from] AnswerError),
    /// A manifest beside an answer file cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A list of skipped questions beside an answer file cannot be read.
    #[error(transparent)]
    Skips(#[from] RunError),
    /// No files were given.
    #[error("no {0} given; name at least one answer file")]
    NoFiles(&'static str),
    /// A folder cannot be read.
    #[error("{}: cannot read this folder: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        error: std::io::Error,
    },
    /// A folder without answer files.
    #[error("{}: holds no answer files (*.jsonl)", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// No file is of plain decoding.
    #[error("none of these files is of plain decoding (method baseline)")]
    NoBase,
    /// All files are of plain decoding.
    #[error("all these files are of plain decoding (method baseline): there is nothing to compare")]
    OnlyBase,
    /// A file without a record.
    #[error("{}: holds no answers; leave it out, or run its benchmark first", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file with records of two methods.
    #[error(
        "{}: holds answers of both {first} and {second}; give each method its own file",
        path.display()
    )]
    MixedFile {
        /// The file.
        path: PathBuf,
        /// The first method.
        first: String,
        /// The other method.
        second: String,
    },
    /// Two files of one method answer the same question.
    #[error(
        "{}: question {question_id} of {method} is in {} too",
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
    #[error("{}: holds answers of {second}, but the base is {first}", path.display())]
    TwoBases {
        /// The file.
        path: PathBuf,
        /// The base's name.
        first: String,
        /// The other method.
        second: String,
    },
    /// The question files of a method and of the base are not the same.
    #[error(
        "{}: answers another question file than {} does (their manifests have different \
         questions-sha256)",
        path.display(),
        other.display()
    )]
    QuestionSets {
        /// The method's file.
        path: PathBuf,
        /// The base's.
        other: PathBuf,
    },
    /// A question has different categories on the two sides.
    #[error(
        "{}: question {question_id} has category {category:?}, but {other_category:?} in {}",
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
    /// The runs cannot be paired.
    #[error(
        "{method} has {runs} runs, but the base has {base_runs}; give one base run for each, or \
         one for all"
    )]
    RunCount {
        /// The method.
        method: String,
        /// Number of its runs.
        runs: usize,
        /// The base's.
        base_runs: usize,
    },
    /// The tokenizer cannot be used.
    #[error(
        "{}: cannot use this tokenizer: {reason}; give the tokenizer.json of the model",
        path.display()
    )]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
