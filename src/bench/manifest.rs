//! The manifest beside an answer file: the settings of the run.
//!
//! It tells a reader which model file, build and machine the figures are from. It also keeps a
//! resumed run from mixing figures of different settings in one file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::files::{json_reason, write_atomically};

/// The settings that an answer file was made with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The method: `baseline`, `logitspec`.
    pub method: String,
    /// The model file.
    pub model: ModelFile,
    /// llama.cpp's version or commit.
    pub llama_cpp: String,
    /// This program's version, with the commit if it was built in a git checkout.
    pub commit: String,
    /// The devices that the model ran on, as llama.cpp names them.
    pub devices: Vec<String>,
    /// Threads for decoding.
    pub threads: u32,
    /// All settings that can change the answers or their speed, including defaults. Keys are flag
    /// names without the dashes (`max-new-tokens`).
    pub flags: BTreeMap<String, Value>,
    /// The start of the run, in seconds since 1970.
    pub time: f64,
}

/// The model file of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Its path.
    pub path: PathBuf,
    /// Its SHA-256 in hexadecimal, see [`sha256_of_file`].
    pub sha256: String,
    /// Its quantization as llama.cpp names it: `Q4_K - Medium`.
    pub quantization: String,
}

/// A setting that differs between two manifests. Its `Display` reads `max-new-tokens was 128, is
/// 1024`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The setting: a key of [`Manifest`], or of its flags.
    pub setting: String,
    /// The value in the earlier run; `null` if it was not set.
    pub before: Value,
    /// The value in this run; `null` if it is not set.
    pub now: Value,
}

/// Why a manifest could not be read or written. Each message is one line that names the file.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be read or written.
    #[error("{}: cannot read or write the manifest: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's message.
        error: io::Error,
    },
    /// The file is not a manifest.
    #[error(
        "{}:{line}: not a manifest: {reason}; remove it, or start the run over",
        path.display()
    )]
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
    /// The path of the manifest of an answer file: `a/b.jsonl` has `a/b.manifest.json`.
    pub fn path_beside(answer_file: impl AsRef<Path>) -> PathBuf {
        let answer_file = answer_file.as_ref();
        // `with_extension` would cut a name without `.jsonl` at the dot of `temp-0.0`.
        let name = answer_file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let stem = name.strip_suffix(".jsonl").unwrap_or(&name);
        answer_file.with_file_name(format!("{stem}.manifest.json"))
    }

    /// Reads a manifest; `None` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read or is not a manifest.
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

    /// Writes the manifest atomically: a reader sees the old one or the new one, never a part.
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

    /// The settings that differ between this earlier run and a new one, `now`, in the order of the
    /// manifest.
    ///
    /// The time is not a setting. Neither is the path of the model file: its SHA-256 identifies it.
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

/// The SHA-256 of a file in hexadecimal. The file is read in pieces.
///
/// # Errors
/// If the file cannot be read.
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
