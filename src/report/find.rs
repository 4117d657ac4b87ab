//! Finds answer files, and those of plain decoding among them.

use std::path::{Path, PathBuf};

use crate::bench::{Manifest, read_answers};

use super::ReportError;

/// The method that others are compared with.
const PLAIN: &str = "baseline";

/// Answer files, sorted by what a report does with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Those of methods.
    pub answers: Vec<PathBuf>,
    /// Those of plain decoding.
    pub base: Vec<PathBuf>,
    /// Whether some are of repeated runs.
    pub is_repeated: bool,
}

/// The answer files of a folder, in the order of their names.
///
/// # Errors
/// If the folder cannot be read, or holds none.
pub fn answer_files(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let unreadable = |error| ReportError::Folder {
        path: folder.into(),
        error,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() && path.extension().is_some_and(|ending| ending == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(ReportError::EmptyFolder {
            path: folder.into(),
        }),
        false => Ok(files),
    }
}

/// Tells the files of plain decoding, whose records or manifest name the method `baseline`, from
/// the others.
///
/// # Errors
/// If a file is no answer file, or if one of the two kinds is missing.
pub fn sort(files: &[PathBuf]) -> Result<Found, ReportError> {
    let mut found = Found::default();
    for path in files {
        let log = read_answers(path)?;
        let first = log.answers.first();
        let manifest = Manifest::read(Manifest::path_beside(path))?;
        let method = first
            .and_then(|answer| answer.method.clone())
            .or_else(|| Some(manifest?.method));
        found.is_repeated |= first.is_some_and(|answer| answer.repeat > Some(0));
        match method.as_deref() {
            Some(PLAIN) => found.base.push(path.clone()),
            _ => found.answers.push(path.clone()),
        }
    }
    match (found.base.is_empty(), found.answers.is_empty()) {
        (true, _) => Err(ReportError::NoBase),
        (false, true) => Err(ReportError::OnlyBase),
        (false, false) => Ok(found),
    }
}
