//! Products of a model's weights with two to 64 tokens at once, at about the price of one.
//!
//! A pass over one token streams all weights from memory, and that is what it takes. A pass over a few tokens reads the same
//! bytes and computes little more, so it could take as long; llama.cpp's kernels take one and a half to twice as long (see
//! "Weights ahead of time" in docs/decisions.md). They read four rows of a matrix at a time, which processors do not see coming.
//! The kernels here ask for what comes 64 KB later.
//!
//! They stand in for `llamafile_sgemm`, which llama.cpp calls for such products: on Linux, `build.rs` has the linker lead
//! llama.cpp's calls of it to [`product`]. What these kernels are not made for (single tokens, prompts of more than 64, other types of
//! weights, other processors), that goes on to llama.cpp's own function.
#![allow(unsafe_code)]
// Numbers that count to a constant are what compilers unroll, so that all sums are in registers.
#![allow(clippy::needless_range_loop)]

mod f16;
mod lanes;
mod q8_0;
mod tiles;

#[cfg(test)]
mod tests;

use std::ffi::{c_int, c_void};
use std::sync::{LazyLock, OnceLock};

use llama_cpp_sys_2 as sys;

use crate::runtime::llama::info::ModelInfo;

/// The most tokens of a product, as many as trees have by default: larger trees and prompts compute more than they read.
const MOST_TOKENS: usize = 64;
/// The least length and number of rows: less is in the caches anyway. Most of attention's products are.
const LEAST: usize = 256;
/// Each thread takes the rows in about so many pieces, one after the other, so that one that is held up does less.
const PIECES: usize = 8;

/// What of a processor the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instructions {
    Avx2,
    Avx512,
    /// AVX-512 with products of bytes.
    Vnni,
}

/// The best that this processor has and llama.cpp was built for: a sum in other lanes would be another sum.
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

/// Whether llama.cpp's kernels do all. Settled once: the threads of a pass must not see different answers.
static LEFT_TO_LLAMA: OnceLock<bool> = OnceLock::new();

/// Whether products are left to llama.cpp's own kernels, from now on and in the whole process: as `leave` says, if nobody
/// asked before.
pub(super) fn are_left_to_llama(leave: bool) -> bool {
    *LEFT_TO_LLAMA.get_or_init(|| leave)
}

/// Raised whenever a change makes passes cost something else.
const VERSION: u32 = 1;

/// The kernels that a model's products of a few tokens are computed with here, instead of by llama.cpp. `None` where llama.cpp
/// does it itself.
pub(super) fn in_use(model: &ModelInfo) -> Option<String> {
    // SAFETY: takes nothing, and says what llama.cpp was built for. With it, weights are in a layout of their own.
    let amx = unsafe { sys::ggml_cpu_has_amx_int8() } != 0;
    let step = match model.quantization.as_str() {
        "F16" => f16::STEP,
        "Q8_0" => q8_0::STEP,
        _ => return None,
    };
    let width = usize::try_from(model.embedding_length).ok()?;
    let fits = width >= LEAST && width.is_multiple_of(step);
    let left = *LEFT_TO_LLAMA.get().unwrap_or(&false);
    if left || amx || !fits || !is_linked() {
        return None;
    }
    Some(format!("logitspec {VERSION} ({:?})", instructions()?))
}

/// Whether llama.cpp's calls come here.
fn is_linked() -> bool {
    let call = Call {
        ith: 0,
        nth: 1,
        wsize: 0,
        wdata: std::ptr::null_mut(),
        threadpool: std::ptr::null_mut(),
    };
    let nothing = std::ptr::null();
    // SAFETY: a product with no tokens. llama.cpp's function leaves those alone, and says so, having looked at `ith` and `nth` at
    // most; the one here answers otherwise.
    unsafe {
        llamafile_sgemm(
            &call,
            0,
            0,
            0,
            nothing,
            0,
            nothing,
            0,
            std::ptr::null_mut(),
            0,
            0,
            0,
            0,
        )
    }
}

/// What llama.cpp tells each thread of a pass: the beginning of its `ggml_compute_params`, as the version has it that Cargo.toml
/// asks for.
#[repr(C)]
struct Call {
    ith: c_int,
    nth: c_int,
    wsize: usize,
    wdata: *mut c_void,
    threadpool: *mut c_void,
}

unsafe extern "C" {
    /// What llama.cpp calls: [`product`], where it is linked, and otherwise llama.cpp's own.
    fn llamafile_sgemm(
        call: *const Call,
        m: i64,
        n: i64,
        k: i64,
        a: *const c_void,
        lda: i64,
        b: *const c_void,
        ldb: i64,
        c: *mut c_void,
        ldc: i64,
        a_type: c_int,
        b_type: c_int,
        c_type: c_int,
    ) -> bool;

    /// llama.cpp's own, by the name that the linker gives it.
    fn __real_llamafile_sgemm(
        call: *const Call,
        m: i64,
        n: i64,
        k: i64,
        a: *const c_void,
        lda: i64,
        b: *const c_void,
        ldb: i64,
        c: *mut c_void,
        ldc: i64,
        a_type: c_int,
        b_type: c_int,
        c_type: c_int,
    ) -> bool;

    fn ggml_threadpool_chunk_set(threadpool: *mut c_void, value: c_int);
    fn ggml_threadpool_chunk_add(threadpool: *mut c_void, value: c_int) -> c_int;
    fn ggml_barrier(threadpool: *mut c_void);
}

/// A matrix of weights, `rows` by `length`, times `tokens` vectors.
#[derive(Clone, Copy, Debug)]
struct Product {
    kind: Kind,
    rows: usize,
    /// Values of a row.
    length: usize,
    tokens: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F16,
    Q8_0,
}

