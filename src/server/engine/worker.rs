//! What the engine's thread does: one [`Session`] answers one request after another. The text in
//! the cache stays, so that the next request decodes only what differs.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crossbeam::channel::Receiver;

use super::{Command, Event, Finish, Job, RequestId, Setup, Slot, Status, StepEvent};
use crate::TokenId;
use crate::draft::Memory;
use crate::engine::{GenerateError, Session, SessionOptions, Stepped};
use crate::pool::SharedPool;
use crate::runtime::TargetModel;
use crate::runtime::llama::{LlamaTarget, Model};
use crate::tree::Source;

/// The engine's thread.
pub(super) struct Worker<'m> {
    target: LlamaTarget<'m>,
    /// Whether the cache is kept in the order of plain decoding.
    exact: bool,
    setup: Setup,
    inbox: Inbox,
    /// The tokens in the cache.
    cached: Vec<TokenId>,
}

/// Commands, and the requests that wait.
struct Inbox {
    commands: Receiver<Command>,
    queue: VecDeque<Box<Job>>,
    status: Arc<Status>,
    ended: bool,
}

impl Inbox {
    fn take(&mut self, command: Command) -> Option<RequestId> {
        let mut cancelled = None;
        match command {
            Command::Submit(job) => self.queue.push_back(job),
            Command::Cancel(id) => {
                self.queue.retain(|job| job.id != id);
                cancelled = Some(id);
            }
            Command::Shutdown => self.ended = true,
        }
        self.status.waiting.store(self.queue.len(), Relaxed);
        cancelled
    }

    /// Takes what has come, and says whether to go on with the request of this number.
    fn flow(&mut self, id: RequestId) -> ControlFlow<()> {
        let mut goes_on = true;
        while let Ok(command) = self.commands.try_recv() {
            goes_on &= self.take(command) != Some(id);
        }
        match goes_on && !self.ended {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    /// The next request; `None` once the thread is to end.
    fn next(&mut self) -> Option<Box<Job>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(job) = self.queue.pop_front() {
                self.status.waiting.store(self.queue.len(), Relaxed);
                return Some(job);
            }
            let Ok(command) = self.commands.recv() else {
                return None;
            };
            self.take(command);
        }
    }
}

impl<'m> Worker<'m> {
    pub(super) fn new(
        model: &'m Model,
        target: LlamaTarget<'m>,
        setup: Setup,
        commands: Receiver<Command>,
        status: Arc<Status>,
    ) -> Self {
        Self {
            target,
            exact: model.is_exact(),
            setup,
            inbox: Inbox {
                commands,
                queue: VecDeque::new(),
                status,
                ended: false,
            },
            cached: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        while let Some(job) = self.inbox.next() {
            self.answer(&job);
            let cached = self.cached.len();
            self.inbox.status.change(|slot| {
                *slot = Slot {
                    cached,
                    ..Slot::default()
                }
            });
        }
    }

    fn answer(&mut self, job: &Job) {
        let common = self.keep_common(job);
        self.inbox.status.change(|slot| {
            *slot = Slot {
                request: Some(job.id),
                prompt: job.prompt.len(),
                answered: 0,
                cached: common,
            }
        });
        if !job.tell(Event::Started { cached: common }) {
            return;
        }
        let options = SessionOptions {
            exact: job.options.exact && self.exact,
            sampling: job.asks.sampling,
            ..job.options
        };
        let memory = self.memory(job);
        let mut session = Session::new(&mut self.target, options)
            .with_memory(memory)
            .with_cost(self.setup.cost.clone());
        let answered = answer(&mut session, job, &mut self.inbox);
        if options.weighs_cost() {
            self.setup.cost = session.cost().clone();
        }
        let text = session.text().to_vec();
        match answered {
            Ok(None) | Err(GenerateError::Cancelled) => {}
            Ok(Some(finish)) => drop(job.tell(Event::Finished(finish))),
            Err(error) => drop(job.tell(Event::Failed(error.to_string()))),
        }
        let history = self.setup.memory.history.as_ref();
        if let Some(history) = history.filter(|_| job.feeds_pool && !text.is_empty()) {
            history.insert_new(&text);
        }
        self.cached = text;
        self.cached.truncate(self.target.n_past());
    }

    /// Drops what the cache does not have in common with the prompt. Returns how many tokens stay.
    fn keep_common(&mut self, job: &Job) -> usize {
        let pairs = self.cached.iter().zip(&job.prompt);
        let common = pairs.take_while(|(old, new)| old == new).count();
        // The last token is decoded again, so that its row is there.
        let keep = match job.cache_prompt {
            true => common.min(job.prompt.len() - 1),
            false => 0,
        };
        self.target.truncate(keep);
        self.target.n_past()
    }

    /// What the request may draft from.
    fn memory(&self, job: &Job) -> Memory {
        /// Tokens of the prompt before a prediction, so that its beginning is found, too.
        const BEFORE: usize = 4;
        let known = &self.setup.memory;
        let prediction = (!job.prediction.is_empty()).then(|| {
            let before = job.prompt.len().saturating_sub(BEFORE);
            let text = [&job.prompt[before..], &job.prediction].concat();
            let pool = SharedPool::new(text.len());
            pool.insert(&text);
            Arc::new(pool) as Arc<_>
        });
        Memory {
            history: known.history.clone().filter(|_| job.reads_pool),
            corpus: known.corpus.clone(),
            prediction,
        }
    }
}

/// Answers a request. `None` if it was called off.
fn answer<M: TargetModel>(
    session: &mut Session<M>,
    job: &Job,
    inbox: &mut Inbox,
) -> Result<Option<Finish>, GenerateError> {
    let start = Instant::now();
    session.prefill(&job.prompt, &mut |_, _| inbox.flow(job.id))?;
    job.tell(Event::Prefilled {
        seconds: start.elapsed().as_secs_f64(),
    });
    let mut left = job.max_new_tokens;
    while left > 0 {
        if inbox.flow(job.id).is_break() {
            return Ok(None);
        }
        let start = Instant::now();
        let Some(stepped) = session.step(left)? else {
            return Ok(Some(Finish::Length));
        };
        let event = step_event(&stepped, start);
        left -= event.tokens.len();
        let answered = job.max_new_tokens - left;
        inbox.status.change(|slot| slot.answered = answered);
        let last = event.tokens.last().map(|it| it.0);
        if !job.tell(Event::Step(event)) {
            return Ok(None);
        }
        if last.is_some_and(|token| session.model().is_end(token)) {
            return Ok(Some(Finish::Stop));
        }
    }
    Ok(Some(Finish::Length))
}

fn step_event(stepped: &Stepped, start: Instant) -> StepEvent {
    let drafted = stepped.path.iter();
    let drafted = drafted.map(|&node| Some(stepped.tree.source(node)));
    let sources = std::iter::once(None::<Source>).chain(drafted);
    StepEvent {
        tokens: stepped.step.accepted.iter().copied().zip(sources).collect(),
        drafted: stepped.step.sources.drafted,
        seconds: start.elapsed().as_secs_f64(),
    }
}
