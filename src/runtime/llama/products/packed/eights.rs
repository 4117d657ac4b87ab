//! Q4_K as llama.cpp lays it out where there is no AMX (`block_q4_Kx8`): eight rows together, block
//! by block. Of each block first what scales the rows' scales, and their minima, in half precision;
//! then those, six bits each; then the values, eight of each row at a time, two runs of 32 in a
//! byte.

use std::arch::x86_64::*;

use super::super::{Results, ahead::LINE};
use super::super_blocks::{RUNS, Token, VALUES, each_block};
use super::{Few, Format, MOST, RUN, for_each_token};

/// Rows that lie together.
const ROWS: usize = 8;
/// Where in a block the scales and minima of runs are: twelve bytes of a run for all rows.
const SCALES: usize = 2 * ROWS * 2;
const SCALES_OF_RUN: usize = 12;
/// Where the values are.
const VALUES_AT: usize = SCALES + RUNS * SCALES_OF_RUN;
/// Lines of two runs.
const LINES: usize = 2 * RUN * ROWS / 2 / LINE;

/// Weights laid out so.
pub(super) struct Eights;

impl Format for Eights {
    const GROUP: usize = ROWS;
    const BLOCK: usize = VALUES;
    const BYTES: usize = VALUES_AT + VALUES / 2 * ROWS;
    /// One for two runs.
    const STEPS: usize = RUNS / 2;
    type Token = Token;

    unsafe fn lay_out(values: &[f32], mut tell: impl FnMut(usize, Token)) {
        each_block(values, |number, block| tell(number, Token::of(block, true)));
    }

    #[inline(always)]
    unsafe fn compute<const N: usize>(few: &Few<Token>, results: Results) {
        // SAFETY: the caller's promises.
        unsafe {
            // The rows' sums in the lower half, those of their minima in the upper.
            let mut sums = [_mm512_setzero_ps(); N];
            let mut share = few.share;
            for block in 0..few.blocks {
                let at = few.weights.add(block * Self::BYTES);
                let tokens = few.tokens.add(block * N);
                // Of each row two: of the first and of the last four of eight values.
                let mut whole = [_mm512_setzero_si512(); N];
                let mut minima = [_mm256_setzero_si256(); RUNS / 2];
                for two in 0..RUNS / 2 {
                    let weights = values(at, two);
                    let [first, second] = [0, 1].map(|run| scales(at, 2 * two + run));
                    minima[two] = pairs(first.1, second.1);
                    let scales = [both(first.0), both(second.0)];
                    for_each_token!(N, token, {
                        let sum = &mut whole[token];
                        *sum = add_runs(&weights, &scales, &*tokens.add(token), two, *sum);
                    });
                    let step = block * Self::STEPS + two;
                    share.ask::<1>(step, Self::BYTES / Self::STEPS, 0);
                }
                let halves = _mm512_cvtph_ps(_mm256_loadu_si256(at.cast()));
                for_each_token!(N, token, {
                    let of_token = &*tokens.add(token);
                    let whole = whole[token];
                    // What two lanes of a row have, together.
                    let whole = _mm512_add_epi32(whole, _mm512_srli_epi64::<32>(whole));
                    let whole = _mm512_castsi256_si512(_mm512_cvtepi64_epi32(whole));
                    let minima = times_sums(&minima, of_token);
                    let whole = _mm512_inserti64x4::<1>(whole, minima);
                    let scale = _mm512_mul_ps(halves, _mm512_set1_ps(of_token.scale));
                    let sum = &mut sums[token];
                    *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), scale, *sum);
                });
            }
            for (token, &sum) in sums.iter().enumerate() {
                let minima = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sum));
                let result = _mm256_sub_ps(_mm512_castps512_ps256(sum), _mm256_castpd_ps(minima));
                _mm256_storeu_ps(results.start.add(token * results.stride), result);
            }
        }
    }
}

/// The values of two runs, those of the first and then of the second, eight of each row at a time.
///
/// # Safety
/// The processor has AVX-512, and `from` points to a block.
#[inline(always)]
unsafe fn values(from: *const u8, two: usize) -> [[__m512i; LINES]; 2] {
    // SAFETY: the caller's promises.
    unsafe {
        let low = _mm512_set1_epi8(0xf);
        let mut all = [[_mm512_setzero_si512(); LINES]; 2];
        for line in 0..LINES {
            let at = VALUES_AT + (two * LINES + line) * LINE;
            let both = _mm512_loadu_si512(from.add(at).cast());
            all[0][line] = _mm512_and_si512(both, low);
            all[1][line] = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low);
        }
        all
    }
}

/// The scales of a run, and its minima, a byte for each row.
///
/// # Safety
/// `from` points to a block.
#[inline(always)]
unsafe fn scales(from: *const u8, run: usize) -> (u64, u64) {
    let word = |number: usize| {
        let at = SCALES + run * SCALES_OF_RUN + number * size_of::<u32>();
        // SAFETY: the caller's promise.
        u64::from(unsafe { from.add(at).cast::<u32>().read_unaligned() })
    };
    // Six bits of the first four rows, and the upper two bits of the others; their lower four are
    // in the third word.
    let six = |word: u64| word & 0x3f3f_3f3f;
    let upper = |word: u64| word >> 2 & 0x3030_3030;
    let lower = |word: u64| word & 0x0f0f_0f0f;
    let [scales, minima, others] = [word(0), word(1), word(2)];
    let all = |word: u64, others: u64| six(word) | (upper(word) | lower(others)) << 32;
    (all(scales, others), all(minima, others >> 4))
}

/// A byte for each row in both lanes of the row, with nothing in their upper halves.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn both(bytes: u64) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let one = _mm512_cvtepu8_epi64(_mm_cvtsi64_si128(bytes as i64));
        _mm512_or_si512(one, _mm512_slli_epi64::<32>(one))
    }
}

/// The bytes of two runs for each row, in 16 bits.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn pairs(first: u64, second: u64) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let [first, second] = [
            _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(first as i64)),
            _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(second as i64)),
        ];
        _mm256_or_si256(first, _mm256_slli_epi32::<16>(second))
    }
}

/// Adds the products of a token's two runs.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn add_runs(
    weights: &[[__m512i; LINES]; 2],
    scales: &[__m512i; 2],
    token: &Token,
    two: usize,
    mut sums: __m512i,
) -> __m512i {
    let eights = token.values.as_ptr().cast::<i64>();
    for run in 0..2 {
        // SAFETY: the caller's promise; a token has so many values.
        unsafe {
            let mut sum = _mm512_setzero_si512();
            for line in 0..LINES {
                let values = eights.add((2 * two + run) * LINES + line).read_unaligned();
                sum = _mm512_dpbusd_epi32(sum, weights[run][line], _mm512_set1_epi64(values));
            }
            // A lane has the sum of 16 products of at most 15 * 127, so 16 bits hold it, and the
            // others are its sign.
            sums = _mm512_dpwssd_epi32(sums, sum, scales[run]);
        }
    }
    sums
}

/// The minima of the rows, times the sums of a token's runs.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn times_sums(minima: &[__m256i; RUNS / 2], token: &Token) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = _mm256_setzero_si256();
        for pair in 0..RUNS / 2 {
            let sums = _mm256_set1_epi32(token.sums[pair]);
            sum = _mm256_dpwssd_epi32(sum, sums, minima[pair]);
        }
        sum
    }
}
