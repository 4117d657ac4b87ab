//! What a computation graph is built for, and what building one takes.

use super::{HICCUP, Pass, weight_of_next};

/// llama.cpp pads the length of the cache that a graph is for to a multiple of this.
const GRAPH_CELLS: usize = 256;
/// A guess at the time to build a graph, in passes of one token.
const BUILD: f64 = 0.02;

/// What llama.cpp's graph of a pass is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) tokens: usize,
    sequences: usize,
    /// Length of the cache that it reads, in blocks of [`GRAPH_CELLS`].
    blocks: usize,
}

impl Pass {
    pub(super) fn shape(self) -> Shape {
        Shape {
            tokens: self.tokens,
            sequences: self.sequences,
            blocks: blocks(self.n_past + self.tokens),
        }
    }
}

fn blocks(tokens: usize) -> usize {
    tokens.div_ceil(GRAPH_CELLS)
}

impl Shape {
    /// Whether a pass of as many tokens after `n_past` others reuses the graph of this one.
    pub(super) fn serves(self, n_past: usize) -> bool {
        self.blocks == blocks(n_past + self.tokens)
    }
}

/// Time to build a graph, in passes of one token.
#[derive(Clone, Copy, Debug)]
pub(super) struct BuildTime {
    mean: f64,
    seen: u32,
}

impl Default for BuildTime {
    fn default() -> Self {
        Self::known(BUILD)
    }
}

impl BuildTime {
    pub(super) fn known(mean: f64) -> Self {
        Self { mean, seen: 0 }
    }

    pub(super) fn get(self) -> f64 {
        self.mean.max(0.0)
    }

    /// Learns from a pass that took `extra` passes of one token longer than with a graph to reuse.
    /// `extra` is the difference of two noisy times. It may be negative, and is counted as such:
    /// otherwise the mean would be too high.
    pub(super) fn learn(&mut self, extra: f64) {
        self.seen = self.seen.saturating_add(1);
        let weight = weight_of_next(self.seen);
        self.mean += weight * (extra.clamp(-HICCUP, HICCUP) - self.mean);
    }
}
