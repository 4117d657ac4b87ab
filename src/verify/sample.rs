//! Drawing from the model's distribution.

use crate::TokenId;
use crate::logits::{Candidate, Row};
use crate::verify::Select;

/// How the next token is drawn. The defaults are llama.cpp's, but for the temperature, which is 0:
/// greedy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 or less takes the largest.
    pub temperature: f32,
    /// Keep this many of the largest logits; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest tokens whose probabilities reach this sum, the best at least; 1 or more
    /// keeps all.
    pub top_p: f32,
    /// Keep tokens at least this many times as probable as the best; 0 or less keeps all, 1 or more
    /// only the best.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens seen lately, and is positive; 1
    /// does nothing.
    pub repeat_penalty: f32,
    /// How many of the latest tokens the penalty sees.
    pub repeat_last_n: usize,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            seed: 0,
        }
    }
}

/// Draws tokens as llama.cpp's sampler chain does: penalty, top-k, top-p, min-p, temperature.
///
/// One random number is used for each token of the answer, in order, however the tokens are
/// drafted. So the same seed gives the same answer with any drafter and with none, and the accepted
/// text has exactly the model's distribution: a drafted token is kept only if it is the very token
/// that was drawn.
///
/// NaN is never drawn, by any of the filters. Infinity as the largest logit has all the
/// probability.
///
/// Every candidate has a number of its own in each draw, and the one whose number says so first
/// wins (the "Gumbel-max trick", as an exponential race). Logits that are rounded otherwise, as
/// those of a pass of another size, then change an answer only where two candidates are nearly
/// first; on one cumulated line they would push each other along.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: SamplingParams,
    random: fastrand::Rng,
    penalized: Vec<f32>,
}

impl Sampler {
    /// A sampler at the start of its random numbers.
    pub fn new(params: SamplingParams) -> Self {
        Self {
            params,
            random: fastrand::Rng::with_seed(params.seed),
            penalized: Vec::new(),
        }
    }

    /// `row` with the logits of lately seen tokens pushed down.
    fn penalize(&mut self, row: &[f32], text: &[TokenId], path: &[TokenId]) {
        self.penalized.clear();
        self.penalized.extend_from_slice(row);
        let recent = path.iter().rev().chain(text.iter().rev());
        let mut seen: Vec<TokenId> = recent.take(self.params.repeat_last_n).copied().collect();
        seen.sort_unstable();
        seen.dedup();
        for token in seen {
            if let Some(logit) = self.penalized.get_mut(token as usize) {
                *logit = if *logit > 0.0 {
                    *logit / self.params.repeat_penalty
                } else {
                    *logit * self.params.repeat_penalty
                };
            }
        }
    }

    /// Draws from a row with a finite logit.
    fn draw(&mut self, row: Row<'_>) -> TokenId {
        let SamplingParams {
            temperature,
            top_k: k,
            top_p,
            min_p,
            ..
        } = self.params;
        if temperature <= 0.0 {
            return row.argmax();
        }
        let draw = self.random.u64(..);
        let mut kept = Vec::new();
        row.top_k_into(if k == 0 { row.logits().len() } else { k }, &mut kept);
        // Infinities have all the probability, in equal parts.
        if kept[0].logit == f32::INFINITY {
            kept.retain(|candidate| candidate.logit == f32::INFINITY);
            kept.iter_mut().for_each(|candidate| candidate.logit = 0.0);
        }
        if top_p < 1.0 {
            let weights = softmax(&kept, 1.0);
            let mut sum = 0.0;
            let enough = weights.iter().position(|weight| {
                sum += weight;
                sum >= f64::from(top_p)
            });
            kept.truncate(enough.map_or(kept.len(), |last| last + 1));
        }
        if min_p > 0.0 {
            // The best is always kept.
            let bound = kept[0].logit + min_p.min(1.0).ln();
            kept.retain(|candidate| candidate.logit >= bound);
        }
        let weights = softmax(&kept, temperature);
        // Of times that pass until something happens at these rates, each is the shortest with its
        // probability.
        let time = |(candidate, weight): (&Candidate, f64)| {
            (
                -uniform(draw, candidate.token).ln() / weight,
                candidate.token,
            )
        };
        let times = kept.iter().zip(weights).map(time);
        let first = times.min_by(|a, b| a.0.total_cmp(&b.0));
        first.map_or(kept[0].token, |(_, token)| token)
    }
}

