//! Weights as llama.cpp lays them out for AMX: 16 rows together, block by block of 32 values. Of each block first the values,
//! four of each row at a time, then the 16 scales in half precision, and in Q8_0 something for llama.cpp's kernels.
//!
//! llama.cpp multiplies these by AMX's tiles from two tokens on, which takes a third to the whole of a single token's time more for
//! two, and for prompts no less than VNNI does. A product is, bit for bit, what it computes for one token: the same sums in the same order.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::lanes::LINE;
use super::tiles::{Ahead, Share};
use super::{Job, Kind, Pieces, Results, q8_0};

/// Rows that lie together.
pub(super) const GROUP: usize = 16;
/// Values of a block.
pub(super) const BLOCK: usize = q8_0::BLOCK;
/// The most tokens that have their sums in registers at once: as many as leave room for a block of weights.
const MOST: usize = 16;

/// What a token's block is to the kernels.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Laid {
    /// Its values, four and four.
    values: [i32; BLOCK / 4],
    /// What weights that are too large, so as to have no sign, add to a sum, with the opposite sign.
    offset: i32,
    scale: f32,
}

/// The tokens, laid out by all threads of a pass together: the blocks with the same number of all tokens follow each other.
#[derive(Clone, Copy)]
pub(super) struct Tokens {
    pub(super) start: *mut Laid,
    pub(super) count: usize,
}

unsafe extern "C" {
    /// llama.cpp's way to round `length` values to Q8_0.
    fn quantize_row_q8_0(from: *const f32, to: *mut std::ffi::c_void, length: i64);
}

/// Rounds `values` to Q8_0, as llama.cpp does.
///
/// # Safety
/// There is room for as many blocks as they have.
pub(super) unsafe fn round(values: &[f32], to: &mut [u8]) {
    debug_assert_eq!(to.len(), values.len() / BLOCK * q8_0::BYTES);
    // SAFETY: the caller's promise.
    unsafe {
        quantize_row_q8_0(values.as_ptr(), to.as_mut_ptr().cast(), values.len() as i64);
    }
}

impl Tokens {
    /// Lays the token numbered `at` out, whose values are `from`, for weights of a `kind`.
    ///
    /// # Safety
    /// There is room, which is no other thread's.
    pub(super) unsafe fn lay_out(self, kind: Kind, at: usize, from: &[f32]) {
        thread_local! {
            static ROUNDED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let too_large = match kind {
            Kind::PackedQ4_0 => Q4_0::TOO_LARGE,
            _ => Q8_0::TOO_LARGE,
        };
        ROUNDED.with_borrow_mut(|rounded| {
            rounded.resize(from.len() / BLOCK * q8_0::BYTES, 0);
            // SAFETY: there is room for so many blocks.
            unsafe { round(from, rounded) }
            for (number, block) in rounded.chunks_exact(q8_0::BYTES).enumerate() {
                let (scale, values) = block.split_at(2);
                let sum: i32 = values.iter().map(|&value| i32::from(value as i8)).sum();
                let mut laid = Laid {
                    offset: -too_large * sum,
                    ..Laid::default()
                };
                for (to, four) in laid.values.iter_mut().zip(values.chunks_exact(4)) {
                    *to = i32::from_le_bytes([four[0], four[1], four[2], four[3]]);
                }
                let scale = i16::from_le_bytes([scale[0], scale[1]]);
                // SAFETY: the caller's promise, and processors with VNNI have F16C.
                unsafe {
                    laid.scale = _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16(scale)));
                    *self.start.add(number * self.count + at) = laid;
                }
            }
        });
    }
}

/// As [`Job::compute`], for its kind of weights. Its rows are groups of 16, and its tokens' start is that of [`Tokens`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn multiply(job: &Job, pieces: &mut Pieces<'_>) {
    // SAFETY: the caller's promises.
    unsafe {
        match job.product.kind {
            Kind::PackedQ4_0 => compute::<Q4_0>(job, pieces),
            _ => compute::<Q8_0>(job, pieces),
        }
    }
}

/// Sixteen rows' weights of a block.
///
/// # Safety
/// All methods: the processor has VNNI, and `from` points to a block of 16 rows.
trait Blocks {
    /// Bytes of the values.
    const VALUES: usize;
    /// Bytes of all that belongs to a block.
    const BYTES: usize;
    /// What the values have too much.
    const TOO_LARGE: i32;

    /// The values, with [`TOO_LARGE`](Self::TOO_LARGE) added.
    unsafe fn values(from: *const u8) -> [__m512i; BLOCK / 4];
}

struct Q8_0;

impl Blocks for Q8_0 {
    const VALUES: usize = GROUP * BLOCK;
    // Behind the scales are sums of the weights.
    const BYTES: usize = Self::VALUES + GROUP * (2 + 4);
    const TOO_LARGE: i32 = 128;

    #[inline(always)]
    unsafe fn values(from: *const u8) -> [__m512i; BLOCK / 4] {
        unsafe {
            let mut all = [_mm512_setzero_si512(); BLOCK / 4];
            for four in 0..BLOCK / 4 {
                let values = _mm512_loadu_si512(from.add(four * LINE).cast());
                all[four] = _mm512_xor_si512(_mm512_set1_epi8(i8::MIN), values);
            }
            all
        }
    }
}

