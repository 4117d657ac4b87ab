//! Where llama.cpp's calls come in for weights that lie as it has them for AMX.

use std::cell::RefCell;
use std::ffi::c_void;

use llama_cpp_sys_2 as sys;

use super::packed::{Laid, Tokens};
use super::threads::Call;
use super::{Job, Kind, Matrix, Product, Results, are_left_to_llama, instructions};

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
    ".pushsection .text.logitspec_amx, \"ax\", @progbits",
    concat!(".weak ", named!("__real_")),
    concat!(".globl ", named!("__wrap_")),
    concat!(".hidden ", named!("__wrap_")),
    concat!(".type ", named!("__wrap_"), ", @function"),
    concat!(named!("__wrap_"), ":"),
    "push rdi",
    "push rsi",
    "sub rsp, 8",
    "call {product}",
    "add rsp, 8",
    "pop rsi",
    "pop rdi",
    "test al, al",
    "jne 2f",
    concat!("jmp [rip + ", named!("__real_"), "@GOTPCREL]"),
    "2: ret",
    concat!(".size ", named!("__wrap_"), ", . - ", named!("__wrap_")),
    ".globl logitspec_llama_amx",
    ".hidden logitspec_llama_amx",
    ".type logitspec_llama_amx, @function",
    "logitspec_llama_amx:",
    concat!("mov rax, [rip + ", named!("__real_"), "@GOTPCREL]"),
    "ret",
    ".size logitspec_llama_amx, . - logitspec_llama_amx",
    ".popsection",
    product = sym product,
);

unsafe extern "C" {
    /// The address of llama.cpp's function, if it has one.
    safe fn logitspec_llama_amx() -> *const c_void;
}

/// Whether llama.cpp has such a layout, and calls for it come here.
pub(super) fn is_linked() -> bool {
    !logitspec_llama_amx().is_null()
}

/// Computes a product as llama.cpp asks for it, on all threads of a pass; `false` if it cannot.
///
/// # Safety
/// As llama.cpp calls it: `result` is a product of weights that lie as they do for AMX, and of tokens in single precision that follow
/// each other, and all threads of the pass call it.
unsafe extern "C" fn product(call: *const Call, result: *mut sys::ggml_tensor) -> bool {
    // SAFETY: the caller keeps the promises above. Each piece is taken by one thread, and no two have results in common. llama.cpp's
    // threads wait for each other after each product.
    unsafe {
        let (call, result) = (&*call, &*result);
        let (weights, tokens) = (&*result.src[0], &*result.src[1]);
        let batches = result.ne[2] * result.ne[3];
        let product = match are_left_to_llama(false) || batches != 1 || instructions().is_none() {
            true => None,
            false => Product::of_amx(weights.type_, weights.ne, result.ne[1]),
        };
        let (Some(product), Some(instructions)) = (product, instructions()) else {
            return false;
        };
        let mut job = Job {
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
        if product.kind == Kind::F16F32 {
            call.begin();
        } else {
            job.tokens.start = lay_out(call, &job).start.cast();
        }
        job.compute(instructions, &mut call.pieces(product));
    }
    true
}

/// Lays the tokens of `job` out, which all threads do together, and begins.
unsafe fn lay_out(call: &Call, job: &Job) -> Tokens {
    thread_local! {
        /// The first thread's is the one that is used. Kept for the next product: 256 tokens of 5,632 values are 1.8 MB.
        static LAID: RefCell<Vec<Laid>> = const { RefCell::new(Vec::new()) };
    }
    let Product {
        kind,
        length,
        tokens,
        ..
    } = job.product;
    // SAFETY: the caller's promises. llama.cpp's room for tokens in Q8_0 has place for an address.
    unsafe {
        let place = call.wdata.cast::<*mut Laid>();
        if call.ith == 0 {
            LAID.with_borrow_mut(|laid| {
                let needed = tokens * length / super::packed::BLOCK;
                if laid.len() < needed {
                    laid.resize(needed, Laid::default());
                }
                place.write_unaligned(laid.as_mut_ptr());
            });
        }
        call.begin();
        let laid = Tokens {
            start: place.read_unaligned(),
            count: tokens,
        };
        for at in (call.ith as usize..tokens).step_by(call.nth as usize) {
            let from = std::slice::from_raw_parts(job.tokens.row(at).cast::<f32>(), length);
            laid.lay_out(kind, at, from);
        }
        call.wait();
        laid
    }
}
