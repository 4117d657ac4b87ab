//! Keys, full queues, clients that go away or don't read, and the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Server;
use crate::program;

const CHAT: &str = "/v1/chat/completions";
/// An answer that takes a while.
const LONG: [&str; 4] = ["-c", "30000", "-np", "1"];

fn long() -> Value {
    json!({
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 29_000,
        "stream": true,
        "speculative": false,
    })
}

fn short() -> Value {
    json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2})
}

/// Reads until the answer has begun.
fn read_some(stream: &mut TcpStream) {
    let mut bytes = [0; 2048];
    let mut seen = 0;
    while seen < 2048 {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0);
        seen += count;
    }
}

#[test]
fn only_keys_open_what_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "from-file\n\n  other \n").unwrap();
    let server = Server::start(&[
        "--api-key",
        "secret",
        "--api-key-file",
        file.to_str().unwrap(),
    ]);
    for path in ["/health", "/v1/health", "/"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    for path in ["/v1/models", "/metrics", "/slots", "/props"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    let ask = |header: Option<(&str, &str)>| server.post_with(CHAT, &short().to_string(), header);
    for key in ["secret", "from-file", "other"] {
        let bearer = format!("Bearer {key}");
        assert_eq!(ask(Some(("authorization", &bearer))).status, 200, "{key}");
        assert_eq!(ask(Some(("x-api-key", key))).status, 200, "{key}");
    }
    for header in [
        None,
        Some(("authorization", "Bearer secre")),
        Some(("authorization", "Bearer secret2")),
        Some(("authorization", "secret")),
        Some(("authorization", "Bearer ")),
        Some(("x-api-key", "Secret")),
    ] {
        let answer = ask(header);
        assert_eq!(answer.status, 401, "{header:?}");
        assert_eq!(answer.error()["code"], "invalid_api_key");
    }
    // Unknown addresses are no secret.
    assert_eq!(server.get("/nothing").status, 404);
    assert!(!server.log().contains("secret"));
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let server = Server::start(&[&LONG[..], &["--queue-size", "1"]].concat());
    let mut first = server.begin(CHAT, &long());
    read_some(&mut first);
    let second = server.begin(CHAT, &long());
    let waiting = |server: &Server| server.get("/metrics").text.contains("requests_deferred 1");
    server.wait_until("the second to wait", waiting);
    let third = server.post(CHAT, &short());
    assert_eq!(third.status, 429);
    assert_eq!(third.headers["retry-after"], "1");
    assert_eq!(third.error()["code"], "queue_full");
    // More choices than there are places never fit, and take none.
    let mut many = short();
    many["n"] = 9.into();
    assert_eq!(server.post(CHAT, &many).status, 429);
    drop((first, second));
    server.wait_until("the slot to be free", |server| !server.is_busy());
    assert_eq!(server.post(CHAT, &short()).status, 200);
    assert!(
        server
            .get("/metrics")
            .text
            .contains("llamacpp:requests_refused_total 2")
    );
}

#[test]
fn a_client_that_goes_away_frees_its_slot() {
    let server = Server::start(&LONG);
    let mut whole = long();
    whole["stream"] = false.into();
    for body in [long(), whole] {
        let mut stream = server.begin(CHAT, &body);
        if body["stream"] == true {
            read_some(&mut stream);
        }
        server.wait_until("it to begin", Server::is_busy);
        drop(stream);
        server.wait_until("the slot to be free", |server| !server.is_busy());
        server.wait_until("the log", |server| server.log().contains("cancelled"));
    }
    assert_eq!(
        server.log().matches("cancelled").count(),
        2,
        "{}",
        server.log()
    );
    assert!(
        server
            .get("/metrics")
            .text
            .contains("finished_reason=\"cancelled\"} 2")
    );
}

#[test]
fn one_who_waits_and_goes_away_is_never_answered() {
    let server = Server::start(&LONG);
    let mut first = server.begin(CHAT, &long());
    read_some(&mut first);
    let second = server.begin(CHAT, &long());
    let waits = |count: usize| {
        let line = format!("requests_deferred {count}");
        move |server: &Server| server.get("/metrics").text.contains(&line)
    };
    server.wait_until("the second to wait", waits(1));
    drop(second);
    server.wait_until("the second to be gone", waits(0));
    assert!(server.is_busy());
}

#[test]
fn a_slow_reader_does_not_stop_the_others() {
    let server = Server::start(&LONG);
    let mut body = long();
    body["max_tokens"] = 6_000.into();
    // More than what a socket holds.
    body["timings_per_token"] = true.into();
    let mut slow = server.begin(CHAT, &body);
    assert_eq!(server.post(CHAT, &short()).status, 200);
    // Nothing of it is lost.
    let mut text = String::new();
    while !text.contains("[DONE]") {
        let mut bytes = [0; 65_536];
        let count = slow.read(&mut bytes).unwrap();
        assert!(count > 0, "it ended early");
        text += &String::from_utf8_lossy(&bytes[..count]);
    }
    assert!(text.contains("\"finish_reason\":\"length\""));
    assert!(text.contains("\"predicted_n\":6000"));
}

#[test]
fn clients_that_never_finish_their_request_are_let_go() {
    let server = Server::start(&["--timeout", "1"]);
    let address = server.url.strip_prefix("http://").unwrap();
    let end_of = |sent: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    // Neither the header nor the body comes, and an idle connection ends.
    assert!(!end_of("POST /v1/chat").contains("200"));
    let late = end_of("POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{");
    assert!(late.starts_with("HTTP/1.1 408"), "{late}");
    assert!(end_of("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200"));
    let garbage = end_of("\u{0}\u{1}garbage\r\n\r\n");
    assert!(
        garbage.is_empty() || garbage.starts_with("HTTP/1.1 400"),
        "{garbage}"
    );
    assert_eq!(server.get("/health").status, 200);
}

#[test]
#[cfg(unix)]
fn a_signal_lets_answers_finish_within_the_grace_time() {
    let mut server = Server::start(&[&LONG[..], &["--grace", "60"]].concat());
    let mut body = long();
    body["max_tokens"] = 3_000.into();
    let mut stream = server.begin(CHAT, &body);
    read_some(&mut stream);
    server.send("-TERM");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("[DONE]") && text.contains("\"predicted_n\":3000"));
    assert_eq!(server.end().code(), Some(0), "{}", server.log());
    assert!(TcpStream::connect(server.url.strip_prefix("http://").unwrap()).is_err());
}

