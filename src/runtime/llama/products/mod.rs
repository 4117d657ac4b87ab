//! Products of a model's weights with a few tokens at once, at about the price of one.
//!
//! A pass over one token streams all weights from memory, and that is what it takes. A pass over a
//! few tokens reads the same bytes and computes little more, so it could take as long; llama.cpp's
//! kernels take one and a half to twice as long (see "Weights ahead of time" and "AMX's layout" in
//! docs/decisions.md). They read several rows of a matrix at a time, which processors do not see
//! coming. The kernels here ask for what comes 64 KB later.
//!
//! They stand in for three functions of llama.cpp (for a fourth, see [`best`](super::best)):
//! `llamafile_sgemm`, which it calls for products of two tokens and more, the one for weights in
//! the layout that it has for processors with AMX, and the one that it asks first about every
//! operation of a graph. On Linux, `build.rs` has the linker lead llama.cpp's calls of them to
//! [`sgemm`], [`amx`] and [`plain`]. What these kernels are not made for (single tokens, other
//! types of weights, other processors), that goes on to llama.cpp's own functions.
#![allow(unsafe_code)]
// Numbers that count to a constant are what compilers unroll, so that all sums are in registers.
#![allow(clippy::needless_range_loop)]

mod ahead;
mod amx;
mod f16;
mod lanes;
pub(super) mod led;
mod node;
mod packed;
mod plain;
mod q8_0;
mod sgemm;
mod threads;
mod tiles;

#[cfg(test)]
mod tests;

use std::ffi::c_int;
use std::iter::Peekable;
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use llama_cpp_sys_2 as sys;

use super::kernels::Kernels;

/// The least length and number of rows: less is in the caches anyway. Most of attention's products
/// are.
const LEAST: usize = 256;
/// Each thread takes the rows in about so many pieces, one after the other, so that one that is
/// held up does less.
const PIECES: usize = 8;

/// What of a processor the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instructions {
    Avx2,
    Avx512,
    /// AVX-512 with products of bytes.
    Vnni,
}

/// The best that this processor has and llama.cpp was built for: a sum in other lanes would be
/// another sum.
fn instructions() -> Option<Instructions> {
    static BEST: LazyLock<Option<Instructions>> = LazyLock::new(|| {
        // SAFETY: these take nothing, and say what llama.cpp was built for.
        let [avx2, f16c, fma, avx512] = unsafe {
            [
                sys::ggml_cpu_has_avx2(),
                sys::ggml_cpu_has_f16c(),
                sys::ggml_cpu_has_fma(),
                sys::ggml_cpu_has_avx512(),
            ]
        }
        .map(|has| has != 0);
        let has_avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("fma");
        let has_avx512 =
            is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
        if !(avx2 && f16c && fma && has_avx2) {
            None
        } else if !avx512 {
            Some(Instructions::Avx2)
        } else if !has_avx512 {
            None
        } else if is_x86_feature_detected!("avx512vnni") {
            Some(Instructions::Vnni)
        } else {
            Some(Instructions::Avx512)
        }
    });
    *BEST
}

/// Whether llama.cpp's kernels do all. Settled once: the threads of a pass must not see different
/// answers.
static LEFT_TO_LLAMA: OnceLock<bool> = OnceLock::new();

/// Whether products are left to llama.cpp's own kernels, from now on and in the whole process: as
/// `leave` says, if nobody asked before.
pub(super) fn are_left_to_llama(leave: bool) -> bool {
    *LEFT_TO_LLAMA.get_or_init(|| leave)
}

/// Raised whenever a change makes passes cost something else.
const VERSION: u32 = 5;