impl Product {
    /// What llama.cpp asks for, if it is a product that the kernels here are made for. `k` counts blocks of a row.
    fn of(m: i64, n: i64, k: i64, types: [c_int; 3]) -> Option<Self> {
        let [f32, f16, q8_0] =
            [sys::GGML_TYPE_F32, sys::GGML_TYPE_F16, sys::GGML_TYPE_Q8_0].map(|kind| kind as c_int);
        let (kind, block) = match types {
            [a, b, c] if [a, b, c] == [f16, f16, f32] => (Kind::F16, 1),
            [a, b, c] if [a, b, c] == [q8_0, q8_0, f32] => (Kind::Q8_0, q8_0::BLOCK),
            _ => return None,
        };
        let product = Self {
            kind,
            rows: usize::try_from(m).ok()?,
            length: usize::try_from(k).ok()?.checked_mul(block)?,
            tokens: usize::try_from(n).ok()?,
        };
        let step = match kind {
            Kind::F16 => f16::STEP,
            Kind::Q8_0 => q8_0::STEP,
        };
        let fits = product.rows >= LEAST
            && product.length >= LEAST
            && product.length.is_multiple_of(step)
            && (2..=MOST_TOKENS).contains(&product.tokens);
        fits.then_some(product)
    }

    /// How many rows a thread takes at a time, of `threads`: enough that what is asked for ahead of time is mostly its own.
    fn piece(&self, threads: usize) -> usize {
        let all = self.rows.div_ceil(threads);
        let enough = (4 * lanes::AHEAD).div_ceil(self.row_bytes());
        let pieces = (all / enough).clamp(1, PIECES);
        all.div_ceil(pieces).next_multiple_of(ROWS)
    }

    fn row_bytes(&self) -> usize {
        match self.kind {
            Kind::F16 => 2 * self.length,
            Kind::Q8_0 => self.length / q8_0::BLOCK * q8_0::BYTES,
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

/// Where a product goes: the results for one token follow each other, the next token's are `stride` floats on.
#[derive(Clone, Copy)]
struct Results {
    start: *mut f32,
    stride: usize,
}

// The name that the linker looks for. Rust's own way to export a function would put it among the symbols of every shared library
// that this crate is in, linked with the argument or not, and there `__real_llamafile_sgemm` is nowhere.
std::arch::global_asm!(
    ".pushsection .text.__wrap_llamafile_sgemm, \"ax\", @progbits",
    ".globl __wrap_llamafile_sgemm",
    ".hidden __wrap_llamafile_sgemm",
    ".type __wrap_llamafile_sgemm, @function",
    "__wrap_llamafile_sgemm:",
    "jmp {product}",
    ".size __wrap_llamafile_sgemm, . - __wrap_llamafile_sgemm",
    ".popsection",
    product = sym product,
);

/// Computes a product as llama.cpp asks for it, on all threads of a pass; `false` if it cannot.
///
/// # Safety
/// As llama.cpp calls it: `a` has `m` rows of `k` blocks, `lda` blocks apart, `b` `n` of them, `c` room for `n` times `m`
/// floats, and all `nth` threads of the thread pool call it with the same arguments but for `ith`.
unsafe extern "C" fn product(
    call: *const Call,
    m: i64,
    n: i64,
    k: i64,
    a: *const c_void,
    lda: i64,
    b: *const c_void,
    ldb: i64,
    c: *mut c_void,
    ldc: i64,
    a_type: c_int,
    b_type: c_int,
    c_type: c_int,
) -> bool {
    if n == 0 {
        return true;
    }
    let types = [a_type, b_type, c_type];
    let product = match are_left_to_llama(false) {
        true => None,
        // Rows that do not follow each other, as those of most caches.
        _ if lda != k => None,
        _ => Product::of(m, n, k, types),
    };
    let (Some(product), Some(instructions)) = (product, instructions()) else {
        // SAFETY: the caller's arguments, unchanged.
        return unsafe {
            __real_llamafile_sgemm(
                call, m, n, k, a, lda, b, ldb, c, ldc, a_type, b_type, c_type,
            )
        };
    };
    let bytes = match product.kind {
        Kind::F16 => 2,
        Kind::Q8_0 => q8_0::BYTES,
    };
    let weights = Matrix {
        start: a.cast(),
        stride: lda as usize * bytes,
    };
    let tokens = Matrix {
        start: b.cast(),
        stride: ldb as usize * bytes,
    };
    let results = Results {
        start: c.cast(),
        stride: ldc as usize,
    };
    // SAFETY: the caller keeps the promises above. Each piece is taken by one thread, and no two have results in common. The
    // first barrier keeps threads from taking pieces before the counter stands at its beginning, the second keeps the next
    // product from setting it back while some thread still counts.
    unsafe {
        let Call {
            ith,
            nth,
            threadpool,
            ..
        } = *call;
        if ith == 0 {
            ggml_threadpool_chunk_set(threadpool, nth);
        }
        ggml_barrier(threadpool);
        let piece = product.piece(nth as usize);
        let mut first = Some(ith);
        let pieces = std::iter::from_fn(|| {
            let next = || ggml_threadpool_chunk_add(threadpool, 1);
            Some(first.take().unwrap_or_else(next))
        })
        .map(|number| number as usize * piece)
        .take_while(|&first| first < product.rows)
        .map(|first| first..product.rows.min(first + piece));
        #[cfg(test)]
        tests::count(product);
        match product.kind {
            Kind::F16 => f16::multiply(instructions, product, weights, tokens, pieces, results),
            Kind::Q8_0 => q8_0::multiply(instructions, product, weights, tokens, pieces, results),
        }
        ggml_barrier(threadpool);
    }
    true
}
