//! Files of tokens: what pool files and corpora have in common.
//!
//! Token numbers mean nothing without their vocabulary, so such a file says which one it was made
//! with ([`VocabFingerprint`]). It begins with a header that also gives the version and a checksum
//! of everything; a file that is not exactly as it was written is refused ([`TokenFileError`]), and
//! files are only ever replaced whole.

mod error;
mod fingerprint;
mod header;

pub(crate) use error::check_is_file;
pub use error::{Kind, TokenFileError};
pub use fingerprint::VocabFingerprint;
pub(crate) use header::{Checksum, HEADER_BYTES, Header, word};
#[cfg(feature = "cli")]
pub(crate) use header::{begins_as, checksum_of};
