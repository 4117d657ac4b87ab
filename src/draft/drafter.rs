//! What every drafter does.

use crate::TokenId;
use crate::draft::DraftTree;
use crate::verify::Candidate;

/// What a drafter is told in one decode step.
#[derive(Clone, Copy, Debug)]
pub struct DraftInput<'a> {
    /// The committed tokens: prompt and answer so far, without the root.
    pub text: &'a [TokenId],
    /// The next token, known for certain; the root of the tree.
    pub root: TokenId,
    /// The largest last logits, best first. At least as many as [`Drafter::candidates`] asked for, unless the
    /// vocabulary has fewer.
    pub ranked: &'a [Candidate],
}

/// Grows draft trees from the text so far and the last logits.
///
/// Contract: `text` passed to any method of one drafter always extends the text passed before, until
/// [`reset`](Self::reset). Whatever the drafter does, the tree keeps its own limits.
pub trait Drafter: Send {
    /// Name of the method, as on the command line.
    fn name(&self) -> &'static str;

    /// How many of the last logits' best candidates [`draft`](Self::draft) looks at, for trees of at most
    /// `capacity` nodes. 0 saves the engine the search.
    fn candidates(&self, capacity: usize) -> usize {
        let _ = capacity;
        0
    }

    /// A turn begins: `text` is everything up to and including the new prompt.
    fn begin(&mut self, text: &[TokenId]);

    /// A step was committed: the last `fresh` tokens of `text` are new.
    fn extend(&mut self, text: &[TokenId], fresh: usize);

    /// Grows `tree` below its root.
    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree);

    /// Forgets all text.
    fn reset(&mut self);
}
