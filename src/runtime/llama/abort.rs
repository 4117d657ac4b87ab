//! What happens when llama.cpp gives up.
//!
//! llama.cpp ends the process where something is not as it must be (`GGML_ASSERT`). By default it
//! prints a stack trace, and the system may write a core dump. A program can say it in its own way
//! ([`set_abort_handler`]), but not go on.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use llama_cpp_sys_2 as sys;

#[cfg(feature = "rpc")]
use crate::runtime::llama::rpc;

/// Why llama.cpp ends the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The message: one line.
    pub message: String,
    /// Whether a model or a context was being loaded, so that another file would have helped.
    pub is_input_error: bool,
}

type Handler = fn(&Abort) -> c_int;

static HANDLER: OnceLock<Handler> = OnceLock::new();

/// The model that is used, and whether it is being loaded.
static MODEL: Mutex<Option<(PathBuf, bool)>> = Mutex::new(None);

/// Lets `handler` report that llama.cpp ends the process, and choose the exit code. The first
/// handler stays.
pub fn set_abort_handler(handler: Handler) {
    _ = HANDLER.set(handler);
    // SAFETY: `give_up` has the expected signature and is static.
    unsafe { sys::ggml_set_abort_callback(Some(give_up)) };
}

/// Notes that a model or its context is being loaded, until the value is dropped.
pub(super) struct Loading;

impl Loading {
    pub(super) fn of(path: &Path) -> Self {
        *MODEL.lock().unwrap_or_else(PoisonError::into_inner) = Some((path.into(), true));
        Self
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        if let Some((_, loading)) = &mut *MODEL.lock().unwrap_or_else(PoisonError::into_inner) {
            *loading = false;
        }
    }
}

unsafe extern "C" {
    /// Ends the process at once. The destructors that `exit` runs could meet threads that are still
    /// computing.
    fn _exit(code: c_int) -> !;
}

unsafe extern "C" fn give_up(message: *const c_char) {
    let Some(handler) = HANDLER.get() else { return };
    let text = match message.is_null() {
        true => String::new(),
        // SAFETY: ggml passes a C string that is valid for the duration of the call.
        false => unsafe { CStr::from_ptr(message) }
            .to_string_lossy()
            .into_owned(),
    };
    #[cfg(feature = "rpc")]
    if rpc::is_of_worker(&text) {
        let message = format!("{}; start it again, and then this", rpc::lost());
        let is_input_error = false;
        let code = handler(&Abort {
            message,
            is_input_error,
        });
        // SAFETY: It takes any code.
        unsafe { _exit(code) }
    }
    let model = MODEL.try_lock().ok().and_then(|model| model.clone());
    let code = handler(&abort(&text, model.as_ref()));
    // SAFETY: It takes any code.
    unsafe { _exit(code) }
}

fn abort(text: &str, model: Option<&(PathBuf, bool)>) -> Abort {
    // Without the place in llama.cpp's sources.
    let cause = text.split_once(": ").map_or(text, |(_, cause)| cause);
    let with = model.map(|(path, _)| format!(" with {path:?}"));
    Abort {
        message: format!(
            "llama.cpp cannot go on{}: {}; if the file is damaged, download it again",
            with.unwrap_or_default(),
            cause.trim().replace('\n', " ")
        ),
        is_input_error: model.is_some_and(|(_, loading)| *loading),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_file_and_the_cause() {
        let text = "/src/llama-model.cpp:1330: GGML_ASSERT(n > 0) failed";
        let model = (PathBuf::from("m.gguf"), true);
        let told = abort(text, Some(&model));
        let expected = "llama.cpp cannot go on with \"m.gguf\": GGML_ASSERT(n > 0) failed; if the \
                        file is damaged, download it again";
        assert_eq!((&*told.message, told.is_input_error), (expected, true));
        assert!(!abort(text, None).is_input_error);
    }
}
