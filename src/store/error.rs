//! Errors of token files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::is_not_regular_file;

/// The kind of a token file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pool of earlier requests.
    Pool,
    /// A corpus: a text with its suffix array.
    Corpus,
}

impl Kind {
    /// How to replace a file that cannot be used.
    fn fix(self) -> &'static str {
        match self {
            Self::Pool => "delete it, or name another file, to start an empty pool",
            Self::Corpus => "build it again",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pool => "pool file",
            Self::Corpus => "corpus",
        })
    }
}

/// Why a token file cannot be used. Each message is one line that names the file and the fix.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It does not exist or cannot be read.
    #[error("{}: cannot read the {kind}: {error}; check its name and permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: Kind,
        /// The error of the system.
        error: io::Error,
    },
    /// It cannot be written.
    #[error(
        "{}: cannot write the {kind}: {error}; check the folder and the space left",
        path.display()
    )]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: Kind,
        /// The error of the system.
        error: io::Error,
    },
    /// It is another kind of file.
    #[error("{}: is no {kind} of logitspec; name another file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: Kind,
    },
    /// It was written by another version of this program.
    #[error(
        "{}: this {kind} has version {found}, this program reads version {known}; {}",
        path.display(), kind.fix()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: Kind,
        /// The file's version.
        found: u32,
        /// The version that can be read.
        known: u32,
    },
    /// It was cut off or changed.
    #[error("{}: this {kind} is damaged ({reason}); {}", path.display(), kind.fix())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: Kind,
        /// What is wrong.
        reason: &'static str,
    },
    /// It was made with another vocabulary.
    #[error(
        "{}: this {kind} was made with another vocabulary (fingerprint {found}, the model's is \
         {wanted}); name the one made with this model, or {}",
        path.display(), kind.fix()
    )]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: Kind,
        /// The file's fingerprint, shortened.
        found: String,
        /// The fingerprint of the vocabulary in use, shortened.
        wanted: String,
    },
    /// The text is larger than the format allows.
    #[error(
        "{}: {tokens} tokens are too many for one {kind}, which holds less than 2^32; make several",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: Kind,
        /// Number of tokens.
        tokens: u64,
    },
}

/// Refuses folders, devices and pipes. Reading a device or a pipe may never end.
pub(crate) fn check_is_file(path: &Path, kind: Kind) -> Result<(), TokenFileError> {
    if !is_not_regular_file(path) {
        return Ok(());
    }
    let (is_folder, path) = (path.is_dir(), path.to_owned());
    Err(if is_folder {
        let error = io::ErrorKind::IsADirectory.into();
        TokenFileError::Unreadable { path, kind, error }
    } else {
        TokenFileError::Foreign { path, kind }
    })
}
