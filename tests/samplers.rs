//! Our samplers against llama.cpp's own, row for row: the same tokens are left, with the same
//! logits.
#![cfg(feature = "llama")]

use std::path::Path;
use std::sync::Arc;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;
use llama_cpp_2::token::logit_bias::LlamaLogitBias;
use logitspec::TokenId;
use logitspec::logits::Row;
use logitspec::runtime::llama::{Model, ModelOptions};
use logitspec::verify::{DryBreakers, DryParams, Mirostat, Sampler, SamplingParams, Select};

const ROWS: usize = 10_000;

/// A row without equal logits: of two, any may be left out. Some are flat, some have a clear best,
/// and few tokens are likely, as in a model's rows.
fn random_row(random: &mut fastrand::Rng, n_vocab: usize) -> Vec<f32> {
    let scale = [0.5, 3.0, 12.0][random.usize(..3)];
    let power = random.i32(1..5);
    let shift = random.f32() * 10.0 - 5.0;
    let logit = |share: f32| scale * (share.powi(power) * 2.0 - 1.0) + shift;
    let mut row: Vec<f32> = (0..n_vocab).map(|_| logit(random.f32())).collect();
    let mut order: Vec<usize> = (0..n_vocab).collect();
    order.sort_by(|&a, &b| row[a].total_cmp(&row[b]));
    for pair in order.windows(2) {
        let above = row[pair[0]].next_up();
        row[pair[1]] = row[pair[1]].max(above);
    }
    row
}

/// A text with repetitions.
fn random_text(random: &mut fastrand::Rng, n_vocab: usize) -> Vec<TokenId> {
    let kinds = 1 + random.usize(..6);
    let tokens: Vec<TokenId> = (0..kinds).map(|_| random.u32(..n_vocab as u32)).collect();
    let length = random.usize(..90);
    (0..length).map(|_| tokens[random.usize(..kinds)]).collect()
}

/// What a llama.cpp sampler leaves of a row, by token; tokens at minus infinity are left out.
fn theirs(sampler: &mut LlamaSampler, row: &[f32], text: &[TokenId]) -> Vec<(TokenId, f32)> {
    sampler.reset();
    sampler.accept_many(text.iter().map(|&token| LlamaToken(token as i32)));
    left(sampler, row)
}

fn left(sampler: &mut LlamaSampler, row: &[f32]) -> Vec<(TokenId, f32)> {
    let data = row.iter().zip(0..);
    let data = data.map(|(&logit, token)| LlamaTokenData::new(LlamaToken(token), logit, 0.0));
    let mut array = LlamaTokenDataArray::new(data.collect(), false);
    array.apply_sampler(sampler);
    let left = array
        .data
        .iter()
        .map(|it| (it.id().0 as TokenId, it.logit()));
    sorted(
        left.filter(|(_, logit)| *logit > f32::NEG_INFINITY)
            .collect(),
    )
}

fn ours(sampler: &Sampler, row: &[f32], text: &[TokenId]) -> Vec<(TokenId, f32)> {
    // Some of the text lies on the path.
    let (text, path) = text.split_at(text.len() / 3);
    let left = sampler.candidates(Row::from(row), text, path).into_iter();
    sorted(left.map(|it| (it.token, it.logit)).collect())
}

fn sorted(mut left: Vec<(TokenId, f32)>) -> Vec<(TokenId, f32)> {
    left.sort_by_key(|&(token, _)| token);
    left
}

/// In how many rows tokens may be left in one of the two only: where a sum meets its limit, or two
/// tokens are equally typical, a compiler that fuses a product with a sum rounds otherwise.
const MOST_ROUNDED: usize = ROWS / 1000;

