//! The file format of a corpus.
//!
//! The [header](crate::store) is followed by the text with its separators, the suffix array and the
//! starts of its buckets, 32 bits each.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use crate::corpus::build::{SEPARATOR, suffix_array};
use crate::corpus::search::Layout;
use crate::corpus::{Corpus, CorpusBuilder};
use crate::files::MappedFile;
use crate::files::{FOR_ALL, write_atomically_with};
use crate::store::{
    Checksum, HEADER_BYTES, Header, Kind, TokenFileError, VocabFingerprint, check_is_file,
};

/// The facts about a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorpusInfo {
    /// Number of tokens, without separators.
    pub tokens: u64,
    /// Number of documents.
    pub documents: u64,
    /// Which vocabulary the tokens belong to.
    pub vocabulary: VocabFingerprint,
    /// Size of the file in bytes.
    pub file_size: u64,
}

impl CorpusBuilder {
    /// Builds the suffix array, on all cores, and writes the corpus. An existing file is replaced
    /// atomically.
    ///
    /// # Errors
    /// [`TokenFileError::Unwritable`], or [`TokenFileError::TooLarge`] for 2^32 tokens or more,
    /// separators included.
    ///
    /// # Panics
    /// If a document has a token that is not in the vocabulary.
    pub fn write(
        &self,
        path: &Path,
        vocabulary: &VocabFingerprint,
    ) -> Result<CorpusInfo, TokenFileError> {
        let (text, header) = (self.text(), self.header(vocabulary));
        if u32::try_from(text.len()).is_err() {
            return Err(TokenFileError::TooLarge {
                path: path.into(),
                kind: Kind::Corpus,
                tokens: text.len() as u64,
            });
        }
        let (array, starts) = suffix_array(text, vocabulary.n_vocab());
        let parts = [text, array.as_slice(), starts.as_slice()];
        write_atomically_with(path, FOR_ALL, |file| write_parts(file, &header, parts)).map_err(
            |error| TokenFileError::Unwritable {
                path: path.into(),
                kind: Kind::Corpus,
                error,
            },
        )?;
        let words: usize = parts.iter().map(|part| part.len()).sum();
        Ok(CorpusInfo {
            tokens: header.tokens,
            documents: header.documents,
            vocabulary: *vocabulary,
            file_size: (HEADER_BYTES + 4 * words) as u64,
        })
    }

    /// The bytes that [`write`](Self::write) writes.
    ///
    /// # Errors
    /// None in practice, because writing to memory succeeds.
    ///
    /// # Panics
    /// Like `write`, and for 2^32 tokens or more.
    pub fn encode(&self, vocabulary: &VocabFingerprint) -> io::Result<Vec<u8>> {
        let (array, starts) = suffix_array(self.text(), vocabulary.n_vocab());
        let parts = [self.text(), array.as_slice(), starts.as_slice()];
        let mut file = io::Cursor::new(Vec::new());
        write_parts(&mut file, &self.header(vocabulary), parts)?;
        Ok(file.into_inner())
    }

    fn header(&self, vocabulary: &VocabFingerprint) -> Header {
        Header {
            kind: Kind::Corpus,
            fingerprint: *vocabulary,
            tokens: self.tokens(),
            documents: self.documents(),
        }
    }
}

fn write_parts(
    file: &mut (impl Write + Seek),
    header: &Header,
    parts: [&[u32]; 3],
) -> io::Result<()> {
    const WORDS_AT_ONCE: usize = 1 << 14;
    let header = header.encode();
    let mut checksum = Checksum::begin(&header);
    let mut out = BufWriter::new(&mut *file);
    out.write_all(&header)?;
    let mut bytes = Vec::with_capacity(4 * WORDS_AT_ONCE);
    for words in parts.iter().flat_map(|part| part.chunks(WORDS_AT_ONCE)) {
        bytes.clear();
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        checksum.add(&bytes);
        out.write_all(&bytes)?;
    }
    out.flush()?;
    drop(out);
    let (at, sum) = checksum.finish();
    file.seek(SeekFrom::Start(at as u64))?;
    file.write_all(&sum)
}

impl Corpus<MappedFile> {
    /// Maps a corpus into memory. Without `vocabulary`, a corpus of any vocabulary is accepted.
    ///
    /// The whole file is read once to check it. That takes 0.1 s for each GB that the system has in
    /// memory, and as long as the disk needs for the rest.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or was written for another vocabulary.
    pub fn open(
        path: &Path,
        vocabulary: Option<&VocabFingerprint>,
    ) -> Result<Self, TokenFileError> {
        check_is_file(path, Kind::Corpus)?;
        let file = MappedFile::open(path).map_err(|error| TokenFileError::Unreadable {
            path: path.into(),
            kind: Kind::Corpus,
            error,
        })?;
        Self::from_bytes(file, path, vocabulary)
    }
}

impl<B: AsRef<[u8]>> Corpus<B> {
    /// Like [`open`](Corpus::open), for a file in memory. `path` is used in messages only.
    ///
    /// # Errors
    /// Like `open`.
    pub fn from_bytes(
        bytes: B,
        path: &Path,
        vocabulary: Option<&VocabFingerprint>,
    ) -> Result<Self, TokenFileError> {
        let file = bytes.as_ref();
        let header = Header::check(file, Kind::Corpus, vocabulary, path)?;
        let damaged = |reason| TokenFileError::Damaged {
            path: path.into(),
            kind: Kind::Corpus,
            reason,
        };
        let layout = layout(&header, file.len())
            .ok_or_else(|| damaged("its length is not what its header says"))?;
        // The two may differ in the number of fillers at the end.
        let n_vocab = header.fingerprint.n_vocab();
        let n_vocab = vocabulary.map_or(n_vocab, |its| n_vocab.min(its.n_vocab()));
        let known = |token: u32| (token as usize) < n_vocab || token == SEPARATOR;
        if !words(&file[layout.text.clone()]).all(known) {
            return Err(damaged("it has tokens that are not in the vocabulary"));
        }
        let text_words = layout.text.len() / 4;
        let inside = |position: u32| (position as usize) < text_words;
        if !words(&file[layout.array.clone()]).all(inside) {
            return Err(damaged("it has positions that are not in the text"));
        }
        let starts = &file[layout.starts.clone()];
        if !words(starts).is_sorted()
            || words(starts).next_back() != u32::try_from(layout.array.len() / 4).ok()
        {
            return Err(damaged("its table of tokens is wrong"));
        }
        Ok(Self { bytes, layout })
    }
}

fn words(bytes: &[u8]) -> impl DoubleEndedIterator<Item = u32> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| u32::from_le_bytes(*word))
}

/// Where the parts lie in a file of `len` bytes. `None` if its length does not fit the header.
fn layout(header: &Header, len: usize) -> Option<Layout> {
    let text_words = header
        .tokens
        .checked_add(header.documents)?
        .checked_add(1)?;
    // All tokens but the first of each document.
    let array = header.tokens.checked_sub(header.documents)?;
    let starts = (header.fingerprint.n_vocab() as u64).checked_add(1)?;
    let mut end = HEADER_BYTES;
    let mut part = |words: u64| {
        let start = end;
        end = usize::try_from(words)
            .ok()?
            .checked_mul(4)?
            .checked_add(start)?;
        Some(start..end)
    };
    let (text, array, starts) = (part(text_words)?, part(array)?, part(starts)?);
    (end == len).then_some(Layout {
        info: CorpusInfo {
            tokens: header.tokens,
            documents: header.documents,
            vocabulary: header.fingerprint,
            file_size: len as u64,
        },
        text,
        array,
        starts,
    })
}
