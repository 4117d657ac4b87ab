//! Learning what a pass of the model costs.

mod curves;
mod shapes;

use crate::draft::{PassCost, Shapes};
pub use curves::Curve;
use curves::{CPU, CPU_QUANTIZED, GPU, prior};
use shapes::{Rebuild, Reluctance, Shape};

/// The time of a pass by its number of tokens, learned from the passes themselves.
///
/// A pass's time is taken as `speed × prior(n) × correction(n)`. The speed follows whatever hits
/// all passes alike (a longer context, a busy machine); the corrections are what the prior got
/// wrong about single sizes. Only ratios between sizes matter to whoever sizes trees, so the speed
/// cancels out. Corrections of sizes not seen for long fade, so that a size once measured at a bad
/// moment gets another chance; passes of one token, which all others are weighed against, are asked
/// for ([`wants_plain`](Self::wants_plain)).
///
/// A pass shaped like the one before it uses that one's graph; what building one costs is learned
/// from the passes that had to, beside passes of the same size that had not.
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
    /// Passes since the last of one token, and how far the last of those were from what was
    /// expected, as a logarithm.
    since_plain: usize,
    plain_drift: f64,
    rebuild: Rebuild,
    /// Unless shapes are [free](Self::with_free_shapes).
    reluctance: Option<Reluctance>,
    /// Whether the size of the last pass was [chosen](Pass::chosen).
    chosen: bool,
    /// The shape of the pass before, while its graph can be used again.
    last: Option<Shape>,
    /// The part of the recent passes that had `1..` tokens.
    shares: Vec<f64>,
}

/// What a pass was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Its tokens.
    pub tokens: usize,
    /// The distinct sequences they lie on.
    pub sequences: usize,
    /// Tokens in the cache before it.
    pub n_past: usize,
    /// Whether it might have been larger: nobody asked for a plain pass, and there was room in
    /// cache and batch.
    pub chosen: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Correction {
    log: f64,
    seen: u32,
    /// Passes among them that had a graph to use.
    reusing: u32,
}

