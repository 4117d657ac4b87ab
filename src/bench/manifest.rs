//! What a run was made with: the manifest that lies beside an answer file.
//!
//! Two uses: a reader of the figures finds out which model file, which build and which machine they
//! are from; and a run that continues an earlier one finds out whether it would be mixing figures
//! of two settings in one file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::files::{json_reason, write_atomically};

/// What one answer file was made with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The method: `baseline`, `logitspec`.
    pub method: String,
    /// The model file.
    pub model: ModelFile,
    /// llama.cpp's version or commit.
    pub llama_cpp: String,
    /// This program's version and, where it was built in a checkout, the commit it was built from.
    pub commit: String,
    /// The devices the model ran on, as llama.cpp names them.
    pub devices: Vec<String>,
    /// Threads for decoding.
    pub threads: u32,
    /// Every setting that can change the answers or their speed, by the name of its flag without
    /// the dashes (`max-new-tokens`), defaults included.
    pub flags: BTreeMap<String, Value>,
    /// When the run began, in seconds since 1970.
    pub time: f64,
}

/// The model file of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Where it was.
    pub path: PathBuf,
    /// Its SHA-256 in hexadecimal, see [`sha256_of_file`].
    pub sha256: String,
    /// Its quantization as llama.cpp names it: `Q4_K - Medium`.
    pub quantization: String,
}

/// One setting in which two manifests differ. Its `Display` reads `max-new-tokens was 128, is
/// 1024`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The setting: a key of [`Manifest`], or of its flags.
    pub setting: String,
    /// What the earlier run had; `null` for nothing.
    pub before: Value,
    /// What this run has; `null` for nothing.
    pub now: Value,
}

/// Why a manifest could not be read or written. Each message is one line that names the file and
/// the mend.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be read or written.
    #[error("{}: cannot read or write the manifest: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is no manifest.
    #[error("{}:{line}: not a manifest: {reason}; remove it, or start the run afresh", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Manifest {
    /// Where the manifest of an answer file lies: `a/b.jsonl` has `a/b.manifest.json`.
    pub fn path_beside(answer_file: impl AsRef<Path>) -> PathBuf {
        let answer_file = answer_file.as_ref();
        // Not `with_extension`: the name of a temperature, `temp-0.0`, would lose its end in a file
        // without `.jsonl`.
        let name = answer_file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let stem = name.strip_suffix(".jsonl").unwrap_or(&name);
        answer_file.with_file_name(format!("{stem}.manifest.json"))
    }

    /// Reads a manifest; `None` where there is none.
    ///
    /// # Errors
    /// A file that cannot be read or is no manifest.
    pub fn read(path: impl AsRef<Path>) -> Result<Option<Self>, ManifestError> {
        let path = path.as_ref();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(ManifestError::File {
                    path: path.into(),
                    error,
                });
            }
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| ManifestError::Content {
                path: path.into(),
                line: error.line(),
                reason: json_reason(&error),
            })
    }

    /// Writes the manifest; a reader sees the old one or the new one, never a half.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), ManifestError> {
        let path = path.as_ref();
        let failed = |error| ManifestError::File {
            path: path.into(),
            error,
        };
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        write_atomically(path, &text).map_err(failed)
    }

    /// The settings in which a new run, `now`, differs from this earlier one, in the order of the
    /// manifest.
    ///
    /// The time is no setting. Nor is the model file's place: the same file elsewhere has the same
    /// SHA-256.
    pub fn differences(&self, now: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut compare = |setting: &str, before: Value, now: Value| {
            if before != now {
                found.push(Difference {
                    setting: setting.into(),
                    before,
                    now,
                });
            }
        };
        compare(
            "method",
            self.method.as_str().into(),
            now.method.as_str().into(),
        );
        compare(
            "model.sha256",
            self.model.sha256.as_str().into(),
            now.model.sha256.as_str().into(),
        );
        compare(
            "model.quantization",
            self.model.quantization.as_str().into(),
            now.model.quantization.as_str().into(),
        );
        compare(
            "llama_cpp",
            self.llama_cpp.as_str().into(),
            now.llama_cpp.as_str().into(),
        );
        compare(
            "commit",
            self.commit.as_str().into(),
            now.commit.as_str().into(),
        );
        compare(
            "devices",
            self.devices.clone().into(),
            now.devices.clone().into(),
        );
        compare("threads", self.threads.into(), now.threads.into());
        let flags: BTreeSet<&String> = self.flags.keys().chain(now.flags.keys()).collect();
        for flag in flags {
            let value =
                |flags: &BTreeMap<String, Value>| flags.get(flag).cloned().unwrap_or(Value::Null);
            compare(flag, value(&self.flags), value(&now.flags));
        }
        found
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |value: &Value| match value {
            Value::Null => "not set".to_string(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        write!(
            f,
            "{} was {}, is {}",
            self.setting,
            side(&self.before),
            side(&self.now)
        )
    }
}

/// The SHA-256 of a file, in hexadecimal, read in pieces.
///
/// # Errors
/// Whatever reading the file gives.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.gguf");
/// std::fs::write(&path, "abc")?;
/// let sha256 = logitspec::bench::sha256_of_file(&path)?;
/// assert_eq!(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn sha256_of_file(path: impl AsRef<Path>) -> io::Result<String> {
    const PIECE: usize = 1 << 20;
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => hash.update(&piece[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
