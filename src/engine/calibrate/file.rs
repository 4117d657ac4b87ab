//! Measurements kept for the next run.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::PassTimes;
use crate::files::write_atomically;

/// What a measurement depends on: the model's shape and type of weights, devices, threads, and
/// llama.cpp's build. The values of the weights do not matter.
pub type CalibrationKey = BTreeMap<String, Value>;

/// Measurements of one model on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// What they depend on.
    pub key: CalibrationKey,
    /// The measurements, by context length and size.
    pub times: Vec<PassTimes>,
}

/// Why stored measurements cannot be used, or cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// A file that cannot be read, or is not a calibration of this model on this machine.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that cannot be written.
    #[error("{}: cannot write the measurements: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// Bounds of a plausible time, in seconds. Sums and ratios of such times are finite.
pub(super) const SHORTEST: f64 = 1e-9;
pub(super) const LONGEST: f64 = 86_400.0;

/// What is wrong with a file of another key.
pub(super) const FOREIGN: &str = "belongs to another model or machine";

/// The file of this kind below `folder` for `key`.
pub(super) fn path_of(kind: &str, folder: &Path, key: &CalibrationKey) -> PathBuf {
    let text = serde_json::to_vec(key).unwrap_or_default();
    let hash = Sha256::digest(&text);
    let digits: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("{kind}-{digits}.json"))
}

/// Reads a file that [`write()`] wrote; `None` if there is none. `check` says what is wrong with
/// it.
pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    check: impl Fn(&T) -> Result<(), String>,
) -> Result<Option<T>, CalibrationError> {
    let failed = |reason: String| CalibrationError::Unusable {
        path: path.to_owned(),
        reason,
    };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("cannot be read: {error}"))),
    };
    let read: T = serde_json::from_slice(&bytes)
        .map_err(|error| failed(format!("is not a calibration: {error}")))?;
    check(&read).map_err(failed)?;
    Ok(Some(read))
}

/// Writes a file whole or not at all, and its folder if there is none.
pub(super) fn write(path: PathBuf, content: &impl Serialize) -> Result<PathBuf, CalibrationError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| serde_json::to_vec_pretty(content).map_err(io::Error::from))
        .and_then(|text| write_atomically(&path, &text));
    match written {
        Ok(()) => Ok(path),
        Err(error) => Err(CalibrationError::Unwritable { path, error }),
    }
}

impl Calibration {
    /// The file below `folder` for the measurements of `key`.
    pub fn path(folder: &Path, key: &CalibrationKey) -> PathBuf {
        path_of("calibration", folder, key)
    }

    /// Reads the measurements of `key`; `None` if there are none.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or belongs to another key.
    pub fn read(folder: &Path, key: &CalibrationKey) -> Result<Option<Self>, CalibrationError> {
        read(&Self::path(folder, key), |it: &Self| match it.key == *key {
            true => it.check(),
            false => Err(FOREIGN.into()),
        })
    }

    /// Writes the measurements below `folder`. Older ones are replaced whole or not at all.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, CalibrationError> {
        write(Self::path(folder, &self.key), self)
    }

    /// Whether [`CostModel`](crate::engine::CostModel) accepts the times.
    fn check(&self) -> Result<(), String> {
        let mut before: Option<(usize, usize)> = None;
        for time in &self.times {
            let all = [
                time.reused,
                time.rebuilt,
                time.rows,
                time.kv,
                time.argmax,
                time.top_k,
            ];
            if !all
                .iter()
                .all(|seconds| seconds.is_finite() && *seconds >= 0.0)
            {
                return Err("has a time that is negative or not finite".into());
            }
            if all.iter().any(|&seconds| seconds > LONGEST) {
                return Err("has a time of more than a day".into());
            }
            if time.reused < SHORTEST || time.rebuilt < SHORTEST {
                return Err("has a pass that took no time".into());
            }
            let place = (time.n_past, time.tokens);
            let begins = before.is_none_or(|(n_past, _)| n_past != time.n_past);
            if begins && time.tokens != 1 || before.is_some_and(|before| before >= place) {
                return Err("is out of order".into());
            }
            before = Some(place);
        }
        if self.times.is_empty() {
            return Err("has no times".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Calibration {
        let time = |n_past, tokens| PassTimes {
            n_past,
            tokens,
            fastest: 0.0,
            reused: 0.1,
            rebuilt: 0.2,
            rows: 0.0,
            kv: 0.0,
            argmax: 0.0,
            top_k: 0.0,
        };
        Calibration {
            key: [("threads".to_owned(), Value::from(2))].into(),
            times: vec![time(0, 1), time(0, 2), time(9, 1)],
        }
    }

    #[test]
    fn a_calibration_is_read_by_its_own_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let ours = sample();
        assert!(
            Calibration::read(folder.path(), &ours.key)
                .unwrap()
                .is_none()
        );
        ours.write(&folder.path().join("deeper")).unwrap();
        let read = Calibration::read(&folder.path().join("deeper"), &ours.key).unwrap();
        assert_eq!(read, Some(ours.clone()));
        let other: CalibrationKey = [("threads".to_owned(), Value::from(3))].into();
        assert!(
            Calibration::read(&folder.path().join("deeper"), &other)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn older_files_without_rows_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let ours = sample();
        let path = ours.write(folder.path()).unwrap();
        let text = serde_json::to_string(&ours).unwrap();
        let old = text.replace("\"rows\":0.0,", "");
        assert!(!old.contains("rows"), "{old}");
        std::fs::write(&path, old).unwrap();
        assert_eq!(
            Calibration::read(folder.path(), &ours.key).unwrap(),
            Some(ours)
        );
    }

    #[test]
    fn damaged_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let ours = sample();
        let path = ours.write(folder.path()).unwrap();
        let refuse = |text: String, why: &str| {
            std::fs::write(&path, text).unwrap();
            let error = Calibration::read(folder.path(), &ours.key)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(why) && error.contains("calibration-"),
                "{error}"
            );
        };
        let text = serde_json::to_string(&ours).unwrap();
        refuse(text[..text.len() / 2].into(), "is not a calibration");
        refuse(
            text.replace("\"threads\":2", "\"threads\":4"),
            "another model or machine",
        );
        refuse(
            text.replace("\"rows\":0.0", "\"rows\":-1.0"),
            "a time that is negative",
        );
        refuse(
            text.replace("\"rebuilt\":0.2", "\"rebuilt\":-1.0"),
            "a time that is negative",
        );
        for time in ["0.0", "1e-300"] {
            refuse(
                text.replace("\"reused\":0.1", &format!("\"reused\":{time}")),
                "took no time",
            );
        }
        refuse(
            text.replace("\"kv\":0.0", "\"kv\":1e308"),
            "more than a day",
        );
        refuse(text.replace("\"tokens\":2", "\"tokens\":1"), "out of order");
        refuse(r#"{"key":{"threads":2},"times":[]}"#.into(), "no times");
    }
}
