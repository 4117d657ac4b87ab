//! LogitSpec as this project runs it.

use crate::TokenId;
use crate::draft::reference::chain_len;
use crate::draft::{DraftInput, DraftTree, Drafter, ROOT};
use crate::pool::{SuffixMatch, SuffixPool};

/// Parameters of [`LogitSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogitSpecParams {
    /// Longest match that is told apart from a longer one.
    pub max_match: usize,
    /// How many earlier places may continue the root.
    pub continuations: usize,
    /// Most tokens copied from one place.
    pub num_pred_tokens: usize,
}

impl Default for LogitSpecParams {
    fn default() -> Self {
        Self {
            max_match: 32,
            continuations: 4,
            num_pred_tokens: 20,
        }
    }
}

/// Method `logitspec`: the published idea on the suffix pool, with equal prefixes merged.
///
/// What followed the root at the places that match longest (several, not one) becomes the trunk of the tree;
/// then each runner-up of the last logits adds itself and the continuation of its longest match. A chain
/// that begins like one already in the tree costs only the nodes in which it differs.
///
/// A step scans the text once per runner-up taken, at memory speed.
#[derive(Clone, Debug)]
pub struct LogitSpec {
    params: LogitSpecParams,
    pool: SuffixPool,
    /// Buffers kept between steps.
    tail: Vec<TokenId>,
    found: Vec<SuffixMatch>,
    chain: Vec<TokenId>,
}

impl LogitSpec {
    /// A drafter with an empty pool.
    pub fn new(params: LogitSpecParams) -> Self {
        Self {
            params,
            pool: SuffixPool::default(),
            tail: Vec::new(),
            found: Vec::new(),
            chain: Vec::new(),
        }
    }

    /// Merges what followed the best `limit` matches of the tail below `ROOT`, each behind `prefix`.
    fn copy_continuations(
        &mut self,
        prefix: Option<TokenId>,
        limit: usize,
        max_len: usize,
        tree: &mut DraftTree,
    ) {
        self.pool
            .matches_into(&self.tail, self.params.max_match, limit, &mut self.found);
        self.chain.clear();
        self.chain.extend(prefix);
        if self.found.is_empty() {
            tree.merge_chain(ROOT, &self.chain);
        }
        for place in &self.found {
            self.chain.truncate(usize::from(prefix.is_some()));
            self.chain.extend(
                self.pool
                    .continuation(place.next, max_len - self.chain.len()),
            );
            tree.merge_chain(ROOT, &self.chain);
        }
    }
}

impl Drafter for LogitSpec {
    fn name(&self) -> &'static str {
        "logitspec"
    }

    fn candidates(&self, capacity: usize) -> usize {
        capacity
    }

    fn begin(&mut self, text: &[TokenId]) {
        self.extend(text, text.len() - self.pool.len());
    }

    fn extend(&mut self, text: &[TokenId], fresh: usize) {
        self.pool.append(&text[text.len() - fresh..]);
    }

    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree) {
        let context = &input.text[input.text.len().saturating_sub(self.params.max_match)..];
        self.tail.clear();
        self.tail.extend_from_slice(context);
        self.tail.push(input.root);
        let LogitSpecParams {
            continuations,
            num_pred_tokens,
            ..
        } = self.params;
        self.copy_continuations(None, continuations, num_pred_tokens, tree);
        for (candidate, rank) in input.ranked.iter().skip(1).zip(1..) {
            if tree.is_full() {
                break;
            }
            self.tail.push(candidate.token);
            self.copy_continuations(Some(candidate.token), 1, chain_len(rank), tree);
            self.tail.pop();
        }
    }

    fn reset(&mut self) {
        self.pool.clear();
    }
}
