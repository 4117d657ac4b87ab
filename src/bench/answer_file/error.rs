//! What can be wrong with an answer file.

use std::io;
use std::path::PathBuf;

/// A notice about an answer file that the user should see. Its `Display` is one line that names the
/// file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerNotice {
    /// The file ended in half a record, which does not count.
    /// [`AnswerFile::resume`](super::AnswerFile::resume) cuts it off.
    #[error(
        "{}:{line}: the last line is half a record ({bytes} bytes), left by a run that was \
         stopped; it does not count",
        path.display()
    )]
    HalfLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Its length.
        bytes: usize,
    },
    /// A question was answered twice; the later record counts.
    #[error(
        "{}:{line}: question {question_id} is on line {earlier_line} too; the later record counts",
        path.display()
    )]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The line of the record that counts, from 1.
        line: usize,
        /// The line of the earlier record.
        earlier_line: usize,
        /// The question's number.
        question_id: i64,
    },
}

/// Why an answer file could not be read or written. Each message is one line that names the file.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The path is not a regular file.
    #[error("{}: not a regular file, so not an answer file; name another one", path.display())]
    NotAFile {
        /// The folder, pipe or device.
        path: PathBuf,
    },
    /// The file does not exist or cannot be read.
    #[error("{}: cannot read the answer file: {error}; check the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's message.
        error: io::Error,
    },
    /// The file cannot be written.
    #[error("{}: cannot write the answer file: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's message.
        error: io::Error,
    },
    /// The file cannot be created or opened for writing.
    #[error("{}: cannot open the answer file for writing: {error}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's message.
        error: io::Error,
    },
    /// The file is to be replaced but holds something else.
    #[error(
        "{}: not an answer file, so it is left unchanged; name another file, or remove it",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A line is not an answer record.
    #[error(
        "{}:{line}: not an answer record: {reason}; correct or remove that line, or name another \
         file",
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
    /// A record is inconsistent and could not be read back.
    #[error("{}: the record of question {question_id} cannot be written: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The question's number.
        question_id: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process is writing the file.
    #[error("{}: another run is writing this file", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}
