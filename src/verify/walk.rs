//! The walk through the tree.

use crate::TokenId;
use crate::logits::Row;
use crate::tree::{DraftTree, NodeId, ROOT};
use crate::verify::{Constraint, TokenLogprobs};

/// Picks the token that follows from a row of logits.
pub trait Select: Send {
    /// The token after `text` (committed tokens) and `path` (tokens accepted in this step), given
    /// the logits `row` of the last of them. Called exactly once for each position of the answer,
    /// in order.
    ///
    /// `None` if the row has no finite logit. Otherwise NaN is never picked, and infinity as the
    /// largest logit is.
    fn select(&mut self, row: Row<'_>, text: &[TokenId], path: &[TokenId]) -> Option<TokenId>;

    /// An answer begins behind `text`.
    fn begin(&mut self, text: &[TokenId]) {
        let _ = text;
    }

    /// What is known beforehand of a tree drafted behind `text`: which nodes will not be selected,
    /// and, if that `forces` nodes, which ones will be. `None` if nothing is known.
    fn constrain(
        &mut self,
        text: &[TokenId],
        drafted: &DraftTree,
        forces: bool,
    ) -> Option<Constraint> {
        let _ = (text, drafted, forces);
        None
    }

    /// Why nothing could be selected, if it was not for want of a finite logit.
    fn failure(&self) -> Option<String> {
        None
    }

    /// The log-probabilities of the first `count` tokens that were selected since the last call, if
    /// they are kept.
    fn take_logprobs(&mut self, count: usize) -> Vec<TokenLogprobs> {
        let _ = count;
        Vec::new()
    }
}

/// Picks the largest logit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Greedy;

impl Select for Greedy {
    fn select(&mut self, row: Row<'_>, _text: &[TokenId], _path: &[TokenId]) -> Option<TokenId> {
        row.has_finite().then(|| row.argmax())
    }
}

/// What a walk accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The accepted nodes below the root, from the top.
    pub path: Vec<NodeId>,
    /// The token selected after the last of them, which is the next step's root. `None` if the walk
    /// was stopped before it was selected, or if nothing could be selected.
    pub next: Option<TokenId>,
}

impl Accepted {
    /// The last accepted node: the one whose logits row is the new last row.
    pub fn last(&self) -> NodeId {
        self.path.last().copied().unwrap_or(ROOT)
    }
}

/// Follows `select`'s choices from the root as far as the tree has them.
///
/// `select` is asked once for every accepted node, the root first, and gives the token that follows
/// it. `stops` is told the tokens accepted so far, the root first, and says whether nothing is
/// wanted after them (the model ended, or there are enough): the walk then ends there, and nothing
/// is selected that nobody asked for. It also ends where nothing can be selected.
///
/// Where siblings carry the same token (only the published tree has such), all of them are followed
/// and the longest path wins, the first among equals.
///
/// Costs one selection per accepted node; rows of rejected nodes are never looked at.
pub fn walk(
    tree: &DraftTree,
    mut select: impl FnMut(NodeId, &[TokenId]) -> Option<TokenId>,
    stops: impl Fn(&[TokenId]) -> bool,
) -> Accepted {
    let mut tokens = vec![tree.token(ROOT)];
    // Nodes at the end of equal paths; more than one only where siblings were not merged.
    let mut ends = vec![ROOT];
    loop {
        let last = ends[0];
        let selected = (!stops(&tokens)).then(|| select(last, &tokens)).flatten();
        let Some(next) = selected else {
            return Accepted {
                path: tree.path_to(last),
                next: None,
            };
        };
        let deeper: Vec<NodeId> = ends
            .iter()
            .flat_map(|&end| tree.children(end))
            .filter(|&child| tree.token(child) == next)
            .collect();
        if deeper.is_empty() {
            return Accepted {
                path: tree.path_to(last),
                next: Some(next),
            };
        }
        tokens.push(next);
        ends = deeper;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TreeLimits;

    /// A model that always says the last token + 1.
    fn count_up(_node: NodeId, path: &[TokenId]) -> Option<TokenId> {
        Some(path[path.len() - 1] + 1)
    }

    #[test]
    fn the_longest_agreeing_path_is_accepted() {
        let mut tree = DraftTree::new(1, TreeLimits::nodes(16));
        tree.push_chain(ROOT, &[2, 9]);
        tree.push_chain(ROOT, &[2, 3, 4, 7]);
        tree.push_chain(ROOT, &[2, 3, 4]);
        let accepted = walk(&tree, count_up, |_| false);
        assert_eq!(accepted.path, [3, 4, 5]);
        assert_eq!(accepted.next, Some(5));
        assert_eq!(accepted.last(), 5);
    }

    #[test]
    fn nothing_is_selected_after_a_stop() {
        let mut tree = DraftTree::new(1, TreeLimits::nodes(16));
        tree.push_chain(ROOT, &[2, 3, 4]);
        let accepted = walk(&tree, count_up, |tokens| tokens.ends_with(&[3]));
        assert_eq!(accepted.path, [1, 2]);
        assert_eq!(accepted.next, None);
        let at_root = walk(&tree, count_up, |tokens| tokens.ends_with(&[1]));
        assert_eq!(at_root, Accepted::default());
    }

    #[test]
    fn a_walk_ends_where_nothing_can_be_selected() {
        let mut tree = DraftTree::new(1, TreeLimits::nodes(16));
        tree.push_chain(ROOT, &[2, 3, 4]);
        let until_3 = |node, path: &[TokenId]| count_up(node, path).filter(|&next| next < 4);
        let accepted = walk(&tree, until_3, |_| false);
        assert_eq!(accepted.path, [1, 2]);
        assert_eq!(accepted.next, None);
    }

    #[test]
    fn nan_is_never_picked_and_infinity_is_the_largest() {
        const NAN: f32 = f32::NAN;
        const INF: f32 = f32::INFINITY;
        let pick = |row: &[f32]| Greedy.select(Row::from(row), &[], &[]);
        assert_eq!(pick(&[NAN, 1.0, 2.0, NAN]), Some(2));
        assert_eq!(pick(&[-INF, NAN, -5.0]), Some(2));
        assert_eq!(pick(&[3.0, INF, NAN, INF]), Some(1));
        for broken in [&[][..], &[NAN, NAN], &[-INF, NAN], &[INF, NAN], &[-INF]] {
            assert_eq!(pick(broken), None, "{broken:?}");
        }
    }
}
