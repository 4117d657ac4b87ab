//! Question sets: `question.jsonl`, one question per line.
//!
//! A line that is not a question is an error that names the file and the line, because figures of a
//! damaged set would mean nothing. A question without text, or one that occurs twice, is skipped,
//! and the [`QuestionSet`] lists it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::files::{is_not_regular_file, json_reason, lines};

/// One question: a conversation of one or more user turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Its number, which its answers refer to.
    pub question_id: i64,
    /// The task it belongs to, for example `writing` or `summarization`.
    pub category: String,
    /// The user's turns.
    pub turns: Vec<String>,
    /// Every other key of the line, `reference` among them.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The questions of one file, in the file's order, and those that were skipped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuestionSet {
    /// The questions that can be asked.
    pub questions: Vec<Question>,
    /// The skipped questions. Show them to the user.
    pub skipped: Vec<SkippedQuestion>,
}

/// A skipped question, with the reason. Its `Display` names the file and line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}:{line}: question {question_id} left out: {reason}", path.display())]
pub struct SkippedQuestion {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The question's number.
    pub question_id: i64,
    /// The reason.
    pub reason: String,
}

/// Why a question set could not be read. Each message is one line that names the file and the fix.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The file does not exist or cannot be read.
    #[error("{}: cannot read the question file: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's message.
        error: io::Error,
    },
    /// The path is not a regular file. A pipe is refused too, because the file is read more than
    /// once.
    #[error(
        "{}: not a regular file, so not a question file; give a file with one question per line",
        path.display()
    )]
    NotAFile {
        /// The folder, pipe or device.
        path: PathBuf,
    },
    /// A line is not a question.
    #[error(
        "{}:{line}: not a question: {reason}; a line looks like {{\"question_id\": 1, \
         \"category\": \"qa\", \"turns\": [\"...\"]}}",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Two different questions have the same number, so their answers cannot be told apart.
    #[error(
        "{}:{line}: question_id {question_id} belongs to another question on line {first_line}; \
         give one of them another number",
        path.display()
    )]
    SameId {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The line that had the number first.
        first_line: usize,
        /// The number.
        question_id: i64,
    },
    /// The file holds no question that can be asked.
    #[error(
        "{}: holds no question that can be asked ({skipped} left out); give a file with one \
         question per line",
        path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
        /// Number of skipped questions.
        skipped: usize,
    },
}

/// Reads a question set.
///
/// Accepts blank lines, a byte order mark and `\r\n` line ends. Does not check whether a turn fits
/// into the context.
///
/// # Errors
/// A file that cannot be read, a line that is not a question, two different questions with one
/// number, or no question at all.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("question.jsonl");
/// let line = r#"{"question_id": 81, "category": "writing", "turns": ["Hello", "And now?"]}"#;
/// std::fs::write(&path, line)?;
/// let set = logitspec::bench::read_questions(&path)?;
/// assert_eq!(set.questions[0].turns, ["Hello", "And now?"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_questions(path: impl AsRef<Path>) -> Result<QuestionSet, QuestionError> {
    let path = path.as_ref();
    if is_not_regular_file(path) {
        return Err(QuestionError::NotAFile { path: path.into() });
    }
    let bytes = std::fs::read(path).map_err(|error| QuestionError::Read {
        path: path.into(),
        error,
    })?;
    let mut set = QuestionSet::default();
    // Number -> line and index into `questions`.
    let mut seen: HashMap<i64, (usize, usize)> = HashMap::new();
    for line in lines(&bytes).filter(|line| !line.is_blank()) {
        let question: Question =
            serde_json::from_slice(line.text).map_err(|error| QuestionError::Line {
                path: path.into(),
                line: line.number,
                reason: json_reason(&error),
            })?;
        let mut skip = |question: &Question, reason: String| {
            set.skipped.push(SkippedQuestion {
                path: path.into(),
                line: line.number,
                question_id: question.question_id,
                reason,
            });
        };
        if let Some(reason) = unaskable(&question) {
            skip(&question, reason);
        } else if let Some(&(first_line, index)) = seen.get(&question.question_id) {
            if set.questions[index].turns != question.turns {
                return Err(QuestionError::SameId {
                    path: path.into(),
                    line: line.number,
                    first_line,
                    question_id: question.question_id,
                });
            }
            skip(
                &question,
                format!("the same question is on line {first_line}"),
            );
        } else {
            seen.insert(question.question_id, (line.number, set.questions.len()));
            set.questions.push(question);
        }
    }
    if set.questions.is_empty() {
        return Err(QuestionError::Empty {
            path: path.into(),
            skipped: set.skipped.len(),
        });
    }
    Ok(set)
}

/// The reason why a question cannot be asked, if there is one.
fn unaskable(question: &Question) -> Option<String> {
    if question.turns.is_empty() {
        return Some("it has no turns".into());
    }
    let empty = question
        .turns
        .iter()
        .position(|turn| turn.trim().is_empty())?;
    Some(format!(
        "turn {} of {} is empty",
        empty + 1,
        question.turns.len()
    ))
}

impl QuestionSet {
    /// Keeps the questions `begin..end` of the set, counted from 0 in the file's order. Bounds past
    /// the end are cut to it.
    pub fn slice(&mut self, begin: Option<usize>, end: Option<usize>) {
        self.questions.truncate(end.unwrap_or(usize::MAX));
        self.questions
            .drain(..begin.unwrap_or(0).min(self.questions.len()));
    }
}
