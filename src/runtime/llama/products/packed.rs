//! Weights as llama.cpp lays them out for AMX: 16 rows together, block by block of 32 values. Of each block first the values,
//! four of each row at a time, then the 16 scales in half precision, and in Q8_0 sums of the weights that only llama.cpp's kernels use.
//!
//! From two tokens on llama.cpp multiplies these by AMX's tiles, which here costs more than VNNI does (see "AMX's layout" in
//! docs/decisions.md). A product is, bit for bit, what llama.cpp computes for one token: the same sums in the same order.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ffi::c_void;
use std::ops::Range;

use super::ahead::{Ahead, Coming, LINE, Order, Share, Time};
use super::tiles::TOKENS;
use super::{Job, Kind, Pieces, Product, Results, q8_0};

/// Rows that lie together.
pub(super) const GROUP: usize = 16;
/// Values of a block.
pub(super) const BLOCK: usize = q8_0::BLOCK;
/// The most tokens that have their sums in registers at once: as many as leave room for a block of weights.
const MOST: usize = 16;

/// Whether this processor can.
pub(super) fn can() -> bool {
    super::instructions() == Some(super::Instructions::Vnni) && is_x86_feature_detected!("avx512bw")
}

/// A token's block, as the kernels want it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Laid {
    /// Its values, four and four.
    values: [i32; BLOCK / 4],
    /// VNNI wants weights without a sign, so a number is added to all of them. This takes back what that adds to a sum.
    offset: i32,
    scale: f32,
}

/// Tokens go over the rows in turns, of about as many tokens each: 16 and one would take longer than nine and eight. Of a turn's tokens,
/// the blocks with the same number follow each other, so that a turn reads what it needs in one go.
#[derive(Clone, Copy)]
struct Turns {
    tokens: usize,
    /// Tokens of a turn; the last may have fewer.
    most: usize,
    blocks: usize,
}

impl Turns {
    fn of(product: Product) -> Self {
        let turns = product.tokens.div_ceil(MOST);
        Self {
            tokens: product.tokens,
            most: product.tokens.div_ceil(turns),
            blocks: product.length / BLOCK,
        }
    }

    fn number(self) -> usize {
        self.tokens.div_ceil(self.most)
    }

    /// The tokens of a turn.
    fn tokens(self, turn: usize) -> Range<usize> {
        turn * self.most..self.tokens.min((turn + 1) * self.most)
    }

    /// Where a turn's blocks begin.
    fn start(self, turn: usize) -> usize {
        turn * self.most * self.blocks
    }
}

unsafe extern "C" {
    /// llama.cpp's way to round `length` values to Q8_0.
    fn quantize_row_q8_0(from: *const f32, to: *mut c_void, length: i64);
}

/// Rounds values to Q8_0, as llama.cpp does. `to` has the room that their blocks need.
pub(super) fn round(values: &[f32], to: &mut [u8]) {
    assert_eq!(to.len(), values.len() / BLOCK * q8_0::BYTES);
    let length = values.len() as i64;
    // SAFETY: there is room.
    unsafe { quantize_row_q8_0(values.as_ptr(), to.as_mut_ptr().cast(), length) }
}

/// How much room the tokens of a product take when they are laid out.
pub(super) fn room(product: Product) -> usize {
    product.tokens * product.length / BLOCK
}

