//! Workers: layers on other processes, and a server that outlives them.
//!
//! Run with `cargo test --release --features rpc --test workers`.
#![cfg(all(feature = "rpc", feature = "server", unix))]

#[path = "../server/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../program/mod.rs"]
mod program;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Child;

use serde_json::{Value, json};

use client::{Server, events};
use program::{assert_refused, command, json as json_of, model_path, run, stderr, stdout};

/// A worker with one thread; it is killed when this is dropped.
struct Worker {
    child: Child,
    port: u16,
}

impl Worker {
    fn start() -> Self {
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        Self::on(port)
    }

    fn on(port: u16) -> Self {
        let args = [
            "rpc-server",
            "-t",
            "1",
            "--json",
            "--port",
            &port.to_string(),
        ];
        let mut child = command(&args)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["address"], format!("127.0.0.1:{port}"));
        Self { child, port }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As kill -9 does.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two workers, and their addresses as --rpc takes them.
fn two_workers() -> ([Worker; 2], String) {
    let workers = [Worker::start(), Worker::start()];
    let addresses = workers.each_ref().map(Worker::address).join(",");
    (workers, addresses)
}

fn demo_model() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("data/models/logitspec-demo.gguf");
    path.to_str().unwrap().to_owned()
}

#[test]
fn two_workers_give_the_tokens_of_one_process() {
    let (_workers, addresses) = two_workers();
    let shown = stdout(&run(&["devices", "--rpc", &addresses]));
    assert!(shown.contains("RPC0") && shown.contains("RPC1"), "{shown}");
    for model in [demo_model(), model_path("tiny-llama.gguf")] {
        let prompt = [
            "generate",
            "-m",
            &model,
            "-p",
            "Once upon a time",
            "-n",
            "60",
        ];
        let fixed = ["--raw", "--json", "-t", "1"];
        let tokens = |more: &[&str]| {
            let output = run(&[&prompt[..], &fixed, more].concat());
            json_of(&output)["tokens"].clone()
        };
        let here = tokens(&["--device", "none"]);
        assert_eq!(tokens(&["--rpc", &addresses]), here, "{model}");
        let one_layer = ["--rpc", &addresses, "-ngl", "1", "--tensor-split", "0,1"];
        assert_eq!(tokens(&one_layer), here, "{model}");
    }
}

#[test]
fn every_method_gives_plain_decodings_answers_over_workers() {
    let (_workers, addresses) = two_workers();
    let model = demo_model();
    let small = [
        "--question-end",
        "2",
        "-n",
        "32",
        "--capacities",
        "16",
        "-t",
        "1",
        "--json",
    ];
    let checked = ["exactness", "-m", &model, "--rpc", &addresses];
    let report = json_of(&run(&[&checked[..], &small].concat()));
    let methods = report["methods"].as_array().unwrap();
    assert!(!methods.is_empty());
    for method in methods {
        assert_eq!(method["identical"], method["turns"], "{report}");
    }
}

/// Answers that are on their way, the first of them as a stream.
fn four_answers(server: &Server) -> Vec<std::net::TcpStream> {
    let body = |stream: bool| {
        let mut body = json!({"prompt": "one two", "max_tokens": 7000, "ignore_eos": true});
        body["stream"] = stream.into();
        body
    };
    let begin = |index| server.begin("/v1/completions", &body(index == 0));
    let streams = (0..4).map(begin).collect();
    server.wait_until("four answers", |server| {
        let slots = server.get("/slots").json();
        let begun = |slot: &Value| slot["n_decoded"].as_u64() > Some(0);
        slots
            .as_array()
            .unwrap()
            .iter()
            .filter(|it| begun(it))
            .count()
            == 4
    });
    streams
}

/// Whether the server says that it is well. It starts itself again in between.
fn is_well(server: &Server) -> bool {
    let health = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.get("/health")));
    health.is_ok_and(|answer| answer.status == 200)
}

