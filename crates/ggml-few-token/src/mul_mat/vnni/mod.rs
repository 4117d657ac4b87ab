//! Kernels that take activations quantized to eight bits and multiply by AVX-512 VNNI.
//!
//! Activations are packed first: the blocks that a pass over the weights reads follow each other. A
//! product is bit for bit what ggml computes for one token: the same sums in the same order.

mod activations;
mod amx_blocks;
mod amx_k_quants;
mod q4_0_x8;
mod q4_k_x8;
mod q6_k;

use std::arch::x86_64::*;
use std::ops::Range;

use super::tiles::TOKENS;
use super::{Chunks, Job, Layout, MulMat, Output};
use crate::prefetch::{Order, Prefetcher, Schedule, Visit, Window};
use amx_blocks::{AmxBlocks, Q4_0, Q8_0};
use amx_k_quants::{AmxKQuant, Q4K, Q5K, Q6K};
use q4_0_x8::Q4_0x8;
use q4_k_x8::Q4Kx8;
use q6_k::Q6KRows;

/// Rows that the AMX buffer interleaves.
const AMX_ROWS: usize = 16;
/// Most tokens of a pass: as many sums as leave enough registers for the weights.
const MAX_TOKENS: usize = 16;
/// Values of a block of Q4_0 and Q8_0, and of a sub-block of Q4_K and Q5_K.
const SUB_BLOCK: usize = 32;

/// A layout of weights.
///
/// # Safety
/// All unsafe methods: the processor [has](crate::Isa::has_vnni_kernels) the instructions.
trait Format {
    /// Rows of a group.
    const INTERLEAVED_ROWS: usize;
    /// Values of a block.
    const BLOCK: usize;
    /// Bytes of the blocks of a group.
    const BYTES: usize;
    /// Steps in which the kernel goes over a block. After each, it prefetches.
    const STEPS: usize;
    /// A packed block of activations.
    type Activations: Copy;

    /// Quantizes a token's activations and emits each of its blocks, with its number.
    unsafe fn pack(values: &[f32], emit: impl FnMut(usize, Self::Activations));

    /// Computes a group for `N` tokens. The operands are as large as `tile` says.
    unsafe fn compute<const N: usize>(tile: &Tile<Self::Activations>, output: Output);
}

/// Calls a function for the format of a layout.
macro_rules! for_format {
    ($layout:expr, $function:ident($($argument:expr),*)) => {
        match $layout {
            Layout::AmxQ8_0 => $function::<AmxBlocks<Q8_0>>($($argument),*),
            Layout::AmxQ4_0 => $function::<AmxBlocks<Q4_0>>($($argument),*),
            Layout::AmxQ4K => $function::<AmxKQuant<Q4K>>($($argument),*),
            Layout::AmxQ5K => $function::<AmxKQuant<Q5K>>($($argument),*),
            Layout::AmxQ6K => $function::<AmxKQuant<Q6K>>($($argument),*),
            Layout::Q4_0x8 => $function::<Q4_0x8>($($argument),*),
            Layout::Q4Kx8 => $function::<Q4Kx8>($($argument),*),
            Layout::Q6K => $function::<Q6KRows>($($argument),*),
            Layout::F16 | Layout::AmxF16 | Layout::Q8_0 => unreachable!("not packed"),
        }
    };
}

/// Values of a block, and bytes of the blocks of a group.
pub(super) fn block(layout: Layout) -> (usize, usize) {
    fn of<F: Format>() -> (usize, usize) {
        (F::BLOCK, F::BYTES)
    }
    for_format!(layout, of())
}

/// Rows of a group.
pub(super) fn interleaved_rows(layout: Layout) -> usize {
    fn of<F: Format>() -> usize {
        F::INTERLEAVED_ROWS
    }
    for_format!(layout, of())
}

/// How tokens are divided into passes over the weights. All passes have about as many: 16 and one
/// would take longer than nine and eight. Of the tokens of a pass, the blocks with the same number
/// follow each other.
#[derive(Clone, Copy)]
struct Passes {
    tokens: usize,
    /// Tokens of a pass; the last one may have fewer.
    per_pass: usize,
    blocks: usize,
}

impl Passes {
    fn of<F: Format>(shape: MulMat) -> Self {
        let passes = shape.tokens.div_ceil(MAX_TOKENS);
        Self {
            tokens: shape.tokens,
            per_pass: shape.tokens.div_ceil(passes),
            blocks: shape.row_len / F::BLOCK,
        }
    }

    fn count(self) -> usize {
        self.tokens.div_ceil(self.per_pass)
    }

    fn tokens(self, pass: usize) -> Range<usize> {
        pass * self.per_pass..self.tokens.min((pass + 1) * self.per_pass)
    }

    /// Where the blocks of a pass begin.
    fn start(self, pass: usize) -> usize {
        pass * self.per_pass * self.blocks
    }
}

