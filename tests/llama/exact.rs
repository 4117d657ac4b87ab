//! Logits of trees and answers of sessions, bit for bit those of plain decoding.
#![cfg(few_token_kernels)]

use logitspec::draft::{DraftInput, Drafter};
use logitspec::tree::{DraftTree, ROOT, TreeLimits};
use tempfile::TempDir;

use super::quantized::quantized;
use super::*;

/// Types that llama.cpp can quantize the demo model to.
///
/// Not Q5_K: without AMX, llama.cpp's repacked kernels for it round one token otherwise than
/// several.
const TYPES: [&str; 13] = [
    "F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0",
    "IQ4_NL", "Q3_K_M",
];

fn context(threads: u32, flash_attention: FlashAttention) -> ContextOptions {
    ContextOptions {
        n_ctx: Some(768),
        threads: Some(threads),
        flash_attention,
        draft_tree_capacity: 100,
        ..CONTEXT
    }
}

fn bits(target: &LlamaTarget<'_>, node: usize) -> Vec<u32> {
    let row = target.row(0, node).logits();
    row.iter().map(|logit| logit.to_bits()).collect()
}

/// Longer than the 512 cells from which ggml splits attention over threads, and then a tree of more
/// than the 64 tokens from which it computes attention in tiles.
fn rows_are_those_of_single_tokens(model: &Model, context: &ContextOptions) -> bool {
    let prompt: Vec<TokenId> = (0..530).map(|at| 300 + at * 37 % 900).collect();
    let chain: Vec<TokenId> = (0..8).map(|at| 400 + at * 11).collect();
    let mut plain = model.context(context).unwrap();
    plain.append(0, &prompt).unwrap();
    let single: Vec<_> = chain
        .iter()
        .map(|&token| {
            plain.append(0, &[token]).unwrap();
            bits(&plain, ROOT)
        })
        .collect();
    let mut target = model.context(context).unwrap();
    target.append(0, &prompt).unwrap();
    let mut tree = DraftTree::new(chain[0], TreeLimits::nodes(80));
    tree.push_chain(ROOT, &chain[1..6]);
    for token in 500..572 {
        tree.push(ROOT, token).unwrap();
    }
    target.decode_tree(0, &[], &tree).unwrap();
    let path: Vec<_> = tree.principal_path().collect();
    let nodes = std::iter::once(ROOT).chain(path.iter().copied());
    let mut equal = nodes
        .zip(&single)
        .all(|(node, row)| bits(&target, node) == *row);
    // Only a part of the path is kept. The rest is decoded again with another tree.
    target.commit(0, &tree, &path[..3]);
    let mut tree = DraftTree::new(chain[6], TreeLimits::nodes(80));
    tree.push(ROOT, chain[7]).unwrap();
    target.decode_tree(0, &chain[4..6], &tree).unwrap();
    let again = [ROOT, 1].into_iter().zip(&single[6..]);
    equal &= again
        .into_iter()
        .all(|(node, row)| bits(&target, node) == *row);
    equal
}

#[test]
fn rows_of_a_tree_are_those_of_single_tokens_for_all_types_of_weights() {
    let folder = TempDir::new().unwrap();
    let mut different = Vec::new();
    for name in TYPES {
        let model = quantized(&folder, name);
        for (threads, attention) in [(2, FlashAttention::On), (1, FlashAttention::Off)] {
            let context = context(threads, attention);
            if !rows_are_those_of_single_tokens(&model, &context) {
                different.push(format!("{name}, -t {threads}, -fa {attention:?}"));
            }
        }
    }
    assert!(different.is_empty(), "{different:#?}");
}

#[test]
fn rows_of_a_tree_are_those_of_single_tokens_with_a_quantized_cache() {
    let folder = TempDir::new().unwrap();
    let model = quantized(&folder, "Q8_0");
    let cache_type: CacheType = "q8_0".parse().unwrap();
    let context = ContextOptions {
        cache_type_k: cache_type,
        cache_type_v: cache_type,
        ..context(2, FlashAttention::On)
    };
    assert!(rows_are_those_of_single_tokens(&model, &context));
}

