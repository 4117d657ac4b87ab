//! Weights in half precision.

use std::arch::x86_64::{__m256, __m512};
use std::cell::RefCell;
use std::marker::PhantomData;

use super::ahead::LINE;
use super::lanes::Lanes;
use super::tiles::{Kernel, Tile, compute};
use super::{Instructions, Job, Kind, Pieces, Product, ROWS, Results};

/// Rows are a multiple of so many values: a line.
pub(super) const STEP: usize = LINE / 2;

/// As [`Job::compute`], for its kind of weights.
pub(super) unsafe fn multiply(instructions: Instructions, job: &Job, pieces: &mut Pieces<'_>) {
    thread_local! {
        /// The tokens in single precision, so that each is widened once by each thread and not for
        /// every row. Kept for the next product: 64 tokens of 28,672 values are 7 MB, 256 of a
        /// prompt 29 MB, in each thread.
        static WIDE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    // SAFETY: the caller's promises.
    WIDE.with_borrow_mut(|wide| unsafe {
        match instructions {
            Instructions::Avx512 | Instructions::Vnni => avx512(job, wide, pieces),
            Instructions::Avx2 => avx2(job, wide, pieces),
        }
    });
}

#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn avx512(job: &Job, wide: &mut Vec<f32>, pieces: &mut Pieces<'_>) {
    // 24 of 32 registers are sums.
    unsafe { compute::<_, ROWS, 6>(&Half::<__m512>::new(job, wide), job, pieces) }
}

#[target_feature(enable = "avx2,f16c,fma")]
unsafe fn avx2(job: &Job, wide: &mut Vec<f32>, pieces: &mut Pieces<'_>) {
    // 10 of 16.
    unsafe { compute::<_, 2, 5>(&Half::<__m256>::new(job, wide), job, pieces) }
}

/// Rows in half precision, tokens in single.
struct Half<L> {
    tokens: *const f32,
    /// Values from one token to the next.
    stride: usize,
    length: usize,
    lanes: PhantomData<L>,
}

impl<L: Lanes> Half<L> {
    /// Widens the tokens, unless they are.
    #[inline(always)]
    unsafe fn new(job: &Job, wide: &mut Vec<f32>) -> Self {
        let Product {
            kind,
            length,
            tokens,
            ..
        } = job.product;
        if kind == Kind::F16F32 {
            return Self {
                tokens: job.tokens.start.cast(),
                stride: job.tokens.stride / size_of::<f32>(),
                length,
                lanes: PhantomData,
            };
        }
        wide.resize(tokens * length, 0.0);
        for (token, wide) in wide.chunks_exact_mut(length).enumerate() {
            for (i, wide) in wide.chunks_exact_mut(L::COUNT).enumerate() {
                unsafe {
                    let narrow = job.tokens.row(token).cast::<u16>();
                    L::widen(narrow.add(i * L::COUNT)).store(wide.as_mut_ptr());
                }
            }
        }
        Self {
            tokens: wide.as_ptr(),
            stride: length,
            length,
            lanes: PhantomData,
        }
    }
}

impl<L: Lanes> Kernel for Half<L> {
    fn steps(&self) -> usize {
        self.length / STEP
    }

    #[inline(always)]
    unsafe fn compute<const R: usize, const N: usize>(&self, tile: &Tile, results: Results) {
        unsafe {
            let tokens = self.tokens.add(tile.token * self.stride);
            let mut sums = [[L::zero(); N]; R];
            let mut share = tile.ahead;
            for line in 0..self.length / STEP {
                for at in (line * STEP..(line + 1) * STEP).step_by(L::COUNT) {
                    let mut weights = [L::zero(); R];
                    for (row, weights) in weights.iter_mut().enumerate() {
                        let row = tile.weights.add(row * tile.stride).cast::<u16>();
                        *weights = L::widen(row.add(at));
                    }
                    for token in 0..N {
                        let values = L::load(tokens.add(token * self.stride + at));
                        for row in 0..R {
                            sums[row][token] = weights[row].multiply_add(values, sums[row][token]);
                        }
                    }
                }
                share.ask::<R>(line, LINE, tile.stride);
            }
            for (row, sums) in sums.iter().enumerate() {
                for (token, sum) in sums.iter().enumerate() {
                    *results.start.add(token * results.stride + row) = sum.sum();
                }
            }
        }
    }
}
