//! Q4_0 as llama.cpp lays it out where there is no AMX (`block_q4_0x8`): eight rows together, block
//! by block. Of each block first the rows' scales, in half precision, then the values, eight of
//! each row at a time, and in a byte those that are 16 apart.

use std::arch::x86_64::*;

use super::super::{Results, ahead::LINE};
use super::blocks::{Blocks, Q4_0, Token};
use super::{Few, Format, MOST, RUN, for_each_token};

/// Rows that lie together.
const ROWS: usize = 8;
/// Where in a block the values are.
const VALUES_AT: usize = ROWS * 2;
/// Values of a row that follow each other.
const EIGHT: usize = 8;

/// Weights laid out so.
pub(super) struct EightBlocks;

impl Format for EightBlocks {
    const GROUP: usize = ROWS;
    const BLOCK: usize = RUN;
    const BYTES: usize = VALUES_AT + RUN / 2 * ROWS;
    const STEPS: usize = 1;
    type Token = Token;

    unsafe fn lay_out(values: &[f32], tell: impl FnMut(usize, Token)) {
        // SAFETY: the caller's promises.
        unsafe { Blocks::<Q4_0>::lay_out(values, tell) }
    }

    #[inline(always)]
    unsafe fn compute<const N: usize>(few: &Few<Token>, results: Results) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut sums = [_mm256_setzero_ps(); N];
            let mut share = few.share;
            for block in 0..few.blocks {
                let at = few.weights.add(block * Self::BYTES);
                let tokens = few.tokens.add(block * N);
                let weights = values(at.add(VALUES_AT));
                let scales = _mm256_cvtph_ps(_mm_loadu_si128(at.cast()));
                for_each_token!(N, token, {
                    let sum = &mut sums[token];
                    *sum = add_block(&weights, scales, &*tokens.add(token), *sum);
                });
                share.ask::<1>(block, Self::BYTES, 0);
            }
            for (token, &sum) in sums.iter().enumerate() {
                _mm256_storeu_ps(results.start.add(token * results.stride), sum);
            }
        }
    }
}

/// The values of a block, eight and eight of each row, and eight larger than they mean.
///
/// # Safety
/// The processor has AVX-512, and `from` points to so many.
#[inline(always)]
unsafe fn values(from: *const u8) -> [__m512i; RUN / EIGHT] {
    // SAFETY: the caller's promises.
    unsafe {
        let low = _mm512_set1_epi8(0xf);
        // They lie there with a sign.
        let both = [0, LINE].map(|at| {
            let signed = _mm512_loadu_si512(from.add(at).cast());
            _mm512_xor_si512(signed, _mm512_set1_epi8(0x88_u8 as i8))
        });
        let upper = both.map(|both| _mm512_and_si512(_mm512_srli_epi16::<4>(both), low));
        let [first, second] = both.map(|both| _mm512_and_si512(both, low));
        [first, second, upper[0], upper[1]]
    }
}

/// Adds the products of a token's block to the sums of eight rows.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn add_block(
    weights: &[__m512i; RUN / EIGHT],
    scales: __m256,
    token: &Token,
    sums: __m256,
) -> __m256 {
    // SAFETY: the caller's promise; a token has so many values.
    unsafe {
        // A row has two lanes, of which one takes back what the larger values add.
        let mut whole = _mm512_set1_epi64(i64::from(token.offset as u32));
        let eights = token.values.as_ptr().cast::<i64>();
        for eight in 0..RUN / EIGHT {
            let values = _mm512_set1_epi64(eights.add(eight).read_unaligned());
            whole = _mm512_dpbusd_epi32(whole, weights[eight], values);
        }
        let whole = _mm512_add_epi32(whole, _mm512_srli_epi64::<32>(whole));
        let whole = _mm256_cvtepi32_ps(_mm512_cvtepi64_epi32(whole));
        let scales = _mm256_mul_ps(scales, _mm256_set1_ps(token.scale));
        _mm256_fmadd_ps(whole, scales, sums)
    }
}
