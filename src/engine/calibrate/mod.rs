//! Measuring what a pass costs.

mod brief;
mod file;
mod learned;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::TokenId;
use crate::engine::cost::{CostModel, Curve};
use crate::logits::argmax;
use crate::runtime::{DecodeError, SlotId, TargetModel};
use crate::tree::{DraftTree, ROOT, TreeLimits};
pub use brief::{Measured, measure_briefly};
pub use file::{Calibration, CalibrationError, CalibrationKey};
pub use learned::Learned;

/// What a pass of one size costs at one context length; medians, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassTimes {
    /// Tokens in the cache before the pass.
    pub n_past: usize,
    /// Tokens of the pass.
    pub tokens: usize,
    /// The pass after one of the same shape: it reuses the computation graph.
    pub reused: f64,
    /// The fastest of those.
    #[serde(default)]
    pub fastest: f64,
    /// The pass after one of another shape: it builds its graph.
    pub rebuilt: f64,
    /// How much longer the pass takes than a chain of as many tokens that asks for its last row
    /// alone. From the last layer's feed-forward part on, llama.cpp computes only what a row needs.
    /// So this is that part, the output layer, copying rows off the device, and what a tree's mask
    /// costs beyond a chain's. 0 in older files, which lack it.
    #[serde(default)]
    pub rows: f64,
    /// Moving cells of the KV cache between sequences, before and after.
    pub kv: f64,
    /// Searching one row for its largest logit.
    pub argmax: f64,
    /// Searching one row for its 64 largest logits.
    pub top_k: f64,
}

/// Which passes to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationPlan {
    /// Context lengths, ascending.
    pub contexts: Vec<usize>,
    /// Tokens of a pass, ascending, from 1 on.
    pub sizes: Vec<usize>,
    /// How often each pass is measured, unless it takes long.
    pub repeats: usize,
    /// A size is done once this much time was spent on it and it has two samples.
    pub budget: Duration,
    /// A size on which less time was spent is measured more often, up to 64 times: the shorter a
    /// pass, the more a hiccup of the machine adds to it.
    pub steady: Duration,
    /// A pass that costs so many times as much as one of one token, at the shortest context, is not
    /// measured at longer ones: no tree gets that large.
    pub most_ratio: f64,
}

impl Default for CalibrationPlan {
    fn default() -> Self {
        Self {
            contexts: vec![128, 1024, 4000],
            sizes: vec![
                1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256,
            ],
            repeats: 5,
            budget: Duration::from_secs(1),
            steady: Duration::from_millis(100),
            most_ratio: 12.0,
        }
    }
}

/// More samples of a short pass teach nothing.
const MOST_REPEATS: usize = 64;
/// The slot whose passes are measured.
const SLOT: SlotId = 0;
/// Samples of what rows cost. It decides nothing, so few are enough.
const LAST_ROWS: usize = 5;

/// Measures passes over trees of all sizes, round by round, so that a disturbance affects all sizes
/// alike. Sizes that do not fit the context or a batch are left out. So is everything if the
/// model's memory cannot drop tokens.
///
/// `progress` is told how many passes of how many are done, and may cancel.
///
/// # Errors
/// If the model fails, or [`DecodeError::Aborted`] if `progress` cancelled. The model's cache is
/// empty then, too.
pub fn calibrate(
    model: &mut impl TargetModel,
    plan: &CalibrationPlan,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Vec<PassTimes>, DecodeError> {
    model.truncate(SLOT, 0);
    let measured = measure_all(&mut Passes::of(model), plan, progress);
    model.truncate(SLOT, 0);
    measured
}

fn measure_all(
    passes: &mut Passes<'_, impl TargetModel>,
    plan: &CalibrationPlan,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Vec<PassTimes>, DecodeError> {
    let mut wanted: Vec<(usize, Vec<usize>)> = Vec::new();
    for &n_past in &plan.contexts {
        let sizes = plan.sizes.iter().copied();
        let sizes: Vec<usize> = sizes.filter(|&size| passes.fits(n_past, size)).collect();
        if !sizes.is_empty() {
            wanted.push((n_past, sizes));
        }
    }
    let all = wanted.iter().map(|(_, sizes)| sizes.len()).sum::<usize>() * plan.repeats;
    let mut count = Count {
        done: 0,
        all,
        progress,
    };
    let mut times: Vec<PassTimes> = Vec::new();
    // The largest size worth measuring.
    let mut most = usize::MAX;
    for (n_past, sizes) in &wanted {
        passes.fill(*n_past, &mut count)?;
        let of_interest = sizes.iter().filter(|&&size| size <= most).count();
        count.all -= (sizes.len() - of_interest) * plan.repeats;
        let sizes = &sizes[..of_interest];
        let mut samples = measure_sizes(passes, plan, sizes, &mut count)?;
        let medians = sizes.iter().zip(&mut samples);
        times.extend(medians.map(|(&size, samples)| samples.medians(*n_past, size)));
        if most == usize::MAX {
            let one = times.first().map_or(0.0, |time| time.reused);
            let cheap = times.iter().filter(|it| it.reused <= plan.most_ratio * one);
            most = cheap.map(|it| it.tokens).max().unwrap_or(0);
        }
    }
    // Too late to cancel.
    let _ = (count.progress)(count.all, count.all);
    Ok(times)
}

/// Measures passes of these sizes after the text in the cache.
fn measure_sizes(
    passes: &mut Passes<'_, impl TargetModel>,
    plan: &CalibrationPlan,
    sizes: &[usize],
    count: &mut Count<'_>,
) -> Result<Vec<Samples>, DecodeError> {
    let mut samples = vec![Samples::default(); sizes.len()];
    for round in 0..plan.repeats.max(MOST_REPEATS) {
        for (&size, samples) in sizes.iter().zip(&mut samples) {
            // Rounds beyond those asked for are short.
            count.done += usize::from(round < plan.repeats);
            let enough = samples.spent() > plan.budget && samples.reused.len() > 1;
            let steady = round >= plan.repeats && samples.spent() >= plan.steady;
            if enough || steady {
                continue;
            }
            let few = samples.last_row.len() < LAST_ROWS && samples.spent() <= plan.budget;
            if size > 1 && few {
                passes.last_row(size, samples)?;
            }
            // Of two passes alike, the second reuses the graph.
            if passes.tree(size, samples)? == Graph::Rebuilt {
                passes.tree(size, samples)?;
            }
            count.tell()?;
        }
    }
    Ok(samples)
}

/// Counts the passes, and reports them.
struct Count<'a> {
    done: usize,
    all: usize,
    progress: &'a mut dyn FnMut(usize, usize) -> ControlFlow<()>,
}

impl Count<'_> {
    fn tell(&mut self) -> Result<(), DecodeError> {
        match (self.progress)(self.done, self.all) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(DecodeError::Aborted),
        }
    }
}

