//! Weights whose products take tokens that are laid out first, rounded to eight bits.
//!
//! Most of them lie as llama.cpp has them for AMX: 16 rows together, block by block. Of each block
//! first the values, four of each row at a time, then what scales them. From two tokens on
//! llama.cpp multiplies these by AMX's tiles, which here costs more than VNNI does (see "AMX's
//! layout" in docs/decisions.md). [`eight_blocks`], [`eights`] and [`rows`] are for processors
//! without AMX.
//!
//! A product is, bit for bit, what llama.cpp computes for one token: the same sums in the same
//! order.

mod blocks;
mod eight_blocks;
mod eights;
mod rows;
mod super_blocks;

use std::arch::x86_64::*;
use std::ops::Range;

use super::ahead::{Ahead, Coming, Order, Share, Time};
use super::tiles::TOKENS;
use super::{Job, Kind, Pieces, Product, Results};
use blocks::{Blocks, Q4_0, Q8_0};
use eight_blocks::EightBlocks;
use eights::Eights;
use rows::Rows;
use super_blocks::{Q4K, Q5K, Q6K, SuperBlocks};

#[cfg(test)]
pub(super) use {blocks::round, super_blocks::Rounded};

/// Rows that lie together in AMX's layout.
const GROUP: usize = 16;
/// The most tokens that have their sums in registers at once, as far as they are added to for each
/// weight: as many as leave room for those.
const MOST: usize = 16;
/// Values that a kernel has in registers at once, of each row.
const RUN: usize = 32;

/// Whether this processor can.
pub(super) fn can() -> bool {
    super::instructions() == Some(super::Instructions::Vnni) && is_x86_feature_detected!("avx512bw")
}

/// A format of weights.
///
/// # Safety
/// All unsafe methods: the processor [can].
trait Format {
    /// Rows that lie together.
    const GROUP: usize = GROUP;
    /// Values of a block.
    const BLOCK: usize;
    /// Bytes of a group's block.
    const BYTES: usize;
    /// In how many steps of as many bytes a block is gone over: after each, something is asked for.
    const STEPS: usize;
    /// A token's block, as the kernels want it.
    type Token: Copy;

    /// Rounds a token's values and tells each of its blocks, with its number.
    unsafe fn lay_out(values: &[f32], tell: impl FnMut(usize, Self::Token));

    /// Computes a group for `N` tokens. There is memory as `few` and `results` say.
    unsafe fn compute<const N: usize>(few: &Few<Self::Token>, results: Results);
}

/// Calls a function for the format of a kind of weights.
macro_rules! of_format {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            Kind::PackedQ4_0 => $function::<Blocks<Q4_0>>($($argument),*),
            Kind::PackedQ4K => $function::<SuperBlocks<Q4K>>($($argument),*),
            Kind::PackedQ5K => $function::<SuperBlocks<Q5K>>($($argument),*),
            Kind::PackedQ6K => $function::<SuperBlocks<Q6K>>($($argument),*),
            Kind::PackedQ8_0 => $function::<Blocks<Q8_0>>($($argument),*),
            Kind::EightsQ4_0 => $function::<EightBlocks>($($argument),*),
            Kind::EightsQ4K => $function::<Eights>($($argument),*),
            Kind::RowsQ6K => $function::<Rows>($($argument),*),
            Kind::F16 | Kind::F16F32 | Kind::Q8_0 => unreachable!("tokens are taken as they are"),
        }
    };
}

/// Values of a block, and bytes of a group's block.
pub(super) fn block(kind: Kind) -> (usize, usize) {
    fn of<F: Format>() -> (usize, usize) {
        (F::BLOCK, F::BYTES)
    }
    of_format!(kind, of())
}

/// Rows that lie together.
pub(super) fn group(kind: Kind) -> usize {
    fn of<F: Format>() -> usize {
        F::GROUP
    }
    of_format!(kind, of())
}

/// Tokens go over the rows in turns, of about as many tokens each: 16 and one would take longer
/// than nine and eight. Of a turn's tokens, the blocks with the same number follow each other, so
/// that a turn reads what it needs in one go.
#[derive(Clone, Copy)]
struct Turns {
    tokens: usize,
    /// Tokens of a turn; the last may have fewer.
    most: usize,
    blocks: usize,
}

