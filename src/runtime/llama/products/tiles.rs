//! Rows and tokens, a few of each at a time, so that all sums are in registers.

use std::ops::Range;

use super::lanes::AHEAD;
use super::{Job, Matrix, Pieces, Results};

/// A few rows and a few tokens.
pub(super) struct Tile {
    /// The first row.
    pub(super) weights: *const u8,
    /// Bytes from one row to the next.
    pub(super) stride: usize,
    /// The first token.
    pub(super) token: usize,
    /// As many bytes as the rows have, to be asked for. The first tokens' turn does it for all.
    pub(super) ahead: Option<*const u8>,
}

/// A way to compute a tile.
pub(super) trait Kernel {
    /// Computes `R` rows for `N` tokens.
    ///
    /// # Safety
    /// The processor has the kernel's instructions, and the tile's rows and tokens are there, and room for the results.
    unsafe fn compute<const R: usize, const N: usize>(&self, tile: &Tile, results: Results);
}

/// What a thread reads ahead of time: the rows of its piece, and then those of the next one that it will take. That is asked for
/// as late as can be, since nobody else can take it then.
pub(super) struct Ahead<'a> {
    weights: Matrix,
    end: *const u8,
    next: Option<Option<*const u8>>,
    next_row: &'a mut dyn FnMut() -> Option<usize>,
}

impl<'a> Ahead<'a> {
    /// For a piece of `weights` that ends before the row `end`; `next_row` takes the next piece and names its first row.
    pub(super) fn new(
        weights: Matrix,
        end: usize,
        next_row: &'a mut dyn FnMut() -> Option<usize>,
    ) -> Self {
        Self {
            weights,
            end: weights.row(end),
            next: None,
            next_row,
        }
    }

    /// What is [`AHEAD`] of `rows`.
    pub(super) fn of(&mut self, rows: *const u8) -> Option<*const u8> {
        let ahead = rows.wrapping_add(AHEAD);
        let Some(over) = (ahead as usize).checked_sub(self.end as usize) else {
            return Some(ahead);
        };
        let (weights, next_row) = (self.weights, &mut *self.next_row);
        let next = *self
            .next
            .get_or_insert_with(|| Some(weights.row(next_row()?)));
        next.map(|next| next.wrapping_add(over))
    }
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
        let mut ahead = Ahead::new(job.weights, piece.end, &mut next_row);
        // SAFETY: the caller's promises.
        unsafe { compute_piece::<K, R, MOST>(kernel, job, piece, &mut ahead) }
    }
}

#[inline(always)]
unsafe fn compute_piece<K: Kernel, const R: usize, const MOST: usize>(
    kernel: &K,
    job: &Job,
    piece: Range<usize>,
    ahead: &mut Ahead<'_>,
) {
    let Job {
        weights, results, ..
    } = *job;
    let tokens = job.product.tokens;
    const { assert!(MOST >= 1 && MOST <= 6, "as many as there are kernels for") };
    // About even: six and one would take longer than four and three.
    let most = tokens.div_ceil(tokens.div_ceil(MOST));
    let mut row = piece.start;
    while row < piece.end {
        let rows = if row + R <= piece.end { R } else { 1 };
        let at = weights.row(row);
        let mut token = 0;
        while token < tokens {
            let count = most.min(tokens - token);
            let tile = Tile {
                weights: at,
                stride: weights.stride,
                token,
                ahead: if token == 0 { ahead.of(at) } else { None },
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
            token += count;
        }
        row += rows;
    }
}
