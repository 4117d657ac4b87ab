//! LogitSpec exactly as published.

use crate::TokenId;
use crate::draft::{DraftInput, Drafter, PassCost};
use crate::pool::NgramPool;
use crate::tree::{DraftTree, ROOT, Source};

/// The published parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceParams {
    /// Longest n-gram that is a key of the pool.
    pub max_ngram_size: usize,
    /// Most tokens a continuation holds.
    pub num_pred_tokens: usize,
}

impl Default for ReferenceParams {
    fn default() -> Self {
        Self {
            max_ngram_size: 3,
            num_pred_tokens: 20,
        }
    }
}

/// Method `logitspec-reference`: the draft of arXiv 2507.01449, node for node.
///
/// The root's own continuation becomes a first chain. Then each runner-up of the last logits, in
/// order, starts a chain of its own, continued from the pool: 4 tokens for the best 8, 3 for the
/// next 24, the bare token beyond. Chains are taken until the tree is full; equal prefixes are
/// *not* merged.
#[derive(Clone, Debug)]
pub struct ReferenceLogitSpec {
    pool: NgramPool,
    /// The last `max_ngram_size` tokens of text + root + candidate.
    tail: Vec<TokenId>,
    chain: Vec<TokenId>,
}

/// Longest chain of the runner-up of this rank (the root has rank 0), its own token counted.
pub(crate) fn chain_len(rank: usize) -> usize {
    match rank {
        0..=8 => 4,
        9..=32 => 3,
        _ => 1,
    }
}

impl ReferenceLogitSpec {
    /// A drafter with an empty pool.
    pub fn new(params: ReferenceParams) -> Self {
        Self {
            pool: NgramPool::new(params.max_ngram_size, params.num_pred_tokens),
            tail: Vec::new(),
            chain: Vec::new(),
        }
    }
}

impl Drafter for ReferenceLogitSpec {
    fn name(&self) -> &'static str {
        "logitspec-reference"
    }

    fn candidates(&self, capacity: usize, _cost: &PassCost) -> usize {
        capacity
    }

    fn begin(&mut self, text: &[TokenId]) {
        self.pool.build(text);
    }

    fn extend(&mut self, text: &[TokenId], fresh: usize) {
        self.pool.update(&text[text.len() - fresh..]);
    }

    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree) {
        let context = &input.text[input.text.len().saturating_sub(self.pool.max_ngram_size())..];
        self.tail.clear();
        self.tail.extend_from_slice(context);
        self.tail.push(input.root);
        if let Some(continuation) = self.pool.lookup(&self.tail) {
            tree.push_chain(ROOT, continuation);
        }
        for (candidate, rank) in input.ranked.iter().skip(1).zip(1..) {
            if tree.is_full() {
                break;
            }
            self.tail.push(candidate.token);
            self.chain.clear();
            self.chain.push(candidate.token);
            self.chain
                .extend_from_slice(self.pool.lookup(&self.tail).unwrap_or_default());
            self.chain.truncate(chain_len(rank));
            let runner_up = tree.len();
            if tree.push_chain(ROOT, &self.chain) > 0 {
                tree.set_source(runner_up, Source::LastLogits);
            }
            self.tail.pop();
        }
    }

    fn reset(&mut self) {
        self.pool.build(&[]);
    }
}
