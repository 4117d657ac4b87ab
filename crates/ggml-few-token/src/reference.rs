//! Asking ggml for its reference implementation of single operations.
//!
//! ggml gives each thread one `ComputeParams` for all operations of a graph. Its `use_ref` makes
//! ggml take the kernel that does not depend on the number of tokens. So it is set before one
//! operation, and withdrawn when ggml asks about the next one.

use std::cell::Cell;

use crate::ggml::ComputeParams;

thread_local! {
    static REQUESTED: Cell<bool> = const { Cell::new(false) };
}

/// Has ggml compute the operation that it asks about by its reference implementation.
pub(crate) fn request(params: &mut ComputeParams) {
    params.use_ref = true;
    REQUESTED.set(true);
}

/// Withdraws the last request of this thread.
pub(crate) fn withdraw(params: &mut ComputeParams) {
    if REQUESTED.replace(false) {
        params.use_ref = false;
    }
}
