//! Notes which commit is built, for the manifests of benchmarks.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What of this checkout goes into the program: whether these were changed is what counts.
const SOURCES: [&str; 4] = ["src", "build.rs", "Cargo.toml", "Cargo.lock"];

/// llama.cpp's functions that this crate stands in for, by the names that the linker knows: those
/// that compute products, and the one that copies their results. The last is C++'s
/// `ggml_backend_amx_mul_mat`, and there only where llama.cpp is built for a processor with AMX.
const LED_HERE: [&str; 3] = [
    "llamafile_sgemm",
    "ggml_cpu_extra_compute_forward",
    "_Z24ggml_backend_amx_mul_matPK19ggml_compute_paramsP11ggml_tensor",
];

fn main() {
    lead_products_here();
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let root = root.unwrap_or_default();
    let commit = commit(&root).unwrap_or_default();
    println!("cargo::rustc-env=LOGITSPEC_COMMIT={commit}");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    for path in moved_by_commits(&root) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// Has the linker lead llama.cpp's calls of [`LED_HERE`] to `src/runtime/llama/products`, where that can be: through a C compiler that links as GNU's do, with
/// kernels for the processor, and with a llama.cpp that has the first of them and is linked in, not
/// loaded.
fn lead_products_here() {
    println!("cargo::rustc-check-cfg=cfg(few_token_kernels)");
    for name in ["GGML_LLAMAFILE", "LLAMA_BUILD_SHARED_LIBS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let var = |name: &str| std::env::var(name).ok();
    let has = |feature: &str| var(&format!("CARGO_FEATURE_{feature}")).is_some();
    let shared = var("LLAMA_BUILD_SHARED_LIBS").is_some_and(|value| !is_off(&value));
    let loaded = has("DYNAMIC_LINK") || has("DYNAMIC_BACKENDS") || shared;
    let lacks = var("GGML_LLAMAFILE").is_some_and(|value| is_off(&value));
    let target = ["CARGO_CFG_TARGET_OS", "CARGO_CFG_TARGET_ARCH"].map(var);
    let target = target == [Some("linux".into()), Some("x86_64".into())];
    if has("KERNELS") && target && !loaded && !lacks {
        println!("cargo::rustc-cfg=few_token_kernels");
        for function in LED_HERE {
            println!("cargo::rustc-link-arg=-Wl,--wrap={function}");
        }
    }
}

/// Whether CMake takes a value for no.
fn is_off(value: &str) -> bool {
    let value = value.to_ascii_uppercase();
    let words = ["", "0", "OFF", "NO", "FALSE", "N", "IGNORE", "NOTFOUND"];
    words.contains(&value.as_str()) || value.ends_with("-NOTFOUND")
}

/// The commit that `root` is at, with `-dirty` behind it if the sources are not as they are there.
/// `None` where `root` is no checkout: its sources may lie in somebody's checkout of something
/// else.
pub(crate) fn commit(root: &Path) -> Option<String> {
    let top = PathBuf::from(git(root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let commit = git(root, &["describe", "--always"])?;
    let status = ["status", "--porcelain", "--"];
    let changed = git(root, &[&status[..], &SOURCES].concat())?;
    Some(if changed.is_empty() {
        commit
    } else {
        commit + "-dirty"
    })
}

/// The files, of those that there are, one of which changes when the checkout goes to another
/// commit. In a worktree they are not in `.git`.
pub(crate) fn moved_by_commits(root: &Path) -> Vec<PathBuf> {
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"].map(String::from);
    let places = names.into_iter().chain(branch);
    places
        .filter_map(|name| git(root, &["rev-parse", "--git-path", &name]))
        .map(|path| root.join(path))
        .filter(|path| path.is_file())
        .collect()
}

/// What git says in `folder`; `None` if it fails, or is not there.
fn git(folder: &Path, args: &[&str]) -> Option<String> {
    // Git sets these for its hooks: a build in one would be told of the hook's repository.
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(args)
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        // Looking must not write the index.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
