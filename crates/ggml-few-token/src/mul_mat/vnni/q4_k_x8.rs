//! `block_q4_Kx8` of ggml's `CPU_REPACK` buffer: Q4_K with eight rows interleaved, super-block by
//! super-block. First `d` and `dmin` of the rows in F16; then the scales and minima of sub-blocks,
//! six bits each; then the values, eight of each row at a time. A byte has values of two
//! neighbouring sub-blocks.

use std::arch::x86_64::*;

use super::activations::{PackedQ8K, for_each_q8_k};
use super::{Format, MAX_TOKENS, Output, SUB_BLOCK, Tile, for_each_token};
use crate::ggml::QK_K;
use crate::prefetch::CACHE_LINE;

const ROWS: usize = 8;
/// Sub-blocks of a super-block.
const SUB_BLOCKS: usize = QK_K / SUB_BLOCK;
/// Where the scales and minima are: twelve bytes of a sub-block for all rows.
const SCALES: usize = 2 * ROWS * 2;
const SCALES_BYTES: usize = 12;
/// Where the values are.
const QS: usize = SCALES + SUB_BLOCKS * SCALES_BYTES;
/// Cache lines of two sub-blocks.
const LINES: usize = 2 * SUB_BLOCK * ROWS / 2 / CACHE_LINE;

pub(super) struct Q4Kx8;

impl Format for Q4Kx8 {
    const INTERLEAVED_ROWS: usize = ROWS;
    const BLOCK: usize = QK_K;
    const BYTES: usize = QS + QK_K / 2 * ROWS;
    /// One for two sub-blocks.
    const STEPS: usize = SUB_BLOCKS / 2;
    type Activations = PackedQ8K;

    unsafe fn pack(values: &[f32], mut emit: impl FnMut(usize, PackedQ8K)) {
        for_each_q8_k(values, |number, block| {
            emit(number, PackedQ8K::new(block, true));
        });
    }

    #[inline(always)]
    unsafe fn compute<const N: usize>(tile: &Tile<PackedQ8K>, output: Output) {
        // SAFETY: the caller's promises.
        unsafe {
            // The rows' sums in the lower half, those of their minima in the upper.
            let mut sums = [_mm512_setzero_ps(); N];
            let mut schedule = tile.schedule;
            for block in 0..tile.blocks {
                let at = tile.weights.add(block * Self::BYTES);
                let tokens = tile.activations.add(block * N);
                // Two of each row: of the first and of the last four of eight values.
                let mut whole = [_mm512_setzero_si512(); N];
                let mut mins = [_mm256_setzero_si256(); SUB_BLOCKS / 2];
                for two in 0..SUB_BLOCKS / 2 {
                    let weights = values(at, two);
                    let [first, second] = [0, 1].map(|number| scales(at, 2 * two + number));
                    mins[two] = min_pairs(first.1, second.1);
                    let scales = [spread(first.0), spread(second.0)];
                    for_each_token!(N, token, {
                        let (sum, token) = (&mut whole[token], &*tokens.add(token));
                        *sum = add_sub_blocks(&weights, &scales, token, two, *sum);
                    });
                    let step = block * Self::STEPS + two;
                    schedule.prefetch::<1>(step, Self::BYTES / Self::STEPS, 0);
                }
                let d = _mm512_cvtph_ps(_mm256_loadu_si256(at.cast()));
                for_each_token!(N, token, {
                    let (sum, whole, token) = (&mut sums[token], whole[token], &*tokens.add(token));
                    let whole = with_mins(whole, dot_mins(&mins, token));
                    let d = _mm512_mul_ps(d, _mm512_set1_ps(token.d));
                    *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), d, *sum);
                });
            }
            for (token, &sum) in sums.iter().enumerate() {
                let mins = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sum));
                let result = _mm256_sub_ps(_mm512_castps512_ps256(sum), _mm256_castpd_ps(mins));
                _mm256_storeu_ps(output.data.add(token * output.stride), result);
            }
        }
    }
}

