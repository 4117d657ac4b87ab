//! What a graph is made for, what building one takes, and what a change of size has to bring.

use super::{HICCUP, Pass, share_of_next};

/// llama.cpp pads the length of the cache that a graph is for to a multiple of this.
const GRAPH_CELLS: usize = 256;
/// A guess at the time to build a graph, in passes of one token.
const REBUILD: f64 = 0.02;
/// A change of shape is charged somewhat more than it was seen to cost: what a tree of another size
/// will bring is a guess, that it costs is not.
pub(super) const CAUTION: f64 = 1.5;
/// And never less than a part of a pass.
pub(super) const LEAST_RELUCTANCE: f64 = 0.05;
/// Of the passes that could find the graph of the one before, the part that is to do so. Those that
/// could not, after prompts and where the cache becomes longer, leave somewhat more than nine of
/// ten. What that takes, and what it costs where graphs cost nothing, is in docs/decisions.md, "A
/// change of shape".
pub(super) const HELD: f64 = 0.94;
/// What a change has to bring at first for that, in passes of one token; the most; and how fast it
/// follows: what a pass of another size adds to its logarithm, and one of the same size takes off,
/// are this together.
pub(super) const FIRST_RELUCTANCE: f64 = 1.0;
pub(super) const MOST_RELUCTANCE: f64 = 4.0;
const RELUCTANCE_STEP: f64 = 0.1;

/// What llama.cpp's graph of a pass is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) tokens: usize,
    sequences: usize,
    /// Number of pieces of the cache that it reads.
    pieces: usize,
}

impl Pass {
    pub(super) fn shape(self) -> Shape {
        Shape {
            tokens: self.tokens,
            sequences: self.sequences,
            pieces: pieces(self.n_past + self.tokens),
        }
    }
}

/// Pieces of the cache that hold so many tokens.
fn pieces(tokens: usize) -> usize {
    tokens.div_ceil(GRAPH_CELLS)
}

impl Shape {
    /// Whether a pass of as many tokens after `n_past` others finds the graph of this one.
    pub(super) fn serves(self, n_past: usize) -> bool {
        self.pieces == pieces(n_past + self.tokens)
    }
}

/// Time to build a graph, in passes of one token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rebuild {
    pub(super) ratio: f64,
    seen: u32,
}

impl Default for Rebuild {
    fn default() -> Self {
        Self {
            ratio: REBUILD,
            seen: 0,
        }
    }
}

impl Rebuild {
    /// Learns from a pass that took `extra` passes of one token longer than without a graph to
    /// build. That is the difference of two noisy times: it may be less than nothing, and counts as
    /// such, or the mean would be too high.
    pub(super) fn learn(&mut self, extra: f64) {
        self.seen = self.seen.saturating_add(1);
        let share = share_of_next(self.seen);
        self.ratio += share * (extra.clamp(-HICCUP, HICCUP) - self.ratio);
    }
}

/// What a change of size has to bring, in passes of one token, whatever a graph costs, so that most
/// passes have the size of the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reluctance(pub(super) f64);

impl Default for Reluctance {
    fn default() -> Self {
        Self(FIRST_RELUCTANCE)
    }
}

impl Reluctance {
    /// Learns from a pass that had the shape of the one before, or another: it stays as it is where
    /// so many have it as should.
    pub(super) fn learn(&mut self, held: bool) {
        let too_few = HELD - f64::from(u8::from(held));
        let next = self.0 * (RELUCTANCE_STEP * too_few).exp();
        self.0 = next.clamp(LEAST_RELUCTANCE, MOST_RELUCTANCE);
    }
}

/// What one change of shape has to bring, in passes of one token; there and back are two.
pub(super) fn charge(rebuild: Rebuild, reluctance: Option<Reluctance>) -> f64 {
    let reluctance = reluctance.map_or(LEAST_RELUCTANCE, |it| it.0);
    (CAUTION * rebuild.ratio).max(reluctance)
}
