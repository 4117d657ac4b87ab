//! Sampled text has exactly the model's distribution, with any drafts.
//!
//! Many short texts are sampled with random draft trees and counted. A chi-square test compares the
//! counts with the model's probabilities. Wrong acceptance rules are tested in the same way, to
//! show
//! that the test detects them.

use std::collections::HashMap;

use logitspec::TokenId;
use logitspec::logits::Row;
use logitspec::tree::{DraftTree, ROOT, TreeLimits};
use logitspec::verify::{Sampler, SamplingParams, Select, walk};

const VOCABULARY: usize = 4;
const LENGTH: usize = 3;
const TEXTS: usize = 40_000;

const OPEN: SamplingParams = SamplingParams {
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    repeat_penalty: 1.0,
    repeat_last_n: 2,
    seed: 11,
};

/// The logits of a model. The best token has a probability of about 1/2, the worst of about 1/20.
fn row(text: &[TokenId]) -> [f32; VOCABULARY] {
    let turn = text
        .iter()
        .fold(text.len(), |sum, &token| 3 * sum + token as usize);
    std::array::from_fn(|token| [1.0, 0.4, -0.3, -1.2][(token + turn) % VOCABULARY])
}

/// The probabilities of the next token, from the definitions of the filters, in llama.cpp's order.
fn probabilities(params: SamplingParams, text: &[TokenId]) -> [f64; VOCABULARY] {
    let mut logits = row(text).map(f64::from);
    let recent = text.iter().rev().take(params.repeat_last_n);
    let recent: std::collections::HashSet<_> = recent.collect();
    for &&token in &recent {
        let (logit, penalty) = (
            &mut logits[token as usize],
            f64::from(params.repeat_penalty),
        );
        *logit = if *logit > 0.0 {
            *logit / penalty
        } else {
            *logit * penalty
        };
    }
    let normalized = |weights: [f64; VOCABULARY]| {
        let sum: f64 = weights.iter().sum();
        weights.map(|weight| weight / sum)
    };
    let mut kept = [true; VOCABULARY];
    let among = |kept: [bool; VOCABULARY], temperature: f64| {
        normalized(std::array::from_fn(|token| match kept[token] {
            true => (logits[token] / temperature).exp(),
            false => 0.0,
        }))
    };
    let mut order: Vec<usize> = (0..VOCABULARY).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    if params.top_k > 0 {
        order
            .iter()
            .skip(params.top_k)
            .for_each(|&token| kept[token] = false);
    }
    let shares = among(kept, 1.0);
    let mut before = 0.0;
    for &token in &order {
        kept[token] &= before < f64::from(params.top_p);
        before += shares[token];
    }
    let shares = among(kept, 1.0);
    for token in 0..VOCABULARY {
        kept[token] &= shares[token] >= f64::from(params.min_p) * shares[order[0]];
    }
    among(kept, f64::from(params.temperature))
}

/// The chi-square statistic of sampled texts, in standard deviations from its expected value.
fn surprise(
    params: SamplingParams,
    mut next_tokens: impl FnMut(&[TokenId]) -> Vec<TokenId>,
) -> f64 {
    let mut counts: HashMap<Vec<TokenId>, f64> = HashMap::new();
    for _ in 0..TEXTS {
        let mut text = Vec::new();
        while text.len() < LENGTH {
            text.extend(next_tokens(&text));
        }
        text.truncate(LENGTH);
        *counts.entry(text).or_default() += 1.0;
    }
    let (mut chi_square, mut cells) = (0.0, 0.0);
    let all = TokenId::try_from(VOCABULARY.pow(LENGTH as u32)).unwrap();
    for number in 0..all {
        let base = VOCABULARY as TokenId;
        let text = [number / base / base, number / base % base, number % base];
        let chance: f64 = (0..LENGTH)
            .map(|at| probabilities(params, &text[..at])[text[at] as usize])
            .product();
        let expected = chance * TEXTS as f64;
        let counted = counts.get(&text[..]).copied().unwrap_or(0.0);
        if expected > 0.0 {
            chi_square += (counted - expected).powi(2) / expected;
            cells += 1.0;
        } else {
            assert_eq!(counted, 0.0, "{text:?} was filtered out");
        }
    }
    let freedom: f64 = cells - 1.0;
    (chi_square - freedom) / (2.0 * freedom).sqrt()
}

