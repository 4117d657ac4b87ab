//! LogitSpec exactly as published.

use crate::TokenId;
use crate::draft::{DraftInput, Drafter, PassCost};
use crate::pool::NgramPool;
use crate::tree::{DraftTree, ROOT, Source};

/// The published parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceParams {
    /// Longest n-gram that is looked up.
    pub max_ngram_size: usize,
    /// Most tokens of a continuation.
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

/// Method `logitspec-reference`: the draft tree of arXiv 2507.01449, node for node.
///
/// The first chain is the continuation of the root. Then each runner-up of the last logits starts a
/// chain, in order, and the pool continues it. Chains are added until the tree is full. Equal
/// prefixes are *not* merged.
///
/// | runner-up | most tokens in its chain |
/// |---|---|
/// | 1 to 8 | 4 |
/// | 9 to 32 | 3 |
/// | 33 and later | 1 |
#[derive(Clone, Debug)]
pub struct ReferenceLogitSpec {
    pool: NgramPool,
    /// The last tokens of the text, the root and the candidate.
    tail: Vec<TokenId>,
    chain: Vec<TokenId>,
}

/// Most tokens in the chain of the runner-up of this rank, itself included. The root has rank 0.
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
