//! Answer files: one [`Answer`] a line, written so that a run killed at any moment loses at most
//! the question it was at.
//!
//! A run appends each record with one write and waits for the disk. A kill in the middle of that
//! write leaves half a line at the end of the file; [`AnswerFile::resume`] cuts it off, says so,
//! and the question is asked again. Any other line that is no record is not ours to touch: it is
//! refused with its file and line.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::answer::Answer;
use crate::files::{self, folder_of, json_reason, write_atomically};

/// Something about an answer file that the user should see, though it stops nothing. Its `Display`
/// is one line that names the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerNotice {
    /// The file ended in half a record, which was left out and, by [`AnswerFile::resume`], cut off.
    #[error("{}:{line}: the last line is half a record ({bytes} bytes), left by a run that was stopped; it does not count", path.display())]
    HalfLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// How long the half is.
        bytes: usize,
    },
    /// A question was answered twice; the later record counts.
    #[error("{}:{line}: question {question_id} is on line {earlier_line} too; the later record counts", path.display())]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The line of the record that counts, from 1.
        line: usize,
        /// The line of the one that does not.
        earlier_line: usize,
        /// The question's number.
        question_id: i64,
    },
}

/// Why an answer file could not be read or written. Each message is one line that names the file
/// and the mend.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// There is something else at its place.
    #[error("{}: not a regular file, and so no answer file; name another one", path.display())]
    NotAFile {
        /// The folder, pipe or device.
        path: PathBuf,
    },
    /// The file is not there or cannot be read.
    #[error("{}: cannot read the answer file: {error}; check the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file cannot be written.
    #[error("{}: cannot write the answer file: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file cannot be made or opened for writing.
    #[error("{}: cannot be written as an answer file: {error}; name another with --answer-file or --answer-dir", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// To be started afresh, but there is something else in it.
    #[error("{}: is no answer file, so it is left as it is; name another file, or remove it", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A line is no answer record.
    #[error("{}:{line}: not an answer record: {reason}; mend or remove that line, or name another file", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A record to be written would not be readable again.
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
    #[error("{}: another run is writing this file; wait for it, or give --answer-file another name", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

/// The records of an answer file: one a question, ordered by question.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerLog {
    /// The file.
    pub path: PathBuf,
    /// The records; of those with the same `question_id`, the last in the file.
    pub answers: Vec<Answer>,
    /// What the user should know about the file.
    pub notices: Vec<AnswerNotice>,
}

/// Reads an answer file without changing it.
///
/// # Errors
/// A file that cannot be read, or a line that is no answer record. Half a record at the end of the
/// file is no error but a notice.
pub fn read_answers(path: impl AsRef<Path>) -> Result<AnswerLog, AnswerError> {
    let path = path.as_ref();
    must_be_a_file(path)?;
    let bytes = std::fs::read(path).map_err(|error| AnswerError::Read {
        path: path.into(),
        error,
    })?;
    Ok(Records::parse(path, &bytes)?.into_log(path))
}