/// Tokens of the largest pass whose cost is learned: no tree that pays is larger.
pub const MOST_TOKENS: usize = 256;
/// A surprise larger than this factor is a hiccup of the machine, and counts as this much.
const HICCUP: f64 = 1.6;
/// Passes of a size that must have used a graph again before one that did not is compared with
/// them.
const KNOWN: u32 = 3;
/// Of a pass's say in the shares, how much a further pass leaves.
const SHARE_KEPT: f64 = 0.95;
/// After this many passes one alone changes little, and the sizes are swept only every so many
/// passes.
const SETTLED: usize = 64;
const SWEEP: usize = 8;
/// Passes after which one of one token is due: while those surprise or none was seen, and once they
/// are as expected.
const FIRST_PLAIN: usize = 16;
const NEXT_PLAIN: usize = 256;
/// Passes of one token that are on average so far from what was expected, as a logarithm, surprise.
const SURPRISING: f64 = 0.15;
/// Of that average, how much is the last of them.
const DRIFT_SHARE: f64 = 1.0 / 3.0;

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
            log_sizes: (1..=MOST_TOKENS).map(|n| (n as f64).ln()).collect(),
            passes: 0,
            since_plain: 0,
            plain_drift: 0.0,
            rebuild: Rebuild::default(),
            reluctance: None,
            chosen: true,
            last: None,
            shares: Vec::new(),
        }
    }

    /// Costs measured before, or guessed: corrected as passes show more.
    ///
    /// # Panics
    /// If there is no curve, or one has no time of one token, or sizes that do not rise, or a time
    /// that is not positive and finite.
    pub fn learned(mut curves: Vec<Curve>) -> Self {
        assert!(!curves.is_empty());
        for curve in &curves {
            let sizes = curve.times.iter().map(|&(n, _)| n);
            assert!(sizes.clone().is_sorted_by(|a, b| a < b) && sizes.clone().next() == Some(1));
            assert!(
                curve
                    .times
                    .iter()
                    .all(|&(_, time)| time > 0.0 && time.is_finite())
            );
        }
        curves.sort_by_key(|curve| curve.n_past);
        let mut model = Self {
            curves,
            corrections: vec![Correction::default(); MOST_TOKENS],
            shares: vec![0.0; MOST_TOKENS],
            reluctance: Some(Reluctance::default()),
            fixed: false,
            ..Self::flat()
        };
        model.refresh();
        model
    }

    /// The same, with the time to build a graph measured, too, in passes of one token.
    ///
    /// # Panics
    /// If it is negative or not finite.
    pub fn with_rebuild(mut self, ratio: f64) -> Self {
        assert!(ratio.is_finite() && ratio >= 0.0);
        self.rebuild.ratio = ratio;
        self.refresh();
        self
    }

    /// The same, where a change of shape is charged for building a graph alone: one and a half
    /// times what that takes, and at least a twentieth of a pass. Otherwise it has to bring as much
    /// as it takes for nine passes of ten to find their graph. A device that records graphs plays
    /// them back only where several passes alike follow each other; on a processor that costs some
    /// speed where a graph takes next to nothing, and that is the price of one default that is
    /// right without a flag on both.
    pub fn with_free_shapes(mut self) -> Self {
        self.reluctance = None;
        if !self.fixed {
            self.refresh_shapes();
        }
        self
    }

    /// A guess for processors: the cost of a pass is close to linear in its tokens from a few on.
    /// `quantized` weights are less bound by memory, so their further tokens cost more.
    pub fn cpu(quantized: bool) -> Self {
        let times = if quantized { CPU_QUANTIZED } else { CPU };
        Self::learned(vec![Curve::anywhere(times)])
    }

    /// A guess for graphics processors: bound by memory up to about 64 tokens.
    pub fn gpu() -> Self {
        Self::learned(vec![Curve::anywhere(GPU)])
    }

    /// What passes cost now.
    pub fn cost(&self) -> &PassCost {
        &self.current
    }

    /// Seconds that a pass of `tokens` tokens takes longer with `more` tokens beside them; infinite
    /// as long as that is not known, as before the first pass.
    pub fn seconds_of(&self, more: usize, tokens: usize) -> f64 {
        if more == 0 {
            0.0
        } else if self.fixed || self.passes == 0 {
            f64::INFINITY
        } else {
            // Some sizes cost less than smaller ones, which is no reason to fill a pass up.
            (self.current.bare(tokens + more) - self.current.bare(tokens)).max(0.0)
        }
    }

    /// The next pass has `ahead` tokens ahead of its tree, and comes after `n_past` tokens in the
    /// cache.
    pub fn expect(&mut self, n_past: usize, ahead: usize) {
        self.current.set_ahead(ahead);
        if !self.fixed {
            let last = self.last.filter(|last| last.serves(n_past));
            self.current.set_last(last.map(|last| last.tokens));
        }
    }

    /// Tells that the model did something else than these passes: the next one has its graph to
    /// build.
    pub fn interrupted(&mut self) {
        if !self.fixed {
            self.last = None;
            self.refresh_shapes();
        }
    }

    /// Whether the next pass had better be of one token.
    ///
    /// All sizes are weighed against that one. A size that is not seen shares the corrections of
    /// its neighbours, so where one token was taken to cost too much, trees are drafted in every
    /// step that do not pay, and nothing ever shows it.
    pub fn wants_plain(&self) -> bool {
        let seen = self.corrections.first().is_none_or(|it| it.seen > 0);
        let known = seen && self.plain_drift.abs() < SURPRISING;
        !self.fixed && self.since_plain >= if known { NEXT_PLAIN } else { FIRST_PLAIN }
    }

    /// Tells that a pass took `seconds`. A time that is none teaches nothing.
    pub fn observe(&mut self, pass: Pass, seconds: f64) {
        if self.fixed {
            return;
        }
        let Pass { tokens, n_past, .. } = pass;
        let shape = pass.shape();
        let before = self.last.replace(shape);
        let reusing = before == Some(shape);
        let before = before.filter(|it| it.serves(n_past) && pass.chosen && self.chosen);
        if let (Some(before), Some(reluctance)) = (before, &mut self.reluctance) {
            reluctance.learn(before == shape);
        }
        self.chosen = pass.chosen;
        self.n_past = n_past;
        self.since_plain = if tokens == 1 { 0 } else { self.since_plain + 1 };
        if !(1..=MOST_TOKENS).contains(&tokens) || seconds <= 0.0 || !seconds.is_finite() {
            self.refresh_shapes();
            return;
        }
        if self.n_past / 64 != self.priors_of {
            self.refresh();
        }
        let expected = self.priors[tokens - 1];
        if self.passes == 0 {
            self.speed = seconds.ln() - expected;
        }
        self.passes += 1;
        for share in &mut self.shares {
            *share *= SHARE_KEPT;
        }
        self.shares[tokens - 1] += 1.0 - SHARE_KEPT;
        // That of one token is asked for again and again, so it need not fade while there are none.
        let first = usize::from(tokens > 1);
        for slot in &mut self.corrections[first..] {
            slot.log *= FADING;
        }
        let correction = self.correction(tokens);
        let bare = (expected + self.speed + correction).exp();
        let one = (self.priors[0] + self.speed + self.correction(1)).exp();
        let rebuild = if reusing {
            0.0
        } else {
            self.rebuild.ratio.max(0.0) * one
        };
        if !reusing && self.corrections[tokens - 1].reusing >= KNOWN {
            self.rebuild.learn((seconds - bare) / one);
        }
        // A pass is never all graph.
        let factor = (seconds - rebuild).max(seconds / 4.0) / bare;
        self.correct(tokens, correction, factor, reusing);
        if self.passes < SETTLED || self.passes.is_multiple_of(SWEEP) {
            self.refresh();
        } else {
            self.refresh_shapes();
        }
    }

    /// Learns from a pass of `tokens` tokens that took `factor` times what was expected with this
    /// `correction`.
    fn correct(&mut self, tokens: usize, correction: f64, factor: f64, reusing: bool) {
        let surprise = factor.ln().clamp(-HICCUP.ln(), HICCUP.ln());
        if tokens == 1 {
            let first = self.corrections[0].seen == 0;
            let share = if first { 1.0 } else { DRIFT_SHARE };
            self.plain_drift += share * (surprise - self.plain_drift);
        }
        let slot = &mut self.corrections[tokens - 1];
        if slot.seen == 0 {
            slot.log = correction;
        }
        slot.seen = slot.seen.saturating_add(1);
        slot.reusing = slot.reusing.saturating_add(u32::from(reusing));
        // The first passes of a size teach most of it; the speed takes a small part of every
        // surprise.
        let share = share_of_next(slot.seen);
        slot.log += share * surprise;
        self.speed += 0.05 * surprise;
    }

    /// Logarithm of the correction of a size: its own, or between those of the sizes around it.
    fn correction(&self, tokens: usize) -> f64 {
        let seen = |at: &usize| self.corrections[*at].seen > 0;
        let below = (0..tokens).rev().find(seen);
        let above = (tokens - 1..MOST_TOKENS).find(seen);
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

    /// Brings `current` up to date, in one sweep over the sizes.
    fn refresh(&mut self) {
        let bucket = self.n_past / 64;
        if self.priors.is_empty() || bucket != self.priors_of {
            self.priors = (1..=MOST_TOKENS)
                .map(|n| prior(&self.curves, self.n_past, n).ln())
                .collect();
            self.priors_of = bucket;
        }
        let mut times = Vec::with_capacity(MOST_TOKENS);
        let seen = |at: &usize| self.corrections[*at].seen > 0;
        let mut below = None;
        let mut above = (0..MOST_TOKENS).find(seen);
        for at in 0..MOST_TOKENS {
            if above.is_some_and(|above| above < at) {
                below = above;
                above = (at..MOST_TOKENS).find(seen);
            }
            if above == Some(at) {
                below = above;
            }
            let correction = self.between(below, above, at + 1);
            times.push((self.priors[at] + self.speed + correction).exp());
        }
        self.current.set_times(times);
        self.refresh_shapes();
    }

    /// Brings the part of `current` up to date that every pass changes.
    fn refresh_shapes(&mut self) {
        let one = self.current.bare(1);
        let shapes = Shapes {
            last: self.last.map(|shape| shape.tokens),
            rebuild: self.rebuild.ratio.max(0.0) * one,
            charge: shapes::charge(self.rebuild, self.reluctance) * one,
            shares: self.shares.clone(),
        };
        self.current.set_shapes(shapes);
    }
}

/// The say of a surprise, of which `seen` are known with it: that of one in a mean with what was
/// expected, and never less than a twentieth.
fn share_of_next(seen: u32) -> f64 {
    (1.0 / f64::from(seen + 1)).max(0.05)
}

/// What is left of every correction after a further pass.
const FADING: f64 = 0.999;

#[cfg(test)]
mod tests;
