//! Pool files and corpora are read as written or refused.

use std::path::Path;

use logitspec::corpus::{Corpus, CorpusBuilder};
use logitspec::pool::SharedPool;
use logitspec::store::{TokenFileError, VocabFingerprint};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::corpus::vocabulary;
use crate::checks::token_files::{check_sealed, files, read, seal};

fn some_documents() -> Vec<Vec<u8>> {
    vec![vec![1, 2, 3, 1, 2], vec![200, 1], vec![9]]
}

fn as_tokens(documents: &[Vec<u8>]) -> Vec<Vec<u32>> {
    let document = |bytes: &Vec<u8>| bytes.iter().map(|&b| b.into()).collect();
    documents.iter().map(document).collect()
}

#[test]
fn each_kind_is_read_only_by_its_own_reader() {
    let [pool, corpus] = files(&some_documents());
    let expected = as_tokens(&some_documents());
    let [as_pool, as_corpus] = read(&pool);
    assert_eq!(as_pool.unwrap(), expected);
    assert!(as_corpus.unwrap_err().contains("is no corpus of logitspec"));
    let [as_pool, as_corpus] = read(&corpus);
    assert_eq!(as_corpus.unwrap(), expected);
    assert!(
        as_pool
            .unwrap_err()
            .contains("is no pool file of logitspec")
    );
}

#[test]
fn changed_and_missing_bytes_are_detected() {
    for file in files(&some_documents()) {
        let refused = |file: &[u8], what: &str| {
            for read in read(file) {
                assert!(read.is_err(), "{what} was read as {read:?}");
            }
        };
        for at in 0..file.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[at] ^= change;
                refused(&changed, &format!("byte {at} ^ {change:#x}"));
            }
            refused(&file[..at], &format!("cut off after {at} bytes"));
        }
        refused(&[file.as_slice(), &[0; 4]].concat(), "four more bytes");
    }
}

#[test]
fn another_vocabulary_or_version_is_refused() {
    let other = VocabFingerprint::of(["a", "b"]);
    for mut file in files(&some_documents()) {
        let path = Path::new("some.file");
        for error in [
            SharedPool::decode(&file, path, &other, 100).unwrap_err(),
            Corpus::from_bytes(&file, path, Some(&other)).unwrap_err(),
        ] {
            assert!(
                matches!(
                    error,
                    TokenFileError::Vocabulary { .. } | TokenFileError::Foreign { .. }
                ),
                "{error}"
            );
        }
        file[8] = 99;
        seal(&mut file);
        let lines = read(&file).map(Result::unwrap_err);
        assert!(
            lines.iter().any(|line| line.contains("has version 99")),
            "{lines:?}"
        );
    }
}

#[test]
fn files_are_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let (old, wanted) = (folder.path().join("pool"), vocabulary());
    let pool = SharedPool::load(&old, &wanted, 100).unwrap();
    assert!(pool.is_empty(), "no file yet");
    for n in 0..3 {
        pool.insert(&[n, n + 1, n + 2]);
        pool.save(&old, &wanted).unwrap();
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&old).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "others can read the requests");
    }
    let again = SharedPool::load(&old, &wanted, 100).unwrap();
    assert_eq!(again.documents(), [[0, 1, 2], [1, 2, 3], [2, 3, 4]]);
    let smaller = SharedPool::load(&old, &wanted, 7).unwrap();
    assert_eq!(smaller.documents(), [[1, 2, 3], [2, 3, 4]]);
    let folder_as_file = SharedPool::load(folder.path(), &wanted, 100).unwrap_err();
    assert!(matches!(folder_as_file, TokenFileError::Unreadable { .. }));

    let path = folder.path().join("corpus");
    let mut builder = CorpusBuilder::default();
    builder.add(&[1, 2, 3]);
    let written = builder.write(&path, &wanted).unwrap();
    let corpus = Corpus::open(&path, None).unwrap();
    assert_eq!(*corpus.info(), written);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), written.file_size);
    for missing in [folder.path().to_path_buf(), folder.path().join("nothing")] {
        let error = Corpus::open(&missing, None).unwrap_err();
        assert!(
            matches!(error, TokenFileError::Unreadable { .. }),
            "{error}"
        );
    }
    std::fs::write(&path, "").unwrap();
    let error = Corpus::open(&path, None).unwrap_err();
    assert!(matches!(error, TokenFileError::Foreign { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_sealed_file_is_refused_or_harmless(
        documents in vec(vec(0u8..5, 0..20), 0..4),
        changes in vec((any::<u16>(), prop_oneof![any::<u8>(), 0u8..6]), 0..4),
        tails in vec(vec(0u8..5, 1..6), 1..4),
    ) {
        check_sealed(&documents, &changes, &tails);
    }
}

#[test]
fn a_corpus_with_fillers_beyond_the_vocabulary_is_refused() {
    // Fillers do not change the fingerprint, but a model without them does not have their ids.
    let small = VocabFingerprint::of(["a", "b"]);
    let large = VocabFingerprint::of(["a", "b", "[PAD2]", "[PAD3]"]);
    assert_eq!(small, large);
    let open = |token: u32, vocabulary| {
        let mut corpus = CorpusBuilder::default();
        corpus.add(&[0, 1, token]);
        let bytes = corpus.encode(&large).unwrap();
        Corpus::from_bytes(bytes, Path::new("corpus"), vocabulary).map(|_| ())
    };
    assert!(open(1, Some(&small)).is_ok() && open(3, Some(&large)).is_ok());
    let refused = open(3, Some(&small));
    assert!(
        matches!(refused, Err(TokenFileError::Damaged { .. })),
        "{refused:?}"
    );
}