#[test]
#[cfg(unix)]
fn a_second_signal_waits_for_nothing() {
    let mut server = Server::start(&[&LONG[..], &["--grace", "600"]].concat());
    let mut stream = server.begin(CHAT, &long());
    read_some(&mut stream);
    server.send("-INT");
    server.wait_until("the log", |server| server.log().contains("stopping"));
    server.send("-INT");
    assert_eq!(server.end().code(), Some(0), "{}", server.log());
}

#[test]
#[cfg(unix)]
fn after_the_grace_time_answers_are_cut_and_the_pool_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let pool = folder.path().join("pool");
    let pool = pool.to_str().unwrap();
    let mut server = Server::start(&[&LONG[..], &["--grace", "0", "--pool-file", pool]].concat());
    assert_eq!(server.post(CHAT, &short()).status, 200);
    let mut stream = server.begin(CHAT, &long());
    read_some(&mut stream);
    let waiting = server.begin(CHAT, &long());
    server.send("-INT");
    let rest = |mut stream: TcpStream| {
        let mut bytes = Vec::new();
        // A connection that is reset has told what it could.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let text = rest(stream);
    assert!(
        text.contains("the server is stopping"),
        "{}",
        &text[text.len().min(3000)..]
    );
    assert!(!rest(waiting).contains("\"finish_reason\":\"length\""));
    assert_eq!(server.end().code(), Some(0), "{}", server.log());
    let kept = std::fs::metadata(pool).map_or(0, |file| file.len());
    assert!(kept > 0, "there is no pool file");
    let output = program::generate(&["-p", "Hi", "-n", "4", "--pool-file", pool]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        program::stderr(&output)
    );
}
