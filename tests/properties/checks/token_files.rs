//! Damaged token files.

use std::hash::Hasher;
use std::path::Path;

use logitspec::TokenId;
use logitspec::corpus::{Corpus, CorpusBuilder};
use logitspec::pool::{Retrieve, SharedPool, SuffixMatch};

use super::corpus::vocabulary;

const MAX_TOKENS: usize = 1 << 16;

/// A pool file and a corpus with these documents.
pub fn files(documents: &[Vec<u8>]) -> [Vec<u8>; 2] {
    let pool = SharedPool::new(MAX_TOKENS);
    let mut corpus = CorpusBuilder::default();
    for document in documents {
        let tokens: Vec<TokenId> = document.iter().map(|&b| b.into()).collect();
        pool.insert(&tokens);
        corpus.add(&tokens);
    }
    [
        pool.encode(&vocabulary()),
        corpus.encode(&vocabulary()).unwrap(),
    ]
}

/// Reads a file as a pool and as a corpus. Gives the documents or the error message.
pub fn read(file: &[u8]) -> [Result<Vec<Vec<TokenId>>, String>; 2] {
    let path = Path::new("some.file");
    let pool = SharedPool::decode(file, path, &vocabulary(), MAX_TOKENS)
        .map(|pool| pool.documents())
        .map_err(|error| error.to_string());
    let corpus = Corpus::from_bytes(file, path, Some(&vocabulary()))
        .map(|corpus| documents_of(&corpus))
        .map_err(|error| error.to_string());
    for line in [&pool, &corpus]
        .into_iter()
        .filter_map(|read| read.as_ref().err())
    {
        assert!(
            line.starts_with("some.file: ") && line.lines().count() == 1,
            "{line}"
        );
        assert!(line.contains("; "), "no fix: {line}");
    }
    [pool, corpus]
}

/// All documents of a corpus.
fn documents_of<B: AsRef<[u8]>>(corpus: &Corpus<B>) -> Vec<Vec<TokenId>> {
    let mut documents = Vec::new();
    let mut next = 1;
    for _ in 0..corpus.info().documents {
        let mut document = Vec::new();
        corpus.continuation_into(SuffixMatch { len: 1, next }, usize::MAX >> 1, &mut document);
        next += document.len() + 1;
        documents.push(document);
    }
    documents
}

/// Writes the right checksum into a changed file.
pub fn seal(file: &mut [u8]) {
    if let Some((head, body)) = file.split_at_mut_checked(24) {
        let mut hash = twox_hash::XxHash3_64::new();
        hash.write(&head[..16]);
        hash.write(body);
        head[16..].copy_from_slice(&hash.finish().to_le_bytes());
    }
}

/// Changes a file, seals it and uses it if it is accepted. Nothing may panic, and all tokens must
/// be
/// in the vocabulary.
pub fn check_sealed(documents: &[Vec<u8>], changes: &[(u16, u8)], tails: &[Vec<u8>]) {
    for mut file in files(documents) {
        for &(at, value) in changes {
            let at = usize::from(at) % file.len();
            file[at] = value;
        }
        seal(&mut file);
        let path = Path::new("x");
        let pool = SharedPool::decode(&file, path, &vocabulary(), MAX_TOKENS);
        let corpus = Corpus::from_bytes(&file, path, Some(&vocabulary()));
        let pool = pool.as_ref().ok().map(|pool| pool as &dyn Retrieve);
        let corpus = corpus.as_ref().ok().map(|corpus| corpus as &dyn Retrieve);
        for source in [pool, corpus].into_iter().flatten() {
            let mut found = Vec::new();
            let mut out = Vec::new();
            for tail in tails {
                let tail: Vec<TokenId> = tail.iter().map(|&b| b.into()).collect();
                source.matches_into(&tail, 40, 9, &mut found);
                for &it in &found {
                    source.continuation_into(it, 20, &mut out);
                }
            }
            assert!(out.iter().all(|&token| token < 256));
        }
    }
}
