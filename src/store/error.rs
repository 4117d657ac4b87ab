//! What can be wrong with a file of tokens.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::is_no_file;

/// What a file of tokens holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Earlier requests: a [`SharedPool`](crate::pool::SharedPool).
    Pool,
    /// A [`Corpus`](crate::corpus::Corpus).
    Corpus,
}

impl Kind {
    /// What to do about a file that cannot be used.
    fn mend(self) -> &'static str {
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

/// Why a file of tokens cannot be used. Each message is one line that names the file and the mend.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// Not there, or not readable.
    #[error("{}: cannot read the {kind}: {error}; check its name and permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: Kind,
        /// What the system says.
        error: io::Error,
    },
    /// Cannot be written.
    #[error("{}: cannot write the {kind}: {error}; check the folder and the space left", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: Kind,
        /// What the system says.
        error: io::Error,
    },
    /// Another kind of file.
    #[error("{}: is no {kind} of logitspec; name another file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: Kind,
    },
    /// Written by another version of this program.
    #[error("{}: this {kind} has version {found}, this program reads version {known}; {}", path.display(), kind.mend())]
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
    /// Not as it was written.
    #[error("{}: this {kind} is damaged ({reason}); {}", path.display(), kind.mend())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: Kind,
        /// How that shows.
        reason: &'static str,
    },
    /// Made for a model with another vocabulary.
    #[error(
        "{}: this {kind} was made with another vocabulary (fingerprint {found}, the model's is {wanted}); name the one \
         made with this model, or {}", path.display(), kind.mend()
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
    /// More than the format can hold.
    #[error("{}: {tokens} tokens are too many for one {kind}, which holds less than 2^32; make several", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: Kind,
        /// How many there are.
        tokens: u64,
    },
}

/// Refuses what is there but is no file of the disk: reading a device or a pipe may never end.
pub(crate) fn check_is_file(path: &Path, kind: Kind) -> Result<(), TokenFileError> {
    if !is_no_file(path) {
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
