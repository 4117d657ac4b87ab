//! Decides whether the kernels can be linked into ggml, and says how.

/// The function of ggml whose calls the linker redirects (see `src/interpose.rs`).
const HOOK: &str = "ggml_cpu_extra_compute_forward";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LLAMA_BUILD_SHARED_LIBS");
    println!("cargo::rustc-check-cfg=cfg(few_token_kernels)");
    if !is_supported() {
        return;
    }
    println!("cargo::rustc-cfg=few_token_kernels");
    let argument = format!("-Wl,--wrap={HOOK}");
    // For this package's own tests. Cargo does not pass it on to programs that use this crate:
    // their build script finds it in DEP_GGML_FEW_TOKEN_LINK_ARG.
    println!("cargo::rustc-link-arg={argument}");
    println!("cargo::metadata=LINK_ARG={argument}");
}

/// Whether there are kernels for the target, and ggml is linked in statically: a linker cannot
/// redirect calls within a shared library.
fn is_supported() -> bool {
    let var = |name: &str| std::env::var(name).ok();
    let is = |name: &str, value: &str| var(name).as_deref() == Some(value);
    let shared = var("CARGO_FEATURE_DYNAMIC_LINK").is_some()
        || var("CARGO_FEATURE_DYNAMIC_BACKENDS").is_some()
        || var("LLAMA_BUILD_SHARED_LIBS").is_some_and(|value| !is_off(&value));
    is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ARCH", "x86_64") && !shared
}

/// Whether CMake reads a value as false.
fn is_off(value: &str) -> bool {
    let value = value.to_ascii_uppercase();
    let words = ["", "0", "OFF", "NO", "FALSE", "N", "IGNORE", "NOTFOUND"];
    words.contains(&value.as_str()) || value.ends_with("-NOTFOUND")
}
