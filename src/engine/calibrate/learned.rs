//! What answers taught about the cost of a pass, kept for the next run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::brief::Measured;
use super::file::{CalibrationError, CalibrationKey, FOREIGN, LONGEST, SHORTEST};
use super::file::{path_of, read, write};
use crate::engine::cost::{CostModel, MOST_TOKENS, SizeCost};

/// What is known of a model on one machine that was never calibrated: a brief measurement, refined
/// by the passes of all answers since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// What it depends on.
    pub key: CalibrationKey,
    /// Seconds of a pass of one token, at the last look.
    pub one: f64,
    /// Passes of one token that building a graph takes.
    pub build: f64,
    /// By tokens, from one on.
    pub sizes: Vec<SizeCost>,
}

/// Passes of a size that count at most, so that it can still change.
const MOST_PASSES: u32 = 24;
/// Most passes of a session that count: those of one answer are all from the same moment.
const MOST_NEW: u32 = 8;
/// Fewer passes of a size that is not known say nothing.
const FEWEST_NEW: u32 = 3;
/// A pass of a measurement counts for so many of a session, which has hiccups among them.
const MEASURED: u32 = 2;
/// A plausible ratio between two sizes, or to build a graph.
const MOST_RATIO: f64 = 1e4;

impl Learned {
    /// From a brief measurement.
    pub fn measured(key: CalibrationKey, measured: Measured) -> Self {
        let Measured {
            one,
            mut sizes,
            build,
        } = measured;
        for it in &mut sizes {
            it.passes = it.passes.saturating_mul(MEASURED);
        }
        Self {
            key,
            one,
            build,
            sizes,
        }
    }

    /// From the passes of a session. `None` if it had none of one token.
    pub fn of(key: CalibrationKey, cost: &CostModel) -> Option<Self> {
        let mut learned = Self {
            key,
            one: cost.cost().of(1),
            build: cost.build_time(),
            sizes: Vec::new(),
        };
        learned.refine(cost).then_some(learned)
    }

    /// The cost model of the next session; `guess` is what one knows without measuring.
    pub fn cost_model(&self, guess: CostModel) -> CostModel {
        guess.with_build_time(self.build).with_known(&self.sizes)
    }

    /// Adds what a session learned. `false` if that is nothing.
    ///
    /// All sizes are compared with one token. So the sizes that it did not see stay as they are,
    /// whatever the speed of the machine was. But each time they count for less, and at last they
    /// are forgotten: if one was measured at a bad moment and is never drafted for that reason, the
    /// guess and the sizes around it are the better witnesses.
    pub fn refine(&mut self, cost: &CostModel) -> bool {
        let seen = cost.seen();
        if seen.is_empty() {
            return false;
        }
        for old in &mut self.sizes {
            if !seen.iter().any(|new| new.tokens == old.tokens) {
                old.passes = old.passes.min(MOST_PASSES) / 2;
            }
        }
        self.sizes.retain(|old| old.passes > 0);
        for new in &seen {
            let at = self.sizes.partition_point(|it| it.tokens < new.tokens);
            let passes = new.passes.min(MOST_NEW);
            match self.sizes.get_mut(at) {
                Some(old) if old.tokens == new.tokens => {
                    let before = old.passes.min(MOST_PASSES);
                    let part = f64::from(passes) / f64::from(before + passes);
                    old.ratio *= (new.ratio / old.ratio).powf(part);
                    old.passes = old.passes.saturating_add(passes);
                }
                _ if passes < FEWEST_NEW && new.tokens > 1 => {}
                _ => self.sizes.insert(at, SizeCost { passes, ..*new }),
            }
        }
        self.one = cost.cost().of(1);
        self.build += (cost.build_time() - self.build) / 4.0;
        true
    }

    /// The file below `folder` for `key`.
    pub fn path(folder: &Path, key: &CalibrationKey) -> PathBuf {
        path_of("learned", folder, key)
    }

    /// Reads what is known of `key`; `None` if that is nothing.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or belongs to another key.
    pub fn read(folder: &Path, key: &CalibrationKey) -> Result<Option<Self>, CalibrationError> {
        read(&Self::path(folder, key), |it: &Self| match it.key == *key {
            true => it.check(),
            false => Err(FOREIGN.into()),
        })
    }

