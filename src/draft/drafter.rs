//! What every drafter does.

use crate::TokenId;
use crate::draft::PassCost;
use crate::logits::{Candidate, Row};
use crate::tree::{DraftTree, NodeId};

/// How many candidates of a row drafters keep.
pub const ROW_CANDIDATES: usize = 8;

/// What a drafter is told in one decode step.
#[derive(Clone, Copy, Debug)]
pub struct DraftInput<'a> {
    /// The committed tokens: prompt and answer so far, without the root.
    pub text: &'a [TokenId],
    /// The next token, known for certain; the root of the tree.
    pub root: TokenId,
    /// The largest last logits, best first. At least as many as [`Drafter::candidates`] asked for,
    /// unless the vocabulary has fewer.
    pub ranked: &'a [Candidate],
    /// What a pass of so many tokens costs. Drafters that size their trees by it fill no more than
    /// pays; the others ignore it.
    pub cost: &'a PassCost,
}

/// The logits of the nodes of a tree that was verified.
pub trait NodeRows {
    /// Puts the `k` largest logits after `node` into `found`, best first. `false`, and nothing, if
    /// they are not known (recorded text has none).
    fn top_k(&self, node: NodeId, k: usize, found: &mut Vec<Candidate>) -> bool;
}

/// Rows as a model has them.
impl<'m, F: Fn(NodeId) -> Row<'m>> NodeRows for F {
    fn top_k(&self, node: NodeId, k: usize, found: &mut Vec<Candidate>) -> bool {
        self(node).top_k_into(k, found);
        true
    }
}

/// What came of a drafted tree.
#[derive(Clone, Copy)]
pub struct Verified<'a> {
    /// The tree.
    pub tree: &'a DraftTree,
    /// The accepted nodes below the root, from the top.
    pub path: &'a [NodeId],
    /// The token that follows the last accepted one; `None` if nobody asked.
    pub next: Option<TokenId>,
    /// The logits after each node.
    pub rows: &'a dyn NodeRows,
}

/// Grows draft trees from the text so far and the last logits.
///
/// Contract: `text` passed to any method of one drafter always extends the text passed before,
/// until [`next_request`](Self::next_request), [`rewind`](Self::rewind), [`revise`](Self::revise)
/// or [`reset`](Self::reset). Whatever the drafter does, the tree keeps its own limits.
pub trait Drafter: Send {
    /// Name of the method, as on the command line.
    fn name(&self) -> &'static str;

    /// How many of the last logits' best candidates [`draft`](Self::draft) looks at, for trees of
    /// at most `capacity` nodes where passes cost `cost`. 0 saves the engine the search. It gets no
    /// more of them than that.
    fn candidates(&self, capacity: usize, cost: &PassCost) -> usize {
        let _ = (capacity, cost);
        0
    }

    /// A turn begins: `text` is everything up to and including the new prompt.
    fn begin(&mut self, text: &[TokenId]);

    /// A step was committed: the last `fresh` tokens of `text` are new.
    fn extend(&mut self, text: &[TokenId], fresh: usize);

    /// Grows `tree` below its root.
    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree);

    /// What came of the tree drafted last; told before [`extend`](Self::extend), and not at all
    /// where nothing was verified.
    fn observe(&mut self, verified: &Verified<'_>) {
        let _ = verified;
    }

    /// The text so far was one request, and another begins with an empty text. Methods with a
    /// memory across requests keep what they remember of this one; the others forget it.
    fn next_request(&mut self) {
        self.reset();
    }

    /// Some of the text is taken back: what is left of it begins anew. Like [`reset`](Self::reset),
    /// but what is remembered of earlier requests stays.
    fn rewind(&mut self) {
        self.reset();
    }

    /// The text is `text` now, of which only the first `keep` tokens are as before. Methods that
    /// copy from the text may go on to copy from what was taken back.
    fn revise(&mut self, text: &[TokenId], keep: usize) {
        let _ = keep;
        self.rewind();
        self.begin(text);
    }

    /// Forgets all text, and what was learned from it.
    fn reset(&mut self);
}
