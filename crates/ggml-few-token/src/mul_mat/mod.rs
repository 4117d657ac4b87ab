//! `MUL_MAT`: a matrix of weights (`src0`) times the activations of a few tokens (`src1`).

// The loops whose trip count is a constant are those that the compiler unrolls, so that all sums
// stay in registers.
#![allow(clippy::needless_range_loop)]

mod f16;
mod layout;
mod op;
mod q8_0;
mod tiles;
mod vnni;

use std::iter::Peekable;
use std::ops::Range;

use llama_cpp_sys_2 as sys;

use crate::Isa;
use crate::ggml::ComputeParams;
use crate::prefetch::DISTANCE;
pub(crate) use layout::{Layout, isa_for};
pub(crate) use op::forward;

#[cfg(test)]
pub(crate) use {
    op::Op,
    tiles::TOKENS,
    vnni::{pack, packed_words},
};

/// Fewer rows, or shorter ones, stay in the caches anyway. Most products of attention are smaller.
const MIN_ROWS: usize = 256;
const MIN_ROW_LEN: usize = 256;
/// Below this the pass is bound by memory as it is.
const MIN_TOKENS: usize = 2;

/// Whether ggml multiplies weights of a type by one token in another order than by several.
pub(crate) fn depends_on_batch(weights: sys::ggml_type) -> bool {
    let floats = [sys::GGML_TYPE_F32, sys::GGML_TYPE_F16, sys::GGML_TYPE_BF16];
    floats.contains(&weights)
}
/// Each thread computes its rows in about as many chunks, so that a thread that is held up computes
/// fewer.
const CHUNKS_PER_THREAD: usize = 8;
/// Rows that the kernels for separate rows compute at once; chunks start at multiples.
const TILE_ROWS: usize = 4;

/// The shape of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MulMat {
    pub(crate) layout: Layout,
    /// Groups of interleaved rows; for layouts without, rows.
    pub(crate) groups: usize,
    /// Values of a row.
    pub(crate) row_len: usize,
    pub(crate) tokens: usize,
}

impl MulMat {
    /// `None` if the kernels are not made for it. `ne` are the dimensions of the weights.
    pub(crate) fn new(layout: Layout, ne: [i64; 4], tokens: i64) -> Option<Self> {
        let [row_len, rows, ..] = ne.map(|n| usize::try_from(n).ok());
        let (row_len, rows) = (row_len?, rows?);
        let tokens = usize::try_from(tokens).ok()?;
        let fits = rows >= MIN_ROWS
            && rows.is_multiple_of(layout.interleaved_rows())
            && layout.supports_row_len(row_len)
            && tokens >= layout.min_tokens()
            && layout.isa().is_some();
        fits.then_some(Self {
            layout,
            groups: rows / layout.interleaved_rows(),
            row_len,
            tokens,
        })
    }

    /// Groups of a chunk. A chunk is large enough that most of what is prefetched is its own.
    pub(crate) fn chunk_size(&self, threads: usize) -> usize {
        let per_thread = self.groups.div_ceil(threads);
        let least = (4 * DISTANCE).div_ceil(self.layout.group_bytes(self.row_len));
        let chunks = (per_thread / least).clamp(1, CHUNKS_PER_THREAD);
        let groups = per_thread.div_ceil(chunks);
        match self.layout.is_packed() {
            true => groups,
            false => groups.next_multiple_of(TILE_ROWS),
        }
    }

    /// The groups that this thread computes, which it takes one chunk at a time.
    ///
    /// # Safety
    /// All threads have [started](ComputeParams::start_chunks).
    unsafe fn chunks(self, params: &ComputeParams) -> impl Iterator<Item = Range<usize>> {
        let size = self.chunk_size(params.nth as usize);
        // SAFETY: the caller's promise.
        let chunks = unsafe { params.chunks() }
            .map(move |chunk| chunk * size)
            .take_while(move |&first| first < self.groups)
            .map(move |first| first..self.groups.min(first + size));
        #[cfg(test)]
        let chunks = crate::tests::count(self, chunks);
        chunks
    }
}

/// The chunks that a thread computes.
type Chunks<'a> = Peekable<&'a mut dyn Iterator<Item = Range<usize>>>;

/// Rows in memory.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) data: *const u8,
    /// Bytes from one row to the next.
    pub(crate) stride: usize,
}

impl Matrix {
    pub(crate) fn row(self, row: usize) -> *const u8 {
        self.data.wrapping_add(row * self.stride)
    }
}

/// Where results go. Those of one token follow each other.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) data: *mut f32,
    /// Floats from one token to the next.
    pub(crate) stride: usize,
}

/// A product and its operands.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) shape: MulMat,
    pub(crate) weights: Matrix,
    /// Activations, in the format that the layout [wants](layout::Activations).
    pub(crate) activations: Matrix,
    pub(crate) output: Output,
}

impl Job {
    /// Computes the groups of rows in `chunks`.
    ///
    /// # Safety
    /// The processor has `isa`, and what the layout needs. The operands are as large as the shape
    /// says and in its layout, and no other thread computes the rows in `chunks`.
    pub(crate) unsafe fn compute(&self, isa: Isa, chunks: &mut dyn Iterator<Item = Range<usize>>) {
        let mut chunks = chunks.peekable();
        // A thread without a chunk need not prepare the activations.
        if chunks.peek().is_none() {
            return;
        }
        // SAFETY: the caller's promises.
        unsafe {
            match self.shape.layout {
                Layout::F16 | Layout::AmxF16 => f16::multiply(isa, self, &mut chunks),
                Layout::Q8_0 => q8_0::multiply(isa, self, &mut chunks),
                _ => vnni::multiply(self, &mut chunks),
            }
        }
    }
}