/// Whether the times contradict each other, because the machine was busy: a pass took much less
/// time than a smaller one, and the smaller one was much faster at its best. (A smaller pass that
/// was never faster has a slower kernel.)
pub fn contradictory(times: &[PassTimes]) -> bool {
    times.iter().enumerate().any(|(index, large)| {
        times[..index].iter().any(|small| {
            small.n_past == large.n_past
                && small.tokens >= TELLING
                && large.reused < LEAST_RISE * small.reused
                && small.fastest < small.reused * (1.0 + LEAST_RISE) / 2.0
        })
    })
}

/// A larger size may have a faster kernel than a smaller one, but by no more than this factor.
const LEAST_RISE: f64 = 0.6;
/// Smaller passes are so short that a hiccup proves nothing.
const TELLING: usize = 8;

/// A [`CostModel`] from measured times. They are sorted by context and size, and each context
/// begins with one token, as [`calibrate`] gives them and [`Calibration::read`] checks.
///
/// # Panics
/// If there are no times, or [`CostModel`] does not accept them.
pub fn cost_model(times: &[PassTimes]) -> CostModel {
    let mut curves: Vec<Curve> = Vec::new();
    for time in times {
        let point = (time.tokens, (time.reused + time.kv).max(f64::MIN_POSITIVE));
        match curves.last_mut() {
            Some(curve) if curve.n_past == time.n_past => curve.times.push(point),
            _ => curves.push(Curve {
                n_past: time.n_past,
                times: vec![point],
            }),
        }
    }
    // The time to build a graph hardly depends on the size, and large passes vary by more than it.
    let small = times.iter().filter(|time| time.tokens <= SMALL);
    let mut rebuilds: Vec<f64> = small.map(|time| time.rebuilt - time.reused).collect();
    rebuilds.sort_by(f64::total_cmp);
    let rebuild = rebuilds.get(rebuilds.len() / 2).copied().unwrap_or(0.0);
    CostModel::learned(curves).with_build_time((rebuild / times[0].reused).max(0.0))
}

/// The time to build a graph is read off passes of at most this many tokens.
const SMALL: usize = 8;

/// Whether a pass reused the computation graph of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Graph {
    Reused,
    Rebuilt,
}

/// What a pass over a tree took.
struct Timed {
    pass: Duration,
    kv: Duration,
    argmax: Duration,
    top_k: Duration,
}

/// Passes of a model after the text in its cache. None of their tokens are kept.
struct Passes<'m, M> {
    model: &'m mut M,
    filler: Filler,
    /// Size of the last pass's tree, if there was one after the same text.
    before: Option<usize>,
}

impl<'m, M: TargetModel> Passes<'m, M> {
    fn of(model: &'m mut M) -> Self {
        let filler = Filler::new(model.n_vocab());
        Self {
            model,
            filler,
            before: None,
        }
    }

    fn fits(&self, n_past: usize, size: usize) -> bool {
        let model = &self.model;
        size <= model.n_batch() && model.max_leaves() > 0 && n_past + size <= model.n_ctx()
    }

    /// Fills the cache up to `n_past` tokens.
    fn fill(&mut self, n_past: usize, count: &mut Count<'_>) -> Result<(), DecodeError> {
        self.before = None;
        let most = self.model.prompt_piece().max(1);
        while self.model.n_past(SLOT) < n_past {
            count.tell()?;
            let piece = (n_past - self.model.n_past(SLOT)).min(most);
            let tokens = self.filler.tokens(piece);
            self.model.append(SLOT, &tokens)?;
        }
        Ok(())
    }

