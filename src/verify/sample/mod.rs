//! Drawing from the model's distribution.

mod candidates;
mod dry;
mod params;

use candidates::{Candidates, Item};

use crate::TokenId;
use crate::logits::{Candidate, Row};
use crate::verify::Select;

pub use dry::DryBreakers;
pub use params::{DryParams, Mirostat, SamplerKind, SamplingParams, UnknownSampler};

/// Draws tokens as llama.cpp's chain of samplers does.
///
/// One random number is used for each token of the answer, in order, however the tokens are
/// drafted. So the same seed gives the same answer with any drafter and with none, and the accepted
/// text has exactly the model's distribution: a drafted token is kept only if it is the very token
/// that was drawn.
///
/// Whatever else is random or learned on the way (XTC, Mirostat) is a function of that number and
/// of the tokens before, too.
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
    chain: Vec<SamplerKind>,
    random: fastrand::Rng,
    /// Mirostat's bound on surprise, as the tokens drawn so far have left it.
    mu: f32,
    row: Vec<f32>,
}

impl Sampler {
    /// A sampler at the start of its random numbers.
    pub fn new(mut params: SamplingParams) -> Self {
        // Sorted, to be found; several for one token add up.
        params.logit_bias.sort_by_key(|&(token, _)| token);
        params.logit_bias.dedup_by(|next, first| {
            let same = next.0 == first.0;
            first.1 += if same { next.1 } else { 0.0 };
            same
        });
        Self {
            chain: params.chain(),
            random: fastrand::Rng::with_seed(params.seed),
            mu: 2.0 * params.mirostat.map_or(0.0, |mirostat| mirostat.tau),
            row: Vec::new(),
            params,
        }
    }

    /// Draws from a row with a finite logit. `None` if a bias forbids all tokens that have one.
    fn draw(&mut self, row: &mut [f32], text: &[TokenId], path: &[TokenId]) -> Option<TokenId> {
        // One for each position, whatever comes of it.
        let draw = self.random.u64(..);
        let mut candidates = self.reduce(row, draw, text, path);
        let drawn = race(candidates.list(), draw)?;
        if let Some(Mirostat { tau, eta }) = self.params.mirostat {
            self.mu -= eta * (-drawn.p.log2() - tau);
        }
        Some(drawn.token)
    }

    /// The tokens that may be drawn next, with their logits after all samplers. Draws nothing, and
    /// uses no random number.
    pub fn candidates(&self, row: Row<'_>, text: &[TokenId], path: &[TokenId]) -> Vec<Candidate> {
        let draw = self.random.clone().u64(..);
        let mut row = row.logits().to_vec();
        let mut left = self.reduce(&mut row, draw, text, path);
        let candidate = |item: &Item| Candidate {
            token: item.token,
            logit: item.logit,
        };
        left.list().iter().map(candidate).collect()
    }

    /// What all samplers leave of a row.
    fn reduce<'r>(
        &self,
        row: &'r mut [f32],
        draw: u64,
        text: &[TokenId],
        path: &[TokenId],
    ) -> Candidates<'r> {
        let mut candidates = Candidates::new(row);
        candidates.adjust(&self.params.logit_bias, |logit, bias| logit + bias);
        for &kind in &self.chain {
            self.apply(kind, &mut candidates, draw, text, path);
        }
        if self.params.mirostat.is_some() {
            candidates.least_surprising(self.mu);
        }
        candidates
    }

    /// Applies one sampler.
    fn apply(
        &self,
        kind: SamplerKind,
        candidates: &mut Candidates<'_>,
        draw: u64,
        text: &[TokenId],
        path: &[TokenId],
    ) {
        let params = &self.params;
        let latest = |count| {
            let latest = path.iter().rev().chain(text.iter().rev());
            latest.take(count).copied().collect::<Vec<TokenId>>()
        };
        match kind {
            SamplerKind::Penalties => {
                let seen = counts(latest(params.repeat_last_n));
                candidates.adjust(&seen, |logit, &count| params.penalize(logit, count));
            }
            SamplerKind::Dry => {
                let penalties = dry::penalties(&params.dry, &latest(params.dry.last_n));
                candidates.adjust(&penalties, |logit, penalty| logit - penalty);
            }
            SamplerKind::TopNSigma => candidates.top_n_sigma(params.top_n_sigma),
            SamplerKind::TopK => candidates.top_k(params.top_k),
            SamplerKind::TypicalP => candidates.typical(params.typical_p),
            SamplerKind::TopP => candidates.top_p(params.top_p),
            SamplerKind::MinP => candidates.min_p(params.min_p),
            SamplerKind::Xtc => {
                if chance(draw) <= f64::from(params.xtc_probability) {
                    candidates.exclude_top(params.xtc_threshold);
                }
            }
            SamplerKind::Temperature if params.dynatemp_range > 0.0 => {
                let (middle, range) = (params.temperature, params.dynatemp_range);
                let bounds = [(middle - range).max(0.0), middle + range];
                candidates.dynamic_temperature(bounds, params.dynatemp_exponent);
            }
            SamplerKind::Temperature => candidates.temperature(params.temperature),
        }
    }
}

