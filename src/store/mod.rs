//! Token files: the common part of pool files and corpora.
//!
//! Each file starts with a header: its kind, the version of the format, a checksum over all bytes,
//! and the [fingerprint](VocabFingerprint) of the vocabulary that the token ids belong to. A file
//! that was changed, or made with another vocabulary, is refused ([`TokenFileError`]). Files are
//! only
//! replaced as a whole.

mod error;
mod fingerprint;
mod header;

pub(crate) use error::check_is_file;
pub use error::{Kind, TokenFileError};
pub use fingerprint::VocabFingerprint;
pub(crate) use header::{Checksum, HEADER_BYTES, Header, word};
#[cfg(feature = "cli")]
pub(crate) use header::{begins_as, checksum_of};