impl Turns {
    fn of<F: Format>(product: Product) -> Self {
        let turns = product.tokens.div_ceil(MOST);
        Self {
            tokens: product.tokens,
            most: product.tokens.div_ceil(turns),
            blocks: product.length / F::BLOCK,
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

/// How many words the tokens of a product take when they are laid out.
pub(super) fn room(product: Product) -> usize {
    fn of<F: Format>(product: Product) -> usize {
        const { assert!(align_of::<F::Token>() <= align_of::<u64>()) };
        let blocks = product.tokens * product.length / F::BLOCK;
        (blocks * size_of::<F::Token>()).div_ceil(size_of::<u64>())
    }
    of_format!(product.kind, of(product))
}

/// Lays the token numbered `at` of a product out, whose values are `from`.
///
/// # Safety
/// The processor [can]. At `to` is the product's [`room`], and no other thread lays out the same
/// token.
pub(super) unsafe fn lay_out(product: Product, at: usize, from: &[f32], to: *mut u64) {
    unsafe fn of<F: Format>(product: Product, at: usize, from: &[f32], to: *mut u64) {
        let turns = Turns::of::<F>(product);
        let turn = at / turns.most;
        let tokens = turns.tokens(turn);
        let place = to
            .cast::<F::Token>()
            .wrapping_add(turns.start(turn) + at - tokens.start);
        // SAFETY: the caller's promises.
        unsafe {
            F::lay_out(from, |number, token| {
                *place.add(number * tokens.len()) = token;
            });
        }
    }
    // SAFETY: the caller's promises.
    unsafe { of_format!(product.kind, of(product, at, from, to)) }
}

/// As [`Job::compute`], for its kinds of weights. What counts as a row is a [`group`], and the
/// tokens are [laid out](lay_out).
///
/// # Safety
/// As there, and the processor [can].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn multiply(job: &Job, pieces: &mut Pieces<'_>) {
    // SAFETY: the caller's promises.
    unsafe { of_format!(job.product.kind, compute_all(job, pieces)) }
}

/// Computes all pieces.
///
/// # Safety
/// As for [`multiply`], in which it has to be inlined.
#[inline(always)]
unsafe fn compute_all<F: Format>(job: &Job, pieces: &mut Pieces<'_>) {
    let turns = Turns::of::<F>(job.product);
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
                    unsafe { compute_turn::<F>(job, turns, turn, some.clone(), group, coming) }
                }
            }
        }
    }
}

/// Computes a group of rows for a turn's tokens. It is one of `some` that go over the group one
/// after the other.
///
/// # Safety
/// As for [`compute_all`].
#[inline(always)]
unsafe fn compute_turn<F: Format>(
    job: &Job,
    turns: Turns,
    turn: usize,
    some: Range<usize>,
    group: usize,
    coming: Coming,
) {
    let tokens = turns.tokens(turn);
    let laid = job.tokens.start.cast::<F::Token>();
    let (number, of) = (turn - some.start, some.len());
    let few = Few {
        weights: job.weights.row(group),
        blocks: turns.blocks,
        tokens: laid.wrapping_add(turns.start(turn)),
        share: Share::of(coming, number, of, turns.blocks * F::STEPS),
    };
    let start = tokens.start * job.results.stride + group * F::GROUP;
    let to = Results {
        start: job.results.start.wrapping_add(start),
        ..job.results
    };
    // Each number of tokens has code of its own, so that all sums are in registers.
    macro_rules! compute {
        ($($n:literal)*) => {
            match tokens.len() {
                $($n => F::compute::<$n>(&few, to),)*
                _ => unreachable!("at most {MOST} tokens"),
            }
        };
    }
    // SAFETY: the caller's promises.
    unsafe { compute!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16) }
}

/// A group of rows and a few tokens.
struct Few<T> {
    weights: *const u8,
    blocks: usize,
    tokens: *const T,
    /// What is to be asked for, in [`STEPS`](Format::STEPS) for each block.
    share: Share,
}

/// Does something for each of `N` tokens, written out, since compilers unroll only so much.
macro_rules! for_each_token {
    ($n:ident, $token:ident, $what:expr) => {
        for_each_token!($n, $token, $what, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($n:ident, $token:ident, $what:expr, $($number:literal)*) => {
        const { assert!($n <= MOST && MOST == 16, "as many as there are numbers") };
        $(if $number < $n {
            let $token = $number;
            $what
        })*
    };
}
use for_each_token;

/// Stores the sums of 16 rows for `N` tokens.
///
/// # Safety
/// The processor has AVX-512, and there is room.
#[inline(always)]
unsafe fn store<const N: usize>(sums: &[__m512; N], results: Results) {
    for (token, sum) in sums.iter().enumerate() {
        // SAFETY: the caller's promises.
        unsafe { _mm512_storeu_ps(results.start.add(token * results.stride), *sum) }
    }
}
