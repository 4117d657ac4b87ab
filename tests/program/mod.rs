//! The built program as tests run it, and what they ask of its output. Each test binary takes what
//! it needs.
#![allow(dead_code)]

pub mod gguf;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The path of one of the tests' models.
pub fn model_path(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    path.join(name).to_str().unwrap().to_owned()
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logitspec"));
    command
        .args(args)
        .env_remove("LOGITSPEC_MODEL")
        .env("LOGITSPEC_CACHE", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A subcommand on the tiny model with one thread.
pub fn tiny(subcommand: &str, args: &[&str]) -> Command {
    let model = model_path("tiny-llama.gguf");
    command(&[&[subcommand, "-t", "1", "-m", &model], args].concat())
}

/// Copies the built program. Another process writes the copy: one that a test running beside forks
/// from this one would hold a file open for writing that was being written here, and no such
/// program can be started.
pub fn copy_to(place: &Path) {
    let mut copy = Command::new("cp");
    copy.arg(env!("CARGO_BIN_EXE_logitspec")).arg(place);
    assert!(copy.status().unwrap().success());
}

pub fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// The flags with which `generate` asks the prompt or continues it.
const FRAMINGS: [&str; 5] = ["--chat", "--raw", "-no-cnv", "--system", "--template"];

/// Arguments of `generate`, which continues the prompt unless they say otherwise.
fn continued<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let more: &[&str] = match args.iter().any(|arg| FRAMINGS.contains(arg)) {
        true => &[],
        false => &["--raw"],
    };
    [args, more].concat()
}

/// The tokens of the prompt that `generate` makes with these arguments. It is continued unless they
/// say otherwise.
pub fn prompt_of(args: &[&str]) -> Vec<u64> {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let more = ["-n", "1", "-t", "1", "--trace", trace.to_str().unwrap()];
    let output = run(&[&["generate"], &continued(args)[..], &more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let trace = std::fs::read_to_string(trace).unwrap();
    let header: Value = serde_json::from_str(trace.lines().next().unwrap()).unwrap();
    let tokens = header["prompt"].as_array().unwrap();
    tokens.iter().map(|token| token.as_u64().unwrap()).collect()
}

/// `generate` on the tiny model with one thread. The prompt is continued unless the arguments say
/// otherwise.
pub fn generate(args: &[&str]) -> Output {
    tiny("generate", &continued(args)).output().unwrap()
}

pub fn with_stdin(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The JSON object of a run that succeeded.
pub fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Exit code 2 and one line that has all of `words`.
pub fn assert_refused(output: &Output, words: &[&str]) {
    let line = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert_eq!(line.trim_end().lines().count(), 1, "{line}");
    assert!(line.starts_with("error: "), "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line}");
    }
    assert!(output.stdout.is_empty());
}

/// Where every write fails for lack of room.
#[cfg(target_os = "linux")]
pub fn full_disk() -> std::fs::File {
    let full = std::fs::File::options().write(true).open("/dev/full");
    full.unwrap()
}

/// Prints to a full disk: exit code 1, and a last line that names standard output, once.
#[cfg(target_os = "linux")]
pub fn assert_full_disk_is_said(mut command: Command) {
    let output = command.stdout(full_disk()).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
    let line = "error: cannot write to standard output: No space left on device";
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with(line), "{command:?}: {said}");
}
