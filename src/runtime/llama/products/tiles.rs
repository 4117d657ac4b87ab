//! Rows and tokens, a few of each at a time, so that all sums are in registers.

use std::ops::Range;

use super::ahead::{Ahead, Order, Share, Time};
use super::{Job, Pieces, Results};

/// So many tokens go over a piece at a time, so that they stay in the second-level cache (in single
/// precision, 64 of 5,632 values are 1.4 MB).
pub(super) const TOKENS: usize = 64;

/// A few rows and a few tokens.
pub(super) struct Tile {
    /// The first row.
    pub(super) weights: *const u8,
    /// Bytes from one row to the next.
    pub(super) stride: usize,
    /// The first token.
    pub(super) token: usize,
    /// What is to be asked for.
    pub(super) ahead: Share,
}

/// A way to compute a tile.
pub(super) trait Kernel {
    /// How many steps a kernel goes over a row in.
    fn steps(&self) -> usize;

    /// Computes `R` rows for `N` tokens.
    ///
    /// # Safety
    /// The processor has the kernel's instructions, and the tile's rows and tokens are there, and
    /// room for the results.
    unsafe fn compute<const R: usize, const N: usize>(&self, tile: &Tile, results: Results);
}

/// Computes all pieces, rows `R` by `R`, with at most `MOST` tokens (six at most) at a time.
///
/// # Safety
/// As for [`Kernel::compute`], for all rows and tokens.
#[inline(always)]
pub(super) unsafe fn compute<K: Kernel, const R: usize, const MOST: usize>(
    kernel: &K,
    job: &Job,
    pieces: &mut Pieces<'_>,
) {
    while let Some(piece) = pieces.next() {
        let mut next_row = || pieces.peek().map(|next| next.start);
        let mut ahead = Ahead::new(job.weights, piece.end, Order::here(), &mut next_row);
        let all = job.product.tokens;
        for first in (0..all).step_by(TOKENS) {
            let tokens = first..all.min(first + TOKENS);
            // SAFETY: the caller's promises.
            unsafe { compute_piece::<K, R, MOST>(kernel, job, piece.clone(), tokens, &mut ahead) }
        }
    }
}

#[inline(always)]
unsafe fn compute_piece<K: Kernel, const R: usize, const MOST: usize>(
    kernel: &K,
    job: &Job,
    piece: Range<usize>,
    tokens: Range<usize>,
    ahead: &mut Ahead<'_>,
) {
    let Job {
        weights, results, ..
    } = *job;
    const { assert!(MOST >= 1 && MOST <= 6, "as many as there are kernels for") };
    // About even: six and one would take longer than four and three.
    let turns = tokens.len().div_ceil(MOST);
    let most = tokens.len().div_ceil(turns);
    let time = Time {
        first: tokens.start == 0,
        last: tokens.end == job.product.tokens,
    };
    let mut row = piece.start;
    while row < piece.end {
        let rows = if row + R <= piece.end { R } else { 1 };
        let at = weights.row(row);
        let coming = ahead.of(at, rows * weights.stride, time);
        for turn in 0..turns {
            let token = tokens.start + turn * most;
            let count = most.min(tokens.end - token);
            let tile = Tile {
                weights: at,
                stride: weights.stride,
                token,
                ahead: Share::of(coming, turn, turns, kernel.steps()),
            };
            let to = Results {
                start: results.start.wrapping_add(token * results.stride + row),
                ..results
            };
            // SAFETY: the caller's promises.
            unsafe {
                match (rows == R, count) {
                    (true, 1) => kernel.compute::<R, 1>(&tile, to),
                    (true, 2) => kernel.compute::<R, 2>(&tile, to),
                    (true, 3) => kernel.compute::<R, 3>(&tile, to),
                    (true, 4) => kernel.compute::<R, 4>(&tile, to),
                    (true, 5) => kernel.compute::<R, 5>(&tile, to),
                    (true, _) => kernel.compute::<R, 6>(&tile, to),
                    (false, 1) => kernel.compute::<1, 1>(&tile, to),
                    (false, 2) => kernel.compute::<1, 2>(&tile, to),
                    (false, 3) => kernel.compute::<1, 3>(&tile, to),
                    (false, 4) => kernel.compute::<1, 4>(&tile, to),
                    (false, 5) => kernel.compute::<1, 5>(&tile, to),
                    (false, _) => kernel.compute::<1, 6>(&tile, to),
                }
            }
        }
        row += rows;
    }
}
