//! Tiles of a few rows and a few tokens, whose sums all fit in registers.

use std::ops::Range;

use super::{Chunks, Job, Output};
use crate::prefetch::{Order, Prefetcher, Schedule, Visit};

/// Tokens that visit a chunk at a time. Their activations stay in the second-level cache: in single
/// precision, 64 of 5,632 values are 1.4 MB.
pub(crate) const TOKENS: usize = 64;

/// A few rows and a few tokens.
pub(crate) struct Tile {
    /// The first row.
    pub(crate) weights: *const u8,
    /// Bytes from one row to the next.
    pub(crate) stride: usize,
    /// The first token.
    pub(crate) token: usize,
    pub(crate) schedule: Schedule,
}

/// A way to compute tiles.
pub(crate) trait Kernel {
    /// Steps in which the kernel goes over a row.
    fn steps(&self) -> usize;

    /// Computes `R` rows for `N` tokens.
    ///
    /// # Safety
    /// The processor has the kernel's instructions, the tile's rows and tokens are in memory, and
    /// there is room for the results.
    unsafe fn compute<const R: usize, const N: usize>(&self, tile: &Tile, output: Output);
}

/// Computes all chunks in tiles of `R` rows and up to `N` tokens (six at most).
///
/// # Safety
/// As for [`Kernel::compute`], for all rows and tokens.
#[inline(always)]
pub(crate) unsafe fn compute<K: Kernel, const R: usize, const N: usize>(
    kernel: &K,
    job: &Job,
    chunks: &mut Chunks<'_>,
) {
    while let Some(chunk) = chunks.next() {
        let mut take_next = || chunks.peek().map(|next| next.start);
        let mut prefetcher = Prefetcher::new(job.weights, chunk.end, Order::best(), &mut take_next);
        let all = job.shape.tokens;
        for first in (0..all).step_by(TOKENS) {
            let tokens = first..all.min(first + TOKENS);
            // SAFETY: the caller's promises.
            unsafe {
                compute_chunk::<K, R, N>(kernel, job, chunk.clone(), tokens, &mut prefetcher);
            }
        }
    }
}

#[inline(always)]
unsafe fn compute_chunk<K: Kernel, const R: usize, const N: usize>(
    kernel: &K,
    job: &Job,
    chunk: Range<usize>,
    tokens: Range<usize>,
    prefetcher: &mut Prefetcher<'_>,
) {
    // About even: six and one would take longer than four and three.
    let passes = tokens.len().div_ceil(N);
    let per_pass = tokens.len().div_ceil(passes);
    let visit = Visit {
        first: tokens.start == 0,
        last: tokens.end == job.shape.tokens,
    };
    let mut row = chunk.start;
    while row < chunk.end {
        let rows = if row + R <= chunk.end { R } else { 1 };
        let weights = job.weights.row(row);
        let window = prefetcher.window(weights, rows * job.weights.stride, visit);
        for pass in 0..passes {
            let token = tokens.start + pass * per_pass;
            let count = per_pass.min(tokens.end - token);
            let tile = Tile {
                weights,
                stride: job.weights.stride,
                token,
                schedule: Schedule::new(window, pass, passes, kernel.steps()),
            };
            let start = token * job.output.stride + row;
            let output = Output {
                data: job.output.data.wrapping_add(start),
                ..job.output
            };
            // SAFETY: the caller's promises.
            unsafe {
                match rows == R {
                    true => compute_tile::<K, R, N>(kernel, &tile, count, output),
                    false => compute_tile::<K, 1, N>(kernel, &tile, count, output),
                }
            }
        }
        row += rows;
    }
}

/// Computes a tile of `R` rows and `count` tokens, at most `N`. Each number of tokens has code of
/// its own.
#[inline(always)]
unsafe fn compute_tile<K: Kernel, const R: usize, const N: usize>(
    kernel: &K,
    tile: &Tile,
    count: usize,
    output: Output,
) {
    const { assert!(N >= 1 && N <= 6, "there is code for up to six tokens") };
    // SAFETY: the caller's promises.
    unsafe {
        match count {
            1 => kernel.compute::<R, 1>(tile, output),
            2 => kernel.compute::<R, 2>(tile, output),
            3 => kernel.compute::<R, 3>(tile, output),
            4 => kernel.compute::<R, 4>(tile, output),
            5 => kernel.compute::<R, 5>(tile, output),
            _ => kernel.compute::<R, 6>(tile, output),
        }
    }
}