/// Whether [`AnswerFile::create`] would start `path` afresh: there is no file, an empty one, or one
/// of answers, be it damaged.
///
/// # Errors
/// A file that holds something else, or cannot be read.
pub fn check_replaceable(path: &Path) -> Result<(), AnswerError> {
    // Every record has them, in the first few hundred bytes.
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

/// An answer file that a run is adding to. The file is locked while this lives.
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
    /// Starts the file afresh: the answers that were in it are gone.
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

    /// Continues the file where an earlier run stopped, or starts it. Gives what is in it, too.
    ///
    /// Half a record at the end is cut off, and a missing line end is added.
    ///
    /// # Errors
    /// A file that cannot be read or written, that another run is writing, or that holds a line
    /// which is no answer record. In every such case the file is left as it was.
    pub fn resume(path: impl AsRef<Path>) -> Result<(Self, AnswerLog), AnswerError> {
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
        let log = records.into_log(path);
        Ok((this, log))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the question has its record already.
    pub fn has(&self, question_id: i64) -> bool {
        self.answered.contains(&question_id)
    }

    /// How many questions have their record.
    pub fn answered(&self) -> usize {
        self.answered.len()
    }

    /// Adds a record; on return it is on the disk.
    ///
    /// # Errors
    /// A record whose parts do not fit together, or a disk that does not take it. The file then is
    /// as it was.
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

    /// Ends the run: orders the file by question and keeps the last record of each, in one step
    /// that a crash cannot halve. The lines themselves stay byte for byte as they are.
    ///
    /// # Errors
    /// A file that cannot be read or written any more, or that someone else put a foreign line
    /// into.
    pub fn finish(self) -> Result<AnswerLog, AnswerError> {
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
        Ok(records.into_log(path))
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
            // Some network file systems have no locks. A run there is as safe as it would be
            // without this check.
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

    /// Writes all of `bytes` or, as far as the disk allows, nothing: a later record must not be
    /// glued to a half one.
    fn write(&mut self, bytes: &[u8]) -> Result<(), AnswerError> {
        let written = self
            .file
            .write_all(bytes)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // The write's own error is the one to tell. If this fails too, the next `resume` mends
            // the line.
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

/// One that is not there yet is for whoever opens it.
fn must_be_a_file(path: &Path) -> Result<(), AnswerError> {
    match files::is_no_file(path) {
        true => Err(AnswerError::NotAFile { path: path.into() }),
        false => Ok(()),
    }
}

/// The lines of an answer file, understood.
struct Records<'a> {
    list: Vec<Record<'a>>,
    tail: Tail,
    notices: Vec<AnswerNotice>,
}

struct Record<'a> {
    text: &'a [u8],
    answer: Answer,
}

/// How the file ends.
enum Tail {
    Clean,
    /// In a whole record, its line end missing.
    NoLineEnd,
    /// In half a record, which begins at this byte.
    Half {
        start: usize,
    },
}

impl<'a> Records<'a> {
    fn parse(path: &Path, bytes: &'a [u8]) -> Result<Self, AnswerError> {
        let mut this = Self {
            list: Vec::new(),
            tail: Tail::Clean,
            notices: Vec::new(),
        };
        let mut line_of: HashMap<i64, usize> = HashMap::new();
        for line in files::lines(bytes).filter(|line| !line.is_blank()) {
            let refused = |reason| AnswerError::Line {
                path: path.into(),
                line: line.number,
                reason,
            };
            let answer: Answer = match serde_json::from_slice(line.text) {
                Ok(answer) => answer,
                Err(error) if !line.finished && is_half_a_record(line.text, &error) => {
                    this.tail = Tail::Half { start: line.start };
                    this.notices.push(AnswerNotice::HalfLine {
                        path: path.into(),
                        line: line.number,
                        bytes: line.text.len(),
                    });
                    continue;
                }
                Err(error) => return Err(refused(json_reason(&error))),
            };
            answer.check().map_err(refused)?;
            if !line.finished {
                this.tail = Tail::NoLineEnd;
            }
            if let Some(earlier_line) = line_of.insert(answer.question_id, line.number) {
                this.notices.push(AnswerNotice::Duplicate {
                    path: path.into(),
                    line: line.number,
                    earlier_line,
                    question_id: answer.question_id,
                });
            }
            this.list.push(Record {
                text: line.text,
                answer,
            });
        }
        Ok(this)
    }

    fn into_log(self, path: &Path) -> AnswerLog {
        let by_id: BTreeMap<i64, Answer> = self
            .list
            .into_iter()
            .map(|record| (record.answer.question_id, record.answer))
            .collect();
        AnswerLog {
            path: path.into(),
            answers: by_id.into_values().collect(),
            notices: self.notices,
        }
    }
}

/// Whether an unreadable last line is the beginning of a record, and so may be cut off. Anything
/// else was put there by someone else. Every record begins with its `question_id`; a power cut may
/// also leave zero bytes in the place of what was being written.
fn is_half_a_record(text: &[u8], error: &serde_json::Error) -> bool {
    const START: &[u8] = br#"{"question_id":"#;
    let written = &text[..text
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1)];
    let breaks_off = error.is_eof() || written.len() < text.len();
    breaks_off && (written.starts_with(START) || START.starts_with(written))
}
