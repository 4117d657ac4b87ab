//! The log of llama.cpp.
//!
//! llama.cpp writes the cause of a failure only to its log, which is too long to show. So the log
//! is
//! not printed, and the latest errors are kept for error messages.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use llama_cpp_sys_2 as sys;

/// Latest errors, oldest first.
static ERRORS: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
static VERBOSE: AtomicBool = AtomicBool::new(false);
/// Most errors in `ERRORS`.
const MAX_ERRORS: usize = 16;

/// Whether to print llama.cpp's log to standard error. Off by default.
pub fn set_verbose(verbose: bool) {
    VERBOSE.store(verbose, Ordering::Relaxed);
}

/// Sends llama.cpp's log to this module. Call it before any other function of llama.cpp.
pub(super) fn install() {
    // SAFETY: `receive` has the expected signature, is static and uses no user data.
    unsafe { sys::llama_log_set(Some(receive), std::ptr::null_mut()) }
}

/// Takes the errors logged since the last call, oldest first.
pub(super) fn take_errors() -> Vec<String> {
    lock().drain(..).collect()
}

fn lock() -> std::sync::MutexGuard<'static, VecDeque<String>> {
    ERRORS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

unsafe extern "C" fn receive(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a C string that is valid for the duration of the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    if VERBOSE.load(Ordering::Relaxed) {
        use std::io::Write;
        // There is nothing to do if standard error is closed.
        let _ = write!(std::io::stderr(), "{text}");
    }
    if level == sys::GGML_LOG_LEVEL_ERROR {
        let mut errors = lock();
        if errors.len() == MAX_ERRORS {
            errors.pop_front();
        }
        errors.push_back(text.trim().to_owned());
    }
}