/// Words of the packed activations.
pub(crate) fn packed_words(shape: MulMat) -> usize {
    fn of<F: Format>(shape: MulMat) -> usize {
        const { assert!(align_of::<F::Activations>() <= align_of::<u64>()) };
        let blocks = shape.tokens * shape.row_len / F::BLOCK;
        (blocks * size_of::<F::Activations>()).div_ceil(size_of::<u64>())
    }
    for_format!(shape.layout, of(shape))
}

/// Packs the activations of a token.
///
/// # Safety
/// The processor [has](crate::Isa::has_vnni_kernels) the instructions. At `to` are the shape's
/// [words](packed_words), and no other thread packs the same token.
pub(crate) unsafe fn pack(shape: MulMat, token: usize, values: &[f32], to: *mut u64) {
    unsafe fn of<F: Format>(shape: MulMat, token: usize, values: &[f32], to: *mut u64) {
        let passes = Passes::of::<F>(shape);
        let pass = token / passes.per_pass;
        let tokens = passes.tokens(pass);
        let first = passes.start(pass) + token - tokens.start;
        let first = to.cast::<F::Activations>().wrapping_add(first);
        // SAFETY: the caller's promises.
        unsafe {
            F::pack(values, |number, block| {
                *first.add(number * tokens.len()) = block;
            });
        }
    }
    // SAFETY: the caller's promises.
    unsafe { for_format!(shape.layout, of(shape, token, values, to)) }
}

/// [`Job::compute`] for packed activations.
///
/// # Safety
/// As there, and the processor [has](crate::Isa::has_vnni_kernels) the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn multiply(job: &Job, chunks: &mut Chunks<'_>) {
    // SAFETY: the caller's promises.
    unsafe { for_format!(job.shape.layout, compute_chunks(job, chunks)) }
}

/// Computes all chunks.
///
/// # Safety
/// As for [`multiply`], in which it has to be inlined.
#[inline(always)]
unsafe fn compute_chunks<F: Format>(job: &Job, chunks: &mut Chunks<'_>) {
    let passes = Passes::of::<F>(job.shape);
    while let Some(chunk) = chunks.next() {
        let mut take_next = || chunks.peek().map(|next| next.start);
        let mut prefetcher = Prefetcher::new(job.weights, chunk.end, Order::best(), &mut take_next);
        for first in (0..passes.count()).step_by(TOKENS / MAX_TOKENS) {
            let some = first..passes.count().min(first + TOKENS / MAX_TOKENS);
            let visit = Visit {
                first: some.start == 0,
                last: some.end == passes.count(),
            };
            for group in chunk.clone() {
                let weights = job.weights.row(group);
                let window = prefetcher.window(weights, job.weights.stride, visit);
                for pass in some.clone() {
                    // SAFETY: the caller's promises.
                    unsafe { compute_pass::<F>(job, passes, pass, some.clone(), group, window) }
                }
            }
        }
    }
}

/// Computes a group for the tokens of a pass, which is one of `some` in a row.
///
/// # Safety
/// As for [`compute_chunks`].
#[inline(always)]
unsafe fn compute_pass<F: Format>(
    job: &Job,
    passes: Passes,
    pass: usize,
    some: Range<usize>,
    group: usize,
    window: Window,
) {
    let tokens = passes.tokens(pass);
    let activations = job.activations.data.cast::<F::Activations>();
    let (number, of) = (pass - some.start, some.len());
    let tile = Tile {
        weights: job.weights.row(group),
        blocks: passes.blocks,
        activations: activations.wrapping_add(passes.start(pass)),
        schedule: Schedule::new(window, number, of, passes.blocks * F::STEPS),
    };
    let start = tokens.start * job.output.stride + group * F::INTERLEAVED_ROWS;
    let output = Output {
        data: job.output.data.wrapping_add(start),
        ..job.output
    };
    // Each number of tokens has code of its own, so that all sums are in registers.
    macro_rules! compute {
        ($($n:literal)*) => {
            match tokens.len() {
                $($n => F::compute::<$n>(&tile, output),)*
                _ => unreachable!("at most {MAX_TOKENS} tokens"),
            }
        };
    }
    // SAFETY: the caller's promises.
    unsafe { compute!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16) }
}

/// A group of rows and the tokens of a pass.
struct Tile<A> {
    weights: *const u8,
    blocks: usize,
    activations: *const A,
    /// Prefetches after each of a block's [`STEPS`](Format::STEPS).
    schedule: Schedule,
}

/// Repeats an expression for each of `N` tokens. Compilers do not unroll loops that long.
macro_rules! for_each_token {
    ($n:ident, $token:ident, $what:expr) => {
        for_each_token!($n, $token, $what, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($n:ident, $token:ident, $what:expr, $($number:literal)*) => {
        const { assert!($n <= MAX_TOKENS && MAX_TOKENS == 16, "as many as there are numbers") };
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
unsafe fn store_rows<const N: usize>(sums: &[__m512; N], output: Output) {
    for (token, sum) in sums.iter().enumerate() {
        // SAFETY: the caller's promises.
        unsafe { _mm512_storeu_ps(output.data.add(token * output.stride), *sum) }
    }
}
