//! Q6_K as it lies in files (`block_q6_K`), which llama.cpp leaves so where there is no AMX: row by
//! row, of each block the lower four bits of its values, the upper two, a scale of eight bits for
//! each 16 of them, and what scales those, in half precision.

use std::arch::x86_64::*;

use super::super::Results;
use super::super_blocks::{Rounded, VALUES, each_block};
use super::{Few, Format, MOST, for_each_token};

/// Where in a block things are.
const UPPER: usize = VALUES / 2;
const SCALES: usize = UPPER + VALUES / 4;
const SCALE: usize = SCALES + VALUES / 16;

/// Values that are in a register at once.
const SOME: usize = 64;
/// Registers of a block.
const ALL: usize = VALUES / SOME;

/// Weights that lie so.
pub(super) struct Rows;

impl Format for Rows {
    const GROUP: usize = 1;
    const BLOCK: usize = VALUES;
    const BYTES: usize = SCALE + 2;
    const STEPS: usize = 1;
    type Token = Rounded;

    unsafe fn lay_out(values: &[f32], mut tell: impl FnMut(usize, Rounded)) {
        each_block(values, |number, block| tell(number, *block));
    }

    #[inline(always)]
    unsafe fn compute<const N: usize>(few: &Few<Rounded>, results: Results) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut sums = [_mm256_setzero_ps(); N];
            let mut share = few.share;
            for block in 0..few.blocks {
                let at = few.weights.add(block * Self::BYTES);
                let tokens = few.tokens.add(block * N);
                let weights = values(at);
                let of_runs = _mm256_cvtepi8_epi16(_mm_loadu_si128(at.add(SCALES).cast()));
                let scales = spread(of_runs);
                let scale = at.add(SCALE).cast::<u16>().read_unaligned();
                let scale = _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16(scale as i16)));
                for_each_token!(N, token, {
                    let of_token = &*tokens.add(token);
                    let whole = times(&weights, &scales, of_runs, of_token);
                    let scale = _mm256_set1_ps(of_token.scale * scale);
                    let sum = &mut sums[token];
                    *sum = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(whole), *sum);
                });
                share.ask::<1>(block, Self::BYTES, 0);
            }
            for (token, &sum) in sums.iter().enumerate() {
                *results.start.add(token * results.stride) = of_lanes(sum);
            }
        }
    }
}

/// The values of a block, which are 32 larger than they mean, in their order.
///
/// # Safety
/// The processor has AVX-512 with bytes and words, and `from` points to a block.
#[inline(always)]
unsafe fn values(from: *const u8) -> [__m512i; ALL] {
    // SAFETY: the caller's promises.
    unsafe {
        let (low, high) = (_mm512_set1_epi8(0xf), _mm512_set1_epi8(0x30));
        // By how many places upper bits have to move: those of the first 32 values of a register,
        // and those of the others.
        let left = _mm512_inserti64x4::<1>(_mm512_set1_epi16(4), _mm256_set1_epi16(2));
        let right = _mm512_inserti64x4::<1>(_mm512_setzero_si512(), _mm256_set1_epi16(2));
        let mut all = [_mm512_setzero_si512(); ALL];
        for half in 0..ALL / 2 {
            let lower = _mm512_loadu_si512(from.add(half * SOME).cast());
            let upper = _mm256_loadu_si256(from.add(UPPER + half * SOME / 2).cast());
            let upper = _mm512_broadcast_i64x4(upper);
            let first = _mm512_and_si512(_mm512_sllv_epi16(upper, left), high);
            let second = _mm512_and_si512(_mm512_srlv_epi16(upper, right), high);
            let lower_of_second = _mm512_and_si512(_mm512_srli_epi16::<4>(lower), low);
            all[2 * half] = _mm512_or_si512(_mm512_and_si512(lower, low), first);
            all[2 * half + 1] = _mm512_or_si512(lower_of_second, second);
        }
        all
    }
}

/// For each register of values the scales of four runs of 16, each for eight sums of two values.
///
/// # Safety
/// The processor has AVX-512 with bytes and words.
#[inline(always)]
unsafe fn spread(of_runs: __m256i) -> [__m512i; ALL] {
    // SAFETY: the caller's promise.
    unsafe {
        let of_runs = _mm512_castsi256_si512(of_runs);
        // 0 eight times, then 1, 2 and 3.
        let places = _mm512_inserti64x4::<1>(
            _mm512_castsi256_si512(_mm256_inserti128_si256::<1>(
                _mm256_setzero_si256(),
                _mm_set1_epi16(1),
            )),
            _mm256_inserti128_si256::<1>(_mm256_set1_epi16(2), _mm_set1_epi16(3)),
        );
        let mut all = [_mm512_setzero_si512(); ALL];
        for some in 0..ALL {
            let places = _mm512_add_epi16(places, _mm512_set1_epi16(4 * some as i16));
            all[some] = _mm512_permutexvar_epi16(places, of_runs);
        }
        all
    }
}

/// The products of a block with a token's, in eight sums: of every fourth four of 32 values.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn times(
    weights: &[__m512i; ALL],
    scales: &[__m512i; ALL],
    of_runs: __m256i,
    token: &Rounded,
) -> __m256i {
    // SAFETY: the caller's promise; a token has so many values and sums.
    unsafe {
        let mut sum = _mm512_setzero_si512();
        for some in 0..ALL {
            let values = _mm512_loadu_si512(token.values.as_ptr().add(some * SOME).cast());
            // Two products of at most 63 * 127 each.
            let two = _mm512_maddubs_epi16(weights[some], values);
            sum = _mm512_dpwssd_epi32(sum, two, scales[some]);
        }
        let halves = _mm512_extracti64x4_epi64::<1>(sum);
        let sum = _mm256_add_epi32(_mm512_castsi512_si256(sum), halves);
        // What the 32 in each weight added.
        let added = _mm256_madd_epi16(_mm256_loadu_si256(token.sums.as_ptr().cast()), of_runs);
        _mm256_sub_epi32(sum, _mm256_slli_epi32::<5>(added))
    }
}

/// The sum of all lanes, in llama.cpp's order.
///
/// # Safety
/// The processor has AVX.
#[inline(always)]
unsafe fn of_lanes(lanes: __m256) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let four = _mm_add_ps(
            _mm256_extractf128_ps::<1>(lanes),
            _mm256_castps256_ps128(lanes),
        );
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}
