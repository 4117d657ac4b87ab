//! What all requests share, and how they get to the engine.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam::channel::Sender;
use tokio::sync::mpsc::{UnboundedSender, WeakUnboundedSender, unbounded_channel};

use crate::runtime::llama::Model;
use crate::runtime::{ChatTemplate, PromptError, TokenizeError};
use crate::server::answers::Answers;
use crate::server::auth::Keys;
use crate::server::engine::{Command, Event, Job, RequestId, Status};
use crate::server::error::ApiError;
use crate::server::heavy;
use crate::server::metrics::Metrics;
use crate::server::params::{Defaults, Params};
use crate::{TokenBytes, TokenId};

/// Bounds on what clients may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests answered at the same time.
    pub parallel: usize,
    /// Requests that may wait besides.
    pub queue: usize,
    /// Largest body in bytes.
    pub body_bytes: usize,
    /// How long a client may take to send a header or a body, and keep an idle connection.
    pub client_time: Duration,
    /// How long answers may go on once the server is to stop.
    pub grace: Duration,
    /// Most connections at the same time.
    pub connections: usize,
}

/// Where log lines go.
pub type Log = Box<dyn Fn(&str) + Send + Sync>;

/// What all requests share.
pub struct App {
    pub(super) model: Arc<Model>,
    /// What each token looks like in answers, once a request has stops.
    pub(super) token_bytes: OnceLock<Arc<TokenBytes>>,
    pub(super) name: String,
    pub(super) template: Option<ChatTemplate>,
    pub(super) parse_special: bool,
    pub(super) defaults: Defaults,
    pub(super) limits: Limits,
    pub(super) keys: Keys,
    pub(super) n_ctx: usize,
    pub(super) status: Arc<Status>,
    pub(super) metrics: Metrics,
    pub(super) log: Log,
    pub(super) logs_prompts: bool,
    /// Seconds since 1970 when the server started.
    pub(super) started: u64,
    pub(super) stopping: AtomicBool,
    /// A clone for each thread would do; but a `Sender` is not `Sync` everywhere.
    pub(super) commands: Mutex<Sender<Command>>,
    pub(super) next_id: AtomicU64,
    /// Requests that wait or are answered.
    pub(super) admitted: AtomicUsize,
    /// Why the engine can answer nothing any more.
    pub(super) lost: OnceLock<String>,
    /// Where the events of these requests go.
    pub(super) listeners: Mutex<Vec<Listener>>,
}

/// Whoever waits for a request's events. It does not keep the channel open.
pub(super) struct Listener {
    events: WeakUnboundedSender<(usize, Event)>,
    index: usize,
}

/// A request that waits or is answered.
pub struct Ticket {
    app: Arc<App>,
    id: RequestId,
    /// Whether it takes a place.
    admitted: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl App {
    /// Tells the engine something. Fails once its thread has ended.
    pub(super) fn send(&self, command: Command) -> Result<(), ApiError> {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands
            .send(command)
            .map_err(|_| ApiError::failed("the engine has stopped"))
    }

    /// Writes a log line.
    pub(super) fn log(&self, line: &str) {
        (self.log)(line);
    }

    /// Asks for answers to some prompts.
    ///
    /// # Errors
    /// If a prompt does not fit, or too many requests wait.
    pub(super) fn ask(
        self: &Arc<Self>,
        prompts: Vec<Vec<TokenId>>,
        params: &Params,
    ) -> Result<Answers, ApiError> {
        self.check_open()?;
        for prompt in &prompts {
            self.check_prompt(prompt)?;
        }
        let prediction = match params.prediction.as_deref() {
            Some(text) => heavy(|| self.model.vocabulary().tokenize_continuation(text)),
            None => Ok(Vec::new()),
        };
        let mut prediction = prediction.map_err(|error| tokenize_error("prediction", &error))?;
        // No answer is longer.
        prediction.truncate(self.n_ctx);
        let bytes = || {
            let bytes = || Arc::new(self.model.vocabulary().token_bytes(false));
            self.token_bytes.get_or_init(bytes).clone()
        };
        let request = heavy(|| params.asks.request(&self.model, bytes))?;
        let tickets = self.admit(prompts.len() * params.n)?;
        let (sender, receiver) = unbounded_channel();
        let mut answers = Answers::new(self, receiver, params, prompts.len());
        let all = prompts
            .iter()
            .flat_map(|prompt| std::iter::repeat_n(prompt, params.n));
        for (index, (prompt, ticket)) in all.zip(tickets).enumerate() {
            let mut request = request.clone();
            let number = match params.asks.has_seed {
                true => index as u64,
                false => ticket.id,
            };
            request.sampling.seed = request.sampling.seed.wrapping_add(number);
            let job = Job {
                id: ticket.id,
                prompt: prompt.clone(),
                max_new_tokens: params.max_new_tokens,
                options: params.options,
                request,
                prediction: prediction.clone(),
                reads_pool: params.reads_pool,
                feeds_pool: params.feeds_pool,
                cache_prompt: params.cache_prompt,
                events: sender.clone(),
                index,
            };
            answers.add(ticket, prompt.len(), prediction.len());
            self.listen(&sender, index);
            self.send(Command::Submit(Box::new(job)))?;
        }
        // The engine may have been lost in between.
        self.check_open()?;
        Ok(answers)
    }

    fn check_open(&self) -> Result<(), ApiError> {
        match self.lost.get() {
            Some(reason) => Err(ApiError::lost(reason)),
            None if self.stopping.load(Relaxed) => Err(ApiError::stopping()),
            None => Ok(()),
        }
    }

    /// Notes who waits for events, in case the engine never sends them.
    fn listen(&self, events: &UnboundedSender<(usize, Event)>, index: usize) {
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|it| it.events.strong_count() > 0);
        listeners.push(Listener {
            events: events.downgrade(),
            index,
        });
    }

