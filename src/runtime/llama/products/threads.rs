//! The threads of a pass, and how they share a product.

use std::ffi::{c_int, c_void};
use std::ops::Range;

use super::Product;

/// What llama.cpp tells each thread of a pass: the beginning of its `ggml_compute_params`, as the
/// version has it that Cargo.toml asks for.
#[repr(C)]
pub(super) struct Call {
    pub(super) ith: c_int,
    pub(super) nth: c_int,
    /// Bytes at `wdata`.
    pub(super) wsize: usize,
    /// Room that all threads have in common.
    pub(super) wdata: *mut c_void,
    pub(super) threadpool: *mut c_void,
}

unsafe extern "C" {
    fn ggml_threadpool_chunk_set(threadpool: *mut c_void, value: c_int);
    fn ggml_threadpool_chunk_add(threadpool: *mut c_void, value: c_int) -> c_int;
    fn ggml_barrier(threadpool: *mut c_void);
}

impl Call {
    /// A thread that is alone, for functions that wait for nobody: there is no pool of threads.
    pub(super) fn alone() -> Self {
        Self {
            ith: 0,
            nth: 1,
            wsize: 0,
            wdata: std::ptr::null_mut(),
            threadpool: std::ptr::null_mut(),
        }
    }

    /// Waits for all threads.
    ///
    /// # Safety
    /// It is llama.cpp's call, and all threads do the same.
    pub(super) unsafe fn wait(&self) {
        // SAFETY: the caller's promise.
        unsafe { ggml_barrier(self.threadpool) }
    }

    /// Makes ready to share a product, and waits for all threads, so that none takes
    /// [pieces](Self::pieces) before.
    ///
    /// # Safety
    /// As for [`wait`](Self::wait), and no thread is still taking pieces of another product.
    pub(super) unsafe fn begin(&self) {
        // SAFETY: the caller's promises.
        unsafe {
            if self.ith == 0 {
                ggml_threadpool_chunk_set(self.threadpool, self.nth);
            }
            self.wait();
        }
    }

    /// The rows that this thread computes, which it takes as it comes to them.
    ///
    /// # Safety
    /// All threads have [begun](Self::begin).
    pub(super) unsafe fn pieces(&self, product: Product) -> impl Iterator<Item = Range<usize>> {
        let Self {
            ith,
            nth,
            threadpool,
            ..
        } = *self;
        let piece = product.piece(nth as usize);
        let mut first = Some(ith);
        let pieces = std::iter::from_fn(move || {
            // SAFETY: the caller's promise.
            let next = || unsafe { ggml_threadpool_chunk_add(threadpool, 1) };
            Some(first.take().unwrap_or_else(next))
        })
        .map(move |number| number as usize * piece)
        .take_while(move |&first| first < product.rows)
        .map(move |first| first..product.rows.min(first + piece));
        #[cfg(test)]
        let pieces = super::tests::count(product, pieces);
        pieces
    }
}
