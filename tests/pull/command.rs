//! `logitspec pull` and `-hf`, as their users meet them.
#![cfg(feature = "cli")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::{Behaviour, Fault, REPO, Server, sha256};
use crate::{assert_is, content, one_file, with_faults};

fn command(server: &Server, cache: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logitspec"));
    for name in [
        "LOGITSPEC_MODEL",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
    ] {
        command.env_remove(name);
    }
    command
        .args(args)
        .env("HF_ENDPOINT", server.endpoint())
        .env("HF_HOME", cache)
        .env("NO_PROXY", "127.0.0.1,localhost")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(server: &Server, cache: &Path, args: &[&str]) -> Output {
    command(server, cache, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The exit code and the one line of the error.
fn refusal(output: &Output) -> (Option<i32>, String) {
    let said = text(&output.stderr);
    let line = said.lines().last().unwrap_or_default().to_owned();
    assert!(line.starts_with("error: "), "{said}");
    assert!(output.stdout.is_empty());
    (output.status.code(), line)
}

/// A server with the tiny model under two names.
fn tiny() -> Server {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/tiny-llama.gguf");
    let bytes = std::fs::read(path).unwrap();
    Server::start(Behaviour {
        files: vec![
            ("tiny.Q4_K_M.gguf".into(), bytes.clone()),
            ("tiny.Q8_0.gguf".into(), bytes),
        ],
        ..Behaviour::default()
    })
}

#[test]
fn pull_prints_the_path_and_goes_on_after_being_killed() {
    let server = Server::start(Behaviour {
        slow: Some(Duration::from_millis(40)),
        ..with_faults(&[])
    });
    let cache = tempfile::tempdir().unwrap();
    let part = format!(
        "hub/models--someone--Model-7B-GGUF/blobs/{}.part",
        sha256(&content(1))
    );
    let part = cache.path().join(part);
    let size = || std::fs::metadata(&part).map_or(0, |it| it.len());
    let mut child = command(&server, cache.path(), &["pull", REPO])
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while size() < 200_000 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let there = size();
    assert!(there < 1_234_567);
    let output = run(&server, cache.path(), &["pull", REPO]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let path = text(&output.stdout);
    assert_eq!(path.lines().count(), 1);
    assert_is(Path::new(path.trim_end()), &content(1));
    assert_eq!(server.starts()[1] as u64, there);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_a_pull_and_keeps_what_there_is() {
    let server = Server::start(Behaviour {
        slow: Some(Duration::from_millis(100)),
        ..with_faults(&[])
    });
    let cache = tempfile::tempdir().unwrap();
    let child = command(&server, cache.path(), &["pull", REPO])
        .spawn()
        .unwrap();
    while server.file_requests().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(text(&output.stderr).contains("continues where it stopped"));
    assert_eq!(server.file_requests().len(), 1);
    let output = run(&server, cache.path(), &["pull", REPO]);
    assert_eq!(output.status.code(), Some(0));
    assert!(server.starts()[1] > 0);
}

#[test]
fn refusals_are_one_line_and_the_right_exit_code() {
    let refused = |behaviour: Behaviour, args: &[&str]| {
        let server = Server::start(behaviour);
        let cache = tempfile::tempdir().unwrap();
        refusal(&run(&server, cache.path(), args))
    };
    let (code, line) = refused(with_faults(&[Fault::Status(401)]), &["pull", REPO]);
    assert_eq!(code, Some(2), "{line}");
    let (code, line) = refused(with_faults(&[]), &["pull", "someone/else"]);
    assert!(
        code == Some(2) && line.contains("no model someone/else"),
        "{line}"
    );
    let (code, line) = refused(with_faults(&[Fault::WrongBytes]), &["pull", REPO]);
    assert!(code == Some(1) && line.contains("damaged"), "{line}");
    let name = format!("{REPO}:Q8_0");
    let (code, line) = refused(with_faults(&[]), &["pull", &name]);
    assert!(
        code == Some(2) && line.contains("Q4_K_M.gguf (1.2 MB)"),
        "{line}"
    );
    let (code, line) = refused(with_faults(&[]), &["pull", "nonsense"]);
    assert!(code == Some(2) && line.contains("USER/REPO"), "{line}");
    let server = Server::start(with_faults(&[]));
    let file = tempfile::NamedTempFile::new().unwrap();
    let (code, line) = refusal(&run(&server, file.path(), &["pull", REPO]));
    assert!(code == Some(2) && line.contains("set HF_HOME"), "{line}");
    let args = ["generate", "-hf", REPO, "-m", "x.gguf", "-p", "x"];
    let (code, line) = refused(with_faults(&[]), &args);
    assert!(code == Some(2) && line.contains("--model-path"), "{line}");
}

#[test]
fn offline_is_said_in_one_line() {
    let server = Server::start(with_faults(&[]));
    let cache = tempfile::tempdir().unwrap();
    let mut command = command(&server, cache.path(), &["pull", REPO]);
    // Nothing listens on the port of a server that is gone.
    drop(server);
    let output = command.output().unwrap();
    let (code, line) = refusal(&output);
    assert!(code == Some(1) && line.contains("cannot reach"), "{line}");
    assert!(line.contains("check the network"), "{line}");
}

#[test]
fn tokens_come_from_the_environment() {
    let server = Server::start(Behaviour {
        token: Some("secret"),
        files: one_file(),
        ..Behaviour::default()
    });
    let cache = tempfile::tempdir().unwrap();
    let (code, line) = refusal(&run(&server, cache.path(), &["pull", REPO]));
    assert!(code == Some(2) && line.contains("set HF_TOKEN"), "{line}");
    let mut with_token = command(&server, cache.path(), &["pull", REPO]);
    let output = with_token.env("HF_TOKEN", "secret").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn listings_are_printed() {
    let server = tiny();
    let cache = tempfile::tempdir().unwrap();
    let output = run(&server, cache.path(), &["pull", REPO, "--list"]);
    let list = text(&output.stdout);
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.contains("MB  tiny.Q8_0.gguf"), "{list}");
    let one = format!("{REPO}:q8_0");
    let output = run(&server, cache.path(), &["pull", &one, "--list"]);
    assert_eq!(
        text(&output.stdout).trim_start(),
        "0.7 MB  tiny.Q8_0.gguf\n"
    );
    let none = format!("{REPO}:Q5_0");
    let (code, line) = refusal(&run(&server, cache.path(), &["pull", &none, "--list"]));
    assert!(code == Some(2) && line.contains("tiny.Q8_0.gguf"), "{line}");
    let mut offline = command(&server, cache.path(), &["pull", REPO, "--list"]);
    let (code, line) = refusal(&offline.env("HF_HUB_OFFLINE", "1").output().unwrap());
    assert_eq!(code, Some(2));
    assert!(line.contains("HF_HUB_OFFLINE is set: unset it"), "{line}");
    let output = run(&server, cache.path(), &["pull", REPO, "--list", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["models"][0]["files"][0], "tiny.Q4_K_M.gguf");
    assert!(server.file_requests().is_empty());
}

#[test]
fn every_subcommand_takes_a_model_from_the_hub() {
    let server = tiny();
    let cache = tempfile::tempdir().unwrap();
    let name = format!("{REPO}:Q8_0");
    let json = |args: &[&str]| -> Value {
        let output = run(&server, cache.path(), args);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let pulled = json(&["pull", &name, "--json"]);
    assert_eq!(pulled["files"][0]["fetched"], true);
    assert!(
        pulled["model"]
            .as_str()
            .unwrap()
            .ends_with("tiny.Q8_0.gguf")
    );
    let tail = ["-p", "one two three", "-n", "5", "-t", "1", "--json"];
    let answer = json(&[&["generate", "-hf", &name], &tail[..]].concat());
    assert_eq!(answer["new_tokens"], 5);
    let info = json(&["inspect", "-hf", &name, "--json"]);
    assert_eq!(info["architecture"], "llama");
    let mut chat = command(&server, cache.path(), &["chat", "--hf-repo", &name]);
    let output = chat.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let questions = cache.path().join("q.jsonl");
    let question = r#"{"question_id": 1, "category": "qa", "turns": ["Who?"]}"#;
    std::fs::write(&questions, question).unwrap();
    let bench = json(&[
        "bench",
        "-hf",
        &name,
        "--questions",
        questions.to_str().unwrap(),
        "-n",
        "4",
        "--warmup",
        "0",
        "--json",
    ]);
    assert_eq!(bench["model_id"], "tiny.Q8_0");
    let record = cache.path().join("log.jsonl");
    std::fs::write(
        &record,
        r#"{"prompt": "one two", "response": "three one two"}"#,
    )
    .unwrap();
    let record = record.to_str().unwrap();
    let replayed = json(&["simulate", "-hf", &name, "--jsonl", record, "--json"]);
    assert_eq!(replayed["requests"], 1);
    let corpus = cache.path().join("words.corpus");
    let corpus = corpus.to_str().unwrap();
    let field = ["--field", "response", "-o", corpus, "--json"];
    let built = json(&[&["corpus", "build", record, "-hf", &name], &field[..]].concat());
    assert_eq!(built["documents"], 1);
    // The two contents are equal, so one transfer has served all.
    assert_eq!(server.file_requests().len(), 1);
}