/// Compares on random rows and texts. Logits may differ by rounding.
fn assert_same(params: SamplingParams, mut sampler: LlamaSampler, n_vocab: usize) {
    let mut random = fastrand::Rng::with_seed(1);
    let sampler_of_ours = Sampler::new(params.clone());
    let (mut fewer, mut changed, mut rounded) = (0, 0, 0);
    for number in 0..ROWS {
        let row = random_row(&mut random, n_vocab);
        let text = random_text(&mut random, n_vocab);
        let theirs = theirs(&mut sampler, &row, &text);
        let ours = ours(&sampler_of_ours, &row, &text);
        let tokens = |left: &[(TokenId, f32)]| left.iter().map(|it| it.0).collect::<Vec<_>>();
        if tokens(&ours) != tokens(&theirs) {
            rounded += 1;
            continue;
        }
        for (a, b) in ours.iter().zip(&theirs) {
            let gap = (a.1 - b.1).abs() / b.1.abs().max(1.0);
            assert!(gap < 1e-5, "row {number}: {a:?} and {b:?} with {params:?}");
        }
        fewer += usize::from(ours.len() < n_vocab);
        changed += usize::from(ours.iter().any(|it| it.1 != row[it.0 as usize]));
    }
    assert!(
        rounded <= MOST_ROUNDED,
        "{rounded} rows differ with {params:?}"
    );
    // The samplers did something.
    assert!(
        fewer + changed > ROWS / 2,
        "{fewer} {changed} with {params:?}"
    );
}

const N_VOCAB: usize = 300;

/// Each sampler with the one of llama.cpp that has the same parameters.
#[rustfmt::skip]
fn pairs() -> Vec<(SamplingParams, LlamaSampler)> {
    let open = SamplingParams::open;
    let n = N_VOCAB as i32;
    let bias = [(7, 2.5), (0, -1.0), (299, f32::NEG_INFINITY)];
    let biases = bias.map(|(token, bias)| LlamaLogitBias::new(LlamaToken(token), bias));
    let bias = bias.map(|(token, bias)| (token as TokenId, bias)).to_vec();
    vec![
        (SamplingParams { temperature: 0.7, ..open() }, LlamaSampler::temp(0.7)),
        (SamplingParams { temperature: 0.0, ..open() }, LlamaSampler::temp(0.0)),
        (
            SamplingParams {
                temperature: 0.9, dynatemp_range: 0.6, dynatemp_exponent: 1.3, ..open()
            },
            LlamaSampler::temp_ext(0.9, 0.6, 1.3),
        ),
        (
            SamplingParams { temperature: 0.3, dynatemp_range: 0.6, ..open() },
            LlamaSampler::temp_ext(0.3, 0.6, 1.0),
        ),
        (SamplingParams { top_k: 17, ..open() }, LlamaSampler::top_k(17)),
        (SamplingParams { top_k: 200, ..open() }, LlamaSampler::top_k(200)),
        (SamplingParams { top_p: 0.9, ..open() }, LlamaSampler::top_p(0.9, 0)),
        (SamplingParams { top_p: 0.0, ..open() }, LlamaSampler::top_p(0.0, 0)),
        (SamplingParams { min_p: 0.07, ..open() }, LlamaSampler::min_p(0.07, 0)),
        (SamplingParams { min_p: 1.0, ..open() }, LlamaSampler::min_p(1.0, 0)),
        (SamplingParams { typical_p: 0.6, ..open() }, LlamaSampler::typical(0.6, 0)),
        (SamplingParams { top_n_sigma: 1.1, ..open() }, LlamaSampler::top_n_sigma(1.1)),
        (
            SamplingParams { xtc_probability: 1.0, xtc_threshold: 0.01, ..open() },
            LlamaSampler::xtc(1.0, 0.01, 0, 1),
        ),
        (
            SamplingParams { repeat_penalty: 1.3, repeat_last_n: 20, ..open() },
            LlamaSampler::penalties(n, 20, 1.3, 0.0, 0.0),
        ),
        (
            SamplingParams {
                repeat_penalty: 1.1, frequency_penalty: 0.3, presence_penalty: -0.4, ..open()
            },
            LlamaSampler::penalties(n, 64, 1.1, 0.3, -0.4),
        ),
        (SamplingParams { logit_bias: bias, ..open() }, LlamaSampler::logit_bias(n, &biases)),
        (
            SamplingParams { mirostat: Some(Mirostat { tau: 2.5, eta: 0.2 }), ..open() },
            LlamaSampler::mirostat_v2(1, 2.5, 0.2),
        ),
    ]
}

