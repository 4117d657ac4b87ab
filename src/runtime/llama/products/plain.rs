//! Where llama.cpp's calls come in for Q4_0 and K-quants where there is no AMX.
//!
//! llama.cpp asks a function whether an operation of the graph is for one of its layouts, before it
//! does it itself. That is early enough to take weights in such a layout, and those in none.

use std::ffi::{CStr, c_void};

use llama_cpp_sys_2 as sys;

use super::led::led;
use super::threads::Call;
use super::{Kind, Product, amx, are_left_to_llama, instructions, node};

led! {
    "ggml_cpu_extra_compute_forward" to compute_forward: node::Computes;
    /// The address of llama.cpp's function, if the linker leads calls of it here.
    logitspec_llama_forward
}

/// llama.cpp's layouts where there is no AMX, by the name of their memory.
const LAYOUT: &CStr = c"CPU_REPACK";

/// Where llama.cpp has weights in these layouts. `None` if it was built without.
pub(super) fn layout() -> Option<sys::ggml_backend_buffer_type_t> {
    amx::layout_named(LAYOUT)
}

/// Whether llama.cpp's calls come here.
pub(super) fn is_linked() -> bool {
    !logitspec_llama_forward().is_null()
}

/// Computes an operation of llama.cpp's graph on all threads of a pass, if it is a product that the
/// kernels here are made for; `false` if not.
///
/// # Safety
/// As llama.cpp calls it: all threads of the pass call it for the same operation, `call` has
/// llama.cpp's room for it, and they wait for each other afterwards.
unsafe extern "C" fn compute_forward(call: *const Call, result: *const sys::ggml_tensor) -> bool {
    // SAFETY: the caller's promises.
    let (call, result) = unsafe { (&*call, &*result) };
    if result.op != sys::GGML_OP_MUL_MAT || are_left_to_llama(false) {
        return false;
    }
    // SAFETY: a product has two sources.
    let (weights, tokens) = unsafe { (&*result.src[0], &*result.src[1]) };
    // SAFETY: the caller's promises.
    let Some(kind) = (unsafe { kind(weights) }) else {
        return false;
    };
    // Rows that follow each other, tokens in single precision, one batch.
    let whole = weights.nb[1] == row_size(weights) && result.ne[2] * result.ne[3] == 1;
    if !whole || tokens.type_ != sys::GGML_TYPE_F32 || tokens.nb[0] != size_of::<f32>() {
        return false;
    }
    let product = Product::of_groups(kind, weights.ne, result.ne[1]);
    let (Some(product), Some(instructions)) = (product, instructions()) else {
        return false;
    };
    // SAFETY: the caller's promises, and as looked at above.
    unsafe { node::compute(call, instructions, product, result) }
    true
}

fn row_size(weights: &sys::ggml_tensor) -> usize {
    // SAFETY: takes a type and a number of values.
    unsafe { sys::ggml_row_size(weights.type_, weights.ne[0]) }
}

/// The kind of weights, by their type and where they are.
///
/// # Safety
/// `weights` is a tensor of llama.cpp's.
unsafe fn kind(weights: &sys::ggml_tensor) -> Option<Kind> {
    let (kind, in_layout) = match weights.type_ {
        sys::GGML_TYPE_Q4_0 => (Kind::EightsQ4_0, true),
        sys::GGML_TYPE_Q4_K => (Kind::EightsQ4K, true),
        sys::GGML_TYPE_Q6_K => (Kind::RowsQ6K, false),
        _ => return None,
    };
    if weights.buffer.is_null() {
        // Memory of whoever made the tensor.
        return (!in_layout).then_some(kind);
    }
    // SAFETY: the caller's promise. Buffers whose contents lie otherwise than they say are none of
    // the host's.
    let right = unsafe {
        if in_layout {
            let layout = sys::ggml_backend_buffer_get_type(weights.buffer);
            CStr::from_ptr(sys::ggml_backend_buft_name(layout)) == LAYOUT
        } else {
            sys::ggml_backend_buffer_is_host(weights.buffer)
        }
    };
    right.then_some(kind)
}
