//! The answer log of one method: its answer file, its manifest and its list of skipped questions.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{FinishedLog, RunError};
use crate::bench::answer::Answer;
use crate::bench::answer_file::{AnswerFile, AnswerNotice};
use crate::bench::manifest::{Difference, Manifest};
use crate::bench::question::SkippedQuestion;
use crate::files::write_atomically;

/// A skipped question, as written to `<answer file>.skipped.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// The question's number.
    pub question_id: i64,
    /// Its line in the question file, if it was skipped when that file was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The reason.
    pub reason: String,
}

impl From<&SkippedQuestion> for Skip {
    fn from(skipped: &SkippedQuestion) -> Self {
        Self {
            question_id: skipped.question_id,
            line: Some(skipped.line),
            reason: skipped.reason.clone(),
        }
    }
}

/// The answer file of one method and repeat, with its manifest and its list of skipped questions.
#[derive(Debug)]
pub struct AnswerLog {
    /// The method's index in the plan.
    pub method: usize,
    /// The repeat, from 0.
    pub repeat: u32,
    /// Notices about the file for the user.
    pub notices: Vec<AnswerNotice>,
    /// How the program's version differs from that of the earlier answers in the file, if it does.
    pub other_commit: Option<Difference>,
    file: AnswerFile,
    skips: Vec<Skip>,
}

impl AnswerLog {
    /// Opens a file where an earlier run stopped, or creates it. With `overwrite`, always starts a
    /// new one.
    ///
    /// # Errors
    /// A file that was made with other settings, that cannot be read or written, that another run
    /// is writing, or that holds lines that are not records. Another version of this program is not
    /// an error but a notice, [`AnswerLog::other_commit`].
    pub fn open(
        path: &Path,
        manifest: &Manifest,
        overwrite: bool,
        method: usize,
        repeat: u32,
    ) -> Result<Self, RunError> {
        let manifest_path = Manifest::path_beside(path);
        let mut this = Self {
            method,
            repeat,
            notices: Vec::new(),
            other_commit: None,
            file: if overwrite {
                AnswerFile::create(path)?
            } else {
                let (file, before) = AnswerFile::resume(path)?;
                if file.answered() > 0 {
                    let other_commit = check_settings(path, &manifest_path, manifest)?;
                    return Ok(Self {
                        method,
                        repeat,
                        notices: before.notices,
                        other_commit,
                        file,
                        skips: skips_beside(path)?,
                    });
                }
                file
            },
            skips: Vec::new(),
        };
        this.write_skips()?;
        manifest.write(&manifest_path)?;
        Ok(this)
    }

    /// The answer file's path.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The number of answered questions.
    pub fn answered(&self) -> usize {
        self.file.answered()
    }

    /// Whether the question is answered or skipped.
    pub fn is_done(&self, question_id: i64) -> bool {
        let skipped = |skip: &Skip| skip.line.is_none() && skip.question_id == question_id;
        self.file.has(question_id) || self.skips.iter().any(skipped)
    }

    /// Appends an answer. When this returns, the answer is on disk.
    ///
    /// # Errors
    /// A failed write.
    pub fn append(&mut self, answer: &Answer) -> Result<(), RunError> {
        Ok(self.file.append(answer)?)
    }

    /// Records that a question is skipped. When this returns, that is on disk. Recording it again
    /// changes nothing.
    ///
    /// # Errors
    /// A failed write.
    pub fn skip(&mut self, skip: Skip) -> Result<(), RunError> {
        if self.skips.contains(&skip) {
            return Ok(());
        }
        self.skips.push(skip);
        self.skips
            .sort_by_key(|skip| (skip.question_id, skip.line.is_some()));
        self.write_skips()
    }

    /// Ends the run: orders the answer file.
    ///
    /// # Errors
    /// A file that can no longer be read or written.
    pub fn finish(self) -> Result<FinishedLog, RunError> {
        let records = self.file.finish()?;
        Ok(FinishedLog {
            method: self.method,
            repeat: self.repeat,
            path: records.path,
            answers: records.answers,
            skips: self.skips,
        })
    }

    /// Writes the list, or removes the file if the list is empty.
    fn write_skips(&mut self) -> Result<(), RunError> {
        let path = path_beside(self.path());
        let written = if self.skips.is_empty() {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        } else {
            serde_json::to_vec_pretty(&self.skips)
                .map_err(io::Error::from)
                .and_then(|mut text| {
                    text.push(b'\n');
                    write_atomically(&path, &text)
                })
        };
        written.map_err(|error| RunError::skips(&path, &error))
    }
}

/// The list of skipped questions beside an answer file: `a/b.jsonl` has `a/b.skipped.json`.
fn path_beside(answer_file: &Path) -> PathBuf {
    let manifest = Manifest::path_beside(answer_file);
    let name = manifest.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".manifest.json").unwrap_or(&name);
    answer_file.with_file_name(format!("{stem}.skipped.json"))
}

/// The skipped questions listed beside an answer file. Empty if there is no list.
///
/// # Errors
/// A list that cannot be read.
pub fn skips_beside(answer_file: impl AsRef<Path>) -> Result<Vec<Skip>, RunError> {
    let path = path_beside(answer_file.as_ref());
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| RunError::Skips {
            path,
            reason: format!("{error}; remove it to ask those questions again"),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(RunError::skips(&path, &error)),
    }
}

/// Refuses other settings. If only the program's version differs, returns that difference.
fn check_settings(
    path: &Path,
    manifest_path: &Path,
    now: &Manifest,
) -> Result<Option<Difference>, RunError> {
    let Some(before) = Manifest::read(manifest_path)? else {
        return Err(RunError::NoManifest { path: path.into() });
    };
    let (commits, differences): (Vec<_>, Vec<_>) = before
        .differences(now)
        .into_iter()
        .partition(|difference| difference.setting == "commit");
    if differences.is_empty() {
        Ok(commits.into_iter().next())
    } else {
        Err(RunError::Settings {
            path: path.into(),
            differences,
        })
    }
}
