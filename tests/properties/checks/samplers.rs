//! The samplers by their definitions, in double precision, without any state.

use std::collections::HashMap;

use logitspec::TokenId;
use logitspec::verify::{SamplerKind, SamplingParams};

/// Surprise in bits.
pub fn surprise_of(probability: f64) -> f64 {
    -probability.log2()
}

/// The probabilities of the next token after `text`. `mu` is Mirostat's bound on surprise.
pub fn distribution(
    params: &SamplingParams,
    row: &[f32],
    text: &[TokenId],
    mu: Option<f64>,
) -> Vec<f64> {
    let mut logits: Vec<f64> = row.iter().map(|&logit| f64::from(logit)).collect();
    for &(token, bias) in &params.logit_bias {
        logits[token as usize] += f64::from(bias);
    }
    let Some(mu) = mu else {
        return through(params, &params.samplers, logits, text);
    };
    let cooled = through(params, &[SamplerKind::Temperature], logits, text);
    let best = argmax(&cooled);
    let kept = |token: usize| token == best || surprise_of(cooled[token]) <= mu;
    let weights = (0..cooled.len()).map(|token| if kept(token) { cooled[token] } else { 0.0 });
    normalized(weights.collect())
}

fn normalized(weights: Vec<f64>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

fn argmax(values: &[f64]) -> usize {
    let better = |&a: &usize, &b: &usize| values[a].total_cmp(&values[b]).then(b.cmp(&a));
    (0..values.len()).max_by(better).expect("a vocabulary")
}

/// The probabilities that belong to logits.
fn softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits[argmax(logits)];
    normalized(logits.iter().map(|logit| (logit - max).exp()).collect())
}

/// The tokens that are left, the most probable first.
fn by_probability(shares: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..shares.len()).filter(|&it| shares[it] > 0.0).collect();
    order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
    order
}

/// Leaves out all but `kept`.
fn only(logits: &mut [f64], kept: &[usize]) {
    for (token, logit) in logits.iter_mut().enumerate() {
        if !kept.contains(&token) {
            *logit = f64::NEG_INFINITY;
        }
    }
}

/// The tokens in this order whose shares before them do not yet reach `sum`.
fn until(order: &[usize], shares: &[f64], sum: f64) -> Vec<usize> {
    let mut before = 0.0;
    let within = |&&token: &&usize| {
        let is_within = before < sum;
        before += shares[token];
        is_within
    };
    order.iter().take_while(within).copied().collect()
}

/// The probabilities after the samplers of `chain`.
fn through(
    params: &SamplingParams,
    chain: &[SamplerKind],
    mut logits: Vec<f64>,
    text: &[TokenId],
) -> Vec<f64> {
    let Some((first, rest)) = chain.split_first() else {
        return softmax(&logits);
    };
    let shares = softmax(&logits);
    let order = by_probability(&shares);
    match first {
        SamplerKind::Penalties => penalize(params, &mut logits, text),
        SamplerKind::Dry => penalize_repetitions(params, &mut logits, text),
        SamplerKind::TopNSigma if params.top_n_sigma > 0.0 => {
            let left: Vec<f64> = order.iter().map(|&token| logits[token]).collect();
            let mean = left.iter().sum::<f64>() / left.len() as f64;
            let squares: f64 = left.iter().map(|logit| (logit - mean).powi(2)).sum();
            let deviation = (squares / left.len() as f64).sqrt();
            let bound = logits[order[0]] - f64::from(params.top_n_sigma) * deviation;
            let kept: Vec<usize> = order
                .into_iter()
                .filter(|&it| logits[it] >= bound)
                .collect();
            only(&mut logits, &kept);
        }
        SamplerKind::TopK if params.top_k > 0 => {
            only(&mut logits, &order[..params.top_k.min(order.len())]);
        }
        SamplerKind::TypicalP if params.typical_p < 1.0 => {
            let entropy: f64 = order.iter().map(|&it| -shares[it] * shares[it].ln()).sum();
            let far = |&token: &usize| (-shares[token].ln() - entropy).abs();
            let mut order = order;
            order.sort_by(|a, b| far(a).total_cmp(&far(b)));
            only(
                &mut logits,
                &until(&order, &shares, params.typical_p.into()),
            );
        }
        SamplerKind::TopP if params.top_p < 1.0 => {
            only(&mut logits, &until(&order, &shares, params.top_p.into()));
        }
        SamplerKind::MinP if params.min_p > 0.0 => {
            let bound = f64::from(params.min_p) * shares[order[0]];
            let kept: Vec<usize> = order
                .into_iter()
                .filter(|&it| shares[it] >= bound)
                .collect();
            only(&mut logits, &kept);
        }
        SamplerKind::Xtc if params.xtc_probability > 0.0 => {
            let threshold = f64::from(params.xtc_threshold);
            let probable = order.iter().filter(|&&it| shares[it] >= threshold).count();
            let mut without = logits.clone();
            only(&mut without, &order[probable.saturating_sub(1)..]);
            let often = f64::from(params.xtc_probability);
            let [with, without] =
                [logits, without].map(|logits| through(params, rest, logits, text));
            let mixed = with.iter().zip(&without);
            return mixed
                .map(|(with, without)| (1.0 - often) * with + often * without)
                .collect();
        }
        SamplerKind::Temperature => {
            let mut temperature = f64::from(params.temperature);
            let range = f64::from(params.dynatemp_range);
            if range > 0.0 && order.len() < 2 {
                // Nothing to choose from.
                temperature = 1.0;
            } else if range > 0.0 {
                let entropy: f64 = order.iter().map(|&it| -shares[it] * shares[it].ln()).sum();
                let share = entropy / (order.len() as f64).ln();
                let (low, high) = ((temperature - range).max(0.0), temperature + range);
                temperature = low + (high - low) * share.powf(params.dynatemp_exponent.into());
            }
            logits.iter_mut().for_each(|logit| *logit /= temperature);
        }
        _ => {}
    }
    through(params, rest, logits, text)
}

fn penalize(params: &SamplingParams, logits: &mut [f64], text: &[TokenId]) {
    let mut counts: HashMap<TokenId, f64> = HashMap::new();
    for &token in text.iter().rev().take(params.repeat_last_n) {
        *counts.entry(token).or_default() += 1.0;
    }
    for (token, count) in counts {
        let logit = &mut logits[token as usize];
        let penalty = f64::from(params.repeat_penalty);
        *logit = if *logit <= 0.0 {
            *logit * penalty
        } else {
            *logit / penalty
        };
        *logit -= count * f64::from(params.frequency_penalty);
        *logit -= f64::from(params.presence_penalty);
    }
}

/// Without breakers.
fn penalize_repetitions(params: &SamplingParams, logits: &mut [f64], text: &[TokenId]) {
    let dry = &params.dry;
    let text = &text[text.len().saturating_sub(dry.last_n)..];
    if dry.multiplier == 0.0 || text.len() <= dry.allowed_length {
        return;
    }
    for (token, logit) in logits.iter_mut().enumerate() {
        // The longest end of the text that is followed by this token elsewhere.
        let followed = (1..text.len()).filter(|&at| text[at] as usize == token);
        let lengths = followed.map(|at| {
            let pairs = text[..at].iter().rev().zip(text.iter().rev());
            pairs.take_while(|(a, b)| a == b).count()
        });
        if let Some(longest) = lengths.max().filter(|&it| it >= dry.allowed_length) {
            let power = (longest - dry.allowed_length) as i32;
            *logit -= f64::from(dry.multiplier) * f64::from(dry.base).powi(power);
        }
    }
}