    /// One pass over a tree like those that drafters grow: half chain, half bush.
    fn tree(&mut self, size: usize, samples: &mut Samples) -> Result<Graph, DecodeError> {
        let timed = self.time_tree(size)?;
        let graph = match self.before.replace(size) == Some(size) {
            true => Graph::Reused,
            false => Graph::Rebuilt,
        };
        let passes = match graph {
            Graph::Reused => &mut samples.reused,
            Graph::Rebuilt => &mut samples.rebuilt,
        };
        passes.push(timed.pass);
        samples.kv.push(timed.kv);
        samples.argmax.push(timed.argmax);
        samples.top_k.push(timed.top_k);
        Ok(graph)
    }

    fn time_tree(&mut self, size: usize) -> Result<Timed, DecodeError> {
        let model = &mut *self.model;
        let n_past = model.n_past(SLOT);
        let tree = sample_tree(&mut self.filler, size, model.max_leaves());
        let kv_before = model.kv_time();
        let start = Instant::now();
        model.decode_tree(SLOT, &[], &tree)?;
        let pass = start.elapsed();
        let kv_within = model.kv_time().saturating_sub(kv_before);
        let searched = Instant::now();
        std::hint::black_box(argmax(model.row(SLOT, ROOT).logits()));
        let argmax = searched.elapsed();
        let searched = Instant::now();
        let mut found = Vec::new();
        model.row(SLOT, tree.len() - 1).top_k_into(64, &mut found);
        std::hint::black_box(found);
        let top_k = searched.elapsed();
        model.commit(SLOT, &tree, &[]);
        model.truncate(SLOT, n_past);
        Ok(Timed {
            pass: pass.saturating_sub(kv_within),
            kv: model.kv_time().saturating_sub(kv_before),
            argmax,
            top_k,
        })
    }

    /// A pass that gives its last row alone, after another that builds the graph.
    fn last_row(&mut self, size: usize, samples: &mut Samples) -> Result<(), DecodeError> {
        self.before = None;
        let n_past = self.model.n_past(SLOT);
        let tokens = self.filler.tokens(size);
        self.model.append(SLOT, &tokens)?;
        self.model.truncate(SLOT, n_past);
        let start = Instant::now();
        self.model.append(SLOT, &tokens)?;
        samples.last_row.push(start.elapsed());
        self.model.truncate(SLOT, n_past);
        Ok(())
    }
}

fn sample_tree(filler: &mut Filler, size: usize, leaves: usize) -> DraftTree {
    let limits = TreeLimits {
        capacity: size,
        leaves: leaves.max(1),
        depth: usize::MAX,
    };
    let mut tree = DraftTree::new(filler.token(), limits);
    for node in 1..size {
        let parent = if node <= size / 2 {
            node - 1
        } else {
            node - size / 2 - 1
        };
        let token = filler.token();
        if tree.push(parent, token).is_none() {
            // No leaf is left: the chain grows instead.
            let deepest = (0..tree.len()).max_by_key(|&node| tree.depth(node));
            tree.push(deepest.unwrap_or(ROOT), token);
        }
    }
    tree
}

#[derive(Clone, Debug, Default)]
struct Samples {
    reused: Vec<Duration>,
    rebuilt: Vec<Duration>,
    last_row: Vec<Duration>,
    kv: Vec<Duration>,
    argmax: Vec<Duration>,
    top_k: Vec<Duration>,
}

impl Samples {
    /// Time spent on passes over trees.
    fn spent(&self) -> Duration {
        self.reused.iter().chain(&self.rebuilt).sum()
    }

    fn medians(&mut self, n_past: usize, tokens: usize) -> PassTimes {
        let fastest = self.reused.iter().min().copied().unwrap_or_default();
        let median = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            let middle = times.get(times.len() / 2).copied().unwrap_or_default();
            middle.as_secs_f64()
        };
        let reused = median(&mut self.reused);
        // A pass of one token has only its last row.
        let rows = if self.last_row.is_empty() {
            0.0
        } else {
            (reused - median(&mut self.last_row)).max(0.0)
        };
        PassTimes {
            n_past,
            tokens,
            reused,
            fastest: fastest.as_secs_f64(),
            rebuilt: median(&mut self.rebuilt),
            rows,
            kv: median(&mut self.kv),
            argmax: median(&mut self.argmax),
            top_k: median(&mut self.top_k),
        }
    }
}

/// Random tokens: the time of a pass depends on their number alone.
struct Filler {
    random: fastrand::Rng,
    n_vocab: usize,
}

impl Filler {
    fn new(n_vocab: usize) -> Self {
        Self {
            random: fastrand::Rng::with_seed(0),
            n_vocab,
        }
    }

    fn tokens(&mut self, count: usize) -> Vec<TokenId> {
        (0..count).map(|_| self.token()).collect()
    }

    fn token(&mut self) -> TokenId {
        TokenId::try_from(self.random.usize(..self.n_vocab.max(1))).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
