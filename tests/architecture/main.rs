//! The rules of the source tree: which module may use which, where unsafe code and llama.cpp may
//! appear, and how wide a line may be.
//!
//! Each failure names the file, the line and the rule.

mod code;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The table of `DESIGN.md`, top to bottom. A module may use its own row and the rows below it.
/// Two modules of one row must not use each other.
const ROWS: [&[&str]; 8] = [
    &["cli", "server"],
    &["bench", "report", "simulate", "hub"],
    &["engine"],
    &["runtime"],
    &["verify"],
    &["draft"],
    &["pool", "corpus", "store"],
    &["files"],
];

/// The ground. Every module may use these; they use only each other.
const GROUND: [&str; 3] = ["logits", "token", "tree"];

/// Files and folders that may contain `unsafe`.
const UNSAFE: [&str; 2] = ["src/runtime/llama/", "src/files/mapped.rs"];

/// The only folder under `src` that may name llama.cpp's crates.
const LLAMA: &str = "src/runtime/llama/";

/// Most columns in a line.
const COLUMNS: usize = 100;

/// Folders whose lines are measured, besides the files of the root.
const WRITTEN: [&str; 9] = [
    ".cargo",
    "benches",
    "crates",
    "data",
    "docs",
    "fuzz/fuzz_targets",
    "scripts",
    "src",
    "tests",
];

/// One use of a top-level module by another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    from: String,
    to: String,
    /// File and line.
    place: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `folder` whose names end in one of `endings`, sorted. Hidden ones are left out.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let hidden = path.file_name().unwrap().as_encoded_bytes()[0] == b'.';
            if hidden {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if has_ending(&path, endings) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| endings.contains(&ending))
}

/// A path as messages show it: relative to the root, with slashes.
fn shown(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap_or(path);
    path.to_string_lossy().replace('\\', "/")
}

/// All Rust files of `src`: the name, and the code without comments and strings.
fn sources() -> Vec<(String, String)> {
    let sources = sources_of("src");
    assert!(sources.len() > 50, "src was not found");
    sources
}

/// All Rust files of a folder, as [`sources`] gives them.
fn sources_of(folder: &str) -> Vec<(String, String)> {
    let files = files(&root().join(folder), &["rs"]);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (shown(&path), code::without_comments_and_strings(&text))
    };
    files.into_iter().map(read).collect()
}

/// The row of a module, counted from the top; the ground is the last.
fn row(module: &str) -> Option<usize> {
    if GROUND.contains(&module) {
        return Some(ROWS.len());
    }
    ROWS.iter().position(|row| row.contains(&module))
}

/// The top-level module that a file of `src` belongs to. `lib.rs` and `main.rs` belong to none.
fn module_of(file: &str) -> Option<&str> {
    let name = file.strip_prefix("src/")?.split('/').next()?;
    let name = name.strip_suffix(".rs").unwrap_or(name);
    (name != "lib" && name != "main").then_some(name)
}

/// Every use of one top-level module by another.
fn uses(sources: &[(String, String)]) -> BTreeSet<Use> {
    let mut uses = BTreeSet::new();
    for (file, code) in sources {
        let Some(from) = module_of(file) else {
            continue;
        };
        for (line, to) in code::crate_paths(code) {
            // `crate::TokenId` and `crate::TokenBytes` are declared in token.rs.
            let of_token = ["TokenId", "TokenBytes"].contains(&to.as_str());
            let to = if of_token { "token".into() } else { to };
            if to != from {
                uses.insert(Use {
                    from: from.into(),
                    to,
                    place: format!("{file}:{line}"),
                });
            }
        }
    }
    uses
}

/// What is wrong with these uses, a line each.
fn wrong_uses(uses: &BTreeSet<Use>) -> Vec<String> {
    let mut wrong = Vec::new();
    for Use { from, to, place } in uses {
        let back = uses.iter().find(|it| it.from == *to && it.to == *from);
        let problem = match (row(from), row(to)) {
            (None, _) => format!("`{from}` is not in the table of tests/architecture"),
            (_, None) => format!("`{to}` is not in the table of tests/architecture"),
            (Some(own), Some(other)) if other < own => {
                format!("`{from}` must not use `{to}`, which is above it")
            }
            (Some(own), Some(other)) if other == own && back.is_some() => {
                format!("`{from}` and `{to}` use each other")
            }
            _ => continue,
        };
        wrong.push(format!("{place}: {problem}"));
    }
    wrong
}