/// The kernels that a model's products of two tokens and more are computed with here, instead of by
/// llama.cpp. `None` where llama.cpp does it itself.
pub(super) fn in_use(quantization: &str, embedding_length: u32) -> Option<Kernels> {
    let amx = amx::layout().is_some();
    let (kind, most) = match (quantization, amx) {
        ("F16", false) => (Kind::F16, true),
        ("F16", true) => (Kind::F16F32, true),
        ("Q8_0", false) => (Kind::Q8_0, true),
        ("Q8_0", true) => (Kind::PackedQ8_0, true),
        ("Q4_0", true) => (Kind::PackedQ4_0, true),
        ("Q4_K_S" | "Q4_K_M", true) => (Kind::PackedQ4K, true),
        ("Q5_K_S" | "Q5_K_M", true) => (Kind::PackedQ5K, true),
        ("Q6_K", true) => (Kind::PackedQ6K, true),
        ("Q4_0", false) if plain::layout().is_some() => (Kind::EightsQ4_0, true),
        ("Q4_K_S" | "Q4_K_M", false) if plain::layout().is_some() => (Kind::EightsQ4K, true),
        ("Q6_K", false) => (Kind::RowsQ6K, true),
        // Whatever most of a quantized model is in, llama.cpp writes its output in Q6_K, and some
        // other matrices.
        (other, true) if other.starts_with(['Q', 'I']) => (Kind::PackedQ6K, false),
        (other, false) if other.starts_with(['Q', 'I']) => (Kind::RowsQ6K, false),
        _ => return None,
    };
    let fits = kind.has_rows_of(usize::try_from(embedding_length).ok()?);
    let left = *LEFT_TO_LLAMA.get().unwrap_or(&false);
    let linked = match kind {
        Kind::F16 | Kind::Q8_0 => sgemm::is_linked(),
        Kind::EightsQ4_0 | Kind::EightsQ4K | Kind::RowsQ6K => plain::is_linked(),
        _ => amx::is_linked(),
    };
    if left || !fits || !linked || (kind.is_packed() && !packed::can()) {
        return None;
    }
    let part = if most { "" } else { " for Q6_K" };
    let name = format!("logitspec {VERSION} ({:?}){part}", instructions()?);
    Some(Kernels { name, most })
}

/// A matrix of weights, `rows` by `length`, times `tokens` vectors.
#[derive(Clone, Copy, Debug)]
struct Product {
    kind: Kind,
    /// As its kind counts them.
    rows: usize,
    /// Values of a row.
    length: usize,
    tokens: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Weights and tokens in half precision.
    F16,
    /// Tokens in single precision.
    F16F32,
    /// Both in Q8_0.
    Q8_0,
    /// Weights in Q8_0 and AMX's layout, tokens [laid out](packed::lay_out). What counts as a row
    /// is a [group](packed::group).
    PackedQ8_0,
    /// The same in Q4_0.
    PackedQ4_0,
    /// The same in K-quants.
    PackedQ4K,
    PackedQ5K,
    PackedQ6K,
    /// Weights as llama.cpp lays eight rows out where there is no AMX.
    EightsQ4_0,
    EightsQ4K,
    /// Weights in Q6_K as they lie in files.
    RowsQ6K,
}

impl Kind {
    /// Whether tokens are [laid out](packed::lay_out).
    fn is_packed(self) -> bool {
        !matches!(self, Self::F16 | Self::F16F32 | Self::Q8_0)
    }

    /// Rows that count as one.
    fn group(self) -> usize {
        if self.is_packed() {
            packed::group(self)
        } else {
            1
        }
    }

    /// Values of a block, and its bytes.
    fn block(self) -> (usize, usize) {
        match self {
            Self::F16 | Self::F16F32 => (1, 2),
            Self::Q8_0 => (q8_0::BLOCK, q8_0::BYTES),
            _ => packed::block(self),
        }
    }

    /// Rows are a multiple of so many values.
    fn step(self) -> usize {
        match self {
            Self::F16 | Self::F16F32 => f16::STEP,
            Self::Q8_0 => q8_0::STEP,
            _ => packed::block(self).0,
        }
    }

    fn row_bytes(self, length: usize) -> usize {
        let (values, bytes) = self.block();
        length / values * bytes
    }

    /// Whether rows of `length` values are long enough, and come out even.
    fn has_rows_of(self, length: usize) -> bool {
        length >= LEAST && length.is_multiple_of(self.step())
    }
}

impl Product {
    /// What llama.cpp asks for, if it is a product that the kernels here are made for. `k` counts
    /// blocks of a row.
    fn of(m: i64, n: i64, k: i64, types: [c_int; 3]) -> Option<Self> {
        let [f32, f16, q8_0] =
            [sys::GGML_TYPE_F32, sys::GGML_TYPE_F16, sys::GGML_TYPE_Q8_0].map(|kind| kind as c_int);
        let kind = if types == [f16, f16, f32] {
            Kind::F16
        } else if types == [q8_0, q8_0, f32] {
            Kind::Q8_0
        } else {
            return None;
        };
        let product = Self {
            kind,
            rows: usize::try_from(m).ok()?,
            length: usize::try_from(k).ok()?.checked_mul(kind.block().0)?,
            tokens: usize::try_from(n).ok()?,
        };
        let fits = product.rows >= LEAST && kind.has_rows_of(product.length) && product.tokens >= 2;
        fits.then_some(product)
    }

