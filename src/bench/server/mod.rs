//! llama.cpp's own server as what answers: what would one get from llama.cpp itself?
//!
//! The server is the user's program, started on a free port of the loopback interface. It is sent
//! the same tokens that our engine is given, and its own `timings` are the figures.

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
use serde_json::{Value, json};

use crate::TokenId;
use crate::bench::answer::{Choice, Timings};
use crate::bench::prompt::Prompter;
use crate::bench::run::{Answerer, AskError};
use crate::verify::SamplingParams;

/// Why the server cannot be asked. Each message is one line that names the mend.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It could not be started.
    #[error("cannot start {program:?}: {error}; check --llama-server")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It ended by itself.
    #[error("{program:?} ended before it could be asked: {log}; check --llama-server-args")]
    Ended {
        /// The program.
        program: PathBuf,
        /// The last line of what it printed.
        log: String,
    },
    /// It did not come up.
    #[error("{program:?} was not ready within {seconds} s: {log}")]
    NotReady {
        /// The program.
        program: PathBuf,
        /// How long we waited.
        seconds: u64,
        /// The last line of what it printed.
        log: String,
    },
    /// The user called it off.
    #[error("stopped while {program:?} was loading")]
    Stopped {
        /// The program.
        program: PathBuf,
    },
    /// It could not be talked to.
    #[error("llama-server: {0}")]
    Http(String),
    /// It answered something else than what `/completion` answers.
    #[error("llama-server's answer is not understood: {0}; is it llama.cpp's server?")]
    Answer(String),
}

impl ServerError {
    /// Whether other input would have helped (as against a failure of the machine).
    pub fn is_input_error(&self) -> bool {
        matches!(self, Self::Start { .. } | Self::Ended { .. })
    }
}

/// A running server. It is stopped when this is dropped.
pub struct LlamaServer {
    program: PathBuf,
    child: ServerHandle,
    log: File,
    url: String,
    agent: ureq::Agent,
}

/// A way to stop a server from elsewhere, a Ctrl-C handler for one.
#[derive(Clone)]
pub struct ServerHandle(Arc<Mutex<Child>>);

impl ServerHandle {
    /// Stops the server at once. Once is enough.
    pub fn stop(&self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Fails only if it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl LlamaServer {
    /// Starts `program` with `args`, to which the address is added.
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
        // Ctrl-C in the terminal must not reach it: the answer in progress is still wanted.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().map_err(failed)?;
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // It is on this machine, whatever the environment says about proxies.
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

    /// A way to stop it from elsewhere.
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

    /// Its llama.cpp build, if it says.
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

/// A port that nobody listens on now. Somebody else may take it before the server does, who then
/// says so.
fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// What `/completion` answers, as far as it matters here.
#[derive(Deserialize)]
struct Completion {
    content: String,
    /// The new tokens; old servers do not tell them.
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

/// The server as an [`Answerer`].
pub struct ServerAnswerer<'e> {
    server: &'e LlamaServer,
    prompter: &'e Prompter<'e>,
    sampling: SamplingParams,
    max_new_tokens: usize,
    n_ctx: usize,
}

impl<'e> ServerAnswerer<'e> {
    /// Asks `server`, whose context holds `n_ctx` tokens.
    pub fn new(
        server: &'e LlamaServer,
        prompter: &'e Prompter<'e>,
        sampling: SamplingParams,
        max_new_tokens: usize,
        n_ctx: usize,
    ) -> Self {
        Self {
            server,
            prompter,
            sampling,
            max_new_tokens,
            n_ctx,
        }
    }
}

impl Answerer for ServerAnswerer<'_> {
    fn answer(&mut self, turns: &[String], choice: u32) -> Result<Choice, AskError> {
        let mut conversation = self.prompter.conversation();
        let mut text: Vec<TokenId> = Vec::new();
        let mut record = Choice::default();
        let mut timings = Timings::default();
        let (mut prompt_tokens, mut prefill_tokens) = (Vec::new(), Vec::new());
        let mut token_ids = Some(Vec::new());
        for (number, turn) in turns.iter().enumerate() {
            let prompt = conversation
                .next(turn, text.last().copied())
                .map_err(|error| AskError::Failed(error.into()))?;
            text.extend(prompt);
            if text.len() >= self.n_ctx {
                return Err(AskError::Unaskable(format!(
                    "turn {} of {}: the text has {} tokens, the context holds {}: shorten the prompt or raise -c/--ctx-size",
                    number + 1,
                    turns.len(),
                    text.len(),
                    self.n_ctx
                )));
            }
            let sampling = &self.sampling;
            let said = self.server.complete(&json!({
                "prompt": text,
                "n_predict": self.max_new_tokens,
                "temperature": sampling.temperature,
                "top_k": sampling.top_k,
                "top_p": sampling.top_p,
                "min_p": sampling.min_p,
                "repeat_penalty": sampling.repeat_penalty,
                "seed": sampling.seed.wrapping_add(choice.into()),
                // Like our sessions: a question begins with an empty cache, its later turns go on
                // with theirs.
                "cache_prompt": number > 0,
                "return_tokens": true,
            }))?;
            let took = &said.timings;
            let (prefill, decode) = (took.prompt_ms / 1e3, took.predicted_ms / 1e3);
            let steps = said.tokens_predicted.saturating_sub(took.draft_n_accepted);
            prompt_tokens.push(text.len() as u64);
            prefill_tokens.push(took.prompt_n);
            record.decoding_steps.push(steps);
            record.new_tokens.push(said.tokens_predicted);
            record.wall_time.push(prefill + decode);
            record
                .accept_lengths
                .extend(spread(said.tokens_predicted, steps));
            timings.prefill.push(prefill);
            // The server does not divide it further.
            timings.decode.push(decode);
            for part in [&mut timings.draft, &mut timings.verify, &mut timings.commit] {
                part.push(0.0);
            }
            if said.tokens.is_empty() {
                let vocabulary = self.prompter.vocabulary();
                text.extend(vocabulary.tokenize_continuation(&said.content));
                record.turns.push(said.content.trim().to_owned());
                token_ids = None;
            } else {
                record.turns.push(self.prompter.text(&said.tokens));
                text.extend(&said.tokens);
                if let Some(ids) = &mut token_ids {
                    ids.push(said.tokens);
                }
            }
        }
        record
            .extra
            .insert("accept_lengths_spread".into(), true.into());
        Ok(Choice {
            timings: Some(timings),
            prompt_tokens: Some(prompt_tokens),
            prefill_tokens: Some(prefill_tokens),
            token_ids,
            ..record
        })
    }
}

/// Accept lengths as even as can be: the server tells how many tokens came in how many steps, not
/// which in which.
fn spread(tokens: u64, steps: u64) -> impl Iterator<Item = u64> {
    let steps = steps.max(u64::from(tokens > 0));
    (0..steps).map(move |step| tokens / steps + u64::from(step < tokens % steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_accept_lengths_have_the_servers_mean() {
        assert_eq!(spread(10, 4).collect::<Vec<_>>(), [3, 3, 2, 2]);
        assert_eq!(spread(3, 3).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(spread(0, 0).count(), 0);
        assert_eq!(spread(5, 0).collect::<Vec<_>>(), [5]);
    }
}
