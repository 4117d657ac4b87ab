//! Notes which commit is built, for the manifests of benchmarks.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What of this checkout goes into the program: whether these were changed is what counts.
const SOURCES: [&str; 5] = ["src", "crates", "build.rs", "Cargo.toml", "Cargo.lock"];

fn main() {
    link_few_token_kernels();
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

/// Links ggml-few-token's hook into this package's programs and tests. Where that crate has no
/// kernels, it names no argument.
fn link_few_token_kernels() {
    println!("cargo::rustc-check-cfg=cfg(few_token_kernels)");
    if let Ok(argument) = std::env::var("DEP_GGML_FEW_TOKEN_LINK_ARG") {
        println!("cargo::rustc-cfg=few_token_kernels");
        println!("cargo::rustc-link-arg={argument}");
    }
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
