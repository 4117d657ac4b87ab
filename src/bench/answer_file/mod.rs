//! Answer files: one [`Answer`] per line. A run that is killed loses at most the question in
//! progress.
//!
//! A run appends each record with one write and waits for the disk. A kill during that write leaves
//! half a line at the end of the file. [`AnswerFile::resume`] cuts it off and reports it, and the
//! run asks the question again. Any other line that is not a record is an error that names the file
//! and the line.

mod error;
mod records;

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::answer::Answer;
use crate::files::{self, folder_of, write_atomically};

pub use error::{AnswerError, AnswerNotice};
use records::{Records, Tail};

/// The records of an answer file: one per question, ordered by question.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerRecords {
    /// The file.
    pub path: PathBuf,
    /// The records. If several have the same `question_id`, the last one in the file.
    pub answers: Vec<Answer>,
    /// Notices for the user.
    pub notices: Vec<AnswerNotice>,
}

/// Reads an answer file without changing it.
///
/// # Errors
/// A file that cannot be read, or a line that is not an answer record. Half a record at the end of
/// the file is a notice, not an error.
pub fn read_answers(path: impl AsRef<Path>) -> Result<AnswerRecords, AnswerError> {
    let path = path.as_ref();
    must_be_a_file(path)?;
    let bytes = std::fs::read(path).map_err(|error| AnswerError::Read {
        path: path.into(),
        error,
    })?;
    Ok(Records::parse(path, &bytes)?.into_answers(path))
}

/// Whether [`AnswerFile::create`] may replace `path`: there is no file, an empty one, or an answer
/// file, damaged or not.
///
/// # Errors
/// A file that holds something else, or cannot be read.
pub fn check_replaceable(path: &Path) -> Result<(), AnswerError> {
    // Every record has these keys in its first few hundred bytes.
    const KEYS: [&[u8]; 3] = [b"\"question_id\"", b"\"answer_id\"", b"\"choices\""];
    const FAR_ENOUGH: u64 = 4096;
    must_be_a_file(path)?;
    let start = files::start_of(path, FAR_ENOUGH).map_err(|error| AnswerError::Open {
        path: path.into(),
        error,
    })?;
    let start = start.trim_ascii();
    let has = |key: &&[u8]| memchr::memmem::find(start, key).is_some();
    match start.is_empty() || start.starts_with(b"{") && KEYS.iter().all(has) {
        true => Ok(()),
        false => Err(AnswerError::Foreign { path: path.into() }),
    }
}

/// An answer file that a run appends to. The file is locked as long as this value lives.
///
/// ```
/// use logitspec::bench::{Answer, AnswerFile, Choice};
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model-logitspec-temp-0.0.jsonl");
/// let (mut file, before) = AnswerFile::resume(&path)?;
/// before.notices.iter().for_each(|notice| eprintln!("{notice}"));
/// for question_id in [82, 81] {
///     if !file.has(question_id) {
///         let choice = Choice {
///             turns: vec!["Hello.".into()],
///             decoding_steps: vec![2],
///             new_tokens: vec![3],
///             wall_time: vec![0.5],
///             accept_lengths: vec![2, 1],
///             ..Choice::default()
///         };
///         file.append(&Answer { question_id, choices: vec![choice], ..Answer::default() })?;
///     }
/// }
/// assert_eq!(file.finish()?.answers[0].question_id, 81);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AnswerFile {
    path: PathBuf,
    file: File,
    len: u64,
    answered: HashSet<i64>,
}

