//! Weights in F16.

use std::arch::x86_64::{__m256, __m512};
use std::cell::RefCell;
use std::marker::PhantomData;

use super::tiles::{Kernel, Tile, compute};
use super::{Chunks, Job, Layout, MulMat, Output, TILE_ROWS};
use crate::Isa;
use crate::prefetch::CACHE_LINE;
use crate::simd::F32Vector;

/// Rows are a multiple of so many values: a cache line.
pub(super) const STEP: usize = CACHE_LINE / size_of::<u16>();

/// [`Job::compute`] for F16.
///
/// # Safety
/// As there.
pub(super) unsafe fn multiply(isa: Isa, job: &Job, chunks: &mut Chunks<'_>) {
    thread_local! {
        /// The activations in single precision, so that a thread converts each once and not for
        /// every row. Kept for the next product: 64 tokens of 28,672 values take 7 MB, 256 of a
        /// prompt 29 MB, in each thread.
        static F32: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    // SAFETY: the caller's promises.
    F32.with_borrow_mut(|room| unsafe {
        match isa {
            Isa::Avx512 | Isa::Vnni => avx512(job, room, chunks),
            Isa::Avx2 => avx2(job, room, chunks),
        }
    });
}

#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn avx512(job: &Job, room: &mut Vec<f32>, chunks: &mut Chunks<'_>) {
    // 24 of 32 registers are sums.
    // SAFETY: the caller's promises.
    unsafe { compute::<_, TILE_ROWS, 6>(&F16::<__m512>::new(job, room), job, chunks) }
}

#[target_feature(enable = "avx2,f16c,fma")]
unsafe fn avx2(job: &Job, room: &mut Vec<f32>, chunks: &mut Chunks<'_>) {
    // 10 of 16 registers are sums.
    // SAFETY: the caller's promises.
    unsafe { compute::<_, 2, 5>(&F16::<__m256>::new(job, room), job, chunks) }
}

/// Rows in F16, activations in F32.
struct F16<V> {
    activations: *const f32,
    /// Values from one token to the next.
    stride: usize,
    row_len: usize,
    vector: PhantomData<V>,
}

impl<V: F32Vector> F16<V> {
    /// Converts the activations to F32, unless they are.
    #[inline(always)]
    unsafe fn new(job: &Job, room: &mut Vec<f32>) -> Self {
        let MulMat {
            layout,
            row_len,
            tokens,
            ..
        } = job.shape;
        if layout == Layout::AmxF16 {
            return Self {
                activations: job.activations.data.cast(),
                stride: job.activations.stride / size_of::<f32>(),
                row_len,
                vector: PhantomData,
            };
        }
        room.resize(tokens * row_len, 0.0);
        for (token, to) in room.chunks_exact_mut(row_len).enumerate() {
            let from = job.activations.row(token).cast::<u16>();
            for (i, to) in to.chunks_exact_mut(V::LANES).enumerate() {
                // SAFETY: the caller's promises.
                unsafe { V::load_f16(from.add(i * V::LANES)).store(to.as_mut_ptr()) }
            }
        }
        Self {
            activations: room.as_ptr(),
            stride: row_len,
            row_len,
            vector: PhantomData,
        }
    }
}

impl<V: F32Vector> Kernel for F16<V> {
    fn steps(&self) -> usize {
        self.row_len / STEP
    }

    #[inline(always)]
    unsafe fn compute<const R: usize, const N: usize>(&self, tile: &Tile, output: Output) {
        // SAFETY: the caller's promises.
        unsafe {
            let activations = self.activations.add(tile.token * self.stride);
            let mut sums = [[V::zero(); N]; R];
            let mut schedule = tile.schedule;
            for line in 0..self.row_len / STEP {
                for at in (line * STEP..(line + 1) * STEP).step_by(V::LANES) {
                    let mut weights = [V::zero(); R];
                    for (row, weights) in weights.iter_mut().enumerate() {
                        let row = tile.weights.add(row * tile.stride).cast::<u16>();
                        *weights = V::load_f16(row.add(at));
                    }
                    for token in 0..N {
                        let values = V::load(activations.add(token * self.stride + at));
                        for row in 0..R {
                            sums[row][token] = weights[row].mul_add(values, sums[row][token]);
                        }
                    }
                }
                schedule.prefetch::<R>(line, CACHE_LINE, tile.stride);
            }
            for (row, sums) in sums.iter().enumerate() {
                for (token, sum) in sums.iter().enumerate() {
                    *output.data.add(token * output.stride + row) = sum.reduce();
                }
            }
        }
    }
}
