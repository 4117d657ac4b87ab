//! One thread that asks.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::{Answerer, AskError, Maker, Order, Plan, RunError, Task};
use crate::bench::answer::Choice;

/// What a worker works on.
pub(super) struct Job<'j, 'p, 'e> {
    pub plan: &'j Plan<'p>,
    pub makers: &'j (dyn Fn() -> Maker<'e> + Sync),
    /// The user wants an end.
    pub stop: &'j AtomicBool,
    /// Something failed.
    pub halt: &'j AtomicBool,
}

/// What a worker tells.
pub(super) enum Report {
    WarmingUp {
        method: usize,
    },
    Asked {
        task: Task,
        result: Result<Vec<Choice>, AskError>,
        /// The worker waits for a word here until the result is on the disk.
        kept: Sender<()>,
    },
    Failed {
        error: RunError,
    },
}

/// Why a worker ends early: it was told to, or nobody listens any more. A failure was reported
/// already.
struct Ended;

/// Does rounds until there are none.
pub(super) fn work(job: &Job<'_, '_, '_>, rounds: &Receiver<Vec<Task>>, reports: &Sender<Report>) {
    let mut worker = Worker {
        job,
        reports,
        make: (job.makers)(),
        answerers: (0..job.plan.methods.len()).map(|_| None).collect(),
        repeats: vec![0; job.plan.methods.len()],
    };
    for round in rounds {
        if worker.round(&round).is_err() {
            return;
        }
    }
}

struct Worker<'w, 'j, 'p, 'e> {
    job: &'w Job<'j, 'p, 'e>,
    reports: &'w Sender<Report>,
    make: Maker<'e>,
    /// One for each method, once it is warm.
    answerers: Vec<Option<Box<dyn Answerer + 'e>>>,
    /// The repeat that each is in.
    repeats: Vec<u32>,
}

impl Worker<'_, '_, '_, '_> {
    fn round(&mut self, round: &[Task]) -> Result<(), Ended> {
        // All methods of a round warm up before the first is measured.
        for task in round {
            self.warm(task.method)?;
        }
        round.iter().try_for_each(|&task| self.ask(task))
    }

    fn warm(&mut self, method: usize) -> Result<(), Ended> {
        if self.answerers[method].is_some() {
            return Ok(());
        }
        let plan = self.job.plan;
        if plan.order == Order::Sequential {
            // The method before is through.
            self.answerers.fill_with(|| None);
        }
        let failed = |source| Report::Failed {
            error: RunError::Make {
                method: plan.methods[method].clone(),
                source,
            },
        };
        let mut answerer = match (self.make)(method) {
            Ok(answerer) => answerer,
            Err(source) => return self.fail(failed(source)),
        };
        if let (Some(last), 1..) = (plan.questions.last(), plan.warmup) {
            self.tell(Report::WarmingUp { method })?;
            for _ in 0..plan.warmup {
                self.may_go_on()?;
                match answerer.answer(&last.turns, 0) {
                    // One that cannot be asked is recorded when its turn comes.
                    Ok(_) | Err(AskError::Unaskable(_)) => {}
                    Err(AskError::Failed(source)) => return self.fail(failed(source)),
                }
            }
            answerer.forget();
        }
        self.answerers[method] = Some(answerer);
        Ok(())
    }

    fn ask(&mut self, task: Task) -> Result<(), Ended> {
        self.may_go_on()?;
        let plan = self.job.plan;
        let turns = &plan.questions[task.question].turns;
        let answerer = self.answerers[task.method]
            .as_mut()
            .expect("its round warmed it");
        if self.repeats[task.method] != task.repeat {
            self.repeats[task.method] = task.repeat;
            answerer.forget();
        }
        let choices = (0..plan.num_choices.max(1)).map(|index| {
            let choice = answerer.answer(turns, index)?;
            Ok(Choice { index, ..choice })
        });
        let result = choices.collect();
        let (kept, wait) = bounded(1);
        self.tell(Report::Asked { task, result, kept })?;
        wait.recv().map_err(|_| Ended)
    }

    fn may_go_on(&self) -> Result<(), Ended> {
        let ended = self.job.stop.load(Ordering::Relaxed) || self.job.halt.load(Ordering::Relaxed);
        if ended { Err(Ended) } else { Ok(()) }
    }

    fn tell(&self, report: Report) -> Result<(), Ended> {
        self.reports.send(report).map_err(|_| Ended)
    }

    fn fail(&self, report: Report) -> Result<(), Ended> {
        self.tell(report)?;
        Err(Ended)
    }
}
