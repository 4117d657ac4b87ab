//! The engine's thread: the seam between HTTP and decoding.
//!
//! HTTP sends [`Command`]s and gets the [`Event`]s of each request through the request's own
//! channel, which never makes the engine wait. What
//! happens in between is in `worker.rs`.

mod worker;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::channel::{Sender, bounded, unbounded};
use tokio::sync::mpsc::UnboundedSender;

use crate::TokenId;
use crate::draft::Memory;
use crate::engine::{CostModel, RequestOptions, SessionOptions};
use crate::runtime::TargetModel;
use crate::runtime::llama::{ContextOptions, LoadError, Model};
use crate::tree::{PerSource, Source};
use crate::verify::TokenLogprobs;

/// Number of a request, unique in this process.
pub type RequestId = u64;

/// A request.
pub struct Job {
    /// Its number.
    pub id: RequestId,
    /// The whole prompt; at least one token, and fewer than the context holds.
    pub prompt: Vec<TokenId>,
    /// Most tokens to answer with.
    pub max_new_tokens: usize,
    /// How to draft.
    pub options: SessionOptions,
    /// How to draw tokens.
    pub request: RequestOptions,
    /// What the answer is expected to be; empty if nothing is.
    pub prediction: Vec<TokenId>,
    /// Whether to draft from other requests.
    pub reads_pool: bool,
    /// Whether other requests may draft from this one.
    pub feeds_pool: bool,
    /// Whether to keep what the cache has in common with the prompt.
    pub cache_prompt: bool,
    /// Where its events go, each with this number. The request is called off once nobody listens.
    pub events: UnboundedSender<(usize, Event)>,
    /// The number that its events have in that channel.
    pub index: usize,
}

impl Job {
    /// Reports an event. Returns whether anybody listens.
    fn tell(&self, event: Event) -> bool {
        self.events.send((self.index, event)).is_ok()
    }
}

/// What HTTP tells the engine.
pub enum Command {
    /// Answer this.
    Submit(Box<Job>),
    /// Answer it no further. No event follows.
    Cancel(RequestId),
    /// End the thread.
    Shutdown,
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Event {
    /// Its turn has come.
    Started {
        /// Tokens of the prompt that were in the cache.
        cached: usize,
    },
    /// The prompt is decoded.
    Prefilled {
        /// How long it took.
        seconds: f64,
    },
    /// More of the answer.
    Step(StepEvent),
    /// The answer is complete.
    Finished(Finish),
    /// The model failed. Nothing follows.
    Failed(String),
    /// A worker that the model needs is gone. Nothing follows.
    Lost(String),
}

/// A decode step of one request.
#[derive(Clone, Debug)]
pub struct StepEvent {
    /// The tokens, each with where it was drafted from; `None` if it was not.
    pub tokens: Vec<(TokenId, Option<Source>)>,
    /// The log-probabilities of the tokens, if they are asked for.
    pub logprobs: Vec<TokenLogprobs>,
    /// Nodes drafted.
    pub drafted: PerSource,
    /// How long it took.
    pub seconds: f64,
}

/// Why an answer is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// The limit on new tokens, or the end of the context, was reached.
    Length,
}

/// What one slot does.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// The request, if there is one.
    pub request: Option<RequestId>,
    /// Tokens of its prompt.
    pub prompt: usize,
    /// Tokens of its answer so far.
    pub answered: usize,
    /// Tokens in the cache.
    pub cached: usize,
}

/// What the engine is doing, for `/slots` and `/metrics`.
#[derive(Debug, Default)]
pub struct Status {
    slots: Mutex<Vec<Slot>>,
    waiting: AtomicUsize,
}

impl Status {
    /// The slots.
    pub fn slots(&self) -> Vec<Slot> {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Requests that wait for a slot.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    fn set_slots(&self, slots: Vec<Slot>) {
        *self.slots.lock().unwrap_or_else(PoisonError::into_inner) = slots;
    }
}

/// How the engine is set up.
#[derive(Clone)]
pub struct Setup {
    /// The context, with room for the largest trees.
    pub context: ContextOptions,
    /// What a pass costs, as far as is known.
    pub cost: CostModel,
    /// Keeps what was learned about that: now and then, and at the end.
    pub keep_cost: Arc<dyn Fn(&CostModel) + Send + Sync>,
    /// Earlier requests and a corpus.
    pub memory: Memory,
    /// Requests answered at the same time.
    pub parallel: usize,
    /// Most tokens of prompts in one pass.
    pub max_batch_tokens: usize,
}

/// The engine, as HTTP sees it.
pub struct Engine {
    /// Where commands go; fails once the thread has ended.
    pub commands: Sender<Command>,
    /// What it is doing.
    pub status: Arc<Status>,
    /// Tokens that the context holds.
    pub n_ctx: usize,
    /// Its thread.
    pub thread: std::thread::JoinHandle<()>,
}

/// Starts the thread, and waits until it has made its context.
///
/// # Errors
/// If there is not enough memory for the context.
pub fn start(model: Arc<Model>, setup: Setup) -> Result<Engine, LoadError> {
    let (commands, received) = unbounded();
    let (ready, made) = bounded(1);
    let status = Arc::new(Status::default());
    let shared = status.clone();
    let thread = std::thread::spawn(move || match model.context(&setup.context) {
        Err(error) => drop(ready.send(Err(error))),
        Ok(target) => {
            shared.set_slots(vec![Slot::default(); target.slots()]);
            drop(ready.send(Ok(target.n_ctx())));
            worker::Worker::new(&model, target, setup, received, shared).run();
        }
    });
    let n_ctx = made.recv().expect("the thread reports before it ends")?;
    Ok(Engine {
        commands,
        status,
        n_ctx,
        thread,
    })
}
