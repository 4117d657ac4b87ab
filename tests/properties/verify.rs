//! Greedy verification. Verification with sampling is tested in `sampling.rs`.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::greedy;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_walk_accepts_the_longest_greedy_path(
        seed in any::<u8>(),
        root in any::<u8>(),
        stop in any::<Option<u8>>(),
        pushes in vec(any::<(u16, u8, bool)>(), 0..40),
    ) {
        greedy::check(seed, root, stop, &pushes);
    }
}
