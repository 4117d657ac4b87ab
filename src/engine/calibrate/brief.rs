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
    /// Passes of one token that building a graph takes: the guess.
    pub build: f64,
}

/// Tokens of the passes, those that tell most first. The guess fills in the others.
const SIZES: [usize; 7] = [1, 8, 2, 16, 4, 32, 3];
/// More rounds teach little.
const MOST_ROUNDS: usize = 8;
/// Short passes are measured several at once, so that what else the machine does meanwhile meets
/// small passes as it does large ones.
const LONG: f64 = 0.03;
const MOST_AT_ONCE: usize = 4;

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
    let mut one = seconds(&mut passes, 1)?;
    let mut samples: [Vec<f64>; SIZES.len()] = Default::default();
    let begun = Instant::now();
    for _ in 0..MOST_ROUNDS {
        for (&size, samples) in SIZES.iter().zip(&mut samples) {
            let expected = one * guess.cost().of(size) / guess.cost().of(1);
            // The first pass of a size builds the graph, which the others use again. Beside a long
            // pass that is nothing.
            let at_once = ((LONG / expected).ceil() as usize).clamp(1, MOST_AT_ONCE);
            let first = usize::from(expected < LONG);
            let all = expected * (first + at_once) as f64;
            let ends = begun.elapsed().as_secs_f64() + all;
            if !passes.fits(0, size) || ends > budget.as_secs_f64() {
                continue;
            }
            for _ in 0..first {
                seconds(&mut passes, size)?;
            }
            let mut sum = 0.0;
            for _ in 0..at_once {
                sum += seconds(&mut passes, size)?;
            }
            samples.push(sum / at_once as f64);
            if size == 1 {
                one = least(samples).unwrap_or(one);
            }
        }
    }
    Ok(summary(&samples, guess.build_time()))
}

/// Time of a pass over a tree.
fn seconds(passes: &mut Passes<'_, impl TargetModel>, size: usize) -> Result<f64, DecodeError> {
    let timed = passes.time_tree(size)?;
    Ok((timed.pass + timed.kv).as_secs_f64())
}

/// The fastest sample of each size: what else the machine does only adds to the others.
fn summary(samples: &[Vec<f64>], build: f64) -> Option<Measured> {
    let fastest = SIZES.into_iter().zip(samples).filter_map(|(size, of)| {
        let passes = u32::try_from(of.len()).unwrap_or(u32::MAX);
        least(of).map(|seconds| (size, seconds, passes))
    });
    let mut fastest: Vec<_> = fastest.collect();
    fastest.sort_unstable_by_key(|&(size, ..)| size);
    let &(1, ..) = fastest.first()? else {
        return None;
    };
    // If another size seems faster than one token, that one was measured at a bad moment.
    let one = least(&fastest.iter().map(|it| it.1).collect::<Vec<_>>())?;
    let sizes = fastest.iter().map(|&(tokens, seconds, passes)| SizeCost {
        tokens,
        ratio: if tokens == 1 { 1.0 } else { seconds / one },
        passes,
    });
    let sizes: Vec<_> = sizes.collect();
    (sizes.len() > 1 && one > 0.0).then_some(Measured { one, sizes, build })
}

fn least(times: &[f64]) -> Option<f64> {
    times.iter().copied().min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Failure, ScriptedModel};

    const LONG_TIME: Duration = Duration::from_secs(60);

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
        assert_eq!(sizes(&mut model, LONG_TIME), expected);
        model.assert_cache_holds(&[]);
    }

    #[test]
    fn without_time_or_drafts_nothing_is_measured_and_failures_are_told() {
        let model = ScriptedModel::new(20, 2, 1, 60, 8);
        assert_eq!(sizes(&mut model.clone(), Duration::ZERO), []);
        assert_eq!(sizes(&mut model.clone().uncuttable(), LONG_TIME), []);
        let mut fails = model.with_failures([(5, Failure::HalfWay)]);
        assert!(measure_briefly(&mut fails, &CostModel::gpu(), LONG_TIME).is_err());
    }

    #[test]
    fn the_fastest_pass_of_each_size_counts() {
        let mut samples: [Vec<f64>; SIZES.len()] = Default::default();
        samples[0] = vec![0.9, 0.1, 0.2];
        samples[1] = vec![0.5, 0.9, 0.3];
        let measured = summary(&samples, 0.1).unwrap();
        let ratios: Vec<_> = measured
            .sizes
            .iter()
            .map(|it| (it.tokens, it.ratio))
            .collect();
        assert_eq!(ratios, [(1, 1.0), (8, 0.3 / 0.1)]);
        assert_eq!(measured.one, 0.1);
        assert_eq!(measured.build, 0.1);
        samples[2] = vec![0.08];
        let measured = summary(&samples, 0.1).unwrap();
        let ratios: Vec<_> = measured.sizes.iter().map(|it| it.ratio).collect();
        assert_eq!(ratios, [1.0, 1.0, 0.3 / 0.08], "two tokens before one");
        samples[1].clear();
        samples[2].clear();
        assert_eq!(summary(&samples, 0.1), None, "one token alone says nothing");
    }
}
