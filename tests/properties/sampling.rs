//! Sampled text has exactly the distribution that the samplers leave of the model's, with any
//! drafts.
//!
//! Many short texts are sampled with random draft trees and counted: 201,000 draws for each sampler
//! alone, and for three chains. A chi-square test at 1e-4 compares the counts with the exact
//! probabilities, which come from the definitions of the samplers. Wrong acceptance rules are
//! tested in the same way, to show that the test detects them.

use std::collections::HashMap;

use logitspec::TokenId;
use logitspec::logits::Row;
use logitspec::tree::{DraftTree, ROOT, TreeLimits};
use logitspec::verify::{DryParams, Mirostat, Sampler, SamplerKind, SamplingParams, Select, walk};

use crate::checks::samplers::{distribution, surprise_of};

const VOCABULARY: usize = 5;
const LENGTH: usize = 3;
const TEXTS: usize = 67_000;

/// What every text begins with; the penalties see it.
const PROMPT: [TokenId; 4] = [1, 2, 0, 1];

/// The logits of a model. The best token has a probability of about 1/2, the worst of about 1/25.
fn row(text: &[TokenId]) -> [f32; VOCABULARY] {
    let turn = text
        .iter()
        .fold(text.len(), |sum, &token| 3 * sum + token as usize);
    std::array::from_fn(|token| [1.0, 0.4, -0.3, 0.1, -1.4][(token + turn) % VOCABULARY])
}

/// The probability of a text, token by token.
fn chance(params: &SamplingParams, text: &[TokenId]) -> f64 {
    let mut mu = params
        .mirostat
        .map(|mirostat| 2.0 * f64::from(mirostat.tau));
    let mut chance = 1.0;
    let mut before = PROMPT.to_vec();
    for &token in text {
        let p = distribution(params, &row(&before), &before, mu)[token as usize];
        if let (Some(mu), Some(Mirostat { tau, eta })) = (&mut mu, params.mirostat) {
            *mu -= f64::from(eta) * (surprise_of(p) - f64::from(tau));
        }
        chance *= p;
        before.push(token);
    }
    chance
}

