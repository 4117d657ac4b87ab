//! The layout of trees on sequence ids.

use logitspec::tree::TreeLimits;
use proptest::prelude::*;

use crate::checks::layout;
use crate::checks::tree::grown;
use crate::tree::growths;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_node_sees_only_its_ancestors_and_itself(
        growths in growths(0..16),
        at_least in 0_usize..20,
    ) {
        layout::check(&grown(TreeLimits::nodes(60), &growths), at_least);
    }
}