    /// Writes it below `folder`. An older file is replaced whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, CalibrationError> {
        write(Self::path(folder, &self.key), self)
    }

    /// Whether [`CostModel::with_known`] accepts it.
    fn check(&self) -> Result<(), String> {
        if !(SHORTEST..=LONGEST).contains(&self.one) {
            return Err("has a time of one token that cannot be".into());
        }
        if !(0.0..=MOST_RATIO).contains(&self.build) {
            return Err("has a time to build a graph that cannot be".into());
        }
        let plausible = |it: &SizeCost| {
            (MOST_RATIO.recip()..=MOST_RATIO).contains(&it.ratio) && it.tokens <= MOST_TOKENS
        };
        if !self.sizes.iter().all(plausible) {
            return Err("has a size or a ratio that cannot be".into());
        }
        let rises = self.sizes.is_sorted_by(|a, b| a.tokens < b.tokens);
        match self.sizes.first() {
            Some(first) if first.tokens == 1 && rises => Ok(()),
            _ => Err("is out of order".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Pass;

    /// A machine on which a token more costs a fifth of the first one.
    fn truth(tokens: usize) -> f64 {
        0.8 + 0.2 * tokens as f64
    }

    fn observe(mut cost: CostModel, tokens: usize, seconds: f64) -> CostModel {
        let pass = Pass {
            tokens,
            sequences: 1,
            n_past: 100,
        };
        cost.observe(pass, seconds);
        cost
    }

    /// What a session learns from passes of these sizes, on a machine of this speed.
    fn session(start: CostModel, sizes: &[usize], speed: f64) -> CostModel {
        let mut cost = start;
        for round in 0..30 {
            let noise = 1.0 + 0.05 * (f64::from(round * 7 % 5) - 2.0) / 2.0;
            for &tokens in sizes {
                cost = observe(cost, tokens, speed * noise * truth(tokens));
            }
        }
        cost
    }

    fn key() -> CalibrationKey {
        [("threads".to_owned(), 2.into())].into()
    }

    fn measured(sizes: &[(usize, f64)]) -> Learned {
        let size = |&(tokens, ratio): &(usize, f64)| SizeCost {
            tokens,
            ratio,
            passes: 4,
        };
        let sizes = sizes.iter().map(size).collect();
        Learned::measured(
            key(),
            Measured {
                one: 0.1,
                sizes,
                build: 0.0,
            },
        )
    }

    fn ratio(learned: &Learned, tokens: usize) -> f64 {
        let model = learned.cost_model(CostModel::cpu(true));
        model.cost().of(tokens) / model.cost().of(1)
    }

    #[test]
    fn the_next_session_starts_from_what_the_last_one_learned() {
        let guess = CostModel::cpu(true);
        let learned = Learned::of(key(), &session(guess, &[1, 4, 8], 0.01)).unwrap();
        assert!((learned.one / 0.01 - 1.0).abs() < 0.1, "{}", learned.one);
        for tokens in [4, 8] {
            let off = ratio(&learned, tokens) / truth(tokens) - 1.0;
            assert!(off.abs() < 0.03, "{tokens}: {off}");
        }
        // The guess fills in the rest.
        let between = ratio(&learned, 6);
        assert!(between > ratio(&learned, 4) && between < 1.2 * ratio(&learned, 8));
        // All are compared with one token.
        let without = session(CostModel::cpu(true), &[4, 8], 0.01);
        assert_eq!(Learned::of(key(), &without), None);
        assert!(!learned.clone().refine(&without));
    }

    #[test]
    fn sessions_refine_the_sizes_they_see_whatever_the_speed_is() {
        let mut learned = measured(&[(1, 1.0), (4, 3.0), (8, truth(8))]);
        for speed in [0.01, 0.05, 0.002, 0.01, 0.02, 0.01] {
            let start = learned.cost_model(CostModel::cpu(true));
            assert!(learned.refine(&session(start, &[1, 4], speed)));
        }
        assert!((ratio(&learned, 4) / truth(4) - 1.0).abs() < 0.1);
        assert_eq!(learned.sizes[0].ratio, 1.0);
        assert!(learned.sizes[1].passes >= 6 * MOST_NEW);
        // What was seen once is no size to know.
        let start = learned.cost_model(CostModel::cpu(true));
        let mut once = session(start, &[1, 4], 0.01);
        once = observe(once, 7, 1.0);
        learned.refine(&once);
        assert!(learned.sizes.iter().all(|it| it.tokens != 7));
    }

    #[test]
    fn a_size_measured_at_a_bad_moment_is_forgotten() {
        // Nothing is drafted that is so dear, so no session sees it.
        let mut learned = measured(&[(1, 1.0), (4, truth(4)), (8, 40.0)]);
        for _ in 0..5 {
            let start = learned.cost_model(CostModel::cpu(true));
            learned.refine(&session(start, &[1, 4], 0.01));
        }
        assert!(
            ratio(&learned, 8) < 2.0 * truth(8),
            "{}",
            ratio(&learned, 8)
        );
    }

    #[test]
    fn it_is_read_by_its_own_key_alone_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let ours = measured(&[(1, 1.0), (4, 2.0)]);
        assert_eq!(Learned::read(folder.path(), &key()).unwrap(), None);
        let path = ours.write(folder.path()).unwrap();
        assert_eq!(Learned::read(folder.path(), &key()).unwrap(), Some(ours));
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to, why) in [
            (
                "\"threads\": 2",
                "\"threads\": 4",
                "another model or machine",
            ),
            ("\"one\": 0.1", "\"one\": -1.0", "one token that cannot be"),
            ("\"build\": 0.0", "\"build\": 1e9", "to build a graph"),
            ("\"ratio\": 2.0", "\"ratio\": 0.0", "a ratio that cannot be"),
            ("\"tokens\": 4", "\"tokens\": 400", "a size or a ratio"),
            ("\"tokens\": 4", "\"tokens\": 1", "out of order"),
            ("\"tokens\": 1", "\"tokens\": 2", "out of order"),
            ("{", "", "is not a calibration"),
        ] {
            assert!(text.contains(from), "{text}");
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = Learned::read(folder.path(), &key())
                .unwrap_err()
                .to_string();
            assert!(error.contains(why) && error.contains("learned-"), "{error}");
        }
    }
}
