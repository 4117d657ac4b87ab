//! The file format of a [`SharedPool`].
//!
//! The [header](crate::store) is followed by the lengths of all documents, then by all their
//! tokens,
//! 32 bits each.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::TokenId;
use crate::files::{FOR_OWNER, check_writable, write_atomically_with};
use crate::pool::SharedPool;
use crate::store::{
    Checksum, HEADER_BYTES, Header, Kind, TokenFileError, VocabFingerprint, check_is_file, word,
};

impl SharedPool {
    /// Writes all documents to a file. An existing file is replaced atomically.
    ///
    /// Only the owner can read a new file, because it holds prompts and answers.
    ///
    /// # Errors
    /// [`TokenFileError::Unwritable`].
    pub fn save(&self, path: &Path, vocabulary: &VocabFingerprint) -> Result<(), TokenFileError> {
        let file = self.encode(vocabulary);
        write_atomically_with(path, FOR_OWNER, |out| out.write_all(&file))
            .map_err(|error| unwritable(path, error))
    }

    /// Checks that [`save`](Self::save) can write to this folder. Leaves nothing behind.
    ///
    /// # Errors
    /// [`TokenFileError::Unwritable`].
    pub fn check_writable(path: &Path) -> Result<(), TokenFileError> {
        check_writable(path).map_err(|error| unwritable(path, error))
    }

    /// The bytes that [`save`](Self::save) writes.
    pub fn encode(&self, vocabulary: &VocabFingerprint) -> Vec<u8> {
        encode(&self.documents(), vocabulary)
    }

    /// Reads a pool from a file. If the file holds more than `max_tokens` tokens, only the newest
    /// documents are kept. If the file does not exist, the pool is empty.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or was written for another vocabulary.
    pub fn load(
        path: &Path,
        vocabulary: &VocabFingerprint,
        max_tokens: usize,
    ) -> Result<Self, TokenFileError> {
        check_is_file(path, Kind::Pool)?;
        let file = match fs::read(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::new(max_tokens));
            }
            Err(error) => {
                return Err(TokenFileError::Unreadable {
                    path: path.into(),
                    kind: Kind::Pool,
                    error,
                });
            }
        };
        Self::decode(&file, path, vocabulary, max_tokens)
    }

    /// Like [`load`](Self::load), for a file in memory. `path` is used in messages only.
    ///
    /// # Errors
    /// Like `load`.
    pub fn decode(
        file: &[u8],
        path: &Path,
        vocabulary: &VocabFingerprint,
        max_tokens: usize,
    ) -> Result<Self, TokenFileError> {
        let header = Header::check(file, Kind::Pool, Some(vocabulary), path)?;
        let damaged = |reason| TokenFileError::Damaged {
            path: path.into(),
            kind: Kind::Pool,
            reason,
        };
        let body = &file[HEADER_BYTES..];
        let count = body.len() as u64 / 4;
        if !body.len().is_multiple_of(4)
            || header.documents.checked_add(header.tokens) != Some(count)
        {
            return Err(damaged("its length is not what its header says"));
        }
        let (lengths, tokens) = body.split_at(4 * header.documents as usize);
        let lengths = words(lengths);
        if lengths.iter().map(|&len| u64::from(len)).sum::<u64>() != header.tokens {
            return Err(damaged("its documents are not as long as its header says"));
        }
        let tokens = words(tokens);
        if tokens
            .iter()
            .any(|&token| token as usize >= vocabulary.n_vocab())
        {
            return Err(damaged("it has tokens that are not in the vocabulary"));
        }
        let pool = Self::new(max_tokens);
        let mut rest: &[TokenId] = &tokens;
        for len in lengths {
            let (document, after) = rest.split_at(len as usize);
            pool.insert(document);
            rest = after;
        }
        Ok(pool)
    }
}

/// The 32-bit numbers of `bytes`.
fn words(bytes: &[u8]) -> Vec<u32> {
    (0..bytes.len() / 4)
        .filter_map(|index| word(bytes, index))
        .collect()
}

fn encode(documents: &[Vec<TokenId>], vocabulary: &VocabFingerprint) -> Vec<u8> {
    let tokens: usize = documents.iter().map(Vec::len).sum();
    let header = Header {
        kind: Kind::Pool,
        fingerprint: *vocabulary,
        tokens: tokens as u64,
        documents: documents.len() as u64,
    };
    let mut file = Vec::with_capacity(HEADER_BYTES + 4 * (documents.len() + tokens));
    let header = header.encode();
    file.extend_from_slice(&header);
    for document in documents {
        // The pool holds at most 2^29 tokens.
        file.extend_from_slice(&(document.len() as u32).to_le_bytes());
    }
    for token in documents.iter().flatten() {
        file.extend_from_slice(&token.to_le_bytes());
    }
    let mut checksum = Checksum::begin(&header);
    checksum.add(&file[HEADER_BYTES..]);
    let (at, bytes) = checksum.finish();
    file[at..at + bytes.len()].copy_from_slice(&bytes);
    file
}

fn unwritable(path: &Path, error: io::Error) -> TokenFileError {
    TokenFileError::Unwritable {
        path: path.into(),
        kind: Kind::Pool,
        error,
    }
}
