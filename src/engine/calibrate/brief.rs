//! Measuring in about a second what a pass costs.

use std::time::{Duration, Instant};

use super::Passes;
use crate::engine::cost::{CostModel, SizeCost};
use crate::runtime::{DecodeError, TargetModel};

/// What a brief measurement found.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Seconds of a pass of one token.
    pub one: f64,
    /// The sizes measured, by their tokens, from one on.
    pub sizes: Vec<SizeCost>,
    /// Passes of one token that building a graph takes.
    pub build: f64,
}

/// Tokens of the passes, those that tell most first. The guess fills in the others.
const SIZES: [usize; 7] = [1, 8, 2, 16, 4, 32, 3];
/// More rounds teach little.
const MOST_ROUNDS: usize = 8;

/// Measures passes of a few sizes, round by round, as long as `budget` lasts: those that `guess`
/// expects to take longer than what is left of it are left out. The first pass, which may have to
/// fetch the weights, is not counted. `None` if not even two sizes could be measured.
///
/// # Errors
/// If the model fails.
pub fn measure_briefly(
    model: &mut impl TargetModel,
    guess: &CostModel,
    budget: Duration,
) -> Result<Option<Measured>, DecodeError> {
    if model.max_leaves() == 0 {
        return Ok(None);
    }
    let mut passes = Passes::of(model);
    let warm_up = passes.time_tree(1)?;
    let mut one = (warm_up.pass + warm_up.kv).as_secs_f64();
    let mut samples: [Vec<f64>; SIZES.len()] = Default::default();
    let mut rebuilt = Vec::new();
    let begun = Instant::now();
    for _ in 0..MOST_ROUNDS {
        for (&size, samples) in SIZES.iter().zip(&mut samples) {
            let ratio = guess.cost().of(size) / guess.cost().of(1);
            let expected = Duration::try_from_secs_f64(2.0 * ratio * one).unwrap_or(Duration::MAX);
            if !passes.fits(0, size) || begun.elapsed().saturating_add(expected) > budget {
                continue;
            }
            // The first builds a graph, which the second one uses again.
            let times = [passes.time_tree(size)?, passes.time_tree(size)?];
            let [first, second] = times.map(|it| (it.pass + it.kv).as_secs_f64());
            samples.push(second);
            if size == 1 {
                one = one.min(second);
                rebuilt.push(first);
            }
        }
    }
    Ok(summary(&samples, &rebuilt))
}

/// The fastest pass of each size: what else the machine did meanwhile only adds to others.
fn summary(samples: &[Vec<f64>], rebuilt: &[f64]) -> Option<Measured> {
    let fastest = SIZES.into_iter().zip(samples).filter_map(|(size, of)| {
        let passes = u32::try_from(of.len()).unwrap_or(u32::MAX);
        least(of).map(|seconds| (size, seconds, passes))
    });
    let mut fastest: Vec<_> = fastest.collect();
    fastest.sort_unstable_by_key(|&(size, ..)| size);
    let &(1, one, _) = fastest.first()? else {
        return None;
    };
    let sizes = fastest.iter().map(|&(tokens, seconds, passes)| SizeCost {
        tokens,
        ratio: seconds / one,
        passes,
    });
    let sizes: Vec<_> = sizes.collect();
    let build = (least(rebuilt)? / one - 1.0).clamp(0.0, 1.0);
    let all_positive = one > 0.0 && sizes.iter().all(|it| it.ratio > 0.0);
    (sizes.len() > 1 && all_positive).then_some(Measured { one, sizes, build })
}

fn least(times: &[f64]) -> Option<f64> {
    times.iter().copied().min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Failure, ScriptedModel};

    const LONG: Duration = Duration::from_secs(60);

    fn sizes(model: &mut ScriptedModel, budget: Duration) -> Vec<(usize, u32)> {
        let measured = measure_briefly(model, &CostModel::cpu(false), budget).unwrap();
        let sizes = measured.map(|it| it.sizes).unwrap_or_default();
        sizes.iter().map(|it| (it.tokens, it.passes)).collect()
    }

    #[test]
    fn sizes_that_fit_are_measured_and_nothing_stays() {
        let mut model = ScriptedModel::new(20, 2, 1, 20, 8);
        let rounds = u32::try_from(MOST_ROUNDS).unwrap();
        let expected = [1, 2, 3, 4, 8, 16].map(|size| (size, rounds));
        assert_eq!(sizes(&mut model, LONG), expected);
        model.assert_cache_holds(&[]);
    }

    #[test]
    fn without_time_or_drafts_nothing_is_measured_and_failures_are_told() {
        let model = ScriptedModel::new(20, 2, 1, 60, 8);
        assert_eq!(sizes(&mut model.clone(), Duration::ZERO), []);
        assert_eq!(sizes(&mut model.clone().uncuttable(), LONG), []);
        let mut fails = model.with_failures([(5, Failure::HalfWay)]);
        assert!(measure_briefly(&mut fails, &CostModel::gpu(), LONG).is_err());
    }

    #[test]
    fn the_fastest_pass_of_each_size_counts() {
        let mut samples: [Vec<f64>; SIZES.len()] = Default::default();
        samples[0] = vec![0.9, 0.1, 0.2];
        samples[1] = vec![0.5, 0.9, 0.3];
        let measured = summary(&samples, &[0.4, 0.11]).unwrap();
        let ratios: Vec<_> = measured
            .sizes
            .iter()
            .map(|it| (it.tokens, it.ratio))
            .collect();
        assert_eq!(ratios, [(1, 1.0), (8, 0.3 / 0.1)]);
        assert_eq!(measured.one, 0.1);
        assert!((measured.build - 0.1).abs() < 1e-9);
        samples[1].clear();
        assert_eq!(
            summary(&samples, &[0.4]),
            None,
            "one token alone says nothing"
        );
    }
}
