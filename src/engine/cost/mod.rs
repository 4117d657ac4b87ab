//! Learning what a pass of the model costs.

mod curves;
mod graph;
mod known;

use crate::draft::{Graph, PassCost};
pub use curves::Curve;
use curves::{CPU, CPU_QUANTIZED, GPU, prior};
use graph::{BuildTime, Shape};
pub use known::SizeCost;

/// The time of a pass by its number of tokens, learned from the passes themselves.
///
/// The time of `n` tokens is `speed × prior(n) × correction(n)`. The speed follows whatever changes
/// all passes alike: a longer context, a busy machine. The corrections are what the prior got wrong
/// about single sizes. Only ratios between sizes decide how large a tree is, so the speed cancels
/// out. The correction of a size that is not seen for long fades, so that a size measured at a bad
/// moment gets another chance. All sizes are compared with one token, so passes of one token are
/// asked for now and then ([`wants_single_token_probe`](Self::wants_single_token_probe)).
///
/// A pass shaped like the one before it reuses that one's graph. The time to build a graph is
/// learned from the passes that had to build one, compared with passes of the same size that had
/// not.
#[derive(Clone, Debug)]
pub struct CostModel {
    curves: Vec<Curve>,
    /// Logarithm of the speed.
    speed: f64,
    /// By number of tokens, from 1 on.
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
    /// Passes since the last of one token.
    since_single: usize,
    /// How far the last passes of one token were from what was expected, as a logarithm.
    single_drift: f64,
    build_time: BuildTime,
    /// The shape of the last pass, while its graph can be reused.
    last: Option<Shape>,
}

/// What a pass was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Its tokens.
    pub tokens: usize,
    /// Their distinct sequences.
    pub sequences: usize,
    /// Tokens in the cache before it.
    pub n_past: usize,
}

/// What the prior got wrong about a size.
#[derive(Clone, Copy, Debug, Default)]
struct Correction {
    /// Logarithm of the factor.
    log: f64,
    /// Passes behind it.
    seen: u32,
    /// How many of those reused a graph.
    reusing: u32,
}

