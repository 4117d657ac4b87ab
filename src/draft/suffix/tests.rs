//! The drafts against naive counting.

use super::*;
use crate::draft::PassCost;
use crate::tree::TreeLimits;
use proptest::prelude::*;
use std::collections::HashMap;

/// The most frequent chain after the last `len` tokens of `context`, and its score. Counts all
/// substrings of `texts`.
fn naive_chain(
    texts: &[Vec<TokenId>],
    context: &[TokenId],
    len: usize,
    params: SuffixParams,
) -> (Vec<TokenId>, f32) {
    let mut string = context[context.len() - len..].to_vec();
    let allowed = len as f32 * params.max_spec_factor + params.max_spec_offset + 1e-6;
    let most = (allowed as usize)
        .min(params.max_spec_tokens)
        .min(params.max_depth - len);
    let count = |string: &[TokenId]| {
        let windows = texts.iter().flat_map(|text| text.windows(string.len()));
        windows.filter(|window| *window == string).count()
    };
    let (mut chain, mut score, mut prob) = (Vec::new(), 0.0, 1.0);
    while chain.len() < most {
        let Some((token, times)) = naive_most_frequent(texts, &string) else {
            break;
        };
        prob *= times as f32 / count(&string) as f32;
        if prob < params.min_token_prob {
            break;
        }
        chain.push(token);
        score += prob;
        string.push(token);
    }
    (chain, score)
}

/// The most frequent token after `string`, and its count. Among equals, the first token to reach
/// that
/// count.
fn naive_most_frequent(texts: &[Vec<TokenId>], string: &[TokenId]) -> Option<(TokenId, usize)> {
    let mut counts: HashMap<TokenId, usize> = HashMap::new();
    let mut best: Option<(TokenId, usize)> = None;
    for window in texts.iter().flat_map(|text| text.windows(string.len() + 1)) {
        let (&token, before) = window.split_last().unwrap();
        if before != string {
            continue;
        }
        let count = counts.entry(token).or_default();
        *count += 1;
        if best.is_none_or(|(_, most)| *count > most) {
            best = Some((token, *count));
        }
    }
    best
}

/// The probabilities of all strings that follow `string` in `text`, if at least `least`.
fn naive_followers(text: &[TokenId], string: &[TokenId], least: f32) -> Vec<f32> {
    let count = |string: &[TokenId]| {
        let windows = text.windows(string.len());
        windows.filter(|it| *it == string).count() as f32
    };
    let mut tokens = text.to_vec();
    tokens.sort_unstable();
    tokens.dedup();
    let (mut found, mut open) = (Vec::new(), vec![string.to_vec()]);
    while let Some(before) = open.pop() {
        for &token in &tokens {
            let long = [&before[..], &[token]].concat();
            let probability = count(&long) / count(string);
            if probability >= least {
                found.push(probability);
                open.push(long);
            }
        }
    }
    found
}

/// The best chain of all matches, local texts first.
fn naive(trees: [&[Vec<TokenId>]; 2], context: &[TokenId], params: SuffixParams) -> Vec<TokenId> {
    let mut best = (Vec::new(), 0.0);
    for texts in trees {
        let context = &context[context.len().saturating_sub(params.max_depth)..];
        let mut of_tree = (Vec::new(), 0.0);
        for len in 1..context.len() {
            let found = naive_chain(texts, context, len, params);
            if found.1 >= of_tree.1 {
                of_tree = found;
            }
        }
        if of_tree.1 > best.1 {
            best = of_tree;
        }
    }
    best.0
}

fn draft(drafter: &mut SuffixDecoding, text: &[TokenId], root: TokenId) -> DraftTree {
    let mut tree = DraftTree::new(root, TreeLimits::nodes(100));
    let input = DraftInput {
        text,
        root,
        ranked: &[],
        cost: &PassCost::flat(),
    };
    drafter.draft(&input, &mut tree);
    tree
}

/// Runs `drafter` through all requests. It drafts at every `stride`-th token of the answers. Calls
/// `look` for each draft, with the answers so far and the context.
fn replay(
    drafter: &mut SuffixDecoding,
    requests: &[(Vec<TokenId>, Vec<TokenId>)],
    stride: usize,
    mut look: impl FnMut(&[Vec<TokenId>], &[TokenId], &DraftTree),
) {
    let mut answers: Vec<Vec<TokenId>> = Vec::new();
    for (prompt, answer) in requests {
        let mut text = prompt.clone();
        drafter.begin(&text);
        answers.push(Vec::new());
        for step in answer.chunks(stride) {
            let tree = draft(drafter, &text, step[0]);
            answers.last_mut().unwrap().push(step[0]);
            let mut context = text.clone();
            context.push(step[0]);
            look(&answers, &context, &tree);
            answers.last_mut().unwrap().extend_from_slice(&step[1..]);
            text.extend_from_slice(step);
            drafter.extend(&text, step.len());
        }
        drafter.next_request();
    }
}

