//! The program bounds how long OpenMP's threads spin, before OpenMP is loaded.
#![cfg(all(feature = "cli", target_os = "linux", target_env = "gnu"))]

use std::io::Read;
use std::process::Stdio;

mod program;

use program::command;

/// What the running program's environment says of `GOMP_SPINCOUNT`. `set` is what its user had set.
fn spin_count(set: &[(&str, &str)]) -> Option<String> {
    // It waits for its prompt, on a terminal that is none.
    let mut command = command(&["generate", "-m", "no-such-model.gguf"]);
    let mut child = command
        .env_remove("GOMP_SPINCOUNT")
        .env_remove("OMP_WAIT_POLICY")
        .envs(set.iter().copied())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let environment = format!("/proc/{}/environ", child.id());
    let mut found = None;
    // Starting again takes a moment. Where nothing is to come, that moment is all we can wait.
    for _ in 0..40 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut all = Vec::new();
        let opened = std::fs::File::open(&environment);
        opened.unwrap().read_to_end(&mut all).unwrap();
        let all = String::from_utf8_lossy(&all).into_owned();
        let of_name = |entry: &str| entry.strip_prefix("GOMP_SPINCOUNT=").map(str::to_owned);
        found = all.split('\0').find_map(of_name);
        if found.is_some() {
            break;
        }
    }
    drop(child.stdin.take());
    child.wait().unwrap();
    found
}

#[test]
fn the_program_bounds_the_spinning_of_threads_unless_the_user_has_said_how_they_wait() {
    assert_eq!(spin_count(&[]).as_deref(), Some("1000"));
    assert_eq!(spin_count(&[("GOMP_SPINCOUNT", "7")]).as_deref(), Some("7"));
    assert_eq!(spin_count(&[("OMP_WAIT_POLICY", "active")]), None);
}

#[test]
fn a_program_that_starts_again_gets_the_same_arguments() {
    let args = ["generate", "-n", "8", "-t", "1", "-m"];
    let model = program::model_path("tiny-llama.gguf");
    let answered = |set: Option<&str>| {
        let mut command = command(&args);
        command.arg(&model).args(["-p", " two  words "]);
        match set {
            Some(rounds) => command.env("GOMP_SPINCOUNT", rounds),
            None => command
                .env_remove("GOMP_SPINCOUNT")
                .env_remove("OMP_WAIT_POLICY"),
        };
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        output.stdout
    };
    assert_eq!(answered(None), answered(Some("1000")));
}