/// The values of two sub-blocks, eight of each row at a time.
///
/// # Safety
/// The processor has AVX-512, and `from` points to a super-block.
#[inline(always)]
unsafe fn values(from: *const u8, two: usize) -> [[__m512i; LINES]; 2] {
    // SAFETY: the caller's promises.
    unsafe {
        let low = _mm512_set1_epi8(0xf);
        let mut all = [[_mm512_setzero_si512(); LINES]; 2];
        for line in 0..LINES {
            let at = QS + (two * LINES + line) * CACHE_LINE;
            let both = _mm512_loadu_si512(from.add(at).cast());
            all[0][line] = _mm512_and_si512(both, low);
            all[1][line] = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low);
        }
        all
    }
}

/// The scales of a sub-block and its minima, a byte for each row.
///
/// # Safety
/// `from` points to a super-block.
#[inline(always)]
unsafe fn scales(from: *const u8, sub_block: usize) -> (u64, u64) {
    let word = |number: usize| {
        let at = SCALES + sub_block * SCALES_BYTES + number * size_of::<u32>();
        // SAFETY: the caller's promise.
        u64::from(unsafe { from.add(at).cast::<u32>().read_unaligned() })
    };
    // Six bits of the first four rows, and the upper two bits of the others, whose lower four are
    // in the third word.
    let six = |word: u64| word & 0x3f3f_3f3f;
    let upper = |word: u64| word >> 2 & 0x3030_3030;
    let lower = |word: u64| word & 0x0f0f_0f0f;
    let [scales, mins, others] = [word(0), word(1), word(2)];
    let all = |word: u64, others: u64| six(word) | (upper(word) | lower(others)) << 32;
    (all(scales, others), all(mins, others >> 4))
}

/// A byte for each row in both lanes of the row, zero-extended.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn spread(bytes: u64) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let one = _mm512_cvtepu8_epi64(_mm_cvtsi64_si128(bytes as i64));
        _mm512_or_si512(one, _mm512_slli_epi64::<32>(one))
    }
}

/// The minima of two sub-blocks for each row, in 16 bits.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn min_pairs(first: u64, second: u64) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let [first, second] = [
            _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(first as i64)),
            _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(second as i64)),
        ];
        _mm256_or_si256(first, _mm256_slli_epi32::<16>(second))
    }
}

/// Adds the products of two sub-blocks.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn add_sub_blocks(
    weights: &[[__m512i; LINES]; 2],
    scales: &[__m512i; 2],
    token: &PackedQ8K,
    two: usize,
    mut sums: __m512i,
) -> __m512i {
    let eights = token.qs.as_ptr().cast::<i64>();
    for number in 0..2 {
        // SAFETY: the caller's promise; a token has so many values.
        unsafe {
            let mut sum = _mm512_setzero_si512();
            for line in 0..LINES {
                let values = eights.add((2 * two + number) * LINES + line);
                let values = _mm512_set1_epi64(values.read_unaligned());
                sum = _mm512_dpbusd_epi32(sum, weights[number][line], values);
            }
            // A lane has the sum of 16 products of at most 15 * 127. That fits in 16 bits, and the
            // upper 16 are its sign.
            sums = _mm512_dpwssd_epi32(sums, sum, scales[number]);
        }
    }
    sums
}

/// The sums of rows, of which each has two lanes in `whole`, in the lower half, and those of their
/// minima in the upper.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn with_mins(whole: __m512i, mins: __m256i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let whole = _mm512_add_epi32(whole, _mm512_srli_epi64::<32>(whole));
        let whole = _mm512_castsi256_si512(_mm512_cvtepi64_epi32(whole));
        _mm512_inserti64x4::<1>(whole, mins)
    }
}

/// The minima of the rows times the sums of a token's sub-blocks.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn dot_mins(mins: &[__m256i; SUB_BLOCKS / 2], token: &PackedQ8K) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = _mm256_setzero_si256();
        for pair in 0..SUB_BLOCKS / 2 {
            let sums = _mm256_set1_epi32(token.bsums[pair]);
            sum = _mm256_dpwssd_epi32(sum, sums, mins[pair]);
        }
        sum
    }
}
