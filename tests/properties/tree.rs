//! The draft tree.

use logitspec::tree::{DraftTree, ROOT, TreeLimits};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::tree::{Growth, assert_siblings_differ, assert_valid, grown, nodes};

/// Limits. Any of them may be the tightest.
pub fn limits() -> impl Strategy<Value = TreeLimits> {
    let often_none = |small: std::ops::Range<usize>| prop_oneof![2 => small, 1 => Just(usize::MAX)];
    (0usize..60, often_none(0..8), often_none(0..8)).prop_map(|(capacity, leaves, depth)| {
        TreeLimits {
            capacity,
            leaves,
            depth,
        }
    })
}

/// Changes of the given kinds.
pub fn growths(kinds: std::ops::Range<u8>) -> impl Strategy<Value = Vec<Growth>> {
    vec((kinds, any::<u16>(), vec(any::<u8>(), 0..7)), 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_tree_keeps_its_limits_and_equals_the_naive_tree(
        limits in limits(),
        growths in growths(0..16),
    ) {
        grown(limits, &growths);
    }

    #[test]
    fn siblings_differ_after_growing_and_merging(
        limits in limits(),
        mut growths in growths(5..16),
    ) {
        growths.retain(|growth| !(8..12).contains(&growth.0));
        assert_siblings_differ(&grown(limits, &growths));
    }

    #[test]
    fn a_truncated_tree_has_the_first_nodes(
        growths in growths(2..16),
        len in 0usize..40,
        leaves in 0usize..12,
    ) {
        let whole = grown(TreeLimits::nodes(80), &growths);
        let first = |count: usize| {
            let mut copy = DraftTree::new(whole.token(ROOT), whole.limits());
            for id in 1..count {
                copy.push(whole.parent(id).unwrap(), whole.token(id));
            }
            copy
        };
        let mut short = whole.clone();
        short.truncate(len);
        assert_valid(&short);
        prop_assert_eq!(&short, &first(len.clamp(1, whole.len())));

        let mut narrow = whole.clone();
        narrow.limit_leaves(leaves);
        assert_valid(&narrow);
        prop_assert!(narrow.leaf_count() <= leaves.max(1));
        prop_assert_eq!(&narrow, &first(narrow.len()));
        prop_assert!(nodes(&whole).starts_with(&nodes(&narrow)));
        // One more node would exceed the limit.
        if narrow.len() < whole.len() {
            prop_assert!(first(narrow.len() + 1).leaf_count() > leaves.max(1));
        }
    }
}
