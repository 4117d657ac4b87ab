//! Q8_0 and Q4_0 in the AMX buffer: 16 rows interleaved. Of each block first the values, four of
//! each row at a time, then the scales in F16; in Q8_0 also sums that only ggml's kernels use.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::activations::PackedQ8_0;
use super::{AMX_ROWS, Format, MAX_TOKENS, Output, SUB_BLOCK, Tile, for_each_token, store_rows};
use crate::prefetch::CACHE_LINE;

/// Weights of a type.
pub(super) struct AmxBlocks<W>(PhantomData<W>);

/// The blocks of 16 rows.
///
/// # Safety
/// All methods: the processor has AVX-512, and `from` points to the blocks.
pub(super) trait Blocks {
    /// Bytes of the values.
    const QS_BYTES: usize;
    /// Bytes of the blocks.
    const BYTES: usize;
    /// What is added to each value to make it unsigned.
    const ADDED: i32;

    /// The values, with [`ADDED`](Self::ADDED).
    unsafe fn values(from: *const u8) -> [__m512i; SUB_BLOCK / 4];
}

pub(super) struct Q8_0;

impl Blocks for Q8_0 {
    const QS_BYTES: usize = AMX_ROWS * SUB_BLOCK;
    const BYTES: usize = Self::QS_BYTES + AMX_ROWS * (2 + 4);
    const ADDED: i32 = 128;

    #[inline(always)]
    unsafe fn values(from: *const u8) -> [__m512i; SUB_BLOCK / 4] {
        // SAFETY: the caller's promises.
        unsafe {
            let mut all = [_mm512_setzero_si512(); SUB_BLOCK / 4];
            for four in 0..SUB_BLOCK / 4 {
                let values = _mm512_loadu_si512(from.add(four * CACHE_LINE).cast());
                all[four] = _mm512_xor_si512(_mm512_set1_epi8(i8::MIN), values);
            }
            all
        }
    }
}

/// Values of four bits, stored with 8 added.
pub(super) struct Q4_0;

impl Blocks for Q4_0 {
    const QS_BYTES: usize = AMX_ROWS * SUB_BLOCK / 2;
    const BYTES: usize = Self::QS_BYTES + AMX_ROWS * 2;
    const ADDED: i32 = 8;

    #[inline(always)]
    unsafe fn values(from: *const u8) -> [__m512i; SUB_BLOCK / 4] {
        // SAFETY: the caller's promises.
        unsafe { nibbles(from) }
    }
}

/// 32 values of four bits of each of 16 rows. A byte has values of two neighbouring fours.
///
/// # Safety
/// As for [`Blocks`].
#[inline(always)]
pub(super) unsafe fn nibbles(from: *const u8) -> [__m512i; SUB_BLOCK / 4] {
    // SAFETY: the caller's promises.
    unsafe {
        let low = _mm512_set1_epi8(0xf);
        let mut all = [_mm512_setzero_si512(); SUB_BLOCK / 4];
        for two in 0..SUB_BLOCK / 8 {
            let both = _mm512_loadu_si512(from.add(two * CACHE_LINE).cast());
            all[2 * two] = _mm512_and_si512(both, low);
            all[2 * two + 1] = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low);
        }
        all
    }
}

impl<W: Blocks> Format for AmxBlocks<W> {
    const INTERLEAVED_ROWS: usize = AMX_ROWS;
    const BLOCK: usize = SUB_BLOCK;
    const BYTES: usize = W::BYTES;
    const STEPS: usize = 1;
    type Activations = PackedQ8_0;

    unsafe fn pack(values: &[f32], emit: impl FnMut(usize, PackedQ8_0)) {
        // SAFETY: processors with AVX-512 have F16C.
        unsafe { PackedQ8_0::pack(values, W::ADDED, emit) }
    }

    #[inline(always)]
    unsafe fn compute<const N: usize>(tile: &Tile<PackedQ8_0>, output: Output) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); N];
            let mut schedule = tile.schedule;
            for block in 0..tile.blocks {
                let at = tile.weights.add(block * W::BYTES);
                let weights = W::values(at);
                let d = _mm512_cvtph_ps(_mm256_loadu_si256(at.add(W::QS_BYTES).cast()));
                let tokens = tile.activations.add(block * N);
                for_each_token!(N, token, {
                    let sum = &mut sums[token];
                    *sum = add_block(&weights, d, &*tokens.add(token), *sum);
                });
                schedule.prefetch::<1>(block, W::BYTES, 0);
            }
            store_rows(&sums, output);
        }
    }
}

/// Adds the products of 16 rows and a token's block to their sums.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn add_block(
    weights: &[__m512i; SUB_BLOCK / 4],
    d: __m512,
    token: &PackedQ8_0,
    sums: __m512,
) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = _mm512_set1_epi32(token.offset);
        for four in 0..SUB_BLOCK / 4 {
            let values = _mm512_set1_epi32(token.qs[four]);
            sum = _mm512_dpbusd_epi32(sum, weights[four], values);
        }
        let d = _mm512_mul_ps(d, _mm512_set1_ps(token.d));
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), d, sums)
    }
}
