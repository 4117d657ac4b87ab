//! Kernels for ggml's CPU backend that multiply weights by a few tokens at about the cost of one.
//!
//! A pass over one token reads all weights from memory, and that takes most of its time. A pass
//! over a few tokens reads the same bytes, but ggml's kernels take one and a half to twice as long:
//! they read several rows of a matrix at once, which hardware prefetchers do not follow. The
//! kernels here prefetch 64 KB ahead. Each result is bit for bit what ggml computes: for quantized
//! weights, and in the AMX buffer for F16, what it computes for a single token; for other F16
//! weights, what its kernel for several tokens (`llamafile_sgemm`) computes.
//!
//! # How ggml calls them
//!
//! Before ggml's CPU backend computes an operation, it asks `ggml_cpu_extra_compute_forward`
//! whether another kernel does. The linker argument `--wrap=ggml_cpu_extra_compute_forward`
//! redirects these calls to [`forward`]. What `forward` declines goes on to ggml. The build script
//! of the program has to pass the argument to the linker:
//!
//! ```
//! if let Ok(argument) = std::env::var("DEP_GGML_FEW_TOKEN_LINK_ARG") {
//!     println!("cargo::rustc-link-arg={argument}");
//! }
//! ```
//!
//! Without it, on other platforms than x86-64 Linux, and where ggml is a shared library, ggml
//! computes everything, and [`is_linked`] says `false`.
//!
//! # What they compute
//!
//! `MUL_MAT` of at least 256 rows of at least 256 values by two or more tokens (F16 in a host
//! buffer, if passes are [batch-invariant](batch_invariant_or_init): by any number of tokens):
//!
//! | weights | buffer | needs |
//! |---|---|---|
//! | F16, Q8_0 | any host buffer | AVX2, better AVX-512 |
//! | Q6_K | any host buffer | AVX-512 VNNI |
//! | Q4_0 (`q4_0_8x8`), Q4_K (`q4_K_8x8`) | `CPU_REPACK` | AVX-512 VNNI |
//! | F16 | `AMX` | AVX-512 |
//! | Q8_0, Q4_0, Q4_K, Q5_K, Q6_K | `AMX` | AVX-512 VNNI |
//!
//! `FLASH_ATTN_EXT` with keys and values in F16.
//!
//! To add an operation, match on it in [`forward`].

use std::sync::OnceLock;

use llama_cpp_sys_2 as sys;

#[cfg(few_token_kernels)]
mod attention;
mod ggml;
#[cfg(few_token_kernels)]
mod interpose;
#[cfg(few_token_kernels)]
mod isa;
#[cfg(few_token_kernels)]
mod mul_mat;
#[cfg(few_token_kernels)]
mod prefetch;
#[cfg(few_token_kernels)]
mod reference;
#[cfg(few_token_kernels)]
mod simd;
#[cfg(all(test, few_token_kernels))]
mod tests;

pub use ggml::ComputeParams;

/// Changes whenever a pass costs something else than before, so that measurements can be told
/// apart.
pub const VERSION: u32 = 6;

/// Instruction set that the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX2, F16C and FMA.
    Avx2,
    /// AVX-512 F and VL.
    Avx512,
    /// AVX-512 with VNNI: dot products of bytes.
    Vnni,
}

/// Settled once: the threads of a pass must not see different answers.
static ENABLED: OnceLock<bool> = OnceLock::new();

/// Whether the kernels are used in this process, also where passes need not be
/// [batch-invariant](batch_invariant_or_init). The first call decides, as does the first operation
/// of ggml that there is a kernel for, which enables them.
pub fn enabled_or_init(enabled: bool) -> bool {
    *ENABLED.get_or_init(|| enabled)
}

static BATCH_INVARIANT: OnceLock<bool> = OnceLock::new();

/// Whether operations of ggml's graph give a token the same bits whatever else is in the pass. The
/// first call decides, for the whole process.
///
/// ggml has several kernels for some operations and picks one by the number of tokens. They add in
/// different orders. Where such an operation is batch-invariant, all passes take the same kernel:
///
/// - `FLASH_ATTN_EXT`: a kernel of this crate for keys and values in F16; for others ggml's, which
///   handles tokens one by one. (Its other kernels split the cache over threads, or handle 64
///   tokens at once.)
/// - `MUL_MAT` of F32, F16 and BF16: dot products of single rows, or the kernel here for F16.
///
/// ggml's kernels for quantized weights are batch-invariant as they are.
pub fn batch_invariant_or_init(invariant: bool) -> bool {
    *BATCH_INVARIANT.get_or_init(|| invariant)
}

/// Whether operations were made [batch-invariant](batch_invariant_or_init).
pub fn is_batch_invariant() -> bool {
    *BATCH_INVARIANT.get().unwrap_or(&false)
}

/// Whether this program was linked so that ggml calls [`forward`].
pub fn is_linked() -> bool {
    #[cfg(few_token_kernels)]
    return interpose::is_linked();
    #[cfg(not(few_token_kernels))]
    false
}

/// The instruction set that weights of a type are multiplied with here, if they are loaded into the
/// buffer that llama.cpp prefers for them and have rows of `row_len` values. `None` if ggml
/// multiplies them.
pub fn isa_for(weights: sys::ggml_type, row_len: usize) -> Option<Isa> {
    #[cfg(few_token_kernels)]
    if is_linked() && *ENABLED.get().unwrap_or(&true) {
        return mul_mat::isa_for(weights, row_len);
    }
    let _ = (weights, row_len);
    None
}

/// Whether attention over keys and values in F16 is computed here.
pub fn has_attention() -> bool {
    #[cfg(few_token_kernels)]
    if is_linked() && (is_batch_invariant() || *ENABLED.get().unwrap_or(&true)) {
        return Isa::best().is_some();
    }
    false
}

/// Computes this thread's part of an operation of ggml's graph. `false` if ggml has to.
///
/// # Safety
/// As ggml calls `ggml_cpu_extra_compute_forward`: every thread of `params.threadpool` calls this
/// with the same `op`, and they wait for each other before the next operation. The sources and the
/// result of `op` are in memory, and the work buffer is as large as ggml makes it for `op`.
pub unsafe extern "C" fn forward(params: &mut ComputeParams, op: &sys::ggml_tensor) -> bool {
    #[cfg(few_token_kernels)]
    {
        reference::withdraw(params);
        if params.use_ref {
            return false;
        }
        let (computed, depends_on_batch) = match op.op {
            // SAFETY: the caller's promises; a MUL_MAT has weights.
            sys::GGML_OP_MUL_MAT => unsafe {
                let computed = enabled_or_init(true) && mul_mat::forward(params, op);
                (computed, mul_mat::depends_on_batch((*op.src[0]).type_))
            },
            // SAFETY: the caller's promises.
            sys::GGML_OP_FLASH_ATTN_EXT => unsafe {
                let wanted = is_batch_invariant() || enabled_or_init(true);
                let computed = wanted && attention::forward(params, op);
                (computed, true)
            },
            _ => (false, false),
        };
        if !computed && depends_on_batch && is_batch_invariant() {
            reference::request(params);
        }
        computed
    }
    #[cfg(not(few_token_kernels))]
    {
        let _ = (params, op);
        false
    }
}