/// The chi-square statistic of sampled texts, relative to the value that it exceeds once in 10,000
/// times. `text` samples the text of a number.
fn excess(params: &SamplingParams, mut text: impl FnMut(usize) -> Vec<TokenId>) -> f64 {
    let mut counts: HashMap<Vec<TokenId>, f64> = HashMap::new();
    for number in 0..TEXTS {
        let mut text = text(number);
        text.truncate(LENGTH);
        *counts.entry(text).or_default() += 1.0;
    }
    let (mut chi_square, mut cells) = (0.0, 0.0);
    // Texts that are too rare for the test are counted together.
    let mut rare = (0.0, 0.0);
    let mut add = |(counted, expected): (f64, f64)| {
        chi_square += (counted - expected).powi(2) / expected;
        cells += 1.0;
    };
    let all = TokenId::try_from(VOCABULARY.pow(LENGTH as u32)).unwrap();
    for number in 0..all {
        let base = VOCABULARY as TokenId;
        let text = [number / base / base, number / base % base, number % base];
        let expected = chance(params, &text) * TEXTS as f64;
        let counted = counts.get(&text[..]).copied().unwrap_or(0.0);
        if expected == 0.0 {
            assert_eq!(counted, 0.0, "{text:?} cannot be drawn with {params:?}");
        } else if expected < 5.0 {
            rare = (rare.0 + counted, rare.1 + expected);
        } else {
            add((counted, expected));
        }
    }
    if rare.1 > 0.0 {
        add((rare.0, rare.1.max(1.0)));
    }
    // The quantile by Wilson and Hilferty; 3.719 is the normal distribution's.
    let freedom: f64 = cells - 1.0;
    if freedom == 0.0 {
        return chi_square;
    }
    let spread = 2.0 / (9.0 * freedom);
    let quantile = freedom * (1.0 - spread + 3.719 * spread.sqrt()).powi(3);
    chi_square / quantile
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

/// The text of a seed, in steps with random trees, or in steps of one token.
fn text_of(params: &SamplingParams, seed: usize, drafts: bool) -> Vec<TokenId> {
    let params = SamplingParams {
        seed: seed as u64,
        ..params.clone()
    };
    let mut sampler = Sampler::new(params);
    let mut random = fastrand::Rng::with_seed(seed as u64 + 3);
    let mut text = PROMPT.to_vec();
    let mut next = None;
    while text.len() < PROMPT.len() + LENGTH {
        let root = next.or_else(|| sampler.select(Row::from(&row(&text)), &text, &[]));
        let root = root.expect("the rows are finite");
        let tree = match drafts {
            true => drafted(root, &text, &mut random),
            false => DraftTree::new(root, TreeLimits::nodes(1)),
        };
        let accepted = walk(
            &tree,
            |_, path| sampler.select(Row::from(&row(&[&text, path].concat())), &text, path),
            |_| false,
        );
        next = accepted.next;
        let path = [ROOT].into_iter().chain(accepted.path);
        text.extend(path.map(|node| tree.token(node)));
    }
    text.split_off(PROMPT.len())
}

/// Every sampler alone, in two strengths where it has them.
fn alone() -> Vec<SamplingParams> {
    let open = SamplingParams::open;
    let dry = |multiplier, allowed_length| DryParams {
        multiplier,
        allowed_length,
        ..DryParams::DEFAULT
    };
    #[rustfmt::skip]
    let all = vec![
        open(),
        SamplingParams { temperature: 0.6, ..open() },
        SamplingParams { temperature: 1.7, ..open() },
        SamplingParams { temperature: 0.9, dynatemp_range: 0.5, ..open() },
        SamplingParams { dynatemp_range: 1.5, dynatemp_exponent: 2.0, ..open() },
        SamplingParams { top_k: 3, ..open() },
        SamplingParams { top_p: 0.75, ..open() },
        SamplingParams { min_p: 0.3, ..open() },
        SamplingParams { typical_p: 0.5, ..open() },
        SamplingParams { top_n_sigma: 1.2, ..open() },
        SamplingParams { xtc_probability: 0.4, xtc_threshold: 0.15, ..open() },
        SamplingParams { xtc_probability: 1.0, xtc_threshold: 0.2, ..open() },
        SamplingParams { repeat_penalty: 1.6, repeat_last_n: 3, ..open() },
        SamplingParams { presence_penalty: 0.7, ..open() },
        SamplingParams { frequency_penalty: 0.4, repeat_last_n: 5, ..open() },
        SamplingParams { dry: dry(0.8, 1), ..open() },
        SamplingParams { dry: dry(1.5, 0), ..open() },
        SamplingParams { mirostat: Some(Mirostat { tau: 1.2, eta: 0.4 }), ..open() },
        SamplingParams { logit_bias: vec![(4, 2.0), (0, -1.0), (2, f32::NEG_INFINITY)], ..open() },
    ];
    all
}

/// Samplers together.
fn chains() -> [SamplingParams; 3] {
    let common = SamplingParams {
        temperature: 1.7,
        top_k: 4,
        top_p: 0.9,
        min_p: 0.1,
        repeat_penalty: 1.3,
        ..SamplingParams::default()
    };
    [
        common.clone(),
        // The temperature comes first: the filters keep more then.
        SamplingParams {
            samplers: vec![
                SamplerKind::Temperature,
                SamplerKind::TopP,
                SamplerKind::MinP,
                SamplerKind::Penalties,
            ]
            .into(),
            ..common.clone()
        },
        SamplingParams {
            typical_p: 0.9,
            top_n_sigma: 1.9,
            xtc_probability: 0.5,
            xtc_threshold: 0.2,
            dynatemp_range: 0.6,
            frequency_penalty: 0.2,
            logit_bias: vec![(3, 0.5)],
            ..common
        },
    ]
}

#[test]
fn every_sampler_alone_gives_its_exact_distribution_with_any_drafts() {
    for params in alone() {
        let excess = excess(&params, |seed| text_of(&params, seed, true));
        assert!(excess < 1.0, "{excess} with {params:?}");
    }
}

#[test]
fn chains_of_samplers_give_their_exact_distribution_with_any_drafts() {
    for params in chains() {
        let excess = excess(&params, |seed| text_of(&params, seed, true));
        assert!(excess < 1.0, "{excess} with {params:?}");
    }
}

#[test]
fn a_seed_gives_one_text_with_drafts_and_without() {
    for params in alone().iter().chain(&chains()) {
        for seed in 0..2_000 {
            let texts = [true, false].map(|drafts| {
                let mut text = text_of(params, seed, drafts);
                text.truncate(LENGTH);
                text
            });
            assert_eq!(texts[0], texts[1], "seed {seed} with {params:?}");
        }
    }
}

/// Decode steps with an acceptance rule of the token's probability and a random number.
fn wrong_text(
    params: &SamplingParams,
    accepts: fn(f64, f64) -> bool,
) -> impl FnMut(usize) -> Vec<TokenId> {
    let mut sampler = Sampler::new(params.clone());
    let mut random = fastrand::Rng::with_seed(3);
    let params = params.clone();
    move |_| {
        let mut text = PROMPT.to_vec();
        while text.len() < PROMPT.len() + LENGTH {
            let root = sampler.select(Row::from(&row(&text)), &text, &[]);
            let root = root.expect("the rows are finite");
            let tree = drafted(root, &text, &mut random);
            text.push(root);
            if let Some(first) = tree.children(ROOT).next() {
                let drafted = tree.token(first);
                let shares = distribution(&params, &row(&text), &text, None);
                if accepts(shares[drafted as usize], random.f64()) {
                    text.push(drafted);
                }
            }
        }
        text.split_off(PROMPT.len())
    }
}

#[test]
fn the_test_detects_wrong_acceptance_rules() {
    for params in [SamplingParams::open(), chains()[0].clone()] {
        let excess_of = |accepts| excess(&params, wrong_text(&params, accepts));
        let by_threshold = excess_of(|probability, _| probability > 0.25);
        // Without the correction of the distribution after a rejection.
        let uncorrected = excess_of(|probability, random| random < probability);
        let with_a_bonus = excess_of(|probability, random| random < 0.3 * probability);
        let none = excess_of(|_, _| false);
        assert!(
            by_threshold > 3.0 && uncorrected > 3.0 && with_a_bonus > 1.5,
            "{by_threshold} {uncorrected} {with_a_bonus} with {params:?}"
        );
        assert!(none < 1.0, "{none}");
    }
}