/// Grows trees of random shape from tokens of the text and of the last row.
struct RandomTrees(fastrand::Rng);

impl Drafter for RandomTrees {
    fn name(&self) -> &'static str {
        "random-trees"
    }

    fn begin(&mut self, _: &[TokenId]) {}

    fn extend(&mut self, _: &[TokenId], _: usize) {}

    fn candidates(&self, _: usize, _: &PassCost) -> usize {
        8
    }

    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree) {
        let random = &mut self.0;
        for _ in 0..random.usize(..40) {
            let parent = random.usize(..tree.len());
            let at = random.usize(..input.text.len());
            let last = tree.token(parent);
            let followers: Vec<_> = input
                .text
                .windows(2)
                .filter(|pair| pair[0] == last)
                .collect();
            let token = match (random.u8(..4), input.ranked.get(random.usize(..8))) {
                (0, Some(candidate)) => candidate.token,
                (1, _) => input.text[at],
                _ => match random.choice(followers) {
                    Some(pair) => pair[1],
                    None => input.text[at],
                },
            };
            tree.grow(parent, token);
        }
    }

    fn reset(&mut self) {}
}

/// Asserts that random trees change no answer to `prompts` random prompts of 64 tokens.
fn random_trees_change_no_answer(model: &Model, context: &ContextOptions, prompts: usize) {
    let vocabulary = model.vocabulary().len() as TokenId;
    let mut random = fastrand::Rng::with_seed(11);
    let mut plain = Session::open(model, context, options(Method::Baseline, 1)).unwrap();
    let drafter = Box::new(RandomTrees(random.fork()));
    let mut drafted = Session::open(model, context, options(Method::Logitspec, 64))
        .unwrap()
        .with_drafter(drafter);
    let (mut tokens, mut accepted) = (0, 0);
    for number in 0..prompts {
        let prompt: Vec<_> = (0..64).map(|_| random.u32(300..vocabulary)).collect();
        plain.reset();
        drafted.reset();
        let expected = answer(&mut plain, &prompt, 48);
        let ours = generated(&mut drafted, &prompt, 48);
        assert_eq!(ours.tokens, expected, "prompt {number}");
        tokens += ours.tokens.len();
        accepted += ours.tokens.len() - ours.accept_lengths.len();
    }
    assert!(
        accepted * 10 > tokens,
        "{accepted} of {tokens} tokens accepted"
    );
}

/// The words of the demo model repeat, so that random trees are often right.
#[test]
fn random_trees_change_no_answer_of_the_demo_model() {
    let folder = TempDir::new().unwrap();
    for (name, threads) in [("Q4_0", 1), ("Q4_K_M", 2), ("F16", 2)] {
        let model = quantized(&folder, name);
        random_trees_change_no_answer(&model, &context(threads, FlashAttention::On), 40);
    }
}

/// At least half of the greedy choices of this model are between logits that are nearly equal.
#[test]
fn random_trees_change_no_answer_where_near_ties_are_common() {
    let model = load("tiny-ties.gguf");
    let mut target = model.context(&context(1, FlashAttention::On)).unwrap();
    let mut next = 300;
    let mut near_ties = 0;
    for _ in 0..200 {
        target.append(0, &[next]).unwrap();
        let mut logits = target.row(0, ROOT).logits().to_vec();
        logits.sort_by(|a, b| b.total_cmp(a));
        near_ties += usize::from(logits[0] - logits[1] < 1e-3 * logits[0]);
        next = target.row(0, ROOT).argmax();
    }
    assert!(near_ties >= 100, "{near_ties} near ties in 200 tokens");
    for threads in [1, 2] {
        random_trees_change_no_answer(&model, &context(threads, FlashAttention::On), 1_000);
    }
}
