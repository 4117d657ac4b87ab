//! Where llama.cpp's calls come in for weights in its layout for AMX.

use std::cell::RefCell;
use std::ffi::{CStr, c_void};

use llama_cpp_sys_2 as sys;

use super::packed;
use super::threads::Call;
use super::{Instructions, Job, Matrix, Product, Results, are_left_to_llama, instructions};

/// llama.cpp's function, as C++ names it.
macro_rules! named {
    ($before:literal) => {
        concat!(
            $before,
            "_Z24ggml_backend_amx_mul_matPK19ggml_compute_paramsP11ggml_tensor"
        )
    };
}

// What comes in goes to `product`, and if that answers no, on to llama.cpp's own. That is there only if llama.cpp was built for a processor
// with AMX, and a weak symbol that is not there has no address. Rust has no weak symbols, so this is not in Rust; hidden as in `sgemm`.
std::arch::global_asm!(
    concat!(".pushsection .text.", named!("__wrap_"), ", \"ax\", @progbits"),
    concat!(".weak ", named!("__real_")),
    concat!(".globl ", named!("__wrap_")),
    concat!(".hidden ", named!("__wrap_")),
    concat!(".type ", named!("__wrap_"), ", @function"),
    concat!(named!("__wrap_"), ":"),
    ".cfi_startproc",
    "push rdi",
    ".cfi_adjust_cfa_offset 8",
    "push rsi",
    ".cfi_adjust_cfa_offset 8",
    "sub rsp, 8",
    ".cfi_adjust_cfa_offset 8",
    "call {product}",
    "add rsp, 8",
    ".cfi_adjust_cfa_offset -8",
    "pop rsi",
    ".cfi_adjust_cfa_offset -8",
    "pop rdi",
    ".cfi_adjust_cfa_offset -8",
    "test al, al",
    "jne 2f",
    concat!("jmp [rip + ", named!("__real_"), "@GOTPCREL]"),
    "2: ret",
    ".cfi_endproc",
    concat!(".size ", named!("__wrap_"), ", . - ", named!("__wrap_")),
    ".popsection",
    product = sym product,
);

// In a section of its own: who uses this does not have the kernels linked in by it.
std::arch::global_asm!(
    ".pushsection .text.logitspec_llama_amx, \"ax\", @progbits",
    concat!(".weak ", named!("__real_")),
    ".globl logitspec_llama_amx",
    ".hidden logitspec_llama_amx",
    ".type logitspec_llama_amx, @function",
    "logitspec_llama_amx:",
    concat!("mov rax, [rip + ", named!("__real_"), "@GOTPCREL]"),
    "ret",
    ".size logitspec_llama_amx, . - logitspec_llama_amx",
    ".popsection",
);

unsafe extern "C" {
    /// The address of llama.cpp's function, if the linker leads calls of it here.
    safe fn logitspec_llama_amx() -> *const c_void;
}

/// Whether llama.cpp's calls come here.
pub(super) fn is_linked() -> bool {
    !logitspec_llama_amx().is_null()
}

/// Where llama.cpp has weights in this layout. `None` if it does not have it on this machine, whatever it was built for.
pub(super) fn layout() -> Option<sys::ggml_backend_buffer_type_t> {
    type List =
        unsafe extern "C" fn(sys::ggml_backend_dev_t) -> *mut sys::ggml_backend_buffer_type_t;
    // SAFETY: as llama.cpp documents it: a function by this name lists a device's buffer types, up to a null.
    unsafe {
        let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
        if device.is_null() {
            return None;
        }
        let backend = sys::ggml_backend_dev_backend_reg(device);
        let name = c"ggml_backend_dev_get_extra_bufts".as_ptr();
        let list = sys::ggml_backend_reg_get_proc_address(backend, name);
        if list.is_null() {
            return None;
        }
        let mut types = std::mem::transmute::<*mut c_void, List>(list)(device);
        while !types.is_null() && !(*types).is_null() {
            if CStr::from_ptr(sys::ggml_backend_buft_name(*types)) == c"AMX" {
                return Some(*types);
            }
            types = types.add(1);
        }
        None
    }
}

/// Computes a product as llama.cpp asks for it, on all threads of a pass; `false` if it cannot.
///
/// # Safety
/// As llama.cpp calls it: `result` is a product of weights in the layout for AMX and of tokens in single precision that follow each other,
/// `call` has llama.cpp's room for it, all threads of the pass call it, and wait for each other afterwards.
pub(super) unsafe extern "C" fn product(
    call: *const Call,
    result: *const sys::ggml_tensor,
) -> bool {
    // SAFETY: the caller's promises.
    let (call, result) = unsafe { (&*call, &*result) };
    // SAFETY: as above.
    let (weights, tokens) = unsafe { (&*result.src[0], &*result.src[1]) };
    if are_left_to_llama(false) || result.ne[2] * result.ne[3] != 1 {
        return false;
    }
    let product = Product::of_amx(weights.type_, weights.ne, result.ne[1]);
    let (Some(product), Some(instructions)) = (product, instructions()) else {
        return false;
    };
    let job = Job {
        product,
        weights: Matrix {
            start: weights.data.cast(),
            stride: product.kind.row_bytes(product.length),
        },
        tokens: Matrix {
            start: tokens.data.cast(),
            stride: tokens.nb[1],
        },
        results: Results {
            start: result.data.cast(),
            stride: result.nb[1] / size_of::<f32>(),
        },
    };
    // SAFETY: the caller's promises. Each piece is taken by one thread, and no two have results in common.
    unsafe { compute(call, instructions, job) }
    true
}

/// Computes what is this thread's of a job, whose tokens are in single precision.
///
/// # Safety
/// As for [`product`].
unsafe fn compute(call: &Call, instructions: Instructions, mut job: Job) {
    // SAFETY: the caller's promises.
    unsafe {
        if job.product.kind.is_packed() {
            job.tokens = lay_out(call, &job);
        } else {
            call.begin();
        }
        job.compute(instructions, &mut call.pieces(job.product));
    }
}

/// Lays the tokens of a job out, which all threads do together, and begins.
///
/// # Safety
/// As for [`product`].
unsafe fn lay_out(call: &Call, job: &Job) -> Matrix {
    thread_local! {
        /// The first thread's is the one that is used. Kept for the next product: 256 tokens of 5,632 values are 1.8 MB.
        static LAID: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    let Product { length, tokens, .. } = job.product;
    // llama.cpp's room is for the rounded tokens: more than an address takes.
    debug_assert!(call.wsize >= size_of::<*mut u64>());
    let place = call.wdata.cast::<*mut u64>();
    // SAFETY: the caller's promises: the room is all threads' of this pass, and none reads the address before all are at `begin`. What
    // it leads to is not changed before the first thread lays out another product's tokens, and all wait for each other before that.
    unsafe {
        if call.ith == 0 {
            LAID.with_borrow_mut(|laid| {
                if laid.len() < packed::room(job.product) {
                    laid.resize(packed::room(job.product), 0);
                }
                place.write_unaligned(laid.as_mut_ptr());
            });
        }
        call.begin();
        let laid = place.read_unaligned();
        let [ith, nth] = [call.ith, call.nth].map(|number| number as usize);
        // Neighbours for each thread, since their blocks share lines.
        for at in ith * tokens / nth..(ith + 1) * tokens / nth {
            let from = std::slice::from_raw_parts(job.tokens.row(at).cast::<f32>(), length);
            packed::lay_out(job.product, at, from, laid);
        }
        call.wait();
        Matrix {
            start: laid.cast_const().cast(),
            stride: 0,
        }
    }
}
