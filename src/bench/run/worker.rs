//! One worker thread, which asks the questions.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, Sender, bounded};

use super::{Answerer, AnswererFactory, AskError, Order, Plan, RunError, Task};
use crate::bench::answer::Choice;

/// What all workers share.
pub(super) struct Job<'j, F> {
    pub plan: &'j Plan<'j>,
    pub factory: &'j F,
    /// Raised when the user stops the run.
    pub stop: &'j AtomicBool,
    /// Raised when something failed.
    pub halt: &'j AtomicBool,
}

/// A worker's report to the thread that writes the files.
pub(super) enum Report {
    WarmingUp {
        method: usize,
    },
    Asked {
        task: Task,
        result: Result<Vec<Choice>, AskError>,
        /// The worker waits for a message here: the result is on disk.
        kept: Sender<()>,
    },
    Failed {
        error: RunError,
    },
}

/// The worker ends early: the run was stopped, or the receiver of the reports is gone. A failure
/// has already been reported.
struct Ended;

/// Does rounds until there are none left.
pub(super) fn work<F: AnswererFactory>(
    job: &Job<'_, F>,
    rounds: &Receiver<Vec<Task>>,
    reports: &Sender<Report>,
) {
    let mut worker = Worker {
        job,
        reports,
        shared: F::Shared::default(),
        answerers: (0..job.plan.methods.len()).map(|_| None).collect(),
        repeats: vec![0; job.plan.methods.len()],
    };
    for round in rounds {
        if worker.round(&round).is_err() {
            return;
        }
    }
}

struct Worker<'w, 'j, F: AnswererFactory> {
    job: &'w Job<'j, F>,
    reports: &'w Sender<Report>,
    /// What the answerers of this thread share.
    shared: F::Shared,
    /// One for each method, after its warm-up.
    answerers: Vec<Option<Box<dyn Answerer + 'j>>>,
    /// The current repeat of each.
    repeats: Vec<u32>,
}

impl<F: AnswererFactory> Worker<'_, '_, F> {
    fn round(&mut self, round: &[Task]) -> Result<(), Ended> {
        // All methods of a round warm up before the first one is measured.
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
            // The previous method is done: free its memory.
            self.answerers.fill_with(|| None);
        }
        let failed = |source| Report::Failed {
            error: RunError::Start {
                method: plan.methods[method].clone(),
                source,
            },
        };
        let mut answerer = match self.job.factory.answerer(method, &mut self.shared) {
            Ok(answerer) => answerer,
            Err(source) => return self.fail(failed(source)),
        };
        if let (Some(last), 1..) = (plan.questions.last(), plan.warmup) {
            self.send(Report::WarmingUp { method })?;
            for _ in 0..plan.warmup {
                self.check_stop()?;
                match answerer.answer(&last.turns, 0) {
                    // A question that cannot be asked is recorded in its turn.
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
        self.check_stop()?;
        let plan = self.job.plan;
        let turns = &plan.questions[task.question].turns;
        let answerer = self.answerers[task.method]
            .as_mut()
            .expect("its round has warmed it up");
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
        self.send(Report::Asked { task, result, kept })?;
        wait.recv().map_err(|_| Ended)
    }

    fn check_stop(&self) -> Result<(), Ended> {
        let ended = self.job.stop.load(Ordering::Relaxed) || self.job.halt.load(Ordering::Relaxed);
        if ended { Err(Ended) } else { Ok(()) }
    }

    fn send(&self, report: Report) -> Result<(), Ended> {
        self.reports.send(report).map_err(|_| Ended)
    }

    fn fail(&self, report: Report) -> Result<(), Ended> {
        self.send(report)?;
        Err(Ended)
    }
}
