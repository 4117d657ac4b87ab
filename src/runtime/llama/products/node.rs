//! A product as an operation of llama.cpp's graph.

use std::cell::RefCell;

use llama_cpp_sys_2 as sys;

use super::threads::Call;
use super::{Instructions, Job, Matrix, Product, Results, packed};

/// A function that llama.cpp has each thread of a pass call for a result of its graph, or one that
/// may answer no instead.
pub(super) type Computes = unsafe extern "C" fn(*const Call, *const sys::ggml_tensor) -> bool;

/// Computes what is this thread's of a product.
///
/// # Safety
/// `result` is what `product` says, of tokens in single precision that follow each other. The
/// processor has `instructions`, and [can](packed::can) compute packed kinds. `call` has
/// llama.cpp's room, all threads of the pass call this, and wait for each other afterwards.
pub(super) unsafe fn compute(
    call: &Call,
    instructions: Instructions,
    product: Product,
    result: &sys::ggml_tensor,
) {
    // SAFETY: the caller's promises. Each piece is taken by one thread, and no two have results in
    // common.
    unsafe {
        let mut job = job(product, result);
        if job.product.kind.is_packed() {
            job.tokens = lay_out(call, &job);
        } else {
            call.begin();
        }
        job.compute(instructions, &mut call.pieces(job.product));
    }
}

/// Where all of a product lies.
///
/// # Safety
/// As for [`compute`].
unsafe fn job(product: Product, result: &sys::ggml_tensor) -> Job {
    // SAFETY: the caller's promises.
    let (weights, tokens) = unsafe { (&*result.src[0], &*result.src[1]) };
    Job {
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
    }
}

/// Lays the tokens of a job out, which all threads do together, and begins.
///
/// # Safety
/// As for [`compute`].
unsafe fn lay_out(call: &Call, job: &Job) -> Matrix {
    thread_local! {
        /// The first thread's is the one that is used. Kept for the next product: 256 tokens of
        /// 5,632 values are 1.8 MB.
        static LAID: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    let Product { length, tokens, .. } = job.product;
    // llama.cpp's room is for the rounded tokens: more than an address takes.
    debug_assert!(call.wsize >= size_of::<*mut u64>());
    let place = call.wdata.cast::<*mut u64>();
    // SAFETY: the caller's promises: the room is all threads' of this pass, and none reads the
    // address before all are at `begin`. What it leads to is not changed before the first thread
    // lays out another product's tokens, and all wait for each other before that.
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
