//! Internals of ggml's CPU backend that its public headers do not declare, and lookups in its
//! registry. A test compares the checksums of the files that this is copied from.

use std::ffi::{c_int, c_void};

use llama_cpp_sys_2 as sys;

/// What ggml tells each thread about an operation: `ggml_compute_params` of `ggml-cpu-impl.h`.
#[derive(Debug)]
#[repr(C)]
pub struct ComputeParams {
    /// Number of this thread.
    pub ith: c_int,
    /// Number of threads.
    pub nth: c_int,
    /// Bytes of the work buffer.
    pub wsize: usize,
    /// The work buffer, which all threads share.
    pub wdata: *mut c_void,
    /// The threads.
    pub threadpool: *mut sys::ggml_threadpool,
    /// Whether only ggml's reference implementation may be used.
    pub use_ref: bool,
}

#[cfg(few_token_kernels)]
pub(crate) use internal::*;

#[cfg(few_token_kernels)]
mod internal {
    use std::ffi::CStr;

    use super::*;

    /// Values of a block of Q8_0, and its bytes: `block_q8_0` of `ggml-common.h`.
    pub(crate) const QK8_0: usize = 32;
    pub(crate) const Q8_0_BYTES: usize = 2 + QK8_0;
    /// Values of a super-block of a K-quant.
    pub(crate) const QK_K: usize = 256;

    /// `block_q8_K` of `ggml-common.h`: a super-block of activations.
    #[repr(C)]
    #[derive(Clone, Copy)]
    pub(crate) struct BlockQ8K {
        pub(crate) d: f32,
        pub(crate) qs: [i8; QK_K],
        /// Sums of 16 values each.
        pub(crate) bsums: [i16; QK_K / 16],
    }

    impl BlockQ8K {
        pub(crate) const ZERO: Self = Self {
            d: 0.0,
            qs: [0; QK_K],
            bsums: [0; QK_K / 16],
        };
    }

    unsafe extern "C" {
        fn ggml_threadpool_chunk_set(threadpool: *mut sys::ggml_threadpool, value: c_int);
        fn ggml_threadpool_chunk_add(threadpool: *mut sys::ggml_threadpool, value: c_int) -> c_int;
        fn ggml_barrier(threadpool: *mut sys::ggml_threadpool);
        fn quantize_row_q8_0(x: *const f32, y: *mut c_void, k: i64);
        #[allow(non_snake_case)]
        fn quantize_row_q8_K_ref(x: *const f32, y: *mut BlockQ8K, k: i64);
    }

    impl ComputeParams {
        /// Waits for all threads.
        ///
        /// # Safety
        /// All threads of the pool call this.
        pub(crate) unsafe fn barrier(&self) {
            // SAFETY: the caller's promise.
            unsafe { ggml_barrier(self.threadpool) }
        }

        /// Lets the threads take chunks of an operation from the first one on, and waits for all of
        /// them.
        ///
        /// # Safety
        /// All threads of the pool call this, and none is still taking chunks.
        pub(crate) unsafe fn start_chunks(&self) {
            // SAFETY: the caller's promises.
            unsafe {
                if self.ith == 0 {
                    ggml_threadpool_chunk_set(self.threadpool, self.nth);
                }
                self.barrier();
            }
        }

        /// The numbers of the chunks that this thread is to compute: first its own number, then
        /// whatever no thread has taken yet.
        ///
        /// # Safety
        /// All threads have [started](Self::start_chunks).
        pub(crate) unsafe fn chunks(&self) -> impl Iterator<Item = usize> {
            let threadpool = self.threadpool;
            let mut first = Some(self.ith);
            std::iter::from_fn(move || {
                // SAFETY: the caller's promise.
                let next = || unsafe { ggml_threadpool_chunk_add(threadpool, 1) };
                Some(first.take().unwrap_or_else(next) as usize)
            })
        }
    }

    /// Quantizes values to Q8_0.
    pub(crate) fn quantize_q8_0(values: &[f32], to: &mut [u8]) {
        assert_eq!(to.len(), values.len() / QK8_0 * Q8_0_BYTES);
        let len = values.len() as i64;
        // SAFETY: there is room for all blocks.
        unsafe { quantize_row_q8_0(values.as_ptr(), to.as_mut_ptr().cast(), len) }
    }

    /// Quantizes whole super-blocks of values to Q8_K.
    pub(crate) fn quantize_q8_k(values: &[f32], to: &mut Vec<BlockQ8K>) {
        to.clear();
        // ggml leaves the sums of a block of zeros as they were.
        to.resize(values.len() / QK_K, BlockQ8K::ZERO);
        let len = (to.len() * QK_K) as i64;
        // SAFETY: there is room for all blocks.
        unsafe { quantize_row_q8_K_ref(values.as_ptr(), to.as_mut_ptr(), len) }
    }

    /// Bytes of a row of `len` values.
    pub(crate) fn row_size(ty: sys::ggml_type, len: i64) -> usize {
        // SAFETY: takes a type and a number.
        unsafe { sys::ggml_row_size(ty, len) }
    }

    /// Whether all values of a tensor follow each other.
    pub(crate) fn is_contiguous(tensor: &sys::ggml_tensor) -> bool {
        // SAFETY: looks at the shape of a tensor that is there.
        unsafe { sys::ggml_is_contiguous(tensor) }
    }

    /// Whether a tensor is in host memory, in the layout that its type says. Tensors without a
    /// buffer are in memory of whoever made them.
    ///
    /// # Safety
    /// The tensor is ggml's.
    pub(crate) unsafe fn is_host(tensor: &sys::ggml_tensor) -> bool {
        // SAFETY: the caller's promise.
        tensor.buffer.is_null() || unsafe { sys::ggml_backend_buffer_is_host(tensor.buffer) }
    }

    /// Name of the type of the extra buffer that a tensor is in: one with a layout of its own.
    ///
    /// # Safety
    /// The tensor is ggml's.
    pub(crate) unsafe fn extra_buffer(tensor: &sys::ggml_tensor) -> Option<&CStr> {
        if tensor.buffer.is_null() || tensor.extra.is_null() {
            return None;
        }
        // SAFETY: the caller's promise; names are static.
        unsafe {
            let buffer_type = sys::ggml_backend_buffer_get_type(tensor.buffer);
            Some(CStr::from_ptr(sys::ggml_backend_buft_name(buffer_type)))
        }
    }

    /// The extra buffer type of the CPU backend that has a name, if it exists on this machine.
    pub(crate) fn extra_buffer_type(name: &CStr) -> Option<sys::ggml_backend_buffer_type_t> {
        type List =
            unsafe extern "C" fn(sys::ggml_backend_dev_t) -> *mut sys::ggml_backend_buffer_type_t;
        // SAFETY: as ggml-backend.h documents it: the function of this name lists a device's buffer
        // types, up to a null.
        unsafe {
            let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
            if device.is_null() {
                return None;
            }
            let registry = sys::ggml_backend_dev_backend_reg(device);
            let function = c"ggml_backend_dev_get_extra_bufts".as_ptr();
            let list = sys::ggml_backend_reg_get_proc_address(registry, function);
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
}