/// Fails with all the problems, a line each.
fn assert_none(problems: &[String]) {
    let count = problems.len();
    assert!(count == 0, "{count} problems:\n{}", problems.join("\n"));
}

#[test]
fn modules_use_only_what_is_below_them() {
    let uses = uses(&sources());
    assert!(uses.len() > 50, "no uses were found");
    assert_none(&wrong_uses(&uses));
}

#[test]
fn only_the_llama_module_names_llama_cpp() {
    let mut wrong = Vec::new();
    for (file, code) in sources() {
        for name in ["llama_cpp_2", "llama_cpp_sys_2"] {
            for line in code::lines_with_word(&code, name) {
                if !file.starts_with(LLAMA) {
                    wrong.push(format!("{file}:{line}: only {LLAMA} may name `{name}`"));
                }
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_helper_crates_do_not_name_this_one() {
    let mut wrong = Vec::new();
    for (file, code) in sources_of("crates") {
        for line in code::lines_with_word(&code, "logitspec") {
            wrong.push(format!("{file}:{line}: `crates` must not use `logitspec`"));
        }
    }
    assert_none(&wrong);
}

#[test]
fn unsafe_code_stays_in_its_modules() {
    let mut wrong = Vec::new();
    for (file, code) in sources() {
        let allowed = UNSAFE.iter().any(|place| file.starts_with(place));
        for line in code::lines_with_word(&code, "unsafe") {
            if !allowed {
                let places = UNSAFE.join(" and ");
                wrong.push(format!("{file}:{line}: only {places} may have `unsafe`"));
            }
        }
    }
    assert_none(&wrong);
}

/// Whether a line may be wide: a row of a table or a line with an address in a document.
fn may_be_wide(path: &Path, line: &str) -> bool {
    has_ending(path, &["md"]) && (line.trim_start().starts_with('|') || line.contains("://"))
}

#[test]
fn lines_are_at_most_100_columns_wide() {
    let endings = ["md", "py", "rs", "sh", "toml"];
    let mut all: Vec<PathBuf> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && has_ending(path, &endings))
        .collect();
    all.push(root().join("fuzz/Cargo.toml"));
    for folder in WRITTEN {
        all.extend(files(&root().join(folder), &endings));
    }
    let mut wide = Vec::new();
    for path in all {
        for (line, number) in fs::read_to_string(&path).unwrap().lines().zip(1..) {
            let columns = line.chars().count();
            if columns > COLUMNS && !may_be_wide(&path, line) {
                let place = format!("{}:{number}", shown(&path));
                wide.push(format!(
                    "{place}: {columns} columns, {COLUMNS} are the limit"
                ));
            }
        }
    }
    assert_none(&wide);
}

/// The problems of two small files.
fn problems_of(files: [(&str, &str); 2]) -> Vec<String> {
    let sources = files.map(|(file, text)| {
        let code = code::without_comments_and_strings(text);
        (file.into(), code)
    });
    wrong_uses(&uses(&sources))
}

#[test]
fn a_use_of_a_module_above_is_found() {
    let pool = "//! See [`crate::draft`].\nuse crate::TokenId;\nuse crate::draft::Drafter;\n";
    let draft = "use crate::{pool::Retrieve, tree::{DraftTree, ROOT}};\n";
    let problems = problems_of([("src/pool/mod.rs", pool), ("src/draft/mod.rs", draft)]);
    let expected = "src/pool/mod.rs:3: `pool` must not use `draft`, which is above it";
    assert_eq!(problems, [expected]);
}

#[test]
fn a_circle_within_a_row_is_found() {
    let pool = "fn f() {\n    crate::corpus::f();\n}\n";
    let corpus = "use crate::{\n    pool,\n};\n";
    let problems = problems_of([("src/pool.rs", pool), ("src/corpus/mod.rs", corpus)]);
    let expected = [
        "src/corpus/mod.rs:2: `corpus` and `pool` use each other",
        "src/pool.rs:2: `pool` and `corpus` use each other",
    ];
    assert_eq!(problems, expected);
}

#[test]
fn a_module_that_is_not_in_the_table_is_found() {
    let problems = problems_of([("src/new.rs", "use crate::files;"), ("src/files.rs", "")]);
    let expected = "src/new.rs:1: `new` is not in the table of tests/architecture";
    assert_eq!(problems, [expected]);
}
