//! Weights in Q8_0: blocks of 32 values of eight bits with a scale in half precision before them. llama.cpp rounds tokens to
//! the same format. A product is, bit for bit, what llama.cpp computes for one token at a time: the same sums in the same order.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;

use super::lanes::{LINE, Lanes, ask_for};
use super::{Instructions, Matrix, Product, ROWS, Results};

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
    /// Of each block, minus 128 times the sums of four values: what bytes that are 128 too large add to a sum.
    offsets: Vec<i32>,
    scales: Vec<f32>,
}

/// Computes the rows that `pieces` names.
///
/// # Safety
/// As in [`f16`](super::f16::multiply), for blocks of Q8_0.
pub(super) unsafe fn multiply(
    instructions: Instructions,
    product: Product,
    weights: Matrix,
    tokens: Matrix,
    pieces: impl Iterator<Item = Range<usize>>,
    results: Results,
) {
    thread_local! {
        static TOKENS: RefCell<Tokens> = RefCell::default();
    }
    TOKENS.with_borrow_mut(|laid| {
        laid.scales.clear();
        for piece in pieces {
            // SAFETY: the caller's promises.
            unsafe {
                match instructions {
                    Instructions::Avx512 => avx512(product, weights, tokens, laid, piece, results),
                    Instructions::Avx2 => avx2(product, weights, tokens, laid, piece, results),
                }
            }
        }
    });
}

#[target_feature(enable = "avx512f,avx512vl,avx512vnni,avx2,f16c,fma")]
unsafe fn avx512(
    product: Product,
    weights: Matrix,
    tokens: Matrix,
    laid: &mut Tokens,
    piece: Range<usize>,
    results: Results,
) {
    // 20 of 32 registers are sums.
    unsafe { rows::<Vnni, ROWS, 5>(product, weights, tokens, laid, piece, results) }
}

#[target_feature(enable = "avx2,f16c,fma")]
unsafe fn avx2(
    product: Product,
    weights: Matrix,
    tokens: Matrix,
    laid: &mut Tokens,
    piece: Range<usize>,
    results: Results,
) {
    // 8 of 16.
    unsafe { rows::<Signs, 2, 4>(product, weights, tokens, laid, piece, results) }
}

/// A way to multiply blocks.
///
/// # Safety
/// The processor has the instructions of the implementation, and pointers point to a block's values.
trait Blocks {
    /// A block of weights, ready to be multiplied by many.
    type Weights: Copy;

    unsafe fn weights(from: *const u8) -> Self::Weights;
    /// The eight sums of four products each.
    unsafe fn multiply(weights: Self::Weights, values: *const i8, offsets: *const i32) -> __m256;
}

/// By VNNI, which multiplies bytes without a sign by bytes with one: weights become 128 larger, and `offsets` takes that back.
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

/// Rows `R` by `R`, with at most `MOST` tokens at a time.
#[inline(always)]
unsafe fn rows<B: Blocks, const R: usize, const MOST: usize>(
    product: Product,
    weights: Matrix,
    tokens: Matrix,
    laid: &mut Tokens,
    piece: Range<usize>,
    results: Results,
) {
    let Product {
        length, tokens: n, ..
    } = product;
    unsafe {
        if laid.scales.is_empty() {
            lay_out(tokens, n, length / BLOCK, laid);
        }
        let mut row = piece.start;
        while row < piece.end {
            let taken = if row + R <= piece.end { R } else { 1 };
            let at = weights.start.add(row * weights.stride);
            let most = n.div_ceil(n.div_ceil(MOST));
            let mut token = 0;
            while token < n {
                let count = most.min(n - token);
                let to = Results {
                    start: results.start.add(token * results.stride + row),
                    ..results
                };
                let tile = Tile {
                    weights: at,
                    stride: weights.stride,
                    laid,
                    token,
                    blocks: length / BLOCK,
                };
                match (taken == R, count) {
                    (true, 1) => tile.compute::<B, R, 1>(to),
                    (true, 2) => tile.compute::<B, R, 2>(to),
                    (true, 3) => tile.compute::<B, R, 3>(to),
                    (true, 4) => tile.compute::<B, R, 4>(to),
                    (true, _) => tile.compute::<B, R, 5>(to),
                    (false, 1) => tile.compute::<B, 1, 1>(to),
                    (false, 2) => tile.compute::<B, 1, 2>(to),
                    (false, 3) => tile.compute::<B, 1, 3>(to),
                    (false, 4) => tile.compute::<B, 1, 4>(to),
                    (false, _) => tile.compute::<B, 1, 5>(to),
                }
                token += count;
            }
            row += taken;
        }
    }
}

