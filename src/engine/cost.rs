//! Learning what a pass of the model costs.

use crate::draft::PassCost;

/// The time of a pass by its number of tokens, learned from the passes themselves.
///
/// A pass's time is taken as `speed × prior(n) × correction(n)`. The speed follows whatever hits all passes alike (a
/// longer context, a busy machine); the corrections are what the prior got wrong about single sizes. Only ratios
/// between sizes matter to whoever sizes trees, so the speed cancels out. Corrections of sizes not seen for long
/// fade, so that a size once measured at a bad moment gets another chance.
#[derive(Clone, Debug)]
pub struct CostModel {
    curves: Vec<Curve>,
    /// Logarithm of the speed.
    speed: f64,
    /// Logarithms of the corrections of `1..` tokens, with the number of passes behind each.
    corrections: Vec<Correction>,
    fixed: bool,
    current: PassCost,
    /// The context length that `current` is for.
    n_past: usize,
    /// Logarithms of the prior's times, for context lengths in the bucket `priors_of`.
    priors: Vec<f64>,
    priors_of: usize,
    /// Logarithms of the sizes.
    log_sizes: Vec<f64>,
    passes: usize,
}

/// Times of passes at one context length.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Tokens in the cache before the pass.
    pub n_past: usize,
    /// Tokens of the pass and its time, in any unit; by tokens, from 1 on.
    pub times: Vec<(usize, f64)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Correction {
    log: f64,
    seen: u32,
}

/// No tree is larger than pays beyond this many tokens.
const SIZES: usize = 256;
/// A surprise larger than this factor is a hiccup of the machine, and counts as this much.
const HICCUP: f64 = 1.6;

impl CostModel {
    /// All passes cost the same, and nothing is learned: trees grow as large as they may.
    pub fn flat() -> Self {
        Self::fixed(PassCost::flat())
    }

    /// Costs known beforehand; nothing is learned.
    pub fn fixed(cost: PassCost) -> Self {
        Self {
            curves: Vec::new(),
            speed: 0.0,
            corrections: Vec::new(),
            fixed: true,
            current: cost,
            n_past: 0,
            priors: Vec::new(),
            priors_of: 0,
            log_sizes: (1..=SIZES).map(|n| (n as f64).ln()).collect(),
            passes: 0,
        }
    }

    /// Costs measured before, or guessed: corrected as passes show more.
    ///
    /// # Panics
    /// If there is no curve, or one has no time of one token, or a time that is not positive.
    pub fn learned(mut curves: Vec<Curve>) -> Self {
        assert!(!curves.is_empty());
        for curve in &curves {
            let sizes = curve.times.iter().map(|&(n, _)| n);
            assert!(sizes.clone().is_sorted() && sizes.clone().next() == Some(1));
            assert!(curve.times.iter().all(|&(_, time)| time > 0.0));
        }
        curves.sort_by_key(|curve| curve.n_past);
        let mut model = Self {
            curves,
            corrections: vec![Correction::default(); SIZES],
            fixed: false,
            ..Self::flat()
        };
        model.refresh();
        model
    }

    /// A guess for processors: the cost of a pass is close to linear in its tokens from a few on. `quantized` weights
    /// are less bound by memory, so their further tokens cost more.
    pub fn cpu(quantized: bool) -> Self {
        let times: &[(usize, f64)] = if quantized {
            &[
                (1, 1.0),
                (2, 1.5),
                (3, 1.8),
                (4, 2.0),
                (6, 2.9),
                (8, 3.0),
                (12, 4.0),
                (16, 5.0),
                (32, 9.0),
                (64, 16.0),
                (256, 62.0),
            ]
        } else {
            &[
                (1, 1.0),
                (2, 1.28),
                (3, 1.4),
                (4, 1.48),
                (6, 1.7),
                (8, 2.2),
                (12, 2.8),
                (16, 3.5),
                (32, 6.5),
                (64, 12.0),
                (256, 46.0),
            ]
        };
        Self::learned(vec![Curve {
            n_past: 0,
            times: times.to_vec(),
        }])
    }

    /// A guess for graphics processors: bound by memory up to about 64 tokens.
    pub fn gpu() -> Self {
        let times = [
            (1, 1.0),
            (2, 1.04),
            (4, 1.08),
            (8, 1.15),
            (16, 1.25),
            (32, 1.35),
            (64, 1.5),
            (128, 2.1),
            (256, 3.4),
        ];
        Self::learned(vec![Curve {
            n_past: 0,
            times: times.to_vec(),
        }])
    }

