//! What the engine's thread does: it hands requests to a [`Scheduler`], and its events to whoever
//! waits for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crossbeam::channel::Receiver;

use super::{Command, Event, Finish, Job, RequestId, Setup, Slot, Status, StepEvent};
use crate::draft::Memory;
use crate::engine::{
    self, CostModel, FinishReason, Generation, NewRequest, Scheduler, SchedulerOptions, Stepped,
};
use crate::pool::SharedPool;
use crate::runtime::llama::{LlamaTarget, Model};
use crate::tree::Source;

/// The engine's thread.
pub(super) struct Worker<'m> {
    scheduler: Scheduler<LlamaTarget<'m>>,
    memory: Memory,
    commands: Receiver<Command>,
    status: Arc<Status>,
    /// Requests by the scheduler's numbers.
    jobs: HashMap<engine::RequestId, Running>,
    keep_cost: Arc<dyn Fn(&CostModel) + Send + Sync>,
}

struct Running {
    job: Job,
    answered: usize,
}

impl<'m> Worker<'m> {
    pub(super) fn new(
        model: &'m Model,
        target: LlamaTarget<'m>,
        setup: Setup,
        commands: Receiver<Command>,
        status: Arc<Status>,
    ) -> Self {
        let options = SchedulerOptions {
            max_batch_tokens: setup.max_batch_tokens,
            exact: model.is_exact(),
        };
        Self {
            scheduler: Scheduler::new(target, setup.cost, options),
            memory: setup.memory,
            commands,
            status,
            jobs: HashMap::new(),
            keep_cost: setup.keep_cost,
        }
    }

    /// Works until it is told to end, or nobody can ask any more.
    pub(super) fn run(mut self) {
        self.work();
        (self.keep_cost)(self.scheduler.cost());
    }

    fn work(&mut self) {
        loop {
            if self.scheduler.is_idle() {
                match self.commands.recv() {
                    Ok(command) => {
                        if !self.take(command) {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
            while let Ok(command) = self.commands.try_recv() {
                if !self.take(command) {
                    return;
                }
            }
            let start = Instant::now();
            for (id, event) in self.scheduler.step() {
                self.tell(id, event, start);
            }
            self.show();
        }
    }

    /// Does what HTTP asks for. `false` if that is to end.
    fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Submit(job) => self.submit(*job),
            Command::Cancel(id) => self.cancel(id),
            Command::Shutdown => return false,
        }
        true
    }

    fn submit(&mut self, mut job: Job) {
        let mut options = job.options;
        if !job.reads_pool {
            options.method_params.leave_out.insert(Source::History);
        }
        let request = NewRequest {
            options,
            request: std::mem::take(&mut job.request),
            memory: self.memory_of(&job),
            feeds_history: job.feeds_pool,
            reuses_cache: job.cache_prompt,
            ..NewRequest::new(std::mem::take(&mut job.prompt), job.max_new_tokens)
        };
        match self.scheduler.submit(request) {
            Ok(id) => {
                let running = Running { job, answered: 0 };
                self.jobs.insert(id, running);
            }
            Err(error) => drop(job.tell(Event::Failed(error.to_string()))),
        }
    }

    fn cancel(&mut self, id: RequestId) {
        let mut jobs = self.jobs.iter();
        let found = jobs.find_map(|(&of, running)| (running.job.id == id).then_some(of));
        if let Some(id) = found {
            self.scheduler.cancel(id);
            self.jobs.remove(&id);
        }
    }

    /// What a request may draft from, and what it adds its text to.
    fn memory_of(&self, job: &Job) -> Memory {
        /// Tokens of the prompt before a prediction, so that its beginning is found, too.
        const BEFORE: usize = 4;
        let prediction = (!job.prediction.is_empty()).then(|| {
            let before = job.prompt.len().saturating_sub(BEFORE);
            let text = [&job.prompt[before..], &job.prediction].concat();
            let pool = SharedPool::new(text.len());
            pool.insert(&text);
            Arc::new(pool) as Arc<_>
        });
        Memory {
            history: match job.reads_pool || job.feeds_pool {
                true => self.memory.history.clone(),
                false => None,
            },
            corpus: self.memory.corpus.clone(),
            prediction,
        }
    }

    /// Tells whoever waits for a request what happened to it. Nobody may.
    fn tell(&mut self, id: engine::RequestId, event: engine::Event, start: Instant) {
        let Some(running) = self.jobs.get_mut(&id) else {
            return;
        };
        let (event, ends) = match event {
            engine::Event::Started { cached } => (Event::Started { cached }, false),
            engine::Event::Prefilled { seconds } => (Event::Prefilled { seconds }, false),
            engine::Event::Step(stepped) => {
                running.answered += stepped.step.accepted.len();
                (Event::Step(step_event(&stepped, start)), false)
            }
            engine::Event::Finished(answer) => (finish_event(&answer), true),
        };
        let listens = running.job.tell(event);
        if ends {
            self.jobs.remove(&id);
        } else if !listens {
            self.scheduler.cancel(id);
            self.jobs.remove(&id);
        }
    }

    /// Shows what the slots do.
    fn show(&self) {
        let slot = |slot: engine::SlotStatus| {
            let running = slot.request.and_then(|id| self.jobs.get(&id));
            Slot {
                request: running.map(|it| it.job.id),
                prompt: slot.prompt,
                answered: running.map_or(0, |it| it.answered),
                cached: slot.cached,
            }
        };
        self.status
            .set_slots(self.scheduler.slots().map(slot).collect());
        self.status.waiting.store(self.scheduler.waiting(), Relaxed);
    }
}

fn finish_event(answer: &Generation) -> Event {
    match &answer.finish {
        FinishReason::Stop => Event::Finished(Finish::Stop),
        FinishReason::Length | FinishReason::Cancelled => Event::Finished(Finish::Length),
        FinishReason::Failed(error) => Event::Failed(error.to_string()),
    }
}

fn step_event(stepped: &Stepped, start: Instant) -> StepEvent {
    let drafted = stepped.path.iter();
    let drafted = drafted.map(|&node| Some(stepped.tree.source(node)));
    let sources = std::iter::once(None::<Source>).chain(drafted);
    StepEvent {
        tokens: stepped.step.accepted.iter().copied().zip(sources).collect(),
        logprobs: stepped.step.logprobs.clone(),
        drafted: stepped.step.sources.drafted,
        seconds: start.elapsed().as_secs_f64(),
    }
}
