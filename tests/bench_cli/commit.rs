//! The commit in manifests: that of the build, wherever the program lies and whatever its checkout
//! is at by now.

use logitspec::bench::Manifest;

use super::build_script::{commit, moved_by_commits};
use super::*;

fn git(folder: &Path, args: &[&str]) {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=n", "-c", "user.email=n@example.org"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// A checkout that looks like this one, with a commit named `tag`.
fn checkout(tag: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "--quiet"]);
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::write(folder.path().join("src/lib.rs"), "one").unwrap();
    let package = "[package]\nname = \"logitspec\"\n";
    std::fs::write(folder.path().join("Cargo.toml"), package).unwrap();
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "--quiet", "-m", "one"]);
    git(folder.path(), &["tag", "-a", tag, "-m", tag]);
    folder
}

#[test]
fn the_manifest_has_the_commit_of_the_build() {
    let set = Set::of(1);
    set.done(&[]);
    let manifest = || {
        let path = Manifest::path_beside(set.answers("baseline"));
        Manifest::read(path).unwrap().unwrap().commit
    };
    let built = manifest();
    // The same program in a checkout of another commit.
    let elsewhere = checkout("another");
    let program = elsewhere.path().join("logitspec");
    program::copy_to(&program);
    let here = set.command(&["--overwrite"]);
    let output = Command::new(program)
        .args(here.get_args())
        .current_dir(elsewhere.path())
        .args(["--data-dir", set.path("data").to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(manifest(), built);
    let noted = env!("LOGITSPEC_COMMIT");
    let whole = format!("{} {noted}", env!("CARGO_PKG_VERSION"));
    assert_eq!(built, whole.trim_end());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(noted.is_empty(), commit(root).is_none(), "{noted}");
}

#[test]
fn changed_sources_are_told_and_nothing_else() {
    let folder = checkout("first");
    let root = folder.path();
    assert_eq!(commit(root).as_deref(), Some("first"));
    std::fs::write(root.join("notes.txt"), "x").unwrap();
    assert_eq!(commit(root).as_deref(), Some("first"));
    std::fs::write(root.join("src/lib.rs"), "two").unwrap();
    assert_eq!(commit(root).as_deref(), Some("first-dirty"));
    std::fs::write(root.join("src/lib.rs"), "one").unwrap();
    std::fs::write(root.join("src/new.rs"), "").unwrap();
    assert_eq!(commit(root).as_deref(), Some("first-dirty"));
}

#[test]
fn a_worktree_is_a_checkout_and_a_folder_in_one_is_not() {
    let folder = checkout("first");
    let parent = tempfile::tempdir().unwrap();
    let tree = parent.path().join("tree");
    git(
        folder.path(),
        &[
            "worktree",
            "add",
            "--quiet",
            "-b",
            "side",
            tree.to_str().unwrap(),
        ],
    );
    assert_eq!(commit(&tree).as_deref(), Some("first"));
    let times = |root: &Path| -> Vec<String> {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        moved_by_commits(root).into_iter().map(read).collect()
    };
    let before = times(&tree);
    assert!(!before.is_empty());
    std::fs::write(tree.join("src/lib.rs"), "two").unwrap();
    git(&tree, &["commit", "--quiet", "-a", "-m", "two"]);
    assert_ne!(times(&tree), before, "a commit would go unseen");
    assert!(commit(&tree).unwrap().starts_with("first-1-g"));

    assert_eq!(commit(&folder.path().join("src")), None);
    assert_eq!(commit(parent.path()), None);
    assert!(moved_by_commits(parent.path()).is_empty());
}
