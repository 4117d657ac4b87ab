//! Which llama.cpp this is, and what it runs on.

use std::ffi::CStr;
use std::sync::LazyLock;

use llama_cpp_sys_2 as sys;

/// The version of the crate that llama.cpp comes in; its sources are in it.
const SYS_VERSION: &str = "0.1.161";

/// Which llama.cpp is built in, by the crate that it comes in.
pub fn build() -> String {
    format!("llama-cpp-sys-2 {SYS_VERSION}")
}

/// The devices that llama.cpp can compute on, processors included.
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

/// What llama.cpp's backends were built for, in its own words: instruction sets, OpenMP, kernels of
/// its own. Programs that differ in it differ in what a pass costs.
pub fn system() -> &'static str {
    // llama.cpp puts it together in one buffer for all callers.
    static SYSTEM: LazyLock<String> = LazyLock::new(|| {
        super::model::backend();
        // SAFETY: a string that ends, and lasts until the next call, which nobody makes.
        #[allow(unsafe_code)]
        let text = unsafe { CStr::from_ptr(sys::llama_print_system_info()) };
        text.to_string_lossy().trim().to_owned()
    });
    &SYSTEM
}

/// The threads that a context gets if its options name no number: one per core that this process
/// may use.
pub fn default_threads() -> u32 {
    super::model::cores()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_built_in() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"llama-cpp-sys-2\"\nversion = \"{SYS_VERSION}\"");
        assert!(lock.contains(&entry), "update SYS_VERSION");
    }

    #[test]
    fn the_system_names_its_backends() {
        assert!(system().contains("CPU"), "{}", system());
    }

    #[test]
    fn there_is_a_device() {
        assert!(!devices().is_empty() && default_threads() > 0);
    }
}
