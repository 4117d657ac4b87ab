//! Why a record could not be read.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::runtime::{PromptError, TemplateError, TokenizeError};

/// The kinds of files that a record is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// An answer file.
    Answers,
    /// A JSON Lines file of prompts and responses.
    Requests,
    /// A trace of `generate`.
    Trace,
    /// A `tokenizer.json`.
    Tokenizer,
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answers => "the answer file",
            Self::Requests => "the file",
            Self::Trace => "the trace",
            Self::Tokenizer => "the tokenizer",
        })
    }
}

/// The part of a line that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinePart {
    /// The line as a whole.
    Whole,
    /// The value of the prompt's key.
    Prompt,
    /// The value of the response's key.
    Response,
    /// The conversation, on which the chat template fails.
    Template,
}

/// The role of a special token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialToken {
    /// Beginning of sequence.
    Bos,
    /// End of sequence.
    Eos,
}

/// Why a record could not be read. Each message is one line that names the file.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file does not exist or cannot be read.
    #[error("{}: cannot read {kind}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: RecordKind,
        /// The system's message.
        error: io::Error,
    },
    /// A line is not what it should be.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// What the file should be.
        kind: RecordKind,
        /// The line, from 1.
        line: usize,
        /// The part that is wrong.
        part: LinePart,
        /// What is wrong with it.
        reason: String,
    },
    /// The file holds nothing to replay.
    #[error("{}: {reason}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What the file should be.
        kind: RecordKind,
        /// What is missing.
        reason: &'static str,
    },
    /// An answer belongs to no question of the set.
    #[error(
        "{}: answers question {question_id}, which is not in {}; give the question file that was \
         answered",
        path.display(),
        questions.display()
    )]
    NoQuestion {
        /// The answer file.
        path: PathBuf,
        /// The question file.
        questions: PathBuf,
        /// The question's number.
        question_id: i64,
    },
    /// An answer has more turns than its question.
    #[error(
        "{}: the answer to question {question_id} has {answered} turns, but the question has \
         {asked}; give the question file that was answered",
        path.display()
    )]
    Turns {
        /// The answer file.
        path: PathBuf,
        /// The question's number.
        question_id: i64,
        /// Turns of the answer.
        answered: usize,
        /// Turns of the question.
        asked: usize,
    },
    /// The tokenizer cannot be used.
    #[error(
        "{}: cannot use this tokenizer: {reason}; give the tokenizer.json of the model",
        path.display()
    )]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The vocabulary lacks a special token that was asked for.
    #[error("the tokenizer has no token {token}")]
    NoSuchToken {
        /// What the token was to be.
        role: SpecialToken,
        /// The token.
        token: String,
    },
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The chat template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl From<PromptError> for InputError {
    fn from(error: PromptError) -> Self {
        match error {
            PromptError::Template(error) => Self::Template(error),
            PromptError::Tokenize(error) => Self::Tokenize(error),
        }
    }
}

/// What is wrong with a line, before its file and number are known.
pub(in crate::simulate) struct LineError {
    pub part: LinePart,
    pub reason: String,
}

impl From<String> for LineError {
    fn from(reason: String) -> Self {
        Self {
            part: LinePart::Whole,
            reason,
        }
    }
}

impl From<InputError> for LineError {
    fn from(error: InputError) -> Self {
        Self {
            part: match error {
                InputError::Template(_) => LinePart::Template,
                _ => LinePart::Whole,
            },
            reason: error.to_string(),
        }
    }
}
