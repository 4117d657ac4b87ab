//! The header of a token file.

use std::hash::Hasher;
#[cfg(feature = "cli")]
use std::io::Read;
use std::path::Path;

use twox_hash::XxHash3_64;

use crate::store::{Kind, TokenFileError, VocabFingerprint};

/// Size of a header. What follows stays aligned.
pub(crate) const HEADER_BYTES: usize = 128;

/// Changes when older programs could misread a file.
const VERSION: u32 = 1;

// Offsets of the fields. All numbers are little-endian. Bytes between and after fields are zero.
const AT_VERSION: usize = 8;
const AT_CHECKSUM: usize = 16;
const AT_FINGERPRINT: usize = 24;
const AT_VOCABULARY: usize = 56;
const AT_TOKENS: usize = 64;
const AT_DOCUMENTS: usize = 72;

/// The fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: Kind,
    pub fingerprint: VocabFingerprint,
    /// Number of tokens in the file.
    pub tokens: u64,
    pub documents: u64,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        // The line feed shows whether a program converted line ends.
        match self {
            Self::Pool => b"lgspool\n",
            Self::Corpus => b"lgscorp\n",
        }
    }
}

/// Whether a file begins with the magic bytes of this kind.
#[cfg(feature = "cli")]
pub(crate) fn begins_as(path: &Path, kind: Kind) -> std::io::Result<bool> {
    let mut file = std::fs::File::open(path)?;
    let mut magic = [0; 8];
    match file.read_exact(&mut magic) {
        Ok(()) => Ok(magic == *kind.magic()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The checksum in the header of a token file. It identifies the file. `None` if there is no
/// header.
#[cfg(feature = "cli")]
pub(crate) fn checksum_of(path: &Path) -> Option<String> {
    let mut header = [0; HEADER_BYTES];
    let mut file = std::fs::File::open(path).ok()?;
    file.read_exact(&mut header).ok()?;
    Some(format!("{:016x}", number(&header, AT_CHECKSUM)))
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes[at..at + 8].try_into();
    u64::from_le_bytes(bytes.expect("a slice of that length"))
}

/// The `index`-th 32-bit number of `bytes`.
pub(crate) fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let at = index.checked_mul(4)?;
    let bytes = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}

impl Header {
    /// The bytes of the header. The checksum is still zero.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, self.kind.magic());
        put(AT_VERSION, &VERSION.to_le_bytes());
        put(AT_FINGERPRINT, self.fingerprint.sha256());
        put(
            AT_VOCABULARY,
            &(self.fingerprint.n_vocab() as u64).to_le_bytes(),
        );
        put(AT_TOKENS, &self.tokens.to_le_bytes());
        put(AT_DOCUMENTS, &self.documents.to_le_bytes());
        bytes
    }

    /// Reads the header of a whole file. Checks the kind, the version, the vocabulary and the
    /// checksum
    /// over all bytes. `path` is used in messages only.
    ///
    /// # Errors
    /// If one of these is not as expected.
    pub fn check(
        file: &[u8],
        kind: Kind,
        wanted: Option<&VocabFingerprint>,
        path: &Path,
    ) -> Result<Self, TokenFileError> {
        let damaged = |reason| TokenFileError::Damaged {
            path: path.into(),
            kind,
            reason,
        };
        if !file.starts_with(kind.magic()) {
            return Err(TokenFileError::Foreign {
                path: path.into(),
                kind,
            });
        }
        if file.len() < HEADER_BYTES {
            return Err(damaged("it is cut off"));
        }
        let found = word(file, AT_VERSION / 4).unwrap_or_default();
        if found != VERSION {
            return Err(TokenFileError::Version {
                path: path.into(),
                kind,
                found,
                known: VERSION,
            });
        }
        if number(file, AT_CHECKSUM) != Checksum::of(file) {
            return Err(damaged("its checksum is wrong: it was cut off or changed"));
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(&file[AT_FINGERPRINT..AT_VOCABULARY]);
        let n_vocab = usize::try_from(number(file, AT_VOCABULARY)).unwrap_or(usize::MAX);
        let header = Self {
            kind,
            fingerprint: VocabFingerprint::from_parts(sha256, n_vocab),
            tokens: number(file, AT_TOKENS),
            documents: number(file, AT_DOCUMENTS),
        };
        match wanted {
            Some(wanted) if *wanted != header.fingerprint => Err(TokenFileError::Vocabulary {
                path: path.into(),
                kind,
                found: header.fingerprint.short(),
                wanted: wanted.short(),
            }),
            _ => Ok(header),
        }
    }
}

/// XXH3 over all bytes of a file, except the checksum itself.
pub(crate) struct Checksum(XxHash3_64);

impl Checksum {
    /// Starts with a header. Pass the rest of the file to [`add`](Self::add).
    pub fn begin(header: &[u8; HEADER_BYTES]) -> Self {
        let mut checksum = Self(XxHash3_64::new());
        checksum.add(&header[..AT_CHECKSUM]);
        checksum.add(&header[AT_FINGERPRINT..]);
        checksum
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// Where the checksum belongs in the file, and its bytes.
    pub fn finish(self) -> (usize, [u8; 8]) {
        (AT_CHECKSUM, self.0.finish().to_le_bytes())
    }

    fn of(file: &[u8]) -> u64 {
        let mut checksum = Self(XxHash3_64::new());
        checksum.add(&file[..AT_CHECKSUM]);
        checksum.add(&file[AT_FINGERPRINT..]);
        checksum.0.finish()
    }
}