#[test]
fn a_worker_that_is_killed_ends_four_answers_and_the_server_goes_on() {
    let ([mut first, _second], addresses) = two_workers();
    let server = Server::start(&["--rpc", &addresses, "-np", "4", "-c", "30000"]);
    let streams = four_answers(&server);
    first.kill();
    let gone = format!("the worker {} is gone", first.address());
    for (index, mut stream) in streams.into_iter().enumerate() {
        let mut text = String::new();
        // The connection ends with the process's old life.
        let _ = stream.read_to_string(&mut text);
        let status = if index == 0 { "200" } else { "503" };
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        assert!(
            text.contains(&gone) && text.contains("worker_lost"),
            "{text}"
        );
        if index == 0 {
            let data: String = text
                .lines()
                .filter(|it| it.starts_with("data: "))
                .fold(String::new(), |all, line| all + line + "\n");
            let events = events(&data);
            assert_eq!(events.last().unwrap()["error"]["message"], gone);
        }
    }
    server.wait_until("the server says why", |server| {
        let health =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.get("/health")));
        health.is_ok_and(|it| it.status == 503 && it.text.contains("waiting for it"))
    });
    let _first = Worker::on(first.port);
    server.wait_until("the worker is back", is_well);
    let body = json!({"prompt": "one two", "max_tokens": 8});
    assert_eq!(
        server.post("/v1/completions", &body).json()["usage"]["completion_tokens"],
        8
    );
}

#[test]
fn a_worker_that_goes_while_nothing_is_asked_is_noticed() {
    let ([_first, mut second], addresses) = two_workers();
    let mut server = Server::start(&["--rpc", &addresses]);
    assert!(is_well(&server));
    second.kill();
    server.wait_until("the server says why", |server| {
        let health =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.get("/health")));
        health.is_ok_and(|it| it.status == 503 && it.text.contains(&second.address()))
    });
    let _second = Worker::on(second.port);
    server.wait_until("the worker is back", is_well);
    server.send("-TERM");
    assert_eq!(server.end().code(), Some(0));
}

#[test]
fn an_answer_without_a_server_ends_with_one_line() {
    let (mut workers, addresses) = two_workers();
    let model = model_path("tiny-llama.gguf");
    let args = [
        "generate", "-m", &model, "--raw", "-p", "one", "-c", "30000", "-n", "29000", "-t", "1",
        "--rpc", &addresses,
    ];
    let mut child = command(&args).spawn().unwrap();
    let mut begun = [0; 8];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut begun)
        .unwrap();
    workers[0].kill();
    let output = child.wait_with_output().unwrap();
    let last = stderr(&output);
    let last = last.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(1), "{last}");
    let gone = format!(
        "error: the worker {} is gone; start it again",
        workers[0].address()
    );
    assert!(last.starts_with(&gone), "{last}");
}

#[test]
fn what_is_no_worker_is_refused_before_llama_cpp_connects() {
    let refused = |rpc: &str, words: &[&str]| {
        let model = model_path("tiny-llama.gguf");
        let args = ["generate", "-m", &model, "-p", "x", "--rpc", rpc];
        assert_refused(&run(&args), words);
    };
    for wrong in [
        "nonsense",
        "127.0.0.1",
        "127.0.0.1:x",
        "[::1]:50052",
        "127.0.0.1:99999",
    ] {
        refused(wrong, &[wrong, "HOST:PORT"]);
    }
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = free.local_addr().unwrap().to_string();
    let silent = address.clone();
    // Nobody accepts the connection: a worker with another client does not either.
    refused(&silent, &[&silent, "one client at a time"]);
    drop(free);
    refused(&address, &[&address, "logitspec rpc-server"]);
    let web = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = web.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in web.incoming() {
            let _ = stream.unwrap().write_all(&[b'x'; 100]);
        }
    });
    refused(&address, &[&address, "is no worker"]);
    let worker = Worker::start();
    let twice = format!("{0},{0}", worker.address());
    refused(&twice, &[&worker.address(), "twice"]);
    let other = ["rpc-server", "--device", "CUDA7"];
    assert_refused(&run(&other), &["CUDA7", "choose from CPU"]);
    let taken = ["rpc-server", "--port", &worker.port.to_string()];
    let taken = run(&taken);
    assert_eq!(taken.status.code(), Some(2));
    assert!(
        stderr(&taken).contains("cannot listen on"),
        "{}",
        stderr(&taken)
    );
    let everybody = ["rpc-server", "--host", "192.0.2.1"];
    let everybody = stderr(&run(&everybody));
    assert!(everybody.contains("no authentication"), "{everybody}");
}