    /// A product of weights in llama.cpp's layout for AMX, of a type and a shape, with `tokens`
    /// vectors.
    fn of_amx(weights: sys::ggml_type, shape: [i64; 4], tokens: i64) -> Option<Self> {
        let kind = match weights {
            sys::GGML_TYPE_F16 => Kind::F16F32,
            sys::GGML_TYPE_Q8_0 => Kind::PackedQ8_0,
            sys::GGML_TYPE_Q4_0 => Kind::PackedQ4_0,
            sys::GGML_TYPE_Q4_K => Kind::PackedQ4K,
            sys::GGML_TYPE_Q5_K => Kind::PackedQ5K,
            sys::GGML_TYPE_Q6_K => Kind::PackedQ6K,
            _ => return None,
        };
        Self::of_groups(kind, shape, tokens)
    }

    /// A product of weights of a kind and a shape with `tokens` vectors, if it can be computed
    /// here.
    fn of_groups(kind: Kind, shape: [i64; 4], tokens: i64) -> Option<Self> {
        let [length, rows, ..] = shape;
        let group = kind.group();
        let rows = usize::try_from(rows).ok()?;
        let product = Self {
            kind,
            rows: rows / group,
            length: usize::try_from(length).ok()?,
            tokens: usize::try_from(tokens).ok()?,
        };
        let fits = rows.is_multiple_of(group)
            && rows >= LEAST
            && kind.has_rows_of(product.length)
            && product.tokens >= 2
            && (!kind.is_packed() || packed::can());
        fits.then_some(product)
    }

    /// How many rows a thread takes at a time, of `threads`: enough that what is asked for ahead of
    /// time is mostly its own.
    fn piece(&self, threads: usize) -> usize {
        let all = self.rows.div_ceil(threads);
        let enough = (4 * ahead::AHEAD).div_ceil(self.kind.row_bytes(self.length));
        let pieces = (all / enough).clamp(1, PIECES);
        let rows = all.div_ceil(pieces);
        match self.kind.is_packed() {
            true => rows,
            false => rows.next_multiple_of(ROWS),
        }
    }
}

/// Pieces begin at multiples of so many rows, as many as a kernel takes at once.
const ROWS: usize = 4;

/// Where the rows of a matrix lie.
#[derive(Clone, Copy)]
struct Matrix {
    start: *const u8,
    /// Bytes from one row to the next.
    stride: usize,
}

impl Matrix {
    fn row(self, row: usize) -> *const u8 {
        self.start.wrapping_add(row * self.stride)
    }
}

/// Where a product goes: the results for one token follow each other, the next token's are `stride`
/// floats on.
#[derive(Clone, Copy)]
struct Results {
    start: *mut f32,
    stride: usize,
}

/// A product, with where all of it lies.
#[derive(Clone, Copy)]
struct Job {
    product: Product,
    weights: Matrix,
    tokens: Matrix,
    results: Results,
}

impl Job {
    /// Computes the rows that `pieces` names.
    ///
    /// # Safety
    /// The processor has `instructions`, and [can](packed::can) compute packed kinds. `weights` has
    /// the product's rows and `tokens` its tokens, both of its kind; `results` has room, and the
    /// rows in `pieces` are nobody else's.
    unsafe fn compute(
        &self,
        instructions: Instructions,
        pieces: &mut dyn Iterator<Item = Range<usize>>,
    ) {
        let mut pieces = pieces.peekable();
        // A thread with none need not prepare the tokens.
        if pieces.peek().is_none() {
            return;
        }
        // SAFETY: the caller's promises.
        unsafe {
            match self.product.kind {
                Kind::F16 | Kind::F16F32 => f16::multiply(instructions, self, &mut pieces),
                Kind::Q8_0 => q8_0::multiply(instructions, self, &mut pieces),
                _ => packed::multiply(self, &mut pieces),
            }
        }
    }
}

/// The rows that a thread computes, taken one piece after the other.
type Pieces<'a> = Peekable<&'a mut dyn Iterator<Item = Range<usize>>>;