/// Tokens of the largest pass whose cost is learned: no tree that pays is larger.
pub const MOST_TOKENS: usize = 256;
/// A surprise larger than this factor is a hiccup of the machine, and counts as this much.
const HICCUP: f64 = 1.6;
/// So many passes of a size must have reused a graph before one that did not is compared with them.
const KNOWN: u32 = 3;
/// After this many passes, one more changes little, and the times are recomputed only every
/// [`REFRESH_EVERY`] passes.
const SETTLED: usize = 64;
const REFRESH_EVERY: usize = 8;
/// A pass of one token is due after so many others: while such passes surprise or none was seen,
/// and once they are as expected.
const FIRST_PROBE: usize = 16;
const NEXT_PROBE: usize = 256;
/// Passes of one token surprise if they are on average so far from what was expected (a logarithm).
const SURPRISING: f64 = 0.15;
/// Weight of the last pass in that average.
const DRIFT_WEIGHT: f64 = 1.0 / 3.0;

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
            since_single: 0,
            single_drift: 0.0,
            build_time: BuildTime::default(),
            last: None,
        }
    }

    /// Costs measured before, or guessed. Passes correct them.
    ///
    /// # Panics
    /// If there is no curve, or one has no time of one token, or sizes that do not rise, or a time
    /// that is not positive and finite.
    pub fn learned(mut curves: Vec<Curve>) -> Self {
        assert!(!curves.is_empty());
        for curve in &curves {
            let sizes = curve.times.iter().map(|&(n, _)| n);
            assert!(sizes.clone().is_sorted_by(|a, b| a < b) && sizes.clone().next() == Some(1));
            let mut times = curve.times.iter().map(|&(_, time)| time);
            assert!(times.all(|time| time > 0.0 && time.is_finite()));
        }
        curves.sort_by_key(|curve| curve.n_past);
        let mut model = Self {
            curves,
            corrections: vec![Correction::default(); MOST_TOKENS],
            fixed: false,
            ..Self::flat()
        };
        model.refresh();
        model
    }

    /// The same, with a measured time to build a graph, in passes of one token.
    ///
    /// # Panics
    /// If it is negative or not finite.
    pub fn with_build_time(mut self, passes: f64) -> Self {
        assert!(passes.is_finite() && passes >= 0.0);
        self.build_time = BuildTime::known(passes);
        self.refresh();
        self
    }

    /// A guess for processors: from a few tokens on, the cost of a pass is close to linear.
    /// `quantized` weights are less bound by memory, so each further token costs more.
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

    /// Says whether accepted tokens off the principal path are decoded again.
    pub fn set_exact(&mut self, exact: bool) {
        self.current.set_exact(exact);
    }

    /// Says how many tokens a unit of time brings at least, for all requests of a pass together.
    pub fn set_least_throughput(&mut self, tokens: f64) {
        self.current.set_least_throughput(tokens);
    }

    /// Prepares [`cost`](Self::cost) for the next pass: it comes after `n_past` tokens in the cache
    /// and decodes `redecode` committed tokens again.
    pub fn prepare(&mut self, n_past: usize, redecode: usize) {
        self.current.set_redecode(redecode);
        if !self.fixed {
            self.refresh_graph(self.last.filter(|last| last.serves(n_past)));
        }
    }

    /// Says that the model decoded something else, such as a prompt: the next pass has to build its
    /// graph.
    pub fn forget_graph(&mut self) {
        if !self.fixed {
            self.last = None;
            self.refresh_graph(None);
        }
    }

    /// Whether the next pass should be of one token, to measure what that costs.
    ///
    /// All sizes are compared with that one. A size that is not seen shares the corrections of its
    /// neighbours. So if one token were thought too expensive, every step would draft trees that do
    /// not pay, and nothing would ever show it.
    pub fn wants_single_token_probe(&self) -> bool {
        let seen = self.corrections.first().is_none_or(|it| it.seen > 0);
        let known = seen && self.single_drift.abs() < SURPRISING;
        !self.fixed && self.since_single >= if known { NEXT_PROBE } else { FIRST_PROBE }
    }

    /// Learns that a pass took `seconds`. Ignores a time that is not positive and finite.
    pub fn observe(&mut self, pass: Pass, seconds: f64) {
        if self.fixed {
            return;
        }
        let Pass { tokens, n_past, .. } = pass;
        let shape = pass.shape();
        let reusing = self.last.replace(shape) == Some(shape);
        self.n_past = n_past;
        self.since_single = if tokens == 1 {
            0
        } else {
            self.since_single + 1
        };
        if (1..=MOST_TOKENS).contains(&tokens) && seconds > 0.0 && seconds.is_finite() {
            self.learn(tokens, seconds, reusing);
        }
        if self.passes < SETTLED || self.passes.is_multiple_of(REFRESH_EVERY) {
            self.refresh();
        } else {
            self.refresh_graph(self.last);
        }
    }

    /// Learns from a pass of `tokens` tokens, which reused a graph or had to build one.
    fn learn(&mut self, tokens: usize, seconds: f64, reusing: bool) {
        if self.n_past / 64 != self.priors_of {
            self.refresh();
        }
        let expected = self.priors[tokens - 1];
        if self.passes == 0 {
            self.speed = seconds.ln() - expected;
        }
        self.passes += 1;
        // Passes of one token are asked for again and again, so their correction need not fade.
        let first = usize::from(tokens > 1);
        for slot in &mut self.corrections[first..] {
            slot.log *= FADING;
        }
        let correction = self.correction(tokens);
        let with_graph = (expected + self.speed + correction).exp();
        let one = (self.priors[0] + self.speed + self.correction(1)).exp();
        let build = if reusing {
            0.0
        } else {
            self.build_time.get() * one
        };
        if !reusing && self.corrections[tokens - 1].reusing >= KNOWN {
            self.build_time.learn((seconds - with_graph) / one);
        }
        // Building the graph is never all of a pass.
        let factor = (seconds - build).max(seconds / 4.0) / with_graph;
        self.correct(tokens, correction, factor, reusing);
    }

    /// Learns from a pass of `tokens` tokens that took `factor` times what was expected with this
    /// `correction`.
    fn correct(&mut self, tokens: usize, correction: f64, factor: f64, reusing: bool) {
        let surprise = factor.ln().clamp(-HICCUP.ln(), HICCUP.ln());
        if tokens == 1 {
            let first = self.corrections[0].seen == 0;
            let weight = if first { 1.0 } else { DRIFT_WEIGHT };
            self.single_drift += weight * (surprise - self.single_drift);
        }
        let slot = &mut self.corrections[tokens - 1];
        if slot.seen == 0 {
            slot.log = correction;
        }
        slot.seen = slot.seen.saturating_add(1);
        slot.reusing = slot.reusing.saturating_add(u32::from(reusing));
        // The first passes of a size teach most of its correction. The speed takes a small part of
        // every surprise.
        slot.log += weight_of_next(slot.seen) * surprise;
        self.speed += 0.05 * surprise;
    }

    /// Logarithm of the correction of a size: its own, or between those of the sizes around it.
    fn correction(&self, tokens: usize) -> f64 {
        let seen = |at: &usize| self.corrections[*at].seen > 0;
        let below = (0..tokens).rev().find(seen);
        let above = (tokens - 1..MOST_TOKENS).find(seen);
        self.between(below, above, tokens)
    }

    /// The correction of `tokens` tokens, interpolated between the slots `below` and `above`.
    fn between(&self, below: Option<usize>, above: Option<usize>, tokens: usize) -> f64 {
        let log = |at: usize| self.corrections[at].log;
        match (below, above) {
            (Some(a), Some(b)) if a == b => log(a),
            (Some(a), Some(b)) => {
                let x = |at: usize| self.log_sizes[at];
                let part = (x(tokens - 1) - x(a)) / (x(b) - x(a));
                log(a) + part * (log(b) - log(a))
            }
            (Some(only), None) | (None, Some(only)) => log(only),
            (None, None) => 0.0,
        }
    }

    /// Recomputes the time of every size, in one sweep.
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
        self.refresh_graph(self.last);
    }

    /// Tells `current` which graph can be reused.
    fn refresh_graph(&mut self, reusable: Option<Shape>) {
        self.current.set_graph(Graph {
            tokens: reusable.map(|shape| shape.tokens),
            build: self.build_time.get() * self.current.of(1),
        });
    }
}

/// Weight of the next surprise, of `seen` so far: as in a mean of the surprises and the
/// expectation, but at least a twentieth.
fn weight_of_next(seen: u32) -> f64 {
    (1.0 / f64::from(seen + 1)).max(0.05)
}

/// Factor by which every correction fades with each further pass.
const FADING: f64 = 0.999;

#[cfg(test)]
mod tests;
