//! Q6_K as GGUF files have it (`block_q6_K`), which ggml does not repack without AMX: row by row,
//! of each super-block the lower four bits of its values, the upper two, a scale for each 16 of
//! them, and the scale of those, `d`, in F16.

use std::arch::x86_64::*;

use super::activations::for_each_q8_k;
use super::{Format, MAX_TOKENS, Output, Tile, for_each_token};
use crate::ggml::{BlockQ8K, QK_K};
use crate::simd::F32Vector;

/// Where in a super-block things are.
const UPPER: usize = QK_K / 2;
const SCALES: usize = UPPER + QK_K / 4;
const D: usize = SCALES + QK_K / 16;

/// Values of a register.
const PER_REGISTER: usize = 64;
/// Registers of a super-block.
const REGISTERS: usize = QK_K / PER_REGISTER;

pub(super) struct Q6KRows;

impl Format for Q6KRows {
    const INTERLEAVED_ROWS: usize = 1;
    const BLOCK: usize = QK_K;
    const BYTES: usize = D + 2;
    const STEPS: usize = 1;
    type Activations = BlockQ8K;

    unsafe fn pack(values: &[f32], mut emit: impl FnMut(usize, BlockQ8K)) {
        for_each_q8_k(values, |number, block| emit(number, *block));
    }

    #[inline(always)]
    unsafe fn compute<const N: usize>(tile: &Tile<BlockQ8K>, output: Output) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut sums = [_mm256_setzero_ps(); N];
            let mut schedule = tile.schedule;
            for block in 0..tile.blocks {
                let at = tile.weights.add(block * Self::BYTES);
                let tokens = tile.activations.add(block * N);
                let weights = values(at);
                let scales = _mm256_cvtepi8_epi16(_mm_loadu_si128(at.add(SCALES).cast()));
                let spread = spread(scales);
                let d = at.add(D).cast::<i16>().read_unaligned();
                let d = _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16(d)));
                for_each_token!(N, token, {
                    let (sum, token) = (&mut sums[token], &*tokens.add(token));
                    let whole = dot(&weights, &spread, scales, token);
                    let d = _mm256_set1_ps(token.d * d);
                    *sum = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(whole), *sum);
                });
                schedule.prefetch::<1>(block, Self::BYTES, 0);
            }
            for (token, &sum) in sums.iter().enumerate() {
                *output.data.add(token * output.stride) = sum.reduce();
            }
        }
    }
}

/// The values of a super-block in their order, with 32 added.
///
/// # Safety
/// The processor has AVX-512 with bytes and words, and `from` points to a super-block.
#[inline(always)]
unsafe fn values(from: *const u8) -> [__m512i; REGISTERS] {
    // SAFETY: the caller's promises.
    unsafe {
        let (low, high) = (_mm512_set1_epi8(0xf), _mm512_set1_epi8(0x30));
        // How far to shift the upper bits: of the first 32 values of a register, and of the others.
        let left = _mm512_inserti64x4::<1>(_mm512_set1_epi16(4), _mm256_set1_epi16(2));
        let right = _mm512_inserti64x4::<1>(_mm512_setzero_si512(), _mm256_set1_epi16(2));
        let mut all = [_mm512_setzero_si512(); REGISTERS];
        for half in 0..REGISTERS / 2 {
            let lower = _mm512_loadu_si512(from.add(half * PER_REGISTER).cast());
            let upper = from.add(UPPER + half * PER_REGISTER / 2);
            let upper = _mm512_broadcast_i64x4(_mm256_loadu_si256(upper.cast()));
            let first = _mm512_and_si512(_mm512_sllv_epi16(upper, left), high);
            let second = _mm512_and_si512(_mm512_srlv_epi16(upper, right), high);
            let lower_of_second = _mm512_and_si512(_mm512_srli_epi16::<4>(lower), low);
            all[2 * half] = _mm512_or_si512(_mm512_and_si512(lower, low), first);
            all[2 * half + 1] = _mm512_or_si512(lower_of_second, second);
        }
        all
    }
}

/// For each register of values the scales of its four 16s, each for eight sums of two values.
///
/// # Safety
/// The processor has AVX-512 with bytes and words.
#[inline(always)]
unsafe fn spread(scales: __m256i) -> [__m512i; REGISTERS] {
    // SAFETY: the caller's promise.
    unsafe {
        let scales = _mm512_castsi256_si512(scales);
        // 0 eight times, then 1, 2 and 3.
        let indices = _mm512_inserti64x4::<1>(
            _mm512_castsi256_si512(_mm256_inserti128_si256::<1>(
                _mm256_setzero_si256(),
                _mm_set1_epi16(1),
            )),
            _mm256_inserti128_si256::<1>(_mm256_set1_epi16(2), _mm_set1_epi16(3)),
        );
        let mut all = [_mm512_setzero_si512(); REGISTERS];
        for register in 0..REGISTERS {
            let indices = _mm512_add_epi16(indices, _mm512_set1_epi16(4 * register as i16));
            all[register] = _mm512_permutexvar_epi16(indices, scales);
        }
        all
    }
}

/// The product of a super-block and a token's, in eight sums: of every fourth four of 32 values.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn dot(
    weights: &[__m512i; REGISTERS],
    spread: &[__m512i; REGISTERS],
    scales: __m256i,
    token: &BlockQ8K,
) -> __m256i {
    // SAFETY: the caller's promise; a token has so many values and sums.
    unsafe {
        let mut sum = _mm512_setzero_si512();
        for register in 0..REGISTERS {
            let values = token.qs.as_ptr().add(register * PER_REGISTER);
            // Two products of at most 63 * 127 each.
            let two = _mm512_maddubs_epi16(weights[register], _mm512_loadu_si512(values.cast()));
            sum = _mm512_dpwssd_epi32(sum, two, spread[register]);
        }
        let halves = _mm512_extracti64x4_epi64::<1>(sum);
        let sum = _mm256_add_epi32(_mm512_castsi512_si256(sum), halves);
        // What the 32 in each weight added.
        let added = _mm256_madd_epi16(_mm256_loadu_si256(token.bsums.as_ptr().cast()), scales);
        _mm256_sub_epi32(sum, _mm256_slli_epi32::<5>(added))
    }
}
