//! Many requests in one pass.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::scheduler;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn each_request_gets_the_answer_that_it_gets_alone(
        setup in any::<[u8; 8]>(),
        failures in vec((any::<u8>(), prop::bool::weighted(0.3)), 0..3),
        actions in vec((any::<u8>(), any::<[u8; 6]>()), 0..60),
    ) {
        scheduler::check(setup, &failures, &actions);
    }
}
