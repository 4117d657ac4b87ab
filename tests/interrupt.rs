//! Answers that nobody waits for any more: Ctrl-C, and readers that went away.
#![cfg(all(feature = "cli", unix))]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

mod program;

use program::{stderr, tiny};

/// A generation that takes a while: it has begun to answer when this returns.
fn long_answer(args: &[&str]) -> (Child, Vec<u8>) {
    let mut child = tiny("generate", &["-p", "Hi", "-c", "30000", "-n", "29000"])
        .args(args)
        .spawn()
        .unwrap();
    let mut begun = vec![0; 16];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut begun)
        .unwrap();
    (child, begun)
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// How the process ended. If it does not end, its input does, so that the test fails instead of
/// hanging.
fn end_of(mut child: Child, stdin: ChildStdin) -> ExitStatus {
    for _ in 0..300 {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(stdin);
    child.wait().unwrap()
}

#[test]
fn ctrl_c_prints_what_there_is_and_exits_130() {
    let (child, begun) = long_answer(&[]);
    send("-INT", &child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(output.stdout.ends_with(b"\n"));
    assert!(!begun.is_empty() && stderr(&output).contains("tokens/s"));
}

#[test]
fn a_signal_ends_the_wait_for_a_prompt() {
    let mut child = tiny("generate", &[]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than a pipe holds: it is reading when this returns, and the end of its prompt never
    // comes.
    stdin.write_all(&vec![b' '; 1 << 20]).unwrap();
    // The same handler would have caught it; shells let background jobs ignore SIGINT, but not this
    // one.
    send("-TERM", &child);
    let status = end_of(child, stdin);
    assert_eq!(status.signal(), Some(15), "{status}");
}

#[test]
fn a_closed_pipe_ends_the_answer_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let pool = folder.path().join("pool");
    let (mut child, _) = long_answer(&["--pool-file", pool.to_str().unwrap()]);
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("error"));
    // What was asked and answered is remembered all the same.
    assert!(pool.exists());
}

#[test]
fn ctrl_c_ends_the_wait_for_a_question_and_keeps_the_pool() {
    let folder = tempfile::tempdir().unwrap();
    let pool = folder.path().join("pool");
    let args = ["--json", "-n", "-1", "-c", "64", "--template", "none"];
    let mut child = tiny("chat", &args)
        .args(["--pool-file", pool.to_str().unwrap()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // Held open: the next question never comes.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"Hi\n").unwrap();
    let mut answer = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut answer)
        .unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["parameters"]["max_new_tokens"], -1);
    send("-INT", &child);
    assert_eq!(end_of(child, stdin).code(), Some(130));
    assert!(pool.exists());
}
