//! Several texts in one cache.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::slots;
use crate::tree::growths;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn each_slot_answers_as_if_it_were_alone(
        slots in 1usize..5,
        ordered in any::<bool>(),
        events in vec(
            (
                any::<u8>(),
                any::<u8>(),
                any::<u8>(),
                vec((any::<u8>(), any::<u8>(), growths(0..10)), 1..4),
            ),
            0..24,
        ),
    ) {
        slots::check(slots, ordered, &events);
    }
}
