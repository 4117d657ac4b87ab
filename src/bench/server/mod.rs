//! llama.cpp's own `llama-server`, to compare with.
//!
//! The server is the user's program, started on a free port of the loopback interface. It gets the
//! same tokens as our engine, and the figures are its own `timings`.

mod answerer;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::TokenId;
use crate::bench::run::AskError;
use crate::runtime::llama::leave_spinning_alone;

pub use answerer::ServerAnswerer;

/// Why the server cannot be asked. Each message is one line.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It could not be started.
    #[error("cannot start {program:?}: {error}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's message.
        error: io::Error,
    },
    /// It ended by itself.
    #[error("{program:?} ended before it was ready: {log}")]
    Ended {
        /// The program.
        program: PathBuf,
        /// The last line of its output.
        log: String,
    },
    /// It was not ready in time.
    #[error("{program:?} was not ready within {seconds} s: {log}")]
    NotReady {
        /// The program.
        program: PathBuf,
        /// How long we waited.
        seconds: u64,
        /// The last line of its output.
        log: String,
    },
    /// The user stopped the run.
    #[error("stopped while {program:?} was loading")]
    Stopped {
        /// The program.
        program: PathBuf,
    },
    /// A request failed.
    #[error("llama-server: {0}")]
    Http(String),
    /// Its answer is not one of `/completion`.
    #[error("cannot understand the answer of llama-server: {0}; is it llama.cpp's server?")]
    Answer(String),
}

impl ServerError {
    /// Whether other input would have helped, as opposed to a failure of the machine.
    pub fn is_input_error(&self) -> bool {
        matches!(self, Self::Start { .. } | Self::Ended { .. })
    }
}

/// A running server. It is stopped when this value is dropped.
pub struct LlamaServer {
    program: PathBuf,
    child: ServerHandle,
    log: File,
    url: String,
    agent: ureq::Agent,
}

/// A handle to stop a server from elsewhere, for example from a Ctrl-C handler.
#[derive(Clone)]
pub struct ServerHandle(Arc<Mutex<Child>>);

impl ServerHandle {
    /// Stops the server at once. Further calls do nothing.
    pub fn stop(&self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Fails only if it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl LlamaServer {
    /// Starts `program` with `args` and its address.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(program: &Path, args: &[OsString]) -> Result<Self, ServerError> {
        let failed = |error| ServerError::Start {
            program: program.into(),
            error,
        };
        let port = free_port().map_err(failed)?;
        let log = tempfile::tempfile().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(args)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log.try_clone().map_err(failed)?);
        leave_spinning_alone(&mut command);
        // Ctrl-C in the terminal must not reach the server: the answer in progress is finished.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().map_err(failed)?;
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // The server is on this machine: ignore proxies in the environment.
            .proxy(None)
            .build()
            .into();
        Ok(Self {
            program: program.into(),
            child: ServerHandle(Arc::new(Mutex::new(child))),
            log,
            url: format!("http://127.0.0.1:{port}"),
            agent,
        })
    }

    /// A handle to stop it from elsewhere.
    pub fn handle(&self) -> ServerHandle {
        self.child.clone()
    }

    /// Waits until the model is loaded.
    ///
    /// # Errors
    /// If the server ends or is not ready in time, or if `stop` is raised.
    pub fn wait_until_ready(
        &mut self,
        limit: Duration,
        stop: &AtomicBool,
    ) -> Result<(), ServerError> {
        let start = Instant::now();
        let health = format!("{}/health", self.url);
        while start.elapsed() < limit {
            let asked = self.agent.get(&health).call();
            if asked.is_ok_and(|response| response.status() == 200) {
                return Ok(());
            }
            if stop.load(Ordering::Relaxed) {
                return Err(ServerError::Stopped {
                    program: self.program.clone(),
                });
            }
            if self.has_ended() {
                return Err(ServerError::Ended {
                    program: self.program.clone(),
                    log: self.last_line(),
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(ServerError::NotReady {
            program: self.program.clone(),
            seconds: limit.as_secs(),
            log: self.last_line(),
        })
    }

    /// Its llama.cpp build, if it reports one.
    pub fn build(&self) -> Option<String> {
        let mut response = self.agent.get(format!("{}/props", self.url)).call().ok()?;
        let props: Value = response.body_mut().read_json().ok()?;
        Some(props.get("build_info")?.as_str()?.to_owned())
    }

    fn has_ended(&self) -> bool {
        let mut child = self.child.0.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(child.try_wait(), Ok(None))
    }

    fn last_line(&mut self) -> String {
        let mut text = Vec::new();
        let read = self
            .log
            .rewind()
            .and_then(|()| self.log.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        let last = text.lines().rev().map(str::trim).find(|it| !it.is_empty());
        match (read, last) {
            (Ok(_), Some(line)) => line.to_owned(),
            _ => "it printed nothing".to_owned(),
        }
    }

    fn complete(&self, request: &Value) -> Result<Completion, AskError> {
        let failed = |error: ServerError| AskError::Failed(error.into());
        let http = |error: ureq::Error| failed(ServerError::Http(error.to_string()));
        let mut response = self
            .agent
            .post(format!("{}/completion", self.url))
            .send_json(request)
            .map_err(http)?;
        let body = response.body_mut().with_config().limit(1 << 30);
        let value: Value = body.read_json().map_err(http)?;
        if response.status() != 200 {
            let error = &value["error"];
            let message = error["message"].as_str().unwrap_or("no reason given");
            return Err(match error["type"].as_str() {
                Some("exceed_context_size_error") => AskError::Unaskable(message.to_owned()),
                _ => failed(ServerError::Http(format!(
                    "{}: {message}",
                    response.status()
                ))),
            });
        }
        serde_json::from_value(value)
            .map_err(|error| failed(ServerError::Answer(error.to_string())))
    }
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        self.child.stop();
    }
}

/// A port that is free now. If another program takes it first, the server reports that.
fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// The part of an answer of `/completion` that is used here.
#[derive(Deserialize)]
struct Completion {
    content: String,
    /// The new tokens. Old servers do not return them.
    #[serde(default)]
    tokens: Vec<TokenId>,
    tokens_predicted: u64,
    timings: ServerTimings,
}

#[derive(Deserialize)]
struct ServerTimings {
    prompt_n: u64,
    prompt_ms: f64,
    predicted_ms: f64,
    /// Drafted tokens that were accepted; absent without speculation.
    #[serde(default)]
    draft_n_accepted: u64,
}
