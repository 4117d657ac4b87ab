//! `block_q4_0x8` of ggml's `CPU_REPACK` buffer: Q4_0 with eight rows interleaved, block by block.
//! First the rows' scales in F16, then the values, eight of each row at a time. A byte has two that
//! are 16 apart.

use std::arch::x86_64::*;

use super::activations::PackedQ8_0;
use super::amx_blocks::{Blocks, Q4_0};
use super::{Format, MAX_TOKENS, Output, SUB_BLOCK, Tile, for_each_token};
use crate::prefetch::CACHE_LINE;

const ROWS: usize = 8;
/// Where in a block the values are.
const QS: usize = ROWS * 2;
/// Values of a row that follow each other.
const EIGHT: usize = 8;

pub(super) struct Q4_0x8;

impl Format for Q4_0x8 {
    const INTERLEAVED_ROWS: usize = ROWS;
    const BLOCK: usize = SUB_BLOCK;
    const BYTES: usize = QS + SUB_BLOCK / 2 * ROWS;
    const STEPS: usize = 1;
    type Activations = PackedQ8_0;

    unsafe fn pack(values: &[f32], emit: impl FnMut(usize, PackedQ8_0)) {
        // SAFETY: processors with AVX-512 have F16C.
        unsafe { PackedQ8_0::pack(values, Q4_0::ADDED, emit) }
    }

    #[inline(always)]
    unsafe fn compute<const N: usize>(tile: &Tile<PackedQ8_0>, output: Output) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut sums = [_mm256_setzero_ps(); N];
            let mut schedule = tile.schedule;
            for block in 0..tile.blocks {
                let at = tile.weights.add(block * Self::BYTES);
                let tokens = tile.activations.add(block * N);
                let weights = values(at.add(QS));
                let d = _mm256_cvtph_ps(_mm_loadu_si128(at.cast()));
                for_each_token!(N, token, {
                    let sum = &mut sums[token];
                    *sum = add_block(&weights, d, &*tokens.add(token), *sum);
                });
                schedule.prefetch::<1>(block, Self::BYTES, 0);
            }
            for (token, &sum) in sums.iter().enumerate() {
                _mm256_storeu_ps(output.data.add(token * output.stride), sum);
            }
        }
    }
}

/// The values of a block, eight of each row at a time, with 8 added.
///
/// # Safety
/// The processor has AVX-512, and `from` points to the values.
#[inline(always)]
unsafe fn values(from: *const u8) -> [__m512i; SUB_BLOCK / EIGHT] {
    // SAFETY: the caller's promises.
    unsafe {
        let low = _mm512_set1_epi8(0xf);
        // They are stored signed.
        let both = [0, CACHE_LINE].map(|at| {
            let signed = _mm512_loadu_si512(from.add(at).cast());
            _mm512_xor_si512(signed, _mm512_set1_epi8(0x88_u8 as i8))
        });
        let upper = both.map(|both| _mm512_and_si512(_mm512_srli_epi16::<4>(both), low));
        let [first, second] = both.map(|both| _mm512_and_si512(both, low));
        [first, second, upper[0], upper[1]]
    }
}

/// Adds the products of eight rows and a token's block to their sums.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn add_block(
    weights: &[__m512i; SUB_BLOCK / EIGHT],
    d: __m256,
    token: &PackedQ8_0,
    sums: __m256,
) -> __m256 {
    // SAFETY: the caller's promise; a token has so many values.
    unsafe {
        // A row has two lanes, of which one gets the offset.
        let mut whole = _mm512_set1_epi64(i64::from(token.offset as u32));
        let eights = token.qs.as_ptr().cast::<i64>();
        for eight in 0..SUB_BLOCK / EIGHT {
            let values = _mm512_set1_epi64(eights.add(eight).read_unaligned());
            whole = _mm512_dpbusd_epi32(whole, weights[eight], values);
        }
        let whole = _mm512_add_epi32(whole, _mm512_srli_epi64::<32>(whole));
        let whole = _mm256_cvtepi32_ps(_mm512_cvtepi64_epi32(whole));
        let d = _mm256_mul_ps(d, _mm256_set1_ps(token.d));
        _mm256_fmadd_ps(whole, d, sums)
    }
}
