//! Where llama.cpp's calls come in for weights in its layout for AMX.

use std::ffi::{CStr, c_void};

use llama_cpp_sys_2 as sys;

use super::led::led;
use super::threads::Call;
use super::{Product, are_left_to_llama, instructions, node};

// There only if llama.cpp was built for a processor with AMX. The name is C++'s.
led! {
    "_Z24ggml_backend_amx_mul_matPK19ggml_compute_paramsP11ggml_tensor" to product: node::Computes;
    /// The address of llama.cpp's function, if the linker leads calls of it here.
    logitspec_llama_amx
}

/// Whether llama.cpp's calls come here.
pub(super) fn is_linked() -> bool {
    !logitspec_llama_amx().is_null()
}

/// Where llama.cpp has weights in this layout. `None` if it does not have it on this machine,
/// whatever it was built for.
pub(super) fn layout() -> Option<sys::ggml_backend_buffer_type_t> {
    layout_named(c"AMX")
}

/// Where llama.cpp has weights in the layout of that name.
pub(super) fn layout_named(name: &CStr) -> Option<sys::ggml_backend_buffer_type_t> {
    type List =
        unsafe extern "C" fn(sys::ggml_backend_dev_t) -> *mut sys::ggml_backend_buffer_type_t;
    // SAFETY: as llama.cpp documents it: a function by this name lists a device's buffer types, up
    // to a null.
    unsafe {
        let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
        if device.is_null() {
            return None;
        }
        let backend = sys::ggml_backend_dev_backend_reg(device);
        let function = c"ggml_backend_dev_get_extra_bufts".as_ptr();
        let list = sys::ggml_backend_reg_get_proc_address(backend, function);
        if list.is_null() {
            return None;
        }
        let mut types = std::mem::transmute::<*mut c_void, List>(list)(device);
        while !types.is_null() && !(*types).is_null() {
            if CStr::from_ptr(sys::ggml_backend_buft_name(*types)) == name {
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
/// As llama.cpp calls it: `result` is a product of weights in the layout for AMX and of tokens in
/// single precision that follow each other, `call` has llama.cpp's room for it, all threads of the
/// pass call it, and wait for each other afterwards.
pub(super) unsafe extern "C" fn product(
    call: *const Call,
    result: *const sys::ggml_tensor,
) -> bool {
    // SAFETY: the caller's promises.
    let (call, result) = unsafe { (&*call, &*result) };
    // SAFETY: as above.
    let weights = unsafe { &*result.src[0] };
    if are_left_to_llama(false) || result.ne[2] * result.ne[3] != 1 {
        return false;
    }
    let product = Product::of_amx(weights.type_, weights.ne, result.ne[1]);
    let (Some(product), Some(instructions)) = (product, instructions()) else {
        return false;
    };
    // SAFETY: the caller's promises.
    unsafe { node::compute(call, instructions, product, result) }
    true
}
