//! Drafters with a history and a corpus.

use std::sync::Arc;

use logitspec::TokenId;
use logitspec::corpus::Corpus;
use logitspec::draft::{Drafter, Memory, NodeRows, Verified};
use logitspec::engine::{Method, MethodParams};
use logitspec::logits::Candidate;
use logitspec::pool::SharedPool;
use logitspec::runtime::llama::Model;
use logitspec::tree::{DraftTree, NodeId, TreeLimits};

use crate::Args;
use crate::plain::Question;

/// A drafter with the history and the corpus that `args` ask for.
pub fn new(
    model: &Model,
    args: &Args,
    method: Method,
    questions: &[Question],
) -> anyhow::Result<Box<dyn Drafter>> {
    let mut memory = Memory::none();
    if args.history || args.poison {
        memory.history = Some(Arc::new(SharedPool::new(1 << 20)));
    }
    let vocabulary = model.vocabulary();
    if let Some(path) = &args.corpus {
        let corpus = Corpus::open(path, Some(&vocabulary.fingerprint()))?;
        memory.corpus = Some(Arc::new(corpus));
    }
    let mut drafter = method.drafter_with(MethodParams::default(), memory);
    if args.poison {
        let mut random = fastrand::Rng::with_seed(1);
        let n_vocab = u32::try_from(vocabulary.len())?;
        for turn in questions.iter().flat_map(|question| &question.turns) {
            let mut tokens = vocabulary.tokenize(turn)?;
            for token in tokens.iter_mut().skip(2).step_by(3) {
                *token = random.u32(..n_vocab);
            }
            replay(&mut *drafter, &tokens);
        }
    }
    Ok(drafter)
}

/// Runs a drafter through a request. The second half of `tokens` is the answer, decoded token by
/// token. The best candidates of each row are the tokens that follow, in order.
fn replay(drafter: &mut dyn Drafter, tokens: &[TokenId]) {
    let prompt = tokens.len() / 2;
    drafter.begin(&tokens[..prompt]);
    for at in prompt..tokens.len() {
        let tree = DraftTree::new(tokens[at], TreeLimits::nodes(1));
        drafter.observe(&Verified {
            tree: &tree,
            path: &[],
            next: tokens.get(at + 1).copied(),
            rows: &Ranked(&tokens[at + 1..]),
        });
        drafter.extend(&tokens[..=at], 1);
    }
    drafter.next_request();
}

/// A row with these candidates, best first.
struct Ranked<'a>(&'a [TokenId]);

impl NodeRows for Ranked<'_> {
    fn top_k(&self, _node: NodeId, k: usize, found: &mut Vec<Candidate>) -> bool {
        found.clear();
        let ranked = self.0.iter().take(k).zip(0i8..);
        found.extend(ranked.map(|(&token, rank)| Candidate {
            token,
            logit: f32::from(-rank),
        }));
        !found.is_empty()
    }
}
