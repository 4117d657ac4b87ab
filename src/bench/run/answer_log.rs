//! One answer file of a run, with what lies beside it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{FinishedLane, RunError};
use crate::bench::answer::Answer;
use crate::bench::answer_file::{AnswerFile, AnswerNotice};
use crate::bench::manifest::{Difference, Manifest};
use crate::bench::question::SkippedQuestion;
use crate::files::write_atomically;

/// A question left out of a run, as it stands in `<answer file>.skipped.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// The question's number.
    pub question_id: i64,
    /// Its line in the question file, where it was left out on reading that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Why.
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

/// The answer file of one method and repeat, its manifest, and its list of questions left out.
#[derive(Debug)]
pub struct Lane {
    /// The method's number in the plan.
    pub method: usize,
    /// Which repeat, from 0.
    pub repeat: u32,
    /// What the user should know about the file.
    pub notices: Vec<AnswerNotice>,
    /// The program's version, where the earlier part of the file was made with another one.
    pub other_commit: Option<Difference>,
    file: AnswerFile,
    skips: Vec<Skip>,
}

impl Lane {
    /// Takes a file up where an earlier run stopped, or starts it; with `overwrite` always afresh.
    ///
    /// # Errors
    /// A file that was made with other settings, that cannot be read or written, that another run
    /// is writing, or that holds foreign lines. A version of this program that differs is a notice,
    /// [`Lane::other_commit`].
    pub fn open(
        path: &Path,
        manifest: &Manifest,
        overwrite: bool,
        method: usize,
        repeat: u32,
    ) -> Result<Self, RunError> {
        let manifest_path = Manifest::path_beside(path);
        let mut lane = Self {
            method,
            repeat,
            notices: Vec::new(),
            other_commit: None,
            file: if overwrite {
                AnswerFile::create(path)?
            } else {
                let (file, log) = AnswerFile::resume(path)?;
                if file.answered() > 0 {
                    let other_commit = check_settings(path, &manifest_path, manifest)?;
                    return Ok(Self {
                        method,
                        repeat,
                        notices: log.notices,
                        other_commit,
                        file,
                        skips: skips_beside(path)?,
                    });
                }
                file
            },
            skips: Vec::new(),
        };
        lane.write_skips()?;
        manifest.write(&manifest_path)?;
        Ok(lane)
    }

    /// Where the answers are.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Number of questions that have their answers.
    pub fn answered(&self) -> usize {
        self.file.answered()
    }

    /// Whether the question has its answer, or is known to be left out.
    pub fn is_done(&self, question_id: i64) -> bool {
        let skipped = |skip: &Skip| skip.line.is_none() && skip.question_id == question_id;
        self.file.has(question_id) || self.skips.iter().any(skipped)
    }

    /// Adds an answer; on return it is on the disk.
    ///
    /// # Errors
    /// A disk that does not take it.
    pub fn append(&mut self, answer: &Answer) -> Result<(), RunError> {
        Ok(self.file.append(answer)?)
    }

    /// Records that a question is left out; on return that is on the disk. Once is enough.
    ///
    /// # Errors
    /// A disk that does not take it.
    pub fn skip(&mut self, skip: Skip) -> Result<(), RunError> {
        if self.skips.contains(&skip) {
            return Ok(());
        }
        self.skips.push(skip);
        self.skips
            .sort_by_key(|skip| (skip.question_id, skip.line.is_some()));
        self.write_skips()
    }

    /// Orders the file and ends the run of this lane.
    ///
    /// # Errors
    /// A file that can no longer be read or written.
    pub fn finish(self) -> Result<FinishedLane, RunError> {
        let log = self.file.finish()?;
        Ok(FinishedLane {
            method: self.method,
            repeat: self.repeat,
            path: log.path,
            answers: log.answers,
            skips: self.skips,
        })
    }

    /// An empty list has no file.
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

/// Where the list of questions left out lies: `a/b.jsonl` has `a/b.skipped.json`.
fn path_beside(answer_file: &Path) -> PathBuf {
    let manifest = Manifest::path_beside(answer_file);
    let name = manifest.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".manifest.json").unwrap_or(&name);
    answer_file.with_file_name(format!("{stem}.skipped.json"))
}

/// The questions left out of a run, as they are listed beside its answer file. None where there is
/// no list.
///
/// # Errors
/// A list that cannot be read.
pub fn skips_beside(answer_file: impl AsRef<Path>) -> Result<Vec<Skip>, RunError> {
    let path = path_beside(answer_file.as_ref());
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| RunError::Skips {
            path,
            reason: format!("{error}; remove it to have those questions tried again"),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(RunError::skips(&path, &error)),
    }
}

/// Refuses other settings; gives the program's version where only that differs.
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
