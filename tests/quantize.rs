//! `logitspec quantize`: the file it writes, and the files that it does not touch.
#![cfg(feature = "cli")]

use std::fs;
use std::path::Path;

mod program;

use program::{assert_refused, json, model_path, run, stderr};

/// A model whose rows are wide enough for all types.
fn demo_model() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/models/logitspec-demo.gguf");
    path.to_str().unwrap().to_owned()
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_model_is_written_with_weights_of_the_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    let to = path.to_str().unwrap();
    let report = json(&run(&["quantize", &demo_model(), to, "q8_0", "--json"]));
    assert_eq!(
        (&report["type"], &report["to"]),
        (&"Q8_0".into(), &to.into())
    );
    assert_eq!(report["size"], fs::metadata(to).unwrap().len());
    let size = |key: &str| report[key].as_u64().unwrap();
    assert!(size("size") * 10 < size("size_before") * 6, "{report}");
    let info = json(&run(&["inspect", to, "--json"]));
    assert_eq!(info["quantization"], "Q8_0");
    let answer = [
        "generate",
        "-m",
        to,
        "-p",
        "Who are you?",
        "-n",
        "4",
        "-t",
        "1",
        "--json",
    ];
    assert_eq!(json(&run(&answer))["new_tokens"], 4);
    assert_eq!(names(folder.path()), ["small.gguf"]);
}

#[test]
fn a_file_that_is_there_is_replaced_only_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.gguf");
    fs::write(&path, "mine").unwrap();
    let to = path.to_str().unwrap();
    let refused = run(&["quantize", &demo_model(), to, "Q8_0"]);
    assert_refused(&refused, &["mine.gguf: exists", "--overwrite"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    let output = run(&["quantize", &demo_model(), to, "Q8_0", "--overwrite"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("mine.gguf: 5."),
        "{}",
        stderr(&output)
    );
    assert_eq!(&fs::read(&path).unwrap()[..4], b"GGUF");
}

#[test]
fn bad_input_is_refused_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    let (demo, to) = (demo_model(), path.to_str().unwrap());
    let refused = |args: [&str; 3], words: &[&str]| {
        assert_refused(&run(&[&["quantize"], &args[..]].concat()), words);
    };
    refused(["none.gguf", to, "Q8_0"], &["none.gguf", "check IN"]);
    refused([&demo, to, "Q9_0"], &["Q9_0", "Q4_K_M"]);
    refused([&demo, &demo, "Q8_0"], &["is the model itself", "OUT"]);
    refused(
        [&demo, "/no/such/folder/x", "Q8_0"],
        &["/no/such/folder/x", "folder"],
    );
    refused(
        [&demo, folder.path().to_str().unwrap(), "Q8_0"],
        &["cannot be written"],
    );
    let text = model_path("../quantize.rs");
    refused([&text, to, "Q8_0"], &["quantize.rs", "not a GGUF file"]);
    let bert = model_path("tiny-bert.gguf");
    assert_eq!(run(&["quantize", &bert, to, "F16"]).status.code(), Some(0));
    fs::remove_file(to).unwrap();
    assert!(names(folder.path()).is_empty());
}
