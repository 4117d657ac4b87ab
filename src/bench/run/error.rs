//! What can go wrong in a run.

use std::io;
use std::path::{Path, PathBuf};

use crate::bench::answer_file::AnswerError;
use crate::bench::manifest::{Difference, ManifestError};
use crate::runtime::PromptError;

/// Any error of an answerer.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// This model cannot be asked the question, because it is too long. The run skips the question
    /// and records the reason.
    #[error("{0}")]
    Unaskable(String),
    /// The machine failed. The run ends.
    #[error(transparent)]
    Failed(#[from] BoxError),
}

impl AskError {
    /// The error for turn `turn` (from 0) of `turns`, which has no prompt. A text that cannot be
    /// tokenized is skipped. A template that fails ends the run.
    pub fn of_prompt(error: PromptError, turn: usize, turns: usize) -> Self {
        match error {
            PromptError::Tokenize(error) => {
                Self::Unaskable(format!("turn {} of {turns}: {error}", turn + 1))
            }
            error @ PromptError::Template(_) => Self::Failed(error.into()),
        }
    }
}

/// Why a run could not start or continue. Each message is one line that names the file or question.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An answer file.
    #[error(transparent)]
    Answers(#[from] AnswerError),
    /// A manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The file holds answers that were made with other settings.
    #[error(
        "{}: holds answers made with other settings: {}",
        path.display(),
        list(differences)
    )]
    Settings {
        /// The answer file.
        path: PathBuf,
        /// The settings that differ.
        differences: Vec<Difference>,
    },
    /// The file holds answers without a manifest that says how they were made.
    #[error(
        "{}: holds answers but has no manifest beside it, so their settings are unknown",
        path.display()
    )]
    NoManifest {
        /// The answer file.
        path: PathBuf,
    },
    /// The list of skipped questions cannot be read or written.
    #[error("{}: cannot read or write the list of skipped questions: {reason}", path.display())]
    Skips {
        /// The list.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A method could not start.
    #[error("{method} cannot start")]
    Start {
        /// The method.
        method: String,
        /// The reason.
        #[source]
        source: BoxError,
    },
    /// The machine failed on a question.
    #[error("question {question_id}, {method}: no answer")]
    Ask {
        /// The question's number.
        question_id: i64,
        /// The method.
        method: String,
        /// The reason.
        #[source]
        source: BoxError,
    },
}

impl RunError {
    /// Whether other input would have helped, as opposed to a failure of the machine.
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
            Self::Manifest(_) | Self::Skips { .. } | Self::Start { .. } | Self::Ask { .. } => false,
        }
    }

    pub(super) fn skips(path: &Path, error: &io::Error) -> Self {
        Self::Skips {
            path: path.into(),
            reason: error.to_string(),
        }
    }
}

fn list(differences: &[Difference]) -> String {
    let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
    all.join(", ")
}