/// Lays the token numbered `at` of a product out, whose values are `from`.
///
/// # Safety
/// The processor [can]. At `to` is the product's [`room`], and no other thread lays out the same token.
pub(super) unsafe fn lay_out(product: Product, at: usize, from: &[f32], to: *mut Laid) {
    thread_local! {
        static ROUNDED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let added = match product.kind {
        Kind::PackedQ4_0 => Q4_0::ADDED,
        _ => Q8_0::ADDED,
    };
    let turns = Turns::of(product);
    let turn = at / turns.most;
    let tokens = turns.tokens(turn);
    ROUNDED.with_borrow_mut(|rounded| {
        rounded.resize(from.len() / BLOCK * q8_0::BYTES, 0);
        round(from, rounded);
        for (number, block) in rounded.chunks_exact(q8_0::BYTES).enumerate() {
            let (scale, values) = block.split_at(2);
            let sum: i32 = values.iter().map(|&value| i32::from(value as i8)).sum();
            let mut laid = Laid {
                offset: -added * sum,
                ..Laid::default()
            };
            for (to, four) in laid.values.iter_mut().zip(values.chunks_exact(4)) {
                *to = i32::from_le_bytes([four[0], four[1], four[2], four[3]]);
            }
            let scale = i16::from_le_bytes([scale[0], scale[1]]);
            let place = turns.start(turn) + number * tokens.len() + at - tokens.start;
            // SAFETY: the caller's promises. Processors with AVX-512 have F16C.
            unsafe {
                laid.scale = _mm_cvtss_f32(_mm_cvtph_ps(_mm_set1_epi16(scale)));
                *to.add(place) = laid;
            }
        }
    });
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
    /// What is added to the values.
    const ADDED: i32;

    /// The values, with [`ADDED`](Self::ADDED).
    unsafe fn values(from: *const u8) -> [__m512i; BLOCK / 4];
}

struct Q8_0;

impl Blocks for Q8_0 {
    const VALUES: usize = GROUP * BLOCK;
    const BYTES: usize = Self::VALUES + GROUP * (2 + 4);
    const ADDED: i32 = 128;

    #[inline(always)]
    unsafe fn values(from: *const u8) -> [__m512i; BLOCK / 4] {
        // SAFETY: the caller's promises.
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

/// Values of four bits, which are eight larger than they mean, those of two fours in a byte.
struct Q4_0;

impl Blocks for Q4_0 {
    const VALUES: usize = GROUP * BLOCK / 2;
    const BYTES: usize = Self::VALUES + GROUP * 2;
    const ADDED: i32 = 8;

    #[inline(always)]
    unsafe fn values(from: *const u8) -> [__m512i; BLOCK / 4] {
        // SAFETY: the caller's promises.
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

/// Bytes of 16 rows' block.
pub(super) fn block_bytes(kind: Kind) -> usize {
    match kind {
        Kind::PackedQ4_0 => Q4_0::BYTES,
        _ => Q8_0::BYTES,
    }
}

/// As [`Job::compute`], for its kinds of weights. What counts as a row is a group of 16, and the tokens are [laid out](lay_out).
///
/// # Safety
/// As there, and the processor [can].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn multiply(job: &Job, pieces: &mut Pieces<'_>) {
    // SAFETY: the caller's promises.
    unsafe {
        match job.product.kind {
            Kind::PackedQ4_0 => compute_all::<Q4_0>(job, pieces),
            _ => compute_all::<Q8_0>(job, pieces),
        }
    }
}

/// Computes all pieces.
///
/// # Safety
/// As for [`multiply`], in which it has to be inlined.
#[inline(always)]
unsafe fn compute_all<B: Blocks>(job: &Job, pieces: &mut Pieces<'_>) {
    let turns = Turns::of(job.product);
    while let Some(piece) = pieces.next() {
        let mut next_row = || pieces.peek().map(|next| next.start);
        let mut ahead = Ahead::new(job.weights, piece.end, Order::here(), &mut next_row);
        for first in (0..turns.number()).step_by(TOKENS / MOST) {
            let some = first..turns.number().min(first + TOKENS / MOST);
            let time = Time {
                first: some.start == 0,
                last: some.end == turns.number(),
            };
            for group in piece.clone() {
                let at = job.weights.row(group);
                let coming = ahead.of(at, job.weights.stride, time);
                for turn in some.clone() {
                    // SAFETY: the caller's promises.
                    unsafe { compute_turn::<B>(job, turns, turn, some.clone(), group, coming) }
                }
            }
        }
    }
}

/// Computes a group of 16 rows for a turn's tokens. It is one of `some` that go over the group one after the other.
///
/// # Safety
/// As for [`compute_all`].
#[inline(always)]
unsafe fn compute_turn<B: Blocks>(
    job: &Job,
    turns: Turns,
    turn: usize,
    some: Range<usize>,
    group: usize,
    coming: Coming,
) {
    let tokens = turns.tokens(turn);
    let laid = job.tokens.start.cast::<Laid>();
    let (number, of) = (turn - some.start, some.len());
    let few = Few {
        weights: job.weights.row(group),
        blocks: turns.blocks,
        tokens: laid.wrapping_add(turns.start(turn)),
        share: Share::of(coming, number, of, turns.blocks),
    };
    let start = tokens.start * job.results.stride + group * GROUP;
    let to = Results {
        start: job.results.start.wrapping_add(start),
        ..job.results
    };
    // Each number of tokens has code of its own, so that all sums are in registers.
    macro_rules! compute {
        ($($n:literal)*) => {
            match tokens.len() {
                $($n => few.compute::<B, $n>(to),)*
                _ => unreachable!("at most {MOST} tokens"),
            }
        };
    }
    // SAFETY: the caller's promises.
    unsafe { compute!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16) }
}

/// Sixteen rows and a few tokens.
struct Few {
    weights: *const u8,
    blocks: usize,
    tokens: *const Laid,
    share: Share,
}

impl Few {
    /// Computes the rows for `N` tokens.
    ///
    /// # Safety
    /// As for [`compute_all`].
    #[inline(always)]
    unsafe fn compute<B: Blocks, const N: usize>(&self, results: Results) {
        // SAFETY: the caller's promises.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); N];
            let mut share = self.share;
            for block in 0..self.blocks {
                let at = self.weights.add(block * B::BYTES);
                let weights = B::values(at);
                let scales = _mm512_cvtph_ps(_mm256_loadu_si256(at.add(B::VALUES).cast()));
                let tokens = self.tokens.add(block * N);
                // Written out, since compilers unroll only so much.
                macro_rules! add {
                    ($($token:literal)*) => {
                        $(if $token < N {
                            let sum = &mut sums[$token];
                            *sum = add_block(&weights, scales, &*tokens.add($token), *sum);
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

/// Adds the products of a token's block to the sums of 16 rows.
///
/// # Safety
/// The processor has VNNI.
#[inline(always)]
unsafe fn add_block(
    weights: &[__m512i; BLOCK / 4],
    scales: __m512,
    token: &Laid,
    sums: __m512,
) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = _mm512_set1_epi32(token.offset);
        for four in 0..BLOCK / 4 {
            let values = _mm512_set1_epi32(token.values[four]);
            sum = _mm512_dpbusd_epi32(sum, weights[four], values);
        }
        let scales = _mm512_mul_ps(scales, _mm512_set1_ps(token.scale));
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scales, sums)
    }
}