    /// The engine can answer nothing any more, and its thread is stuck: ends all requests with this
    /// reason, and refuses others.
    fn lose(&self, reason: &str) {
        if self.lost.set(reason.to_owned()).is_err() {
            return;
        }
        let listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for Listener { events, index } in listeners.iter() {
            if let Some(events) = events.upgrade() {
                // Nobody may listen any more.
                let _ = events.send((*index, Event::Lost(reason.to_owned())));
            }
        }
    }

    fn check_prompt(&self, prompt: &[TokenId]) -> Result<(), ApiError> {
        if prompt.is_empty() {
            return Err(ApiError::invalid("the prompt is empty: give some text"));
        }
        if prompt.len() >= self.n_ctx {
            return Err(ApiError::too_long(prompt.len(), self.n_ctx));
        }
        let n_vocab = self.defaults.n_vocab;
        match prompt.iter().find(|&&token| token as usize >= n_vocab) {
            Some(token) => Err(ApiError::of_field(
                "prompt",
                format!("token {token} is not in the vocabulary of {n_vocab}"),
            )),
            None => Ok(()),
        }
    }

    /// Takes places for so many requests, or none.
    fn admit(self: &Arc<Self>, count: usize) -> Result<Vec<Ticket>, ApiError> {
        let most = self.limits.parallel + self.limits.queue;
        let taken = self.admitted.fetch_update(Relaxed, Relaxed, |admitted| {
            Some(admitted + count).filter(|&all| all <= most)
        });
        if taken.is_err() {
            self.metrics.refused();
            return Err(ApiError::busy());
        }
        let tickets = (0..count).map(|_| Ticket {
            app: self.clone(),
            id: self.next_id.fetch_add(1, Relaxed),
            admitted: true,
        });
        Ok(tickets.collect())
    }
}

/// Ends the requests of a server from outside.
#[derive(Clone)]
pub struct Handle(pub(super) Weak<App>);

impl Handle {
    /// Says that the engine is lost, and ends all requests with this reason. Waits until clients
    /// have heard it, or for two seconds. Returns whether the server was to go on.
    pub fn lose_engine(&self, reason: &str) -> bool {
        const STEP: Duration = Duration::from_millis(20);
        const STEPS: u32 = 100;
        let Some(app) = self.0.upgrade() else {
            return false;
        };
        app.lose(reason);
        for _ in 0..STEPS {
            if app.admitted.load(Relaxed) == 0 {
                break;
            }
            std::thread::sleep(STEP);
        }
        // What was written last is on its way.
        std::thread::sleep(STEP * 5);
        !app.stopping.load(Relaxed)
    }
}

impl Ticket {
    /// The number of the request.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Calls the request off.
    pub fn cancel(&mut self) {
        // If the engine has ended, so has the request.
        let _ = self.app.send(Command::Cancel(self.id));
        self.give_back();
    }

    /// Makes room for another request.
    pub fn give_back(&mut self) {
        if std::mem::take(&mut self.admitted) {
            self.app.admitted.fetch_sub(1, Relaxed);
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// The error for a field whose text cannot be tokenized.
pub(super) fn tokenize_error(field: &str, error: &TokenizeError) -> ApiError {
    ApiError::of_field(field, error)
}

/// The error for messages that have no prompt.
pub(super) fn prompt_error(error: &PromptError) -> ApiError {
    ApiError::of_field("messages", error)
}