fn requests() -> impl Strategy<Value = Vec<(Vec<TokenId>, Vec<TokenId>)>> {
    let tokens = |least| prop::collection::vec(0u32..4, least..30);
    prop::collection::vec((tokens(1), tokens(0)), 1..4)
}

proptest! {
    #[test]
    fn chains_equal_naive_chains(
        requests in requests(),
        stride in 1usize..4,
        max_depth in 1usize..12,
        factor in 0u8..4,
        offset in 0u8..4,
        min_token_prob in 0f32..0.6,
        caches in any::<bool>(),
    ) {
        let params = SuffixParams {
            max_depth,
            max_spec_factor: f32::from(factor) / 2.0,
            max_spec_offset: f32::from(offset),
            min_token_prob,
            max_cached_tokens: if caches { 1000 } else { 0 },
            ..SuffixParams::default()
        };
        let mut drafter = SuffixDecoding::new(params);
        replay(&mut drafter, &requests, stride, |answers, context, tree| {
            let answers = if caches { answers } else { &[] };
            let expected = naive([&[context.to_vec()], answers], context, params);
            assert_eq!(tree.tokens().skip(1).collect::<Vec<_>>(), expected, "after {context:?}");
        });
    }

    #[test]
    fn trees_hold_the_most_probable_tokens(requests in requests(), stride in 1usize..4) {
        let params = SuffixParams {
            tree: true,
            max_spec_factor: 3.0,
            // No ratio of counts in such short texts equals this.
            min_token_prob: 0.19,
            max_cached_tokens: 0,
            ..SuffixParams::default()
        };
        let mut drafter = SuffixDecoding::new(params);
        replay(&mut drafter, &requests, stride, |_, context, tree| {
            let count = |string: &[TokenId]| {
                context.windows(string.len()).filter(|it| *it == string).count() as f32
            };
            let path = |node| -> Vec<TokenId> {
                tree.path_to(node).into_iter().map(|id| tree.token(id)).collect()
            };
            // The score of the tree as a draft after `string`.
            let score = |string: &[TokenId]| -> f32 {
                let paths = (1..tree.len()).map(|node| [string, &path(node)].concat());
                paths.map(|long| count(&long) / count(string)).sum()
            };
            let (mut best, mut drafted) = (0f32, vec![]);
            for len in 1..context.len().min(params.max_depth) {
                let string = &context[context.len() - len..];
                let most = (3 * len).min(params.max_spec_tokens).min(params.max_depth - len);
                let mut all = naive_followers(context, string, params.min_token_prob);
                all.sort_by(|a, b| b.total_cmp(a));
                best = best.max(all.iter().take(most).sum());
                if tree.drafted() <= most {
                    drafted.push(score(string));
                }
            }
            // The tree does not say which match it belongs to, so try all.
            let is_best = drafted.iter().any(|sum| (best - sum).abs() < 1e-3);
            assert!(is_best || context.len() < 2, "{drafted:?} of {best} after {context:?}");
        });
    }

    #[test]
    fn a_root_that_was_not_committed_is_dropped(
        text in prop::collection::vec(0u32..3, 2..20),
        lost in 0u32..3,
    ) {
        let params = SuffixParams { max_cached_tokens: 0, ..SuffixParams::default() };
        let mut drafter = SuffixDecoding::new(params);
        drafter.begin(&text);
        draft(&mut drafter, &text, lost);
        let longer: Vec<TokenId> = text.iter().copied().chain([2, 1]).collect();
        drafter.begin(&longer);
        let mut fresh = SuffixDecoding::new(params);
        fresh.begin(&longer);
        prop_assert_eq!(draft(&mut drafter, &longer, 1), draft(&mut fresh, &longer, 1));
    }
}

#[test]
fn the_oldest_answers_are_evicted() {
    let params = SuffixParams {
        max_cached_tokens: 20,
        ..SuffixParams::default()
    };
    let mut drafter = SuffixDecoding::new(params);
    let answer: Vec<TokenId> = (10..20).collect();
    replay(&mut drafter, &[(vec![1], answer.clone())], 1, |_, _, _| {});
    drafter.begin(&[2]);
    let tree = draft(&mut drafter, &[2], 10);
    assert_eq!(tree.tokens().collect::<Vec<_>>(), [10, 11]);
    assert_eq!(tree.source(1), Source::History);
    drafter.extend(&[2, 10], 1);
    drafter.next_request();
    let other: Vec<TokenId> = (30..50).collect();
    replay(&mut drafter, &[(vec![3], other)], 1, |_, _, _| {});
    drafter.begin(&[4]);
    assert_eq!(draft(&mut drafter, &[4], 10).drafted(), 0);
}
