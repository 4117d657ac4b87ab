//! Where llama.cpp's calls come in for weights that lie as they do in files.

use std::ffi::{c_int, c_void};

use super::threads::Call;
use super::{Job, Matrix, Product, Results, are_left_to_llama, instructions};

/// Whether llama.cpp's calls come here.
pub(super) fn is_linked() -> bool {
    let nothing = std::ptr::null();
    // SAFETY: a product with no tokens. llama.cpp's function leaves those alone, and says so,
    // having looked at `ith` and `nth` at most; the one here answers otherwise.
    unsafe {
        llamafile_sgemm(
            &Call::alone(),
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

/// Declares functions that compute a product, as llama.cpp asks for it.
macro_rules! sgemm {
    ($($(#[$about:meta])* $name:ident;)*) => {
        unsafe extern "C" {
            $($(#[$about])*
            pub(super) fn $name(
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
            ) -> bool;)*
        }
    };
}

sgemm! {
    /// What llama.cpp calls: [`product`], where it is linked, and otherwise llama.cpp's own.
    llamafile_sgemm;
    /// llama.cpp's own, by the name that the linker gives it.
    __real_llamafile_sgemm;
}

// The name that the linker looks for. Rust's own way to export a function would put it among the
// symbols of every shared library that this crate is in, linked with the argument or not, and there
// `__real_llamafile_sgemm` is nowhere.
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
/// As llama.cpp calls it: `a` has `m` rows of `k` blocks, `lda` blocks apart, `b` `n` of them, `c`
/// room for `n` times `m` floats, and all `nth` threads of the thread pool call it with the same
/// arguments but for `ith`.
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
    let (_, bytes) = product.kind.block();
    let job = Job {
        product,
        weights: Matrix {
            start: a.cast(),
            stride: lda as usize * bytes,
        },
        tokens: Matrix {
            start: b.cast(),
            stride: ldb as usize * bytes,
        },
        results: Results {
            start: c.cast(),
            stride: ldc as usize,
        },
    };
    // SAFETY: the caller keeps the promises above. Each piece is taken by one thread, and no two
    // have results in common. Nobody goes on to the next product, which begins anew, before all
    // have taken their pieces of this one.
    unsafe {
        let call = &*call;
        call.begin();
        job.compute(instructions, &mut call.pieces(product));
        call.wait();
    }
    true
}