struct Q4_0;

impl Blocks for Q4_0 {
    const VALUES: usize = GROUP * BLOCK / 2;
    const BYTES: usize = Self::VALUES + GROUP * 2;
    const TOO_LARGE: i32 = 8;

    #[inline(always)]
    unsafe fn values(from: *const u8) -> [__m512i; BLOCK / 4] {
        unsafe {
            let low = _mm512_set1_epi8(0xf);
            let mut all = [_mm512_setzero_si512(); BLOCK / 4];
            for two in 0..BLOCK / 8 {
                let both = _mm512_loadu_si512(from.add(two * LINE).cast());
                all[2 * two] = _mm512_and_si512(both, low);
                all[2 * two + 1] = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low);
            }
            all
        }
    }
}

/// Whether this processor can.
pub(super) fn can() -> bool {
    super::instructions() == Some(super::Instructions::Vnni) && is_x86_feature_detected!("avx512bw")
}

/// Bytes of 16 rows' block.
pub(super) fn block_bytes(kind: Kind) -> usize {
    match kind {
        Kind::PackedQ4_0 => Q4_0::BYTES,
        _ => Q8_0::BYTES,
    }
}

#[inline(always)]
unsafe fn compute<B: Blocks>(job: &Job, pieces: &mut Pieces<'_>) {
    let Job {
        weights,
        results,
        product,
        ..
    } = *job;
    let tokens = Tokens {
        start: job.tokens.start.cast_mut().cast(),
        count: product.tokens,
    };
    let blocks = product.length / BLOCK;
    // About even: 16 and one would take longer than nine and eight.
    let turns = product.tokens.div_ceil(MOST);
    let most = product.tokens.div_ceil(turns);
    while let Some(piece) = pieces.next() {
        let mut next_row = || pieces.peek().map(|next| next.start);
        let mut ahead = Ahead::new(weights, piece.end, &mut next_row);
        for group in piece {
            let at = weights.row(group);
            let comes = ahead.of(at);
            for turn in 0..turns {
                let token = turn * most;
                let turn = Turn {
                    weights: at,
                    blocks,
                    ahead: Share::of(comes, turn, turns, blocks),
                    tokens: Tokens {
                        start: tokens.start.wrapping_add(token),
                        ..tokens
                    },
                };
                let start = token * results.stride + group * GROUP;
                let to = Results {
                    start: results.start.wrapping_add(start),
                    ..results
                };
                let count = most.min(product.tokens.saturating_sub(token));
                // SAFETY: the caller's promises.
                unsafe { turn.compute_some::<B>(count, to) }
            }
        }
    }
}

/// Sixteen rows, and the first of a few tokens.
struct Turn {
    weights: *const u8,
    blocks: usize,
    ahead: Share,
    tokens: Tokens,
}

impl Turn {
    #[inline(always)]
    unsafe fn compute_some<B: Blocks>(&self, count: usize, results: Results) {
        macro_rules! compute {
            ($($n:literal)*) => {
                match count {
                    // Tokens that do not come out even: 17 of nine turns of two.
                    0 => {}
                    $($n => self.compute::<B, $n>(results),)*
                    _ => unreachable!("at most {MOST} tokens"),
                }
            };
        }
        unsafe { compute!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16) }
    }

    #[inline(always)]
    unsafe fn compute<B: Blocks, const N: usize>(&self, results: Results) {
        unsafe {
            let mut sums = [_mm512_setzero_ps(); N];
            let mut share = self.ahead;
            for block in 0..self.blocks {
                let at = self.weights.add(block * B::BYTES);
                let weights = B::values(at);
                let scales = _mm512_cvtph_ps(_mm256_loadu_si256(at.add(B::VALUES).cast()));
                let tokens = self.tokens.start.add(block * self.tokens.count);
                // Each token gets code of its own, so that its sum is in a register.
                macro_rules! add {
                    ($($token:literal)*) => {
                        $(if $token < N {
                            let sum = &mut sums[$token];
                            *sum = add_block(&weights, scales, tokens.add($token), *sum);
                        })*
                    };
                }
                add!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
                share.ask::<1>(block, B::BYTES, 0);
            }
            for (token, sum) in sums.iter().enumerate() {
                _mm512_storeu_ps(results.start.add(token * results.stride), *sum);
            }
        }
    }
}

/// Adds a block's products to `sums`.
#[inline(always)]
unsafe fn add_block(
    weights: &[__m512i; BLOCK / 4],
    scales: __m512,
    token: *const Laid,
    sums: __m512,
) -> __m512 {
    unsafe {
        let token = &*token;
        let mut sum = _mm512_set1_epi32(token.offset);
        for four in 0..BLOCK / 4 {
            let values = _mm512_set1_epi32(token.values[four]);
            sum = _mm512_dpbusd_epi32(sum, weights[four], values);
        }
        let scales = _mm512_mul_ps(scales, _mm512_set1_ps(token.scale));
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scales, sums)
    }
}
