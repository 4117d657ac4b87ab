//! What can go wrong in a run.

use std::io;
use std::path::PathBuf;

use crate::bench::answer_file::AnswerError;
use crate::bench::manifest::{Difference, ManifestError};

/// Any error of what answers.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It cannot be asked of this model (it is too long): it is left out, and that is recorded.
    #[error("{0}")]
    Unaskable(String),
    /// The machine failed: the run ends.
    #[error(transparent)]
    Failed(#[from] BoxError),
}

/// Why a run could not begin or go on. Each message is one line that names the file or question and
/// the mend.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An answer file.
    #[error(transparent)]
    Answers(#[from] AnswerError),
    /// A manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The file holds answers that were made otherwise.
    #[error(
        "{}: holds answers made with other settings: {}; run with the same settings to resume, or give --overwrite to start afresh",
        path.display(),
        said(differences)
    )]
    Settings {
        /// The answer file.
        path: PathBuf,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// The file holds answers, and nothing says how they were made.
    #[error(
        "{}: holds answers but has no manifest beside it, so whether they were made with these settings is unknown; give --overwrite to start afresh, or another --answer-file",
        path.display()
    )]
    NoManifest {
        /// The answer file.
        path: PathBuf,
    },
    /// The list of questions left out cannot be read or written.
    #[error("{}: cannot read or write the list of questions left out: {reason}", path.display())]
    Skips {
        /// The list.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What answers could not be made.
    #[error("{method} cannot begin")]
    Make {
        /// The method.
        method: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// A question could not be answered although it could be asked.
    #[error(
        "question {question_id}, {method}: no answer (all earlier ones are kept; the same command, without --overwrite, resumes)"
    )]
    Ask {
        /// The question's number.
        question_id: i64,
        /// The method.
        method: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
}

impl RunError {
    /// Whether other input would have helped (as against a failure of the machine).
    pub fn is_input_error(&self) -> bool {
        match self {
            Self::Settings { .. } | Self::NoManifest { .. } => true,
            Self::Manifest(ManifestError::Content { .. }) => true,
            Self::Answers(error) => {
                matches!(
                    error,
                    AnswerError::Line { .. }
                        | AnswerError::InUse { .. }
                        | AnswerError::Open { .. }
                        | AnswerError::Foreign { .. }
                        | AnswerError::NotAFile { .. }
                )
            }
            Self::Manifest(_) | Self::Skips { .. } | Self::Make { .. } | Self::Ask { .. } => false,
        }
    }

    pub(super) fn skips(path: &std::path::Path, error: &io::Error) -> Self {
        Self::Skips {
            path: path.into(),
            reason: error.to_string(),
        }
    }
}

fn said(differences: &[Difference]) -> String {
    let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
    all.join(", ")
}
