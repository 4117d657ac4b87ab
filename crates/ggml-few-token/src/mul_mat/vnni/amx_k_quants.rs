//! Q4_K, Q5_K and Q6_K in the AMX buffer: 16 rows interleaved, super-block by super-block. First
//! the values, four of each row at a time, then the scales of sub-blocks, their minima if the type
//! has any, and the scales of those, `d` and `dmin`, in F16.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::activations::{PackedQ8K, for_each_q8_k};
use super::amx_blocks::nibbles;
use super::{AMX_ROWS, Format, MAX_TOKENS, Output, SUB_BLOCK, Tile, for_each_token, store_rows};
use crate::ggml::QK_K;
use crate::prefetch::CACHE_LINE;

/// Sub-blocks of a super-block.
const SUB_BLOCKS: usize = QK_K / SUB_BLOCK;

/// Weights of a type.
pub(super) struct AmxKQuant<W>(PhantomData<W>);

/// The super-blocks of 16 rows.
///
/// # Safety
/// All methods: the processor has AVX-512 with bytes and words, and `from` points to the
/// super-blocks.
pub(super) trait SuperBlocks {
    /// Where the scales of sub-blocks are.
    const SCALES: usize;
    /// Where the minima are. Types without store values with 32 added.
    const MINS: Option<usize>;
    /// Where `d` is, and behind it `dmin`.
    const D: usize;
    /// Bytes of the super-blocks.
    const BYTES: usize;
    /// Scales of 32 values: two if sub-blocks have 16.
    const SCALES_PER_32: usize;

    /// 32 values.
    unsafe fn values(from: *const u8, sub_block: usize) -> [__m512i; SUB_BLOCK / 4];
}

pub(super) struct Q4K;

impl SuperBlocks for Q4K {
    const SCALES: usize = AMX_ROWS * QK_K / 2;
    const MINS: Option<usize> = Some(Self::SCALES + AMX_ROWS * SUB_BLOCKS);
    const D: usize = Self::SCALES + 2 * AMX_ROWS * SUB_BLOCKS;
    const BYTES: usize = Self::D + 2 * AMX_ROWS * 2;
    const SCALES_PER_32: usize = 1;

    #[inline(always)]
    unsafe fn values(from: *const u8, sub_block: usize) -> [__m512i; SUB_BLOCK / 4] {
        // SAFETY: the caller's promises.
        unsafe { nibbles(from.add(sub_block * AMX_ROWS * SUB_BLOCK / 2)) }
    }
}

/// As Q4_K, with a fifth bit: a byte has those of all eight fours of a sub-block.
pub(super) struct Q5K;

impl Q5K {
    const HIGH_BITS: usize = AMX_ROWS * QK_K / 2;
}

impl SuperBlocks for Q5K {
    const SCALES: usize = Self::HIGH_BITS + AMX_ROWS * QK_K / 8;
    const MINS: Option<usize> = Some(Self::SCALES + AMX_ROWS * SUB_BLOCKS);
    const D: usize = Self::SCALES + 2 * AMX_ROWS * SUB_BLOCKS;
    const BYTES: usize = Self::D + 2 * AMX_ROWS * 2;
    const SCALES_PER_32: usize = 1;

    #[inline(always)]
    unsafe fn values(from: *const u8, sub_block: usize) -> [__m512i; SUB_BLOCK / 4] {
        // SAFETY: the caller's promises.
        unsafe {
            let mut all = nibbles(from.add(sub_block * AMX_ROWS * SUB_BLOCK / 2));
            let bits = from.add(Self::HIGH_BITS + sub_block * CACHE_LINE);
            let bits = _mm512_loadu_si512(bits.cast());
            let fifth = _mm512_set1_epi8(0x10);
            for four in 0..SUB_BLOCK / 4 {
                // Shifts its bit to the fifth place.
                let by = _mm512_set1_epi16((four as i16 - 4).abs());
                let shifted = match four < 4 {
                    true => _mm512_sllv_epi16(bits, by),
                    false => _mm512_srlv_epi16(bits, by),
                };
                all[four] = _mm512_or_si512(all[four], _mm512_and_si512(shifted, fifth));
            }
            all
        }
    }
}

/// Values of six bits, stored with 32 added: four bits as in Q4_K, and bytes with the upper two of
/// four fours.
pub(super) struct Q6K;

impl Q6K {
    const HIGH_BITS: usize = AMX_ROWS * QK_K / 2;
}

impl SuperBlocks for Q6K {
    const SCALES: usize = Self::HIGH_BITS + AMX_ROWS * QK_K / 4;
    const MINS: Option<usize> = None;
    const D: usize = Self::SCALES + 2 * AMX_ROWS * SUB_BLOCKS;
    const BYTES: usize = Self::D + AMX_ROWS * 2;
    const SCALES_PER_32: usize = 2;

    #[inline(always)]
    unsafe fn values(from: *const u8, sub_block: usize) -> [__m512i; SUB_BLOCK / 4] {
        // SAFETY: the caller's promises.
        unsafe {
            let mut all = nibbles(from.add(sub_block * AMX_ROWS * SUB_BLOCK / 2));
            let high = _mm512_set1_epi8(0x30);
            for four in 0..SUB_BLOCK / 4 {
                let at = Self::HIGH_BITS + (2 * sub_block + four / 4) * CACHE_LINE;
                let bits = _mm512_loadu_si512(from.add(at).cast());
                // Shifts its bits to the fifth and sixth place.
                let by = (4 - 2 * (four % 4) as i16).abs();
                let shifted = match four % 4 < 2 {
                    true => _mm512_sllv_epi16(bits, _mm512_set1_epi16(by)),
                    false => _mm512_srlv_epi16(bits, _mm512_set1_epi16(by)),
                };
                all[four] = _mm512_or_si512(all[four], _mm512_and_si512(shifted, high));
            }
            all
        }
    }
}

