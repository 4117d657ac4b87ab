//! Pools and corpora.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::documents::{self, Change};
use crate::checks::{corpus, ngram, suffix};

/// A repetitive text.
fn text(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => vec(0u8..4, 0..max),
        1 => vec(0u8..2, 0..max),
        1 => vec(0u8..30, 0..max),
    ]
}

/// A change of a pool of documents.
fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => vec(any::<u8>(), 0..40).prop_map(Change::Append),
        3 => Just(Change::EndDocument),
        1 => Just(Change::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn the_ngram_pool_equals_the_published_dictionary(
        max_ngram_size in 0usize..6,
        num_pred_tokens in 0usize..12,
        changes in vec((prop::bool::weighted(0.2), text(30)), 0..7),
        tails in vec(text(7), 0..6),
    ) {
        ngram::check(max_ngram_size, num_pred_tokens, &changes, &tails);
    }

    #[test]
    fn the_suffix_pool_equals_brute_force_search(
        pieces in vec(vec(any::<u8>(), 0..40), 0..6),
        tails in vec(vec(any::<u8>(), 0..12), 0..6),
        max_len in prop_oneof![0usize..12, Just(usize::MAX)],
        limit in prop_oneof![0usize..12, Just(usize::MAX)],
    ) {
        suffix::check(&pieces, &tails, max_len, limit);
    }

    #[test]
    fn the_indexed_pool_equals_brute_force_search(
        changes in vec(change(), 0..12),
        tails in vec(vec(any::<u8>(), 0..40), 0..4),
        max_tokens in prop_oneof![1usize..80, Just(1 << 20)],
        max_len in prop_oneof![0usize..40, Just(usize::MAX)],
        limit in prop_oneof![0usize..12, Just(usize::MAX)],
    ) {
        documents::check_indexed(&changes, &tails, max_tokens, max_len, limit);
    }

    #[test]
    fn the_shared_pool_equals_brute_force_search(
        pieces in vec(vec(any::<u8>(), 0..50), 0..8),
        tails in vec(vec(any::<u8>(), 0..40), 0..4),
        max_tokens in prop_oneof![1usize..120, Just(1 << 20)],
        max_len in prop_oneof![0usize..40, Just(usize::MAX)],
        limit in prop_oneof![0usize..12, Just(usize::MAX)],
    ) {
        documents::check_shared(&pieces, &tails, max_tokens, max_len, limit);
    }

    #[test]
    fn a_corpus_equals_brute_force_search(
        documents in vec(text(60), 0..6),
        tails in vec(text(50), 0..6),
        max_len in prop_oneof![0usize..40, Just(usize::MAX)],
        limit in prop_oneof![0usize..12, Just(usize::MAX)],
    ) {
        corpus::check(&documents, &tails, max_len, limit);
    }
}
