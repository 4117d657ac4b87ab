//! The thread that writes the answer logs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam::channel::Receiver;
use sha2::{Digest, Sha256};

use super::worker::Report;
use super::{AnswerLog, AskError, Event, Plan, RunError, Skip, Task, index_of};
use crate::bench::answer::{Answer, Choice};
use crate::bench::question::Question;

/// Writes the results of all workers to the answer logs, in this one thread. A worker waits until
/// its result is on disk, so that the writing does not disturb its next measurement.
pub(super) struct Collector<'c, 'p> {
    pub plan: &'c Plan<'p>,
    pub logs: &'c mut [AnswerLog],
    /// Raised after the first failure, to stop the workers.
    pub halt: &'c AtomicBool,
    pub on_event: &'c mut dyn FnMut(&Event<'_>),
    /// The number of results so far.
    pub asked: usize,
    /// The first failure.
    pub failure: Option<RunError>,
}

impl Collector<'_, '_> {
    /// Handles reports until all workers are gone.
    pub(super) fn collect(&mut self, reports: &Receiver<Report>) {
        for report in reports {
            let mut waiting = None;
            let kept = match report {
                Report::WarmingUp { method } => {
                    (self.on_event)(&Event::WarmingUp { method });
                    Ok(())
                }
                Report::Failed { error } => Err(error),
                Report::Asked { task, result, kept } => {
                    self.asked += 1;
                    waiting = Some(kept);
                    self.keep(task, result)
                }
            };
            if let Err(error) = kept {
                self.halt.store(true, Ordering::Relaxed);
                self.failure.get_or_insert(error);
            }
            if let Some(worker) = waiting {
                // After raising `halt`, or the worker would ask the next question. A worker that is
                // gone needs no message.
                let _ = worker.send(());
            }
        }
    }

    fn keep(&mut self, task: Task, result: Result<Vec<Choice>, AskError>) -> Result<(), RunError> {
        let question = &self.plan.questions[task.question];
        let method = &self.plan.methods[task.method];
        let index = index_of(self.logs, task).expect("only tasks that have a log are asked");
        let log = &mut self.logs[index];
        match result {
            Ok(choices) => {
                let answer = record(self.plan, question, method, task.repeat, choices);
                log.append(&answer)?;
                (self.on_event)(&Event::Answered {
                    task,
                    answer: &answer,
                });
            }
            Err(AskError::Unaskable(reason)) => {
                let skip = Skip {
                    question_id: question.question_id,
                    line: None,
                    reason,
                };
                log.skip(skip.clone())?;
                (self.on_event)(&Event::Skipped { task, skip: &skip });
            }
            Err(AskError::Failed(source)) => {
                return Err(RunError::Ask {
                    question_id: question.question_id,
                    method: method.clone(),
                    source,
                });
            }
        }
        Ok(())
    }
}

fn record(
    plan: &Plan<'_>,
    question: &Question,
    method: &str,
    repeat: u32,
    choices: Vec<Choice>,
) -> Answer {
    Answer {
        question_id: question.question_id,
        category: question.category.clone(),
        answer_id: answer_id(plan.model_id, method, repeat, question, &choices),
        model_id: plan.model_id.into(),
        choices,
        tstamp: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64()),
        method: Some(method.into()),
        repeat: Some(repeat),
        ..Answer::default()
    }
}

/// An id that depends only on the question and the answer, so that a resumed run writes the same
/// file as an uninterrupted one.
fn answer_id(
    model_id: &str,
    method: &str,
    repeat: u32,
    question: &Question,
    choices: &[Choice],
) -> String {
    let mut hash = Sha256::new();
    let turns = choices.iter().flat_map(|choice| &choice.turns);
    let id = [question.question_id.to_string(), repeat.to_string()];
    for part in [model_id, method]
        .into_iter()
        .chain(id.iter().map(String::as_str))
        .chain(turns.map(String::as_str))
    {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digits = hash.finalize();
    digits[..11]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
