//! Rows and tokens, a few of each at a time, so that all sums are in registers.

use std::ops::Range;

use super::lanes::{AHEAD, LINE, Order, ask_for, order};
use super::{Job, Matrix, Pieces, Results};

/// So many tokens go over a piece at a time, so that they stay in the caches.
const TOKENS: usize = 64;

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

/// What one turn over a few rows asks for. They are gone over once for each few tokens, and if one turn asked for everything that comes next,
/// the memory would be idle in all others.
#[derive(Clone, Copy)]
pub(super) struct Share {
    /// As many bytes as the rows have.
    ahead: *const u8,
    /// The next step that asks, for what the step numbered `part` goes over.
    due: usize,
    part: usize,
    turns: usize,
    order: Order,
}

impl Share {
    /// That of the turn numbered `turn`, of `turns`, each of which has so many `steps`.
    pub(super) fn of(ahead: Option<*const u8>, turn: usize, turns: usize, steps: usize) -> Self {
        let part = (turn * steps).div_ceil(turns);
        Self {
            ahead: ahead.unwrap_or_default(),
            due: if ahead.is_some() {
                part * turns - turn * steps
            } else {
                usize::MAX
            },
            part,
            turns,
            order: order(),
        }
    }

    /// If something is due at a step: the number of the step that will go over what is to be asked for.
    #[inline(always)]
    pub(super) fn due_at(&mut self, step: usize) -> Option<usize> {
        (step == self.due).then(|| {
            let part = self.part;
            self.due += self.turns;
            self.part += 1;
            part
        })
    }

    /// At the step numbered `step` over `R` rows that are `stride` bytes apart, of each of which a step takes so many `bytes`: asks for
    /// what comes, if this is a step that does.
    ///
    /// # Safety
    /// The processor has SSE.
    #[inline(always)]
    pub(super) unsafe fn ask<const R: usize>(&mut self, step: usize, bytes: usize, stride: usize) {
        let Some(part) = self.due_at(step) else {
            return;
        };
        let lines = |from: usize, bytes: usize| {
            for line in 0..bytes.div_ceil(LINE) {
                // SAFETY: the caller's promise.
                unsafe { ask_for(self.ahead.wrapping_add(from + line * LINE)) }
            }
        };
        match self.order {
            Order::Addresses => lines(part * R * bytes, R * bytes),
            Order::Rows => (0..R).for_each(|row| lines(row * stride + part * bytes, bytes)),
        }
    }
}

/// A way to compute a tile.
pub(super) trait Kernel {
    /// How many steps a kernel goes over a row in.
    fn steps(&self) -> usize;

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
        for first in (0..job.product.tokens).step_by(TOKENS) {
            let tokens = first..job.product.tokens.min(first + TOKENS);
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
    let mut row = piece.start;
    while row < piece.end {
        let rows = if row + R <= piece.end { R } else { 1 };
        let at = weights.row(row);
        let comes = if tokens.start == 0 {
            ahead.of(at)
        } else {
            None
        };
        let mut token = tokens.start;
        while token < tokens.end {
            let count = most.min(tokens.end - token);
            let tile = Tile {
                weights: at,
                stride: weights.stride,
                token,
                ahead: Share::of(comes, token / most, turns, kernel.steps()),
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