    /// What passes cost now.
    pub fn cost(&self) -> &PassCost {
        &self.current
    }

    /// Tells that a pass over `tokens` tokens, with `n_past` in the cache before it, took `seconds`.
    pub fn observe(&mut self, tokens: usize, n_past: usize, seconds: f64) {
        if self.fixed || !(1..=SIZES).contains(&tokens) || !(seconds > 0.0) {
            return;
        }
        self.n_past = n_past;
        if self.n_past / 64 != self.priors_of {
            self.refresh();
        }
        let expected = self.priors[tokens - 1];
        if self.passes == 0 {
            self.speed = seconds.ln() - expected;
        }
        self.passes += 1;
        let correction = self.correction(tokens);
        let surprise = seconds.ln() - expected - self.speed - correction;
        let surprise = surprise.clamp(-HICCUP.ln(), HICCUP.ln());
        for slot in &mut self.corrections {
            slot.log *= FADING;
        }
        let slot = &mut self.corrections[tokens - 1];
        if slot.seen == 0 {
            slot.log = correction;
        }
        slot.seen = slot.seen.saturating_add(1);
        // The first passes of a size teach most of it; the speed takes a small part of every surprise.
        let share = (1.0 / f64::from(slot.seen + 1)).max(0.05);
        slot.log += share * surprise;
        self.speed += 0.05 * surprise;
        self.refresh();
    }

    /// The prior's time of `tokens` at the present context length.
    fn prior(&self, tokens: usize) -> f64 {
        let after = self
            .curves
            .partition_point(|curve| curve.n_past < self.n_past);
        match (
            after.checked_sub(1).map(|at| &self.curves[at]),
            self.curves.get(after),
        ) {
            (Some(short), Some(long)) => {
                let span = (long.n_past - short.n_past).max(1) as f64;
                let part = (self.n_past - short.n_past) as f64 / span;
                let (a, b) = (
                    interpolate(&short.times, tokens),
                    interpolate(&long.times, tokens),
                );
                a + part * (b - a)
            }
            (Some(only), None) | (None, Some(only)) => interpolate(&only.times, tokens),
            (None, None) => 1.0,
        }
    }

    /// Logarithm of the correction of a size: its own, or between those of the sizes around it.
    fn correction(&self, tokens: usize) -> f64 {
        let seen = |at: &usize| self.corrections[*at].seen > 0;
        let below = (0..tokens).rev().find(seen);
        let above = (tokens - 1..SIZES).find(seen);
        self.between(below, above, tokens)
    }

    /// The correction of `tokens` tokens between those of the slots `below` and `above`.
    fn between(&self, below: Option<usize>, above: Option<usize>, tokens: usize) -> f64 {
        let log = |at: usize| self.corrections[at].log;
        match (below, above) {
            (Some(a), Some(b)) if a == b => log(a),
            (Some(a), Some(b)) => {
                let place = |at: usize| self.log_sizes[at];
                let part = (place(tokens - 1) - place(a)) / (place(b) - place(a));
                log(a) + part * (log(b) - log(a))
            }
            (Some(only), None) | (None, Some(only)) => log(only),
            (None, None) => 0.0,
        }
    }

    /// Brings `current` up to date, in one sweep over the sizes: this is done in every step.
    fn refresh(&mut self) {
        let bucket = self.n_past / 64;
        if self.priors.is_empty() || bucket != self.priors_of {
            self.priors = (1..=SIZES).map(|n| self.prior(n).ln()).collect();
            self.priors_of = bucket;
        }
        let mut times = Vec::with_capacity(SIZES);
        let seen = |at: &usize| self.corrections[*at].seen > 0;
        let mut below = None;
        let mut above = (0..SIZES).find(seen);
        for at in 0..SIZES {
            if above.is_some_and(|above| above < at) {
                below = above;
                above = (at..SIZES).find(seen);
            }
            if above == Some(at) {
                below = above;
            }
            let correction = self.between(below, above, at + 1);
            times.push((self.priors[at] + self.speed + correction).exp());
        }
        self.current = PassCost::from_times(times);
    }
}

/// What is left of every correction after a further pass.
const FADING: f64 = 0.998;