/// A random tree with many likely tokens and a few equal siblings.
fn drafted(root: TokenId, text: &[TokenId], random: &mut fastrand::Rng) -> DraftTree {
    let mut tree = DraftTree::new(root, TreeLimits::nodes(random.usize(1..12)));
    while !tree.is_full() && random.u8(..16) > 0 {
        let at = random.usize(..tree.len());
        let path: Vec<TokenId> = [text, &[root]]
            .concat()
            .into_iter()
            .chain(tree.path_to(at).iter().map(|&node| tree.token(node)))
            .collect();
        let logits = row(&path);
        let likely = |&a: &usize, &b: &usize| logits[a].total_cmp(&logits[b]);
        let token = match random.bool() {
            true => (0..VOCABULARY).max_by(likely).unwrap(),
            false => random.usize(..VOCABULARY),
        };
        let token = TokenId::try_from(token).unwrap();
        if random.u8(..4) == 0 {
            tree.push(at, token);
        } else {
            tree.grow(at, token);
        }
    }
    tree
}

/// Decode steps: each call returns the committed tokens.
fn steps(params: SamplingParams) -> impl FnMut(&[TokenId]) -> Vec<TokenId> {
    let mut sampler = Sampler::new(params);
    let mut random = fastrand::Rng::with_seed(3);
    let mut next = None;
    move |text| {
        if text.is_empty() {
            next = None;
        }
        let root = next.or_else(|| sampler.select(Row::from(&row(text)), text, &[]));
        let root = root.expect("the rows are finite");
        let tree = drafted(root, text, &mut random);
        let accepted = walk(
            &tree,
            |_, path| sampler.select(Row::from(&row(&[text, path].concat())), text, path),
            |_| false,
        );
        next = accepted.next;
        let path = [ROOT].into_iter().chain(accepted.path);
        path.map(|node| tree.token(node)).collect()
    }
}

#[test]
fn sampled_text_has_the_distribution_of_the_model() {
    let settings = [
        OPEN,
        SamplingParams {
            temperature: 0.6,
            ..OPEN
        },
        SamplingParams {
            temperature: 1.7,
            ..OPEN
        },
        SamplingParams { top_k: 3, ..OPEN },
        // The filters come before the temperature. After it, they would keep one token more.
        SamplingParams {
            temperature: 1.7,
            top_p: 0.75,
            ..OPEN
        },
        SamplingParams {
            temperature: 1.7,
            min_p: 0.2,
            ..OPEN
        },
        SamplingParams {
            repeat_penalty: 1.6,
            ..OPEN
        },
        SamplingParams {
            temperature: 0.8,
            top_k: 3,
            top_p: 0.9,
            min_p: 0.1,
            repeat_penalty: 1.3,
            ..OPEN
        },
    ];
    for params in settings {
        let surprise = surprise(params, steps(params));
        assert!(
            surprise.abs() < 4.0,
            "{surprise} standard deviations with {params:?}"
        );
    }
}

/// Decode steps with an acceptance rule of the token's probability and a random number.
fn wrong_steps(accepts: fn(f64, f64) -> bool) -> impl FnMut(&[TokenId]) -> Vec<TokenId> {
    let mut sampler = Sampler::new(OPEN);
    let mut random = fastrand::Rng::with_seed(3);
    move |text| {
        let root = sampler.select(Row::from(&row(text)), text, &[]);
        let root = root.expect("the rows are finite");
        let tree = drafted(root, text, &mut random);
        let mut committed = vec![root];
        if let Some(first) = tree.children(ROOT).next() {
            let drafted = tree.token(first);
            let probability = probabilities(OPEN, &[text, &committed].concat())[drafted as usize];
            if accepts(probability, random.f64()) {
                committed.push(drafted);
            }
        }
        committed
    }
}

#[test]
fn the_test_detects_wrong_acceptance_rules() {
    let by_threshold = surprise(OPEN, wrong_steps(|probability, _| probability > 0.3));
    // Without the correction of the distribution after a rejection.
    let uncorrected = surprise(
        OPEN,
        wrong_steps(|probability, random| random < probability),
    );
    let with_a_bonus = surprise(
        OPEN,
        wrong_steps(|probability, random| random < 0.3 * probability),
    );
    let none = surprise(OPEN, wrong_steps(|_, _| false));
    assert!(
        by_threshold > 20.0 && uncorrected > 20.0,
        "{by_threshold} {uncorrected}"
    );
    assert!(with_a_bonus > 8.0, "{with_a_bonus}");
    assert!(none.abs() < 4.0, "{none}");
}