impl SamplingParams {
    /// The logit of a token that was seen `count` times lately.
    fn penalize(&self, logit: f32, count: usize) -> f32 {
        // Dividing a negative logit would make its token more probable.
        let logit = match logit <= 0.0 {
            true => logit * self.repeat_penalty,
            false => logit / self.repeat_penalty,
        };
        logit - (count as f32 * self.frequency_penalty + self.presence_penalty)
    }
}

/// How often each of these tokens is there, in ascending order.
fn counts(mut tokens: Vec<TokenId>) -> Vec<(TokenId, usize)> {
    tokens.sort_unstable();
    let runs = tokens.chunk_by(|a, b| a == b);
    runs.map(|run| (run[0], run.len())).collect()
}

/// Draws one of the candidates by their weights.
///
/// Of times that pass until something happens at these rates, each is the shortest with its
/// probability.
fn race(list: &[Item], draw: u64) -> Option<Item> {
    let max = list
        .iter()
        .fold(f32::NEG_INFINITY, |max, it| max.max(it.logit));
    let time = |item: &Item| {
        let weight = f64::from(item.logit - max).exp();
        -uniform(draw, item.token).ln() / weight
    };
    let mut first = (f64::INFINITY, *list.first()?);
    for item in list {
        let time = time(item);
        if time < first.0 {
            first = (time, *item);
        }
    }
    Some(first.1)
}

/// A number between 0 and 1 that belongs to one draw, and to no token.
fn chance(draw: u64) -> f64 {
    unit(twox_hash::xxhash3_64::Hasher::oneshot_with_seed(
        draw, b"chance",
    ))
}

/// A number between 0 and 1, neither of them, that belongs to a token in one draw.
fn uniform(draw: u64, token: TokenId) -> f64 {
    unit(twox_hash::xxhash3_64::Hasher::oneshot_with_seed(
        draw,
        &token.to_le_bytes(),
    ))
}

/// Random bits as a number between 0 and 1, neither of them.
fn unit(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

impl Select for Sampler {
    fn select(&mut self, row: Row<'_>, text: &[TokenId], path: &[TokenId]) -> Option<TokenId> {
        if !row.has_finite() {
            return None;
        }
        let mut changed = std::mem::take(&mut self.row);
        changed.clear();
        changed.extend_from_slice(row.logits());
        let token = self.draw(&mut changed, text, path);
        self.row = changed;
        token
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
            let mut sampler = Sampler::new(params.clone());
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

    fn open() -> SamplingParams {
        SamplingParams {
            repeat_last_n: 0,
            seed: 7,
            ..SamplingParams::open()
        }
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let row = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let found = counts(open(), &row, 40_000);
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
        assert_eq!(kept(open()), 4);
        assert_eq!(kept(SamplingParams { top_k: 2, ..open() }), 2);
        assert_eq!(
            kept(SamplingParams {
                top_p: 0.79,
                ..open()
            }),
            2
        );
        assert_eq!(
            kept(SamplingParams {
                top_p: 0.85,
                ..open()
            }),
            3
        );
        assert_eq!(
            kept(SamplingParams {
                min_p: 0.2,
                ..open()
            }),
            3
        );
        assert_eq!(
            kept(SamplingParams {
                min_p: 2.0,
                ..open()
            }),
            1,
            "the best"
        );
        assert_eq!(
            kept(SamplingParams {
                temperature: 0.0,
                ..open()
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
            ..open()
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
            let mut sampler = Sampler::new(open());
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
            open(),
            SamplingParams { top_k: 2, ..open() },
            SamplingParams {
                top_p: 0.9,
                ..open()
            },
            SamplingParams {
                min_p: 0.1,
                ..open()
            },
            SamplingParams {
                repeat_penalty: 1.5,
                repeat_last_n: 4,
                ..open()
            },
            SamplingParams {
                temperature: 0.0,
                repeat_penalty: 1.5,
                repeat_last_n: 4,
                ..open()
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
            let mut sampler = Sampler::new(params.clone());
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
