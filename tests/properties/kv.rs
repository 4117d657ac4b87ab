//! The KV cache between and during steps.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::kv;
use crate::tree::growths;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_cache_holds_only_committed_tokens(
        sequences in 1usize..20,
        events in vec((any::<u8>(), any::<u8>(), growths(2..16)), 0..12),
    ) {
        kv::check(sequences, &events);
    }
}
