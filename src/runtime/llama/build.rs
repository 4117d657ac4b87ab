//! The version of llama.cpp, and the devices it runs on.

use std::ffi::CStr;
use std::sync::LazyLock;

use llama_cpp_sys_2 as sys;

/// The version of the crate that contains the sources of llama.cpp.
const SYS_VERSION: &str = "0.1.161";

/// The version of llama.cpp, given by the crate that contains it.
pub fn build() -> String {
    format!("llama-cpp-sys-2 {SYS_VERSION}")
}

/// The devices that llama.cpp can use, including CPUs.
pub fn devices() -> Vec<String> {
    super::model::backend();
    llama_cpp_2::list_llama_ggml_backend_devices()
        .into_iter()
        .map(|device| match device.name == device.description {
            true => device.name,
            false => format!("{}: {}", device.name, device.description.trim()),
        })
        .collect()
}

/// The build options of llama.cpp's backends: instruction sets, OpenMP, and so on. The time of a
/// pass
/// depends on them.
pub fn system() -> &'static str {
    // llama.cpp has one buffer for all callers.
    static SYSTEM: LazyLock<String> = LazyLock::new(|| {
        super::model::backend();
        // SAFETY: The result is a C string that is valid until the next call. This is the only
        // call.
        #[allow(unsafe_code)]
        let text = unsafe { CStr::from_ptr(sys::llama_print_system_info()) };
        text.to_string_lossy().trim().to_owned()
    });
    &SYSTEM
}

/// The default number of threads of a context: one for each core that this process may use.
pub fn default_threads() -> u32 {
    super::model::cores()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_matches_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"llama-cpp-sys-2\"\nversion = \"{SYS_VERSION}\"");
        assert!(lock.contains(&entry), "update SYS_VERSION");
    }

    #[test]
    fn system_names_the_cpu() {
        assert!(system().contains("CPU"), "{}", system());
    }

    #[test]
    fn devices_and_threads_are_found() {
        assert!(!devices().is_empty() && default_threads() > 0);
    }
}
