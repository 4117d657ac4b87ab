//! Weights in Q8_0, activations converted to the same. A product is bit for bit what ggml computes
//! for one token: the same sums in the same order.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::marker::PhantomData;

use super::tiles::{Kernel, Tile, compute};
use super::{Chunks, Job, Output, TILE_ROWS};
use crate::Isa;
use crate::ggml::{Q8_0_BYTES, QK8_0};
use crate::simd::F32Vector;

/// Blocks whose scales are multiplied at once.
const BLOCKS: usize = 8;
/// Rows are a multiple of so many values.
pub(super) const STEP: usize = QK8_0 * BLOCKS;

/// The activations, with scales and values apart.
#[derive(Default)]
struct Activations {
    /// The values of each token's blocks.
    qs: Vec<i8>,
    /// Of each block, eight times minus 128 times the sum of four values: what weights that are 128
    /// too large add to a product.
    offsets: Vec<i32>,
    /// The scale of each block.
    d: Vec<f32>,
}

/// [`Job::compute`] for Q8_0.
///
/// # Safety
/// As there.
pub(super) unsafe fn multiply(isa: Isa, job: &Job, chunks: &mut Chunks<'_>) {
    thread_local! {
        static ACTIVATIONS: RefCell<Activations> = RefCell::default();
    }
    // SAFETY: the caller's promises.
    ACTIVATIONS.with_borrow_mut(|room| unsafe {
        match isa {
            Isa::Vnni => vnni(job, room, chunks),
            Isa::Avx2 | Isa::Avx512 => avx2(job, room, chunks),
        }
    });
}

#[target_feature(enable = "avx512f,avx512vl,avx512vnni")]
unsafe fn vnni(job: &Job, room: &mut Activations, chunks: &mut Chunks<'_>) {
    // 20 of 32 registers are sums.
    // SAFETY: the caller's promises.
    unsafe { compute::<_, TILE_ROWS, 5>(&Q8_0::<Vnni>::new(job, room), job, chunks) }
}

#[target_feature(enable = "avx2,f16c,fma")]
unsafe fn avx2(job: &Job, room: &mut Activations, chunks: &mut Chunks<'_>) {
    // 8 of 16 registers are sums.
    // SAFETY: the caller's promises.
    unsafe { compute::<_, 2, 4>(&Q8_0::<Avx2>::new(job, room), job, chunks) }
}

/// A way to multiply blocks.
///
/// # Safety
/// The processor has the instructions of the implementation, and pointers point to a block's
/// values.
trait DotBlock {
    unsafe fn weights(qs: *const u8) -> __m256i;
    /// Eight sums of four products each.
    unsafe fn dot(weights: __m256i, qs: *const i8, offsets: *const i32) -> __m256;
}

/// VNNI multiplies unsigned bytes by signed ones: 128 is added to the weights, and `offsets` takes
/// it back.
struct Vnni;

impl DotBlock for Vnni {
    #[inline(always)]
    unsafe fn weights(qs: *const u8) -> __m256i {
        // SAFETY: the caller's promises.
        unsafe { _mm256_xor_si256(_mm256_set1_epi8(i8::MIN), _mm256_loadu_si256(qs.cast())) }
    }

    #[inline(always)]
    unsafe fn dot(weights: __m256i, qs: *const i8, offsets: *const i32) -> __m256 {
        // SAFETY: the caller's promises.
        unsafe {
            let (qs, offsets) = (
                _mm256_loadu_si256(qs.cast()),
                _mm256_loadu_si256(offsets.cast()),
            );
            _mm256_cvtepi32_ps(_mm256_dpbusd_epi32(offsets, weights, qs))
        }
    }
}

/// So does AVX2: the sign of each weight goes to the activation.
struct Avx2;

impl DotBlock for Avx2 {
    #[inline(always)]
    unsafe fn weights(qs: *const u8) -> __m256i {
        // SAFETY: the caller's promises.
        unsafe { _mm256_loadu_si256(qs.cast()) }
    }

    #[inline(always)]
    unsafe fn dot(weights: __m256i, qs: *const i8, _: *const i32) -> __m256 {
        // SAFETY: the caller's promises.
        unsafe {
            let qs = _mm256_sign_epi8(_mm256_loadu_si256(qs.cast()), weights);
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), qs);
            _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}

/// The scale of a block.
#[inline(always)]
unsafe fn scale(block: *const u8) -> i16 {
    // SAFETY: the caller has a block there.
    unsafe { block.cast::<i16>().read_unaligned() }
}