impl AnswerFile {
    /// Starts a new file. Answers that it held before are lost.
    ///
    /// # Errors
    /// A file that cannot be written, that another run is writing, or that holds something else.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, AnswerError> {
        let path = path.as_ref();
        check_replaceable(path)?;
        let mut this = Self::open(path)?;
        this.cut(0)?;
        Ok(this)
    }

    /// Opens the file where an earlier run stopped, or creates it. Also returns its records.
    ///
    /// Half a record at the end is cut off, and a missing line end is added.
    ///
    /// # Errors
    /// A file that cannot be read or written, that another run is writing, or that holds a line
    /// that is not an answer record. The file is then left unchanged.
    pub fn resume(path: impl AsRef<Path>) -> Result<(Self, AnswerRecords), AnswerError> {
        let path = path.as_ref();
        let mut this = Self::open(path)?;
        let mut bytes = Vec::new();
        this.file
            .rewind()
            .and_then(|()| this.file.read_to_end(&mut bytes))
            .map_err(|error| AnswerError::Read {
                path: path.into(),
                error,
            })?;
        let records = Records::parse(path, &bytes)?;
        this.len = bytes.len() as u64;
        match records.tail {
            Tail::Clean => {}
            Tail::NoLineEnd => this.write(b"\n")?,
            Tail::Half { start } => this.cut(start as u64)?,
        }
        this.answered = records
            .list
            .iter()
            .map(|record| record.answer.question_id)
            .collect();
        let before = records.into_answers(path);
        Ok((this, before))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the question has a record.
    pub fn has(&self, question_id: i64) -> bool {
        self.answered.contains(&question_id)
    }

    /// The number of questions that have a record.
    pub fn answered(&self) -> usize {
        self.answered.len()
    }

    /// Appends a record. When this returns, the record is on disk.
    ///
    /// # Errors
    /// An inconsistent record, or a failed write. The file is then left unchanged.
    pub fn append(&mut self, answer: &Answer) -> Result<(), AnswerError> {
        let broken = |reason| AnswerError::Record {
            path: self.path.clone(),
            question_id: answer.question_id,
            reason,
        };
        answer.check().map_err(broken)?;
        let mut line = serde_json::to_vec(answer).map_err(|error| broken(error.to_string()))?;
        line.push(b'\n');
        self.write(&line)?;
        self.answered.insert(answer.question_id);
        Ok(())
    }

    /// Ends the run: orders the file by question and keeps the last record of each. The new file
    /// replaces the old one atomically, and its lines are unchanged byte for byte.
    ///
    /// # Errors
    /// A file that can no longer be read or written, or that now holds a line that is not a record.
    pub fn finish(self) -> Result<AnswerRecords, AnswerError> {
        let path = self.path.as_path();
        let bytes = std::fs::read(path).map_err(|error| AnswerError::Read {
            path: path.into(),
            error,
        })?;
        let records = Records::parse(path, &bytes)?;
        let mut last: BTreeMap<i64, &[u8]> = BTreeMap::new();
        for record in &records.list {
            last.insert(record.answer.question_id, record.text);
        }
        let mut sorted = Vec::with_capacity(bytes.len());
        for text in last.values() {
            sorted.extend_from_slice(text);
            sorted.push(b'\n');
        }
        if sorted != bytes {
            write_atomically(path, &sorted).map_err(|error| AnswerError::Write {
                path: path.into(),
                error,
            })?;
        }
        Ok(records.into_answers(path))
    }

    fn open(path: &Path) -> Result<Self, AnswerError> {
        let failed = |error| AnswerError::Open {
            path: path.into(),
            error,
        };
        must_be_a_file(path)?;
        let folder = folder_of(path);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(failed)?;
        match <File as fs4::FileExt>::try_lock(&file) {
            Err(fs4::TryLockError::WouldBlock) => {
                return Err(AnswerError::InUse { path: path.into() });
            }
            // Some network file systems have no locks. There the run goes on without one.
            Ok(()) | Err(fs4::TryLockError::Error(_)) => {}
        }
        files::sync_folder(&folder).map_err(failed)?;
        Ok(Self {
            path: path.into(),
            file,
            len: 0,
            answered: HashSet::new(),
        })
    }

    /// Writes all of `bytes`. If that fails, it removes what was written, so that the next record
    /// does not follow half a one.
    fn write(&mut self, bytes: &[u8]) -> Result<(), AnswerError> {
        let written = self
            .file
            .write_all(bytes)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Report the error of the write. If this fails too, the next `resume` repairs the line.
            let _ = self.file.set_len(self.len);
            return Err(AnswerError::Write {
                path: self.path.clone(),
                error,
            });
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn cut(&mut self, len: u64) -> Result<(), AnswerError> {
        self.file
            .set_len(len)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| AnswerError::Write {
                path: self.path.clone(),
                error,
            })?;
        self.len = len;
        Ok(())
    }
}

/// Refuses a folder, pipe or device. A file that does not exist yet is accepted.
fn must_be_a_file(path: &Path) -> Result<(), AnswerError> {
    match files::is_not_regular_file(path) {
        true => Err(AnswerError::NotAFile { path: path.into() }),
        false => Ok(()),
    }
}
