//! The drafting step, which sessions and replays share.

use crate::TokenId;
use crate::draft::{DraftInput, Drafter, PassCost};
use crate::engine::answer::StepSources;
use crate::logits::Candidate;
use crate::tree::{DraftTree, NodeId, ROOT, TreeLimits};

/// What is known before a step drafts.
#[derive(Clone, Copy, Debug)]
pub struct DraftStep<'a> {
    /// The committed tokens, without the root.
    pub text: &'a [TokenId],
    /// The next token, which is certain.
    pub root: TokenId,
    /// How large the tree may be.
    pub limits: TreeLimits,
    /// What a pass costs.
    pub cost: &'a PassCost,
    /// Rank at least this many logits, even if the drafter wants fewer.
    pub ranked: usize,
}

/// A drafted tree, and what it was drafted from.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The tree.
    pub tree: DraftTree,
    /// The largest last logits, best first, as many as the drafter or the step asked for.
    pub ranked: Vec<Candidate>,
}

impl DraftStep<'_> {
    /// Has `drafter` grow a tree. `rank` puts the `k` largest of the last logits into a buffer.
    /// Without a drafter, the tree is the bare root.
    pub fn draft(
        &self,
        drafter: Option<&mut dyn Drafter>,
        rank: impl FnOnce(usize, &mut Vec<Candidate>),
    ) -> Draft {
        let capacity = self.limits.capacity;
        let wanted = match &drafter {
            Some(drafter) if capacity > 1 => drafter.candidates(capacity, self.cost),
            _ => 0,
        };
        let mut draft = Draft {
            tree: DraftTree::new(self.root, self.limits),
            ranked: Vec::new(),
        };
        rank(wanted.max(self.ranked), &mut draft.ranked);
        if let Some(drafter) = drafter {
            let input = DraftInput {
                text: self.text,
                root: self.root,
                // A trace must not change what is drafted.
                ranked: &draft.ranked[..wanted.min(draft.ranked.len())],
                cost: self.cost,
            };
            drafter.draft(&input, &mut draft.tree);
        }
        debug_assert_eq!(draft.tree.token(ROOT), self.root);
        debug_assert_eq!(draft.tree.limits(), self.limits);
        draft
    }
}

impl StepSources {
    /// The sources of a tree's nodes, and of those on the accepted `path`.
    pub fn of(tree: &DraftTree, path: &[NodeId]) -> Self {
        let mut sources = Self::default();
        (ROOT + 1..tree.len()).for_each(|node| sources.drafted.add(tree.source(node)));
        path.iter()
            .for_each(|&node| sources.accepted.add(tree.source(node)));
        sources
    }
}