/// Rows in blocks, activations with scales and values apart.
struct Q8_0<'a, D> {
    activations: &'a Activations,
    blocks: usize,
    dot: PhantomData<D>,
}

impl<'a, D> Q8_0<'a, D> {
    /// Takes scales and values of the activations apart.
    #[inline(always)]
    unsafe fn new(job: &Job, room: &'a mut Activations) -> Self {
        let blocks = job.shape.row_len / QK8_0;
        let all = job.shape.tokens * blocks;
        room.qs.resize(all * QK8_0, 0);
        room.offsets.resize(all * 8, 0);
        room.d.resize(all, 0.0);
        let places = room.qs.chunks_exact_mut(QK8_0);
        let places = places.zip(room.offsets.chunks_exact_mut(8));
        for (at, ((qs, offsets), d)) in places.zip(&mut room.d).enumerate() {
            // SAFETY: the caller's promises.
            unsafe {
                let block = job.activations.row(at / blocks);
                let block = block.add(at % blocks * Q8_0_BYTES);
                let from = std::slice::from_raw_parts(block.add(2).cast::<i8>(), QK8_0);
                qs.copy_from_slice(from);
                for (offset, values) in offsets.iter_mut().zip(from.chunks_exact(4)) {
                    *offset = -128 * values.iter().map(|&value| i32::from(value)).sum::<i32>();
                }
                *d = _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16(scale(block))));
            }
        }
        Self {
            activations: room,
            blocks,
            dot: PhantomData,
        }
    }

    /// The products of the scales of [`BLOCKS`] blocks from `at` on.
    #[inline(always)]
    unsafe fn scales<const R: usize, const N: usize>(
        &self,
        tile: &Tile,
        at: usize,
        scales: &mut [[[f32; BLOCKS]; N]; R],
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            let d = self.activations.d.as_ptr().add(tile.token * self.blocks);
            for (row, scales) in scales.iter_mut().enumerate() {
                let blocks = tile.weights.add(row * tile.stride + at * Q8_0_BYTES);
                let of_weights: [i16; BLOCKS] =
                    std::array::from_fn(|block| scale(blocks.add(block * Q8_0_BYTES)));
                let of_weights = __m256::load_f16(of_weights.as_ptr().cast());
                for (token, scales) in scales.iter_mut().enumerate() {
                    let of_token = __m256::load(d.add(token * self.blocks + at));
                    _mm256_mul_ps(of_weights, of_token).store(scales.as_mut_ptr());
                }
            }
        }
    }
}

impl<D: DotBlock> Kernel for Q8_0<'_, D> {
    fn steps(&self) -> usize {
        self.blocks / BLOCKS
    }

    #[inline(always)]
    unsafe fn compute<const R: usize, const N: usize>(&self, tile: &Tile, output: Output) {
        // SAFETY: the caller's promises.
        unsafe {
            let first = tile.token * self.blocks;
            let qs = self.activations.qs.as_ptr().add(first * QK8_0);
            let offsets = self.activations.offsets.as_ptr().add(first * 8);
            let mut sums = [[__m256::zero(); N]; R];
            let mut scales = [[[0.0; BLOCKS]; N]; R];
            let mut schedule = tile.schedule;
            for at in (0..self.blocks).step_by(BLOCKS) {
                self.scales(tile, at, &mut scales);
                for block in 0..BLOCKS {
                    let start = tile.weights.add((at + block) * Q8_0_BYTES + 2);
                    let mut weights = [D::weights(start); R];
                    for (row, weights) in weights.iter_mut().enumerate().skip(1) {
                        *weights = D::weights(start.add(row * tile.stride));
                    }
                    for token in 0..N {
                        let place = token * self.blocks + at + block;
                        for row in 0..R {
                            let (qs, offsets) = (qs.add(place * QK8_0), offsets.add(place * 8));
                            let products = D::dot(weights[row], qs, offsets);
                            let scale = _mm256_set1_ps(scales[row][token][block]);
                            sums[row][token] = scale.mul_add(products, sums[row][token]);
                        }
                    }
                }
                schedule.prefetch::<R>(at / BLOCKS, BLOCKS * Q8_0_BYTES, tile.stride);
            }
            for (row, sums) in sums.iter().enumerate() {
                for (token, sum) in sums.iter().enumerate() {
                    *output.data.add(token * output.stride + row) = sum.reduce();
                }
            }
        }
    }
}
