//! A server that runs for one test, and a client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

use crate::program;

/// A running server; it is killed when this is dropped.
pub struct Server {
    child: Child,
    pub url: String,
    agent: Agent,
    log: Arc<Mutex<String>>,
}

/// An answer: the status, the headers and the JSON in the body.
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Answer {
    fn of(mut response: Response<ureq::Body>) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.body_mut().read_to_string().unwrap(),
        }
    }

    /// The JSON of an answer that is as it should be.
    pub fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    /// The `error` object of a refusal.
    pub fn error(&self) -> Value {
        assert!(
            (400..500).contains(&self.status),
            "{} {}",
            self.status,
            self.text
        );
        let body: Value = serde_json::from_str(&self.text).unwrap();
        for key in ["message", "type", "param", "code"] {
            assert!(body["error"].get(key).is_some(), "no {key} in {body}");
        }
        body["error"].clone()
    }

    /// The data of server-sent events, `[DONE]` left out.
    pub fn events(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.text);
        assert_eq!(self.headers["content-type"], "text/event-stream");
        events(&self.text)
    }
}

/// The data of server-sent events, `[DONE]` left out.
pub fn events(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let data = lines.filter(|&line| line != "[DONE]");
    data.map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

impl Server {
    /// A server with the tiny model and one thread.
    pub fn start(args: &[&str]) -> Self {
        let model = program::model_path("tiny-llama.gguf");
        Self::with_model(&model, args)
    }

    pub fn with_model(model: &str, args: &[&str]) -> Self {
        let fixed = ["serve", "-t", "1", "-m", model, "--port", "0", "--json"];
        let mut child = program::command(&[&fixed, args].concat()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = log.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                kept.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{line:?} {}", log.lock().unwrap()));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)));
        Self {
            child,
            url: ready["url"].as_str().unwrap().to_owned(),
            agent: config.build().into(),
            log,
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        Answer::of(
            self.agent
                .get(format!("{}{path}", self.url))
                .call()
                .unwrap(),
        )
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string())
    }

    pub fn post_text(&self, path: &str, body: &str) -> Answer {
        self.post_with(path, body, None)
    }

    /// Posts with a header.
    pub fn post_with(&self, path: &str, body: &str, header: Option<(&str, &str)>) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        Answer::of(request.send(body).unwrap())
    }

    /// Sends a request, and returns the connection before any answer is read.
    pub fn begin(&self, path: &str, body: &Value) -> TcpStream {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .unwrap();
        stream
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until something holds.
    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{what}: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether a slot is at work.
    pub fn is_busy(&self) -> bool {
        self.get("/slots").json()[0]["is_processing"]
            .as_bool()
            .unwrap()
    }

    #[cfg(unix)]
    pub fn send(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args([signal, &id])
            .status();
        assert!(sent.unwrap().success());
    }

    /// How it ends.
    pub fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "it goes on: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
