//! Weights in Q8_0: blocks of 32 values of eight bits with a scale in half precision before them.
//! llama.cpp rounds tokens to the same format. A product is, bit for bit, what llama.cpp computes
//! for one token at a time: the same sums in the same order.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::marker::PhantomData;

use super::lanes::Lanes;
use super::tiles::{Kernel, Tile, compute};
use super::{Instructions, Job, Pieces, ROWS, Results};

/// Values of a block.
pub(super) const BLOCK: usize = 32;
/// Bytes of a block.
pub(super) const BYTES: usize = 2 + BLOCK;
/// Blocks whose scales are multiplied at once.
const BLOCKS: usize = 8;
/// Rows are a multiple of so many values.
pub(super) const STEP: usize = BLOCK * BLOCKS;

/// The tokens, as the kernels want them.
#[derive(Default)]
struct Tokens {
    /// Of each token, the values of its blocks.
    values: Vec<i8>,
    /// Of each block, minus 128 times the sums of four values: what bytes that are 128 too large
    /// add to a sum.
    offsets: Vec<i32>,
    scales: Vec<f32>,
}

/// As [`Job::compute`], for its kind of weights.
pub(super) unsafe fn multiply(instructions: Instructions, job: &Job, pieces: &mut Pieces<'_>) {
    thread_local! {
        static TOKENS: RefCell<Tokens> = RefCell::default();
    }
    // SAFETY: the caller's promises.
    TOKENS.with_borrow_mut(|laid| unsafe {
        match instructions {
            Instructions::Vnni => vnni(job, laid, pieces),
            Instructions::Avx2 | Instructions::Avx512 => avx2(job, laid, pieces),
        }
    });
}

#[target_feature(enable = "avx512f,avx512vl,avx512vnni")]
unsafe fn vnni(job: &Job, laid: &mut Tokens, pieces: &mut Pieces<'_>) {
    // 20 of 32 registers are sums.
    unsafe { compute::<_, ROWS, 5>(&Rounded::<Vnni>::new(job, laid), job, pieces) }
}

#[target_feature(enable = "avx2,f16c,fma")]
unsafe fn avx2(job: &Job, laid: &mut Tokens, pieces: &mut Pieces<'_>) {
    // 8 of 16.
    unsafe { compute::<_, 2, 4>(&Rounded::<Signs>::new(job, laid), job, pieces) }
}

/// A way to multiply blocks.
///
/// # Safety
/// The processor has the instructions of the implementation, and pointers point to a block's
/// values.
trait Blocks {
    /// A block of weights, ready to be multiplied by many.
    type Weights: Copy;

    unsafe fn weights(from: *const u8) -> Self::Weights;
    /// The eight sums of four products each.
    unsafe fn multiply(weights: Self::Weights, values: *const i8, offsets: *const i32) -> __m256;
}

/// By VNNI, which multiplies bytes without a sign by bytes with one: weights become 128 larger, and
/// `offsets` takes that back.
struct Vnni;

impl Blocks for Vnni {
    type Weights = __m256i;