/// The time of `tokens`, between the sizes measured; larger ones go on with the last slope.
fn interpolate(times: &[(usize, f64)], tokens: usize) -> f64 {
    let after = times.partition_point(|&(n, _)| n < tokens);
    let (a, b) = match times.get(after) {
        Some(&(n, time)) if n == tokens => return time,
        Some(&b) => (times[after.max(1) - 1], b),
        None if times.len() >= 2 => (times[times.len() - 2], times[times.len() - 1]),
        None => return times[0].1 * tokens as f64,
    };
    let slope = (b.1 - a.1) / (b.0 - a.0) as f64;
    (a.1 + slope * (tokens - a.0) as f64).max(a.1.min(b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(model: &CostModel, n: usize) -> f64 {
        model.cost().of(n) / model.cost().of(1)
    }

    #[test]
    fn sizes_between_those_measured_are_interpolated() {
        let model = CostModel::learned(vec![Curve {
            n_past: 0,
            times: vec![(1, 1.0), (4, 1.6), (8, 4.0)],
        }]);
        let cost = model.cost();
        assert!((cost.of(2) - 1.2).abs() < 1e-9);
        assert!((cost.of(6) - 2.8).abs() < 1e-9);
        assert!((cost.of(10) - 5.2).abs() < 1e-9);
        assert!(
            (cost.of(300) - (4.0 + 292.0 * 0.6)).abs() < 1.0,
            "beyond the table"
        );
    }

    #[test]
    fn a_wrong_prior_is_corrected_where_passes_were_seen_and_around() {
        let mut model = CostModel::cpu(false);
        for i in 0..200 {
            let n = [1, 4, 1, 8][i % 4];
            let truth = [0.0, 0.05, 0.0, 0.0, 0.12, 0.0, 0.0, 0.0, 0.2][n];
            model.observe(n, 100, truth * (1.0 + 0.05 * ((i * 7 % 5) as f64 - 2.0)));
        }
        assert!(
            (ratio(&model, 4) / 2.4 - 1.0).abs() < 0.1,
            "{}",
            ratio(&model, 4)
        );
        assert!(
            (ratio(&model, 8) / 4.0 - 1.0).abs() < 0.1,
            "{}",
            ratio(&model, 8)
        );
        assert!(ratio(&model, 6) > 2.5, "{}", ratio(&model, 6));
    }

    #[test]
    fn a_slower_machine_changes_no_ratio_and_a_hiccup_little() {
        let mut model = CostModel::cpu(true);
        let truth = |n: usize| 0.01 * interpolate(&[(1, 1.0), (4, 2.0), (8, 3.0)], n);
        (0..300).for_each(|i| model.observe([1, 4, 8][i % 3], 0, truth([1, 4, 8][i % 3])));
        let before = ratio(&model, 4);
        (0..300).for_each(|i| model.observe([1, 4, 8][i % 3], 0, 3.0 * truth([1, 4, 8][i % 3])));
        assert!((ratio(&model, 4) / before - 1.0).abs() < 0.05);
        model.observe(4, 0, 100.0 * truth(4));
        assert!((ratio(&model, 4) / before - 1.0).abs() < 0.06);
    }

    #[test]
    fn a_size_measured_at_a_bad_moment_gets_another_chance() {
        let mut model = CostModel::cpu(false);
        model.observe(1, 0, 0.01);
        (0..3).for_each(|_| model.observe(4, 0, 0.1));
        let bad = ratio(&model, 4);
        (0..2000).for_each(|_| model.observe(1, 0, 0.01));
        assert!(ratio(&model, 4) < 0.8 * bad, "{} {bad}", ratio(&model, 4));
    }

    #[test]
    fn context_lengths_are_interpolated() {
        let curve = |n_past, slope: f64| Curve {
            n_past,
            times: vec![(1, 1.0), (2, 1.0 + slope)],
        };
        let mut model = CostModel::learned(vec![curve(0, 0.2), curve(1000, 0.6)]);
        model.observe(1, 500, 1.0);
        assert!((ratio(&model, 2) - 1.4).abs() < 1e-6);
        model.observe(1, 9000, 1.0);
        assert!((ratio(&model, 2) - 1.6).abs() < 0.05);
    }

    #[test]
    fn the_sweep_gives_what_each_size_gives_alone() {
        let mut model = CostModel::cpu(true);
        for (i, n) in [3, 17, 3, 64, 1, 200].into_iter().enumerate() {
            model.observe(n, 10 * i, 0.01 * (n + i) as f64);
            for n in 1..=SIZES {
                let alone = (model.prior(n).ln() + model.speed + model.correction(n)).exp();
                assert!((model.cost().of(n) / alone - 1.0).abs() < 1e-9, "{n}");
            }
        }
    }

    #[test]
    fn known_costs_stay_as_they_are() {
        let mut model = CostModel::flat();
        model.observe(9, 0, 5.0);
        assert!(model.cost().is_flat());
    }
}