/// The scale of the block at an address.
#[inline(always)]
unsafe fn scale(block: *const u8) -> i16 {
    unsafe { block.cast::<i16>().read_unaligned() }
}

#[inline(always)]
unsafe fn lay_out(tokens: Matrix, n: usize, blocks: usize, laid: &mut Tokens) {
    laid.values.resize(n * blocks * BLOCK, 0);
    laid.offsets.resize(n * blocks * 8, 0);
    laid.scales.resize(n * blocks, 0.0);
    let places = laid
        .values
        .chunks_exact_mut(BLOCK)
        .zip(laid.offsets.chunks_exact_mut(8))
        .zip(&mut laid.scales);
    for (number, ((values, offsets), to)) in places.enumerate() {
        unsafe {
            let block = tokens
                .start
                .add(number / blocks * tokens.stride + number % blocks * BYTES);
            let from = std::slice::from_raw_parts(block.add(2).cast::<i8>(), BLOCK);
            values.copy_from_slice(from);
            for (offset, values) in offsets.iter_mut().zip(from.chunks_exact(4)) {
                *offset = -128 * values.iter().map(|&value| i32::from(value)).sum::<i32>();
            }
            *to = _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16(scale(block))));
        }
    }
}

/// A few rows and a few tokens, whose products are all in registers at once.
struct Tile<'a> {
    weights: *const u8,
    stride: usize,
    laid: &'a Tokens,
    /// The first of the tokens. Its turn asks for the weights.
    token: usize,
    blocks: usize,
}

impl Tile<'_> {
    #[inline(always)]
    unsafe fn compute<B: Blocks, const R: usize, const N: usize>(&self, results: Results) {
        unsafe {
            let first = self.token * self.blocks;
            let values = self.laid.values.as_ptr().add(first * BLOCK);
            let offsets = self.laid.offsets.as_ptr().add(first * 8);
            let token_scales = self.laid.scales.as_ptr().add(first);
            let mut sums = [[__m256::zero(); N]; R];
            let mut scales = [[[0.0; BLOCKS]; N]; R];
            for at in (0..self.blocks).step_by(BLOCKS) {
                for (row, scales) in scales.iter_mut().enumerate() {
                    let blocks = self.weights.add(row * self.stride + at * BYTES);
                    let narrow: [i16; BLOCKS] =
                        std::array::from_fn(|block| scale(blocks.add(block * BYTES)));
                    let of_weights = __m256::widen(narrow.as_ptr().cast());
                    for (token, scales) in scales.iter_mut().enumerate() {
                        let of_token = __m256::load(token_scales.add(token * self.blocks + at));
                        _mm256_mul_ps(of_weights, of_token).store(scales.as_mut_ptr());
                    }
                }
                for block in 0..BLOCKS {
                    let mut weights = [B::weights(self.weights.add((at + block) * BYTES + 2)); R];
                    for (row, weights) in weights.iter_mut().enumerate().skip(1) {
                        *weights = B::weights(
                            self.weights
                                .add(row * self.stride + (at + block) * BYTES + 2),
                        );
                    }
                    for token in 0..N {
                        let place = token * self.blocks + at + block;
                        for row in 0..R {
                            let products = B::multiply(
                                weights[row],
                                values.add(place * BLOCK),
                                offsets.add(place * 8),
                            );
                            let scale = _mm256_set1_ps(scales[row][token][block]);
                            sums[row][token] = scale.multiply_add(products, sums[row][token]);
                        }
                    }
                }
                if self.token == 0 {
                    // The tile's rows follow each other, and so does what comes after them: in the order of addresses.
                    let done = self.weights.wrapping_add(at * BYTES * R);
                    for line in 0..(BLOCKS * BYTES * R).div_ceil(LINE) {
                        ask_for(done.wrapping_add(line * LINE));
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