#[test]
fn every_sampler_leaves_what_llama_cpps_leaves() {
    for (params, sampler) in pairs() {
        assert_same(params, sampler, N_VOCAB);
    }
}

#[test]
fn the_default_chain_leaves_what_llama_cpps_leaves() {
    let params = SamplingParams {
        temperature: 0.8,
        repeat_penalty: 1.2,
        top_n_sigma: 2.5,
        typical_p: 0.97,
        xtc_probability: 1.0,
        xtc_threshold: 0.2,
        ..SamplingParams::default()
    };
    let chain = LlamaSampler::chain_simple([
        LlamaSampler::penalties(N_VOCAB as i32, 64, 1.2, 0.0, 0.0),
        LlamaSampler::top_n_sigma(2.5),
        LlamaSampler::top_k(40),
        LlamaSampler::typical(0.97, 0),
        LlamaSampler::top_p(0.95, 0),
        LlamaSampler::min_p(0.05, 0),
        LlamaSampler::xtc(1.0, 0.2, 0, 1),
        LlamaSampler::temp(0.8),
    ]);
    assert_same(params, chain, N_VOCAB);
}

#[test]
fn mirostat_learns_from_what_was_drawn() {
    let params = SamplingParams {
        mirostat: Some(Mirostat { tau: 1.5, eta: 0.9 }),
        ..SamplingParams::open()
    };
    let mut random = fastrand::Rng::with_seed(2);
    // Whoever draws, it is this token, without surprise.
    let mut certain = vec![-200.0; N_VOCAB];
    certain[5] = 100.0;
    let mut counts = Vec::new();
    for _ in 0..200 {
        let mut sampler = Sampler::new(params.clone());
        for drawn in 1..4 {
            let row = random_row(&mut random, N_VOCAB);
            assert_eq!(sampler.select(Row::from(&certain), &[], &[]), Some(5));
            let ours = ours(&sampler, &row, &[]);
            // Of the last row llama.cpp's sampler would draw another token, so it begins anew.
            let mut llama = LlamaSampler::mirostat_v2(1, 1.5, 0.9);
            (0..drawn).for_each(|_| _ = left(&mut llama, &certain));
            assert_eq!(ours.len(), left(&mut llama, &row).len());
            counts.push(ours.len());
        }
    }
    assert!(counts.iter().any(|&it| it > 1) && counts.iter().any(|&it| it != counts[0]));
}

/// What a llama.cpp sampler for DRY is, made with a model that is closed again.
fn llama_dry(path: &Path, breakers: &[&str]) -> LlamaSampler {
    let backend = LlamaBackend::init().unwrap();
    let params = LlamaModelParams::default();
    let model = LlamaModel::load_from_file(&backend, path, &params).unwrap();
    LlamaSampler::dry(&model, 0.8, 1.75, 2, 64, breakers)
}

#[test]
fn dry_leaves_what_llama_cpps_leaves() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/tiny-llama.gguf");
    // Some are in many tokens, some begin in one and end in others.
    let breakers = ["e", "\n", "ab", "<|end|>"];
    let llama = llama_dry(&path, &breakers);
    let model = Model::load(&path, &ModelOptions::default()).unwrap();
    let vocabulary = model.vocabulary();
    let found = vocabulary.dry_breakers(breakers.map(String::from).into());
    assert_ne!(found, DryBreakers::default());
    let dry = DryParams {
        multiplier: 0.8,
        breakers: Some(Arc::new(found)),
        ..DryParams::DEFAULT
    };
    let params = SamplingParams {
        dry,
        ..SamplingParams::open()
    };
    assert_same(params, llama, vocabulary.len());
}
