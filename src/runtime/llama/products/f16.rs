//! Weights in half precision.

use std::arch::x86_64::{__m256, __m512};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use super::lanes::{LINE, Lanes, ask_for};
use super::tiles::{Ahead, Kernel, Tile, compute};
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
        /// The tokens in single precision, so that each is widened once by each thread and not for every row. Kept for the
        /// next product: 64 tokens of 28,672 values are 7 MB.
        static WIDE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    let run = match instructions {
        Instructions::Avx512 | Instructions::Vnni => avx512,
        Instructions::Avx2 => avx2,
    };
    WIDE.with_borrow_mut(|wide| {
        wide.clear();
        let mut pieces = pieces.peekable();
        while let Some(piece) = pieces.next() {
            let mut next_row = || pieces.peek().map(|next| next.start);
            let mut ahead = Ahead::new(weights, piece.end, &mut next_row);
            // SAFETY: the caller's promises.
            unsafe { run(product, weights, tokens, wide, piece, &mut ahead, results) }
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
    ahead: &mut Ahead<'_>,
    results: Results,
) {
    unsafe {
        let half = Half::<__m512>::new(product, tokens, wide);
        // 24 of 32 registers are sums.
        compute::<_, ROWS, 6>(&half, product.tokens, weights, piece, ahead, results);
    }
}

#[target_feature(enable = "avx2,f16c,fma")]
unsafe fn avx2(
    product: Product,
    weights: Matrix,
    tokens: Matrix,
    wide: &mut Vec<f32>,
    piece: Range<usize>,
    ahead: &mut Ahead<'_>,
    results: Results,
) {
    unsafe {
        let half = Half::<__m256>::new(product, tokens, wide);
        // 10 of 16.
        compute::<_, 2, 5>(&half, product.tokens, weights, piece, ahead, results);
    }
}

/// Rows in half precision, tokens in single.
struct Half<L> {
    tokens: *const f32,
    length: usize,
    lanes: PhantomData<L>,
}

impl<L: Lanes> Half<L> {
    /// Widens the tokens, unless that is done.
    #[inline(always)]
    unsafe fn new(product: Product, tokens: Matrix, wide: &mut Vec<f32>) -> Self {
        let length = product.length;
        if wide.is_empty() {
            wide.resize(product.tokens * length, 0.0);
            for (token, wide) in wide.chunks_exact_mut(length).enumerate() {
                for (i, wide) in wide.chunks_exact_mut(L::COUNT).enumerate() {
                    unsafe {
                        let narrow = tokens.start.add(token * tokens.stride).cast::<u16>();
                        L::widen(narrow.add(i * L::COUNT)).store(wide.as_mut_ptr());
                    }
                }
            }
        }
        Self {
            tokens: wide.as_ptr(),
            length,
            lanes: PhantomData,
        }
    }
}

impl<L: Lanes> Kernel for Half<L> {
    #[inline(always)]
    unsafe fn compute<const R: usize, const N: usize>(&self, tile: &Tile, results: Results) {
        unsafe {
            let tokens = self.tokens.add(tile.token * self.length);
            let mut sums = [[L::zero(); N]; R];
            for line in 0..self.length / STEP {
                for at in (line * STEP..(line + 1) * STEP).step_by(L::COUNT) {
                    let mut weights = [L::zero(); R];
                    for (row, weights) in weights.iter_mut().enumerate() {
                        let row = tile.weights.add(row * tile.stride).cast::<u16>();
                        *weights = L::widen(row.add(at));
                    }
                    for token in 0..N {
                        let values = L::load(tokens.add(token * self.length + at));
                        for row in 0..R {
                            sums[row][token] = weights[row].multiply_add(values, sums[row][token]);
                        }
                    }
                }
                if let Some(ahead) = tile.ahead {
                    // In the order of addresses, which rows follow.
                    for row in 0..R {
                        ask_for(ahead.wrapping_add((line * R + row) * LINE));
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