/// A number between 0 and 1, neither of them, that belongs to a token in one draw.
fn uniform(draw: u64, token: TokenId) -> f64 {
    let bits = twox_hash::xxhash3_64::Hasher::oneshot_with_seed(draw, &token.to_le_bytes());
    ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// The candidates' probabilities at `temperature`; they sum to 1. Best first, so the first is the
/// largest.
fn softmax(candidates: &[Candidate], temperature: f32) -> Vec<f64> {
    let scaled = |c: &Candidate| f64::from((c.logit - candidates[0].logit) / temperature).exp();
    let sum: f64 = candidates.iter().map(scaled).sum();
    candidates.iter().map(|c| scaled(c) / sum).collect()
}

impl Select for Sampler {
    fn select(&mut self, row: Row<'_>, text: &[TokenId], path: &[TokenId]) -> Option<TokenId> {
        if !row.has_finite() {
            return None;
        }
        if self.params.repeat_penalty == 1.0 {
            return Some(self.draw(row));
        }
        self.penalize(row.logits(), text, path);
        let penalized = std::mem::take(&mut self.penalized);
        let token = self.draw(Row::from(&penalized));
        self.penalized = penalized;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_that_swaps_two_candidates_leaves_the_draws_alone() {
        let params = SamplingParams {
            temperature: 1.0,
            top_p: 1.0,
            min_p: 0.0,
            ..SamplingParams::default()
        };
        let draws = |row: &[f32]| {
            let mut sampler = Sampler::new(params);
            let draws = (0..1000).map(|_| sampler.select(Row::from(row), &[], &[]));
            draws.collect::<Vec<_>>()
        };
        assert_eq!(draws(&[1.0, 1.00001, 0.5]), draws(&[1.00001, 1.0, 0.5]));
    }

    fn counts(params: SamplingParams, row: &[f32], draws: usize) -> Vec<f64> {
        let mut sampler = Sampler::new(params);
        let mut counts = vec![0.0; row.len()];
        for _ in 0..draws {
            let token = sampler.select(Row::from(row), &[], &[]).unwrap();
            counts[token as usize] += 1.0 / draws as f64;
        }
        counts
    }

    const OPEN: SamplingParams = SamplingParams {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repeat_penalty: 1.0,
        repeat_last_n: 0,
        seed: 7,
    };

    #[test]
    fn frequencies_follow_the_softmax() {
        let row = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let found = counts(OPEN, &row, 40_000);
        for (count, expected) in found.iter().zip([0.5, 0.3, 0.2]) {
            assert!((count - expected).abs() < 0.01, "{found:?}");
        }
    }

    #[test]
    fn filters_leave_only_what_they_should() {
        let row = [0.5f32.ln(), 0.3f32.ln(), 0.15f32.ln(), 0.05f32.ln()];
        let kept = |params| {
            counts(params, &row, 4_000)
                .iter()
                .filter(|&&c| c > 0.0)
                .count()
        };
        assert_eq!(kept(OPEN), 4);
        assert_eq!(kept(SamplingParams { top_k: 2, ..OPEN }), 2);
        assert_eq!(
            kept(SamplingParams {
                top_p: 0.79,
                ..OPEN
            }),
            2
        );
        assert_eq!(
            kept(SamplingParams {
                top_p: 0.85,
                ..OPEN
            }),
            3
        );
        assert_eq!(kept(SamplingParams { min_p: 0.2, ..OPEN }), 3);
        assert_eq!(kept(SamplingParams { min_p: 2.0, ..OPEN }), 1, "the best");
        assert_eq!(
            kept(SamplingParams {
                temperature: 0.0,
                ..OPEN
            }),
            1
        );
    }

    #[test]
    fn the_penalty_sees_text_and_path() {
        let params = SamplingParams {
            temperature: 0.0,
            repeat_penalty: 2.0,
            repeat_last_n: 2,
            ..OPEN
        };
        let mut sampler = Sampler::new(params);
        let row = [4.0, 3.0, -1.0];
        let mut select = |text: &[_], path: &[_]| sampler.select(Row::from(&row), text, path);
        assert_eq!(select(&[0], &[]), Some(1));
        assert_eq!(select(&[], &[0]), Some(1));
        assert_eq!(select(&[0], &[2, 2]), Some(0), "too long ago");
    }

    #[test]
    fn equal_seeds_draw_equal_tokens() {
        let row: Vec<f32> = (0..50u8).map(|i| f32::from(i % 7)).collect();
        let draw = || {
            let mut sampler = Sampler::new(OPEN);
            (0..64)
                .map(|_| sampler.select(Row::from(&row), &[], &[]))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
    }

    #[test]
    fn nan_is_never_drawn_whatever_the_filters() {
        const NAN: f32 = f32::NAN;
        const INF: f32 = f32::INFINITY;
        let all = [
            OPEN,
            SamplingParams { top_k: 2, ..OPEN },
            SamplingParams { top_p: 0.9, ..OPEN },
            SamplingParams { min_p: 0.1, ..OPEN },
            SamplingParams {
                repeat_penalty: 1.5,
                repeat_last_n: 4,
                ..OPEN
            },
            SamplingParams {
                temperature: 0.0,
                repeat_penalty: 1.5,
                repeat_last_n: 4,
                ..OPEN
            },
            SamplingParams {
                temperature: 0.8,
                seed: 3,
                ..SamplingParams::default()
            },
        ];
        let rows: [(&[f32], &[TokenId]); 4] = [
            (&[NAN, 1.0, NAN, 2.0], &[1, 3]),
            (&[NAN, -INF, -3.0, NAN], &[2]),
            (&[1.0, INF, NAN, INF], &[1, 3]),
            (&[-INF, 0.0, -INF, NAN], &[1]),
        ];
        for params in all {
            let mut sampler = Sampler::new(params);
            let mut select = |row: &[f32]| sampler.select(Row::from(row), &[0, 1, 2, 3], &[]);
            for (row, allowed) in rows {
                for _ in 0..50 {
                    let token = select(row).unwrap();
                    assert!(allowed.contains(&token), "{token} of {row:?}: {params:?}");
                }
            }
            for broken in [&[NAN, NAN][..], &[-INF, NAN], &[INF, NAN], &[]] {
                assert_eq!(select(broken), None, "{broken:?}");
            }
        }
    }
}