    #[inline(always)]
    unsafe fn weights(from: *const u8) -> __m256i {
        unsafe { _mm256_xor_si256(_mm256_set1_epi8(i8::MIN), _mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn multiply(weights: __m256i, values: *const i8, offsets: *const i32) -> __m256 {
        unsafe {
            let (values, offsets) = (
                _mm256_loadu_si256(values.cast()),
                _mm256_loadu_si256(offsets.cast()),
            );
            _mm256_cvtepi32_ps(_mm256_dpbusd_epi32(offsets, weights, values))
        }
    }
}

/// By AVX2: weights lose their signs, and the tokens' values get them.
struct Signs;

impl Blocks for Signs {
    type Weights = __m256i;

    #[inline(always)]
    unsafe fn weights(from: *const u8) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn multiply(weights: __m256i, values: *const i8, _: *const i32) -> __m256 {
        unsafe {
            let values = _mm256_sign_epi8(_mm256_loadu_si256(values.cast()), weights);
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), values);
            _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}

/// The scale of the block at an address.
#[inline(always)]
unsafe fn scale(block: *const u8) -> i16 {
    unsafe { block.cast::<i16>().read_unaligned() }
}

/// Rows in blocks, tokens laid out.
struct Rounded<'a, B> {
    tokens: &'a Tokens,
    blocks: usize,
    by: PhantomData<B>,
}

impl<'a, B> Rounded<'a, B> {
    /// Lays the tokens out.
    #[inline(always)]
    unsafe fn new(job: &Job, laid: &'a mut Tokens) -> Self {
        let blocks = job.product.length / BLOCK;
        let all = job.product.tokens * blocks;
        laid.values.resize(all * BLOCK, 0);
        laid.offsets.resize(all * 8, 0);
        laid.scales.resize(all, 0.0);
        let places = laid.values.chunks_exact_mut(BLOCK);
        let places = places.zip(laid.offsets.chunks_exact_mut(8));
        for (at, ((values, offsets), to)) in places.zip(&mut laid.scales).enumerate() {
            unsafe {
                let block = job.tokens.row(at / blocks).add(at % blocks * BYTES);
                let from = std::slice::from_raw_parts(block.add(2).cast::<i8>(), BLOCK);
                values.copy_from_slice(from);
                for (offset, values) in offsets.iter_mut().zip(from.chunks_exact(4)) {
                    *offset = -128 * values.iter().map(|&value| i32::from(value)).sum::<i32>();
                }
                *to = _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16(scale(block))));
            }
        }
        Self {
            tokens: laid,
            blocks,
            by: PhantomData,
        }
    }
}

impl<B: Blocks> Kernel for Rounded<'_, B> {
    fn steps(&self) -> usize {
        self.blocks / BLOCKS
    }

    #[inline(always)]
    unsafe fn compute<const R: usize, const N: usize>(&self, tile: &Tile, results: Results) {
        unsafe {
            let first = tile.token * self.blocks;
            let values = self.tokens.values.as_ptr().add(first * BLOCK);
            let offsets = self.tokens.offsets.as_ptr().add(first * 8);
            let token_scales = self.tokens.scales.as_ptr().add(first);
            let mut sums = [[__m256::zero(); N]; R];
            let mut scales = [[[0.0; BLOCKS]; N]; R];
            let mut share = tile.ahead;
            for at in (0..self.blocks).step_by(BLOCKS) {
                for (row, scales) in scales.iter_mut().enumerate() {
                    let blocks = tile.weights.add(row * tile.stride + at * BYTES);
                    let narrow: [i16; BLOCKS] =
                        std::array::from_fn(|block| scale(blocks.add(block * BYTES)));
                    let of_weights = __m256::widen(narrow.as_ptr().cast());
                    for (token, scales) in scales.iter_mut().enumerate() {
                        let of_token = __m256::load(token_scales.add(token * self.blocks + at));
                        _mm256_mul_ps(of_weights, of_token).store(scales.as_mut_ptr());
                    }
                }
                for block in 0..BLOCKS {
                    let start = tile.weights.add((at + block) * BYTES + 2);
                    let mut weights = [B::weights(start); R];
                    for (row, weights) in weights.iter_mut().enumerate().skip(1) {
                        *weights = B::weights(start.add(row * tile.stride));
                    }
                    for token in 0..N {
                        let place = token * self.blocks + at + block;
                        for row in 0..R {
                            let (values, offsets) =
                                (values.add(place * BLOCK), offsets.add(place * 8));
                            let products = B::multiply(weights[row], values, offsets);
                            let scale = _mm256_set1_ps(scales[row][token][block]);
                            sums[row][token] = scale.multiply_add(products, sums[row][token]);
                        }
                    }
                }
                share.ask::<R>(at / BLOCKS, BLOCKS * BYTES, tile.stride);
            }
            for (row, sums) in sums.iter().enumerate() {
                for (token, sum) in sums.iter().enumerate() {
                    *results.start.add(token * results.stride + row) = sum.sum();
                }
            }
        }
    }
}