impl<W: SuperBlocks> Format for AmxKQuant<W> {
    const INTERLEAVED_ROWS: usize = AMX_ROWS;
    const BLOCK: usize = QK_K;
    const BYTES: usize = W::BYTES;
    const STEPS: usize = SUB_BLOCKS;
    type Activations = PackedQ8K;

    unsafe fn pack(values: &[f32], mut emit: impl FnMut(usize, PackedQ8K)) {
        for_each_q8_k(values, |number, block| {
            emit(number, PackedQ8K::new(block, W::MINS.is_some()));
        });
    }

    #[inline(always)]
    unsafe fn compute<const N: usize>(tile: &Tile<PackedQ8K>, output: Output) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); N];
            let mut schedule = tile.schedule;
            for block in 0..tile.blocks {
                let at = tile.weights.add(block * W::BYTES);
                let tokens = tile.activations.add(block * N);
                let mut whole = [_mm512_setzero_si512(); N];
                for sub_block in 0..SUB_BLOCKS {
                    let weights = W::values(at, sub_block);
                    let scales = scales::<W>(at, sub_block);
                    for_each_token!(N, token, {
                        let (sum, token) = (&mut whole[token], &*tokens.add(token));
                        *sum = add_sub_block::<W>(&weights, &scales, token, sub_block, *sum);
                    });
                    let step = block * SUB_BLOCKS + sub_block;
                    schedule.prefetch::<1>(step, W::BYTES / SUB_BLOCKS, 0);
                }
                let d = load_d::<W>(at, 0);
                for_each_token!(N, token, {
                    let d = _mm512_mul_ps(d, _mm512_set1_ps((*tokens.add(token)).d));
                    let sum = &mut sums[token];
                    *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[token]), d, *sum);
                });
                if let Some(mins) = W::MINS {
                    let mins = min_pairs(at.add(mins));
                    let dmin = load_d::<W>(at, 1);
                    for_each_token!(N, token, {
                        let (sum, token) = (&mut sums[token], &*tokens.add(token));
                        let dmin = _mm512_mul_ps(dmin, _mm512_set1_ps(token.d));
                        let mins = dot_mins(&mins, token);
                        *sum = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(mins), dmin, *sum);
                    });
                }
            }
            store_rows(&sums, output);
        }
    }
}

/// The one or two scales of 32 values of each of 16 rows.
///
/// # Safety
/// As for [`SuperBlocks`].
#[inline(always)]
unsafe fn scales<W: SuperBlocks>(from: *const u8, sub_block: usize) -> [__m512i; 2] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut all = [_mm512_setzero_si512(); 2];
        for number in 0..W::SCALES_PER_32 {
            let at = W::SCALES + (sub_block * W::SCALES_PER_32 + number) * AMX_ROWS;
            all[number] = _mm512_cvtepi8_epi32(_mm_loadu_si128(from.add(at).cast()));
        }
        all
    }
}

/// `d` of 16 rows, or `dmin`.
///
/// # Safety
/// As for [`SuperBlocks`].
#[inline(always)]
unsafe fn load_d<W: SuperBlocks>(from: *const u8, number: usize) -> __m512 {
    // SAFETY: the caller's promises.
    unsafe {
        let at = from.add(W::D + number * AMX_ROWS * 2);
        _mm512_cvtph_ps(_mm256_loadu_si256(at.cast()))
    }
}

/// Adds the products of 16 rows and 32 of a token's values to their sums.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn add_sub_block<W: SuperBlocks>(
    weights: &[__m512i; SUB_BLOCK / 4],
    scales: &[__m512i; 2],
    token: &PackedQ8K,
    sub_block: usize,
    mut sums: __m512i,
) -> __m512i {
    let fours = SUB_BLOCK / 4 / W::SCALES_PER_32;
    for number in 0..W::SCALES_PER_32 {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sum = match W::MINS {
                Some(_) => _mm512_setzero_si512(),
                None => _mm512_set1_epi32(token.bsums[sub_block * W::SCALES_PER_32 + number]),
            };
            for four in number * fours..(number + 1) * fours {
                let values = _mm512_set1_epi32(token.qs[sub_block * SUB_BLOCK / 4 + four]);
                sum = _mm512_dpbusd_epi32(sum, weights[four], values);
            }
            sums = _mm512_add_epi32(sums, _mm512_mullo_epi32(sum, scales[number]));
        }
    }
    sums
}

/// The minima of 16 rows, of two sub-blocks at a time in 16 bits.
///
/// # Safety
/// The processor has AVX-512 with bytes and words, and `from` points to the minima.
#[inline(always)]
unsafe fn min_pairs(from: *const u8) -> [__m512i; SUB_BLOCKS / 2] {
    // SAFETY: the caller's promises.
    unsafe {
        let mut all = [_mm512_setzero_si512(); SUB_BLOCKS / 2];
        for pair in 0..SUB_BLOCKS / 2 {
            let bytes = _mm256_loadu_si256(from.add(pair * 2 * AMX_ROWS).cast());
            all[pair] = _mm512_cvtepi8_epi16(bytes);
        }
        all
    }
}

/// The minima of 16 rows times the sums of a token's sub-blocks.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn dot_mins(mins: &[__m512i; SUB_BLOCKS / 2], token: &PackedQ8K) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = _mm512_setzero_si512();
        for pair in 0..SUB_BLOCKS / 2 {
            let sums = _mm512_set1_epi32(token.bsums[pair]);
            sum = _mm512_dpwssd_epi32(sum, sums, mins[pair]);
        }
        sum
    }
}
