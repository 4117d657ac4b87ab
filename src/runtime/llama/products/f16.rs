//! Weights in half precision.

use std::arch::x86_64::{__m256, __m512};
use std::cell::RefCell;
use std::ops::Range;

use super::lanes::{LINE, Lanes, ask_for};
use super::{Instructions, Matrix, Product, ROWS, Results};

/// Rows are a multiple of so many values: a line.
pub(super) const STEP: usize = LINE / 2;

/// Computes the rows that `pieces` names.
///
/// # Safety
/// The processor has `instructions`. `weights` has the product's rows and `tokens` its tokens, in half precision; `results` has
/// room, and the rows in `pieces` are nobody else's.
pub(super) unsafe fn multiply(
    instructions: Instructions,
    product: Product,
    weights: Matrix,
    tokens: Matrix,
    pieces: impl Iterator<Item = Range<usize>>,
    results: Results,
) {
    thread_local! {
        /// The tokens in single precision, so that each is widened once and not for every row.
        static WIDE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    WIDE.with_borrow_mut(|wide| {
        wide.clear();
        for piece in pieces {
            // SAFETY: the caller's promises, and `wide` has all tokens.
            unsafe {
                match instructions {
                    Instructions::Avx512 => avx512(product, weights, tokens, wide, piece, results),
                    Instructions::Avx2 => avx2(product, weights, tokens, wide, piece, results),
                }
            }
        }
    });
}

#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn avx512(
    product: Product,
    weights: Matrix,
    tokens: Matrix,
    wide: &mut Vec<f32>,
    piece: Range<usize>,
    results: Results,
) {
    // 24 of 32 registers are sums.
    unsafe { rows::<__m512, ROWS, 6>(product, weights, tokens, wide, piece, results) }
}

#[target_feature(enable = "avx2,f16c,fma")]
unsafe fn avx2(
    product: Product,
    weights: Matrix,
    tokens: Matrix,
    wide: &mut Vec<f32>,
    piece: Range<usize>,
    results: Results,
) {
    // 10 of 16.
    unsafe { rows::<__m256, 2, 5>(product, weights, tokens, wide, piece, results) }
}

/// Rows `R` by `R`, with at most `MOST` tokens at a time.
#[inline(always)]
unsafe fn rows<L: Lanes, const R: usize, const MOST: usize>(
    product: Product,
    weights: Matrix,
    tokens: Matrix,
    wide: &mut Vec<f32>,
    piece: Range<usize>,
    results: Results,
) {
    let Product {
        length, tokens: n, ..
    } = product;
    unsafe {
        if wide.is_empty() {
            widen::<L>(tokens, n, length, wide);
        }
        let mut row = piece.start;
        while row < piece.end {
            let taken = if row + R <= piece.end { R } else { 1 };
            let at = weights.start.add(row * weights.stride);
            // As even as can be: six and one would take longer than four and three.
            let most = n.div_ceil(n.div_ceil(MOST));
            let mut token = 0;
            while token < n {
                let count = most.min(n - token);
                let wide = wide.as_ptr().add(token * length);
                let to = Results {
                    start: results.start.add(token * results.stride + row),
                    ..results
                };
                let tile = Tile {
                    weights: at,
                    stride: weights.stride,
                    wide,
                    length,
                    ask: token == 0,
                };
                match (taken == R, count) {
                    (true, 1) => tile.compute::<L, R, 1>(to),
                    (true, 2) => tile.compute::<L, R, 2>(to),
                    (true, 3) => tile.compute::<L, R, 3>(to),
                    (true, 4) => tile.compute::<L, R, 4>(to),
                    (true, 5) => tile.compute::<L, R, 5>(to),
                    (true, _) => tile.compute::<L, R, 6>(to),
                    (false, 1) => tile.compute::<L, 1, 1>(to),
                    (false, 2) => tile.compute::<L, 1, 2>(to),
                    (false, 3) => tile.compute::<L, 1, 3>(to),
                    (false, 4) => tile.compute::<L, 1, 4>(to),
                    (false, 5) => tile.compute::<L, 1, 5>(to),
                    (false, _) => tile.compute::<L, 1, 6>(to),
                }
                token += count;
            }
            row += taken;
        }
    }
}

#[inline(always)]
unsafe fn widen<L: Lanes>(tokens: Matrix, n: usize, length: usize, wide: &mut Vec<f32>) {
    wide.resize(n * length, 0.0);
    for (token, wide) in wide.chunks_exact_mut(length).enumerate() {
        for (i, wide) in wide.chunks_exact_mut(L::COUNT).enumerate() {
            unsafe {
                let narrow = tokens.start.add(token * tokens.stride).cast::<u16>();
                L::widen(narrow.add(i * L::COUNT)).store(wide.as_mut_ptr());
            }
        }
    }
}

/// A few rows and a few tokens, whose products are all in registers at once.
struct Tile {
    weights: *const u8,
    stride: usize,
    wide: *const f32,
    length: usize,
    /// Whether to ask for weights: the first tokens' turn does it for all.
    ask: bool,
}

impl Tile {
    #[inline(always)]
    unsafe fn compute<L: Lanes, const R: usize, const N: usize>(&self, results: Results) {
        unsafe {
            let mut sums = [[L::zero(); N]; R];
            for line in 0..self.length / STEP {
                for at in (line * STEP..(line + 1) * STEP).step_by(L::COUNT) {
                    let mut weights = [L::zero(); R];
                    for (row, weights) in weights.iter_mut().enumerate() {
                        *weights =
                            L::widen(self.weights.add(row * self.stride).cast::<u16>().add(at));
                    }
                    for token in 0..N {
                        let token_values = L::load(self.wide.add(token * self.length + at));
                        for row in 0..R {
                            sums[row][token] =
                                weights[row].multiply_add(token_values, sums[row][token]);
                        }
                    }
                }
                if self.ask {
                    // The tile's rows follow each other, and so does what comes after them: in the order of addresses.
                    for row in 0..R {
                        ask_for(self.weights.wrapping_add((line * R + row) * LINE));
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                for (token, sum) in sums.iter().enumerate() {
                    *results.start.add(token * results.stride + row) = sum.sum();
                }
            }
        }
    }
}
