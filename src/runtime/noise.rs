//! How differently passes of one token and of several round.

use crate::TokenId;
use crate::logits::{Candidate, top_k};
use crate::runtime::slots::SlotId;
use crate::runtime::target::{DecodeError, TargetModel};
use crate::tree::{DraftTree, ROOT, TreeLimits};

const SLOT: SlotId = 0;
/// Tokens before those that are compared.
const PREFIX: usize = 16;
/// Tokens that are compared.
const CHAIN: usize = 16;
/// Drafted tokens beside them in the tree.
const SIBLINGS: usize = 16;
/// Largest logits of a row that are compared.
const BEST: usize = 8;
/// How much further apart two logits may be than any that were seen.
const SAFETY: f32 = 2.0;

/// The difference that the size of a pass makes between two logits: decodes random tokens one by
/// one, and in a tree, and compares the rows. 0 if they are equal, bit for bit.
///
/// Costs some thirty passes. The cache is empty before and after.
///
/// # Errors
/// If the model fails.
pub fn rounding_noise<M: TargetModel>(model: &mut M) -> Result<f32, DecodeError> {
    if model.max_leaves() == 0 || model.n_ctx() < 2 * (PREFIX + CHAIN + SIBLINGS) {
        return Ok(0.0);
    }
    let noise = compare(model);
    model.truncate(SLOT, 0);
    noise
}

fn compare<M: TargetModel>(model: &mut M) -> Result<f32, DecodeError> {
    let mut random = fastrand::Rng::with_seed(1);
    let last = TokenId::try_from(model.n_vocab() - 1).expect("token ids are that large");
    let mut tokens = |count| -> Vec<TokenId> { (0..count).map(|_| random.u32(..=last)).collect() };
    let (prefix, chain, siblings) = (tokens(PREFIX), tokens(CHAIN), tokens(SIBLINGS));
    for piece in prefix.chunks(model.n_batch()) {
        model.append(SLOT, piece)?;
    }
    let mut single: Vec<Vec<Candidate>> = Vec::with_capacity(CHAIN);
    for &token in &chain {
        model.append(SLOT, &[token])?;
        single.push(top_k(model.row(SLOT, ROOT).logits(), BEST));
    }
    model.truncate(SLOT, PREFIX);
    let capacity = model.n_batch().min(CHAIN + SIBLINGS);
    let mut tree = DraftTree::new(chain[0], TreeLimits::nodes(capacity));
    tree.push_chain(ROOT, &chain[1..]);
    if model.max_leaves() > SIBLINGS {
        siblings.iter().for_each(|&token| {
            tree.push(ROOT, token);
        });
    }
    model.decode_tree(SLOT, &[], &tree)?;
    let nodes = std::iter::once(ROOT).chain(tree.principal_path());
    let differences = nodes.zip(&single).flat_map(|(node, best)| {
        let row = model.row(SLOT, node).logits();
        let apart = |it: &Candidate| (row[it.token as usize] - it.logit).abs();
        best.iter().map(apart)
    });
    let largest = differences.fold(0.0, f32::max);
    model.commit(SLOT, &tree, &[]);
    // Two logits may move against each other.
    Ok(2.0 * SAFETY * largest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ScriptedModel;

    #[test]
    fn noise_is_what_the_size_of_a_pass_changes() {
        let mut exact = ScriptedModel::new(50, 2, 3, 200, 32);
        assert_eq!(rounding_noise(&mut exact), Ok(0.0));
        let mut rounds = exact.clone().with_rounding(0.25);
        let noise = rounding_noise(&mut rounds).unwrap();
        assert!((0.5..=1.0).contains(&noise), "{noise}");
        assert_eq!(rounds.n_past(0), 0);
    }
}
