//! Blocks of 32 values, with a scale of each row in half precision, and in Q8_0 sums of the weights
//! that only llama.cpp's kernels use.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ffi::c_void;
use std::marker::PhantomData;

use super::super::{Results, ahead::LINE, q8_0};
use super::{Few, Format, GROUP, MOST, RUN, for_each_token, store};

/// Weights in such blocks.
pub(super) struct Blocks<V>(PhantomData<V>);

/// The weights of a block.
///
/// # Safety
/// All methods: the processor has VNNI, and `from` points to a block of 16 rows.
pub(super) trait Values {
    /// Bytes of the values.
    const VALUES: usize;
    /// Bytes of all that belongs to a block.
    const BYTES: usize;
    /// What is added to the values.
    const ADDED: i32;

    /// The values, with [`ADDED`](Self::ADDED).
    unsafe fn values(from: *const u8) -> [__m512i; RUN / 4];
}

pub(super) struct Q8_0;

impl Values for Q8_0 {
    const VALUES: usize = GROUP * RUN;
    const BYTES: usize = Self::VALUES + GROUP * (2 + 4);
    const ADDED: i32 = 128;

    #[inline(always)]
    unsafe fn values(from: *const u8) -> [__m512i; RUN / 4] {
        // SAFETY: the caller's promises.
        unsafe {
            let mut all = [_mm512_setzero_si512(); RUN / 4];
            for four in 0..RUN / 4 {
                let values = _mm512_loadu_si512(from.add(four * LINE).cast());
                all[four] = _mm512_xor_si512(_mm512_set1_epi8(i8::MIN), values);
            }
            all
        }
    }
}

/// Values of four bits, which are eight larger than they mean.
pub(super) struct Q4_0;

impl Values for Q4_0 {
    const VALUES: usize = GROUP * RUN / 2;
    const BYTES: usize = Self::VALUES + GROUP * 2;
    const ADDED: i32 = 8;

    #[inline(always)]
    unsafe fn values(from: *const u8) -> [__m512i; RUN / 4] {
        // SAFETY: the caller's promises.
        unsafe { nibbles(from) }
    }
}

/// 32 values of four bits for each of 16 rows, those of two fours in a byte.
///
/// # Safety
/// The processor has AVX-512, and `from` points to so many.
#[inline(always)]
pub(super) unsafe fn nibbles(from: *const u8) -> [__m512i; RUN / 4] {
    // SAFETY: the caller's promises.
    unsafe {
        let low = _mm512_set1_epi8(0xf);
        let mut all = [_mm512_setzero_si512(); RUN / 4];
        for two in 0..RUN / 8 {
            let both = _mm512_loadu_si512(from.add(two * LINE).cast());
            all[2 * two] = _mm512_and_si512(both, low);
            all[2 * two + 1] = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low);
        }
        all
    }
}

/// A token's block.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Token {
    /// Its values, four and four.
    pub(super) values: [i32; RUN / 4],
    /// VNNI wants weights without a sign, so a number is added to all of them. This takes back what
    /// that adds to a sum.
    pub(super) offset: i32,
    pub(super) scale: f32,
}

unsafe extern "C" {
    /// llama.cpp's way to round `length` values to Q8_0.
    fn quantize_row_q8_0(from: *const f32, to: *mut c_void, length: i64);
}

/// Rounds values to Q8_0, as llama.cpp does. `to` has the room that their blocks need.
pub(in super::super) fn round(values: &[f32], to: &mut [u8]) {
    assert_eq!(to.len(), values.len() / RUN * q8_0::BYTES);
    let length = values.len() as i64;
    // SAFETY: there is room.
    unsafe { quantize_row_q8_0(values.as_ptr(), to.as_mut_ptr().cast(), length) }
}

impl<V: Values> Format for Blocks<V> {
    const BLOCK: usize = RUN;
    const BYTES: usize = V::BYTES;
    const STEPS: usize = 1;
    type Token = Token;

    unsafe fn lay_out(values: &[f32], mut tell: impl FnMut(usize, Token)) {
        thread_local! {
            static ROUNDED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        ROUNDED.with_borrow_mut(|rounded| {
            rounded.resize(values.len() / RUN * q8_0::BYTES, 0);
            round(values, rounded);
            for (number, block) in rounded.chunks_exact(q8_0::BYTES).enumerate() {
                let (scale, values) = block.split_at(2);
                let sum: i32 = values.iter().map(|&value| i32::from(value as i8)).sum();
                let scale = i16::from_le_bytes([scale[0], scale[1]]);
                let mut token = Token {
                    offset: -V::ADDED * sum,
                    // SAFETY: processors with AVX-512 have F16C.
                    scale: unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16(scale))) },
                    ..Token::default()
                };
                for (to, four) in token.values.iter_mut().zip(values.chunks_exact(4)) {
                    *to = i32::from_le_bytes([four[0], four[1], four[2], four[3]]);
                }
                tell(number, token);
            }
        });
    }

    #[inline(always)]
    unsafe fn compute<const N: usize>(few: &Few<Token>, results: Results) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); N];
            let mut share = few.share;
            for block in 0..few.blocks {
                let at = few.weights.add(block * V::BYTES);
                let weights = V::values(at);
                let scales = _mm512_cvtph_ps(_mm256_loadu_si256(at.add(V::VALUES).cast()));
                let tokens = few.tokens.add(block * N);
                for_each_token!(N, token, {
                    let sum = &mut sums[token];
                    *sum = add_block(&weights, scales, &*tokens.add(token), *sum);
                });
                share.ask::<1>(block, V::BYTES, 0);
            }
            store(&sums, results);
        }
    }
}

/// Adds the products of a token's block to the sums of 16 rows.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn add_block(
    weights: &[__m512i; RUN / 4],
    scales: __m512,
    token: &Token,
    sums: __m512,
) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = _mm512_set1_epi32(token.offset);
        for four in 0..RUN / 4 {
            let values = _mm512_set1_epi32(token.values[four]);
            sum = _mm512_dpbusd_epi32(sum, weights[four], values);
        }
        let scales = _mm512_mul_ps(scales, _mm512_set1_ps(token.scale));
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scales, sums)
    }
}
