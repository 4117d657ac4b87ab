//! What stood before, and what followed.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::{ngram, suffix};

/// Text that repeats itself.
fn text(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => vec(0u8..4, 0..max),
        1 => vec(0u8..2, 0..max),
        1 => vec(0u8..30, 0..max),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn the_ngram_pool_is_the_published_dictionary(
        max_ngram_size in 0usize..6,
        num_pred_tokens in 0usize..12,
        changes in vec((prop::bool::weighted(0.2), text(30)), 0..7),
        tails in vec(text(7), 0..6),
    ) {
        ngram::check(max_ngram_size, num_pred_tokens, &changes, &tails);
    }

    #[test]
    fn the_suffix_pool_finds_what_a_full_comparison_finds(
        pieces in vec(vec(any::<u8>(), 0..40), 0..6),
        tails in vec(vec(any::<u8>(), 0..12), 0..6),
        max_len in prop_oneof![0usize..12, Just(usize::MAX)],
        limit in prop_oneof![0usize..12, Just(usize::MAX)],
    ) {
        suffix::check(&pieces, &tails, max_len, limit);
    }
}
