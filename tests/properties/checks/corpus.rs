//! A corpus against brute-force search.

use std::path::Path;

use logitspec::TokenId;
use logitspec::corpus::{Corpus, CorpusBuilder, DEPTH};
use logitspec::pool::{Retrieve, SuffixMatch};
use logitspec::store::VocabFingerprint;

/// A vocabulary of 256 tokens.
pub fn vocabulary() -> VocabFingerprint {
    VocabFingerprint::of((0..256).map(|token| format!("token {token}")))
}

/// Builds a corpus of `documents`. Looks up `tails` and parts of the documents.
pub fn check(documents: &[Vec<u8>], tails: &[Vec<u8>], max_len: usize, limit: usize) {
    let as_tokens = |bytes: &Vec<u8>| bytes.iter().map(|&b| b.into()).collect::<Vec<TokenId>>();
    let documents: Vec<_> = documents.iter().map(as_tokens).collect();
    let mut tails: Vec<_> = tails.iter().map(as_tokens).collect();
    let mut builder = CorpusBuilder::default();
    // The document and the index in it of each position.
    let mut positions = vec![None];
    for document in documents.iter().filter(|document| !document.is_empty()) {
        builder.add(document);
        positions.extend((0..document.len()).map(|at| Some((document, at))));
        positions.push(None);
        tails.push(document[..document.len() / 2].to_vec());
        tails.push(document.clone());
    }
    builder.add(&[]);
    let file = builder.encode(&vocabulary()).unwrap();
    let corpus = Corpus::from_bytes(file, Path::new("x"), Some(&vocabulary())).unwrap();
    assert_eq!(corpus.info().tokens, builder.tokens());
    assert_eq!(corpus.info().documents, builder.documents());
    let (tokens, count) = documents.iter().fold((0, 0), |(tokens, count), document| {
        (
            tokens + document.len() as u64,
            count + u64::from(!document.is_empty()),
        )
    });
    assert_eq!(
        (corpus.info().tokens, corpus.info().documents),
        (tokens, count)
    );

    for tail in &tails {
        let matching = |next: usize| {
            let (document, at) = positions.get(next).copied().flatten()?;
            let before = document[..at].iter().rev().zip(tail.iter().rev());
            let len = before
                .take(max_len.min(DEPTH))
                .take_while(|(a, b)| a == b)
                .count();
            (len > 0).then_some(SuffixMatch { len, next })
        };
        let mut all: Vec<_> = (0..positions.len()).filter_map(matching).collect();
        all.sort_by_key(|it| std::cmp::Reverse(it.len));
        let mut found = vec![SuffixMatch { len: 9, next: 9 }]; // a used buffer
        corpus.matches_into(tail, max_len, limit, &mut found);
        // The lengths are those of the best matches. Which of equal matches are returned is open.
        let lengths = |found: &[SuffixMatch]| found.iter().map(|it| it.len).collect::<Vec<_>>();
        assert_eq!(
            lengths(&found),
            lengths(&all[..limit.min(all.len())]),
            "{tail:?}"
        );
        assert!(found.iter().all(|it| all.contains(it)));
        let mut next: Vec<_> = found.iter().map(|it| it.next).collect();
        next.sort_unstable();
        assert!(next.is_sorted_by(|a, b| a < b), "{found:?}");
        for &it in &found {
            let (document, at) = positions[it.next].unwrap();
            let mut out = vec![7];
            corpus.continuation_into(it, max_len, &mut out);
            assert_eq!(
                out[1..],
                document[at..document.len().min(at.saturating_add(max_len))]
            );
        }
    }
}
