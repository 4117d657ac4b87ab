//! Products of a model's weights with two to 64 tokens at once, at about the price of one.
//!
//! A pass over one token streams all weights from memory, and that is what it takes. A pass over a few tokens reads the same
//! bytes and computes little more, so it could take as long; llama.cpp's kernels take one and a half to twice as long (see
//! "Weights ahead of time" in docs/decisions.md). They read four rows of a matrix at a time, which processors do not see coming.
//! The kernels here ask for what comes 64 KB later.
//!
//! They stand in for `llamafile_sgemm`, which llama.cpp calls for such products: on Linux, `build.rs` has the linker lead
//! llama.cpp's calls of it to [`product`]. What these kernels are not made for (single tokens, prompts, other types of weights,
//! other processors), that goes on to llama.cpp's own function. Programs that use this crate as a library link as they
//! always do, and keep llama.cpp's kernels unless they have `-Wl,--wrap=llamafile_sgemm` linked as well.
#![allow(unsafe_code)]
// Numbers that count to a constant are what compilers unroll, so that all sums are in registers.
#![allow(clippy::needless_range_loop)]

mod f16;
mod lanes;
mod q8_0;

#[cfg(test)]
mod tests;

use std::ffi::{c_int, c_void};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use llama_cpp_sys_2 as sys;

/// The most tokens of a product, and so the largest tree: more are a prompt, and compute more than they read.
const MOST_TOKENS: usize = 64;
/// The least length and number of rows. Less, the products of attention among them, is in the caches anyway.
const LEAST: usize = 256;
/// Each thread takes the rows in about so many pieces, one after the other, so that one that is held up does less.
const PIECES: usize = 8;

/// What of a processor the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instructions {
    Avx2,
    /// With VNNI.
    Avx512,
}

/// The best that this processor has and llama.cpp was built for: a sum in other lanes would be another sum.
fn instructions() -> Option<Instructions> {
    static BEST: LazyLock<Option<Instructions>> = LazyLock::new(|| {
        // SAFETY: these take nothing, and say what llama.cpp was built for.
        let built = unsafe {
            [
                sys::ggml_cpu_has_avx2() != 0
                    && sys::ggml_cpu_has_f16c() != 0
                    && sys::ggml_cpu_has_fma() != 0,
                sys::ggml_cpu_has_avx512() != 0,
            ]
        };
        let avx2 = built[0]
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("fma");
        let avx512 = built[1]
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        match (avx2, avx512) {
            (true, true) => Some(Instructions::Avx512),
            (true, false) if !built[1] => Some(Instructions::Avx2),
            _ => None,
        }
    });
    *BEST
}

/// Whether llama.cpp's kernels do all.
static LEFT_TO_LLAMA: AtomicBool = AtomicBool::new(false);

/// Leaves products to llama.cpp's own kernels, or not, in the whole process. To be called before a model computes: the
/// threads of a pass under way must not see different answers.
pub(super) fn leave_to_llama(leave: bool) {
    LEFT_TO_LLAMA.store(leave, Relaxed);
}

/// The instructions that products of a few tokens are computed with here, instead of by llama.cpp. `None` where llama.cpp does
/// it itself.
pub(super) fn in_use() -> Option<&'static str> {
    if LEFT_TO_LLAMA.load(Relaxed) || !is_linked() {
        return None;
    }
    instructions().map(|instructions| match instructions {
        Instructions::Avx2 => "AVX2",
        Instructions::Avx512 => "AVX512",
    })
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
    // SAFETY: a product with no tokens. llama.cpp's function leaves those alone, and says so; the one here answers otherwise.
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

/// What llama.cpp tells each thread of a pass (`ggml_compute_params`, as far as it is of use).
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
            length: usize::try_from(k).ok()? * block,
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

    /// How many rows a thread takes at a time, of `threads`.
    fn piece(&self, threads: usize) -> usize {
        let rows = self.rows.div_ceil(threads * PIECES);
        rows.next_multiple_of(ROWS).max(4 * ROWS)
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

/// Where a product goes: the results for one token follow each other, the next token's are `stride` floats on.
#[derive(Clone, Copy)]
struct Results {
    start: *mut f32,
    stride: usize,
}

/// Computes a product as llama.cpp asks for it, on all threads of a pass; `false` if it cannot.
///
/// # Safety
/// As llama.cpp calls it: `a` has `m` rows of `k` blocks, `lda` blocks apart, `b` `n` of them, `c` room for `n` times `m`
/// floats, and all `nth` threads of the thread pool call it with the same arguments but for `ith`.
#[unsafe(export_name = "__wrap_llamafile_sgemm")]
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
    let product = match LEFT_TO_LLAMA.load(Relaxed) {
        true => None,
        false => Product::of(m, n, k, types),
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
        let pieces = std::iter::successors(Some(ith), |_| {
            Some(ggml_threadpool_chunk_add(threadpool, 1))
        })
        .map(|number| number as usize * piece)
        .take_while(|&first| first < product.rows)
        .map(|first| first..product.rows.min(first + piece));
        match product.kind {
            Kind::F16 => f16::multiply(instructions, product, weights, tokens, pieces, results),
            Kind::Q8_0 => q8_0::multiply(instructions, product, weights, tokens, pieces, results),
        }
        ggml_barrier(threadpool);
    }
    true
}
