//! Runs a question set: every method answers every question, and no answer is lost.
//!
//! Answers come from an [`Answerer`]: the engine on llama.cpp, a `llama-server` over HTTP, or a
//! script in tests. An [`AnswererFactory`] makes the answerers. Each method has one [`AnswerLog`]
//! per repeat. [`run()`] asks the questions that the logs lack, in the order of the [`schedule()`],
//! and writes each answer before it asks the next question.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//! use logitspec::bench::{Choice, Manifest, Question};
//! use logitspec::bench::run::{
//!     AnswerLog, Answerer, AnswererFactory, AskError, BoxError, Plan, run,
//! };
//!
//! struct Parrot;
//! impl Answerer for Parrot {
//!     fn answer(&mut self, turns: &[String], _choice: u32) -> Result<Choice, AskError> {
//!         let each = turns.len();
//!         Ok(Choice {
//!             turns: turns.to_vec(),
//!             decoding_steps: vec![1; each],
//!             new_tokens: vec![1; each],
//!             wall_time: vec![0.1; each],
//!             accept_lengths: vec![1; each],
//!             ..Choice::default()
//!         })
//!     }
//! }
//!
//! struct Aviary;
//! impl AnswererFactory for Aviary {
//!     type Shared = ();
//!     fn answerer(&self, _method: usize, _: &mut ()) -> Result<Box<dyn Answerer + '_>, BoxError> {
//!         Ok(Box::new(Parrot))
//!     }
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! let questions = [r#"{"question_id": 81, "category": "writing", "turns": ["Hello"]}"#]
//!     .map(|line| serde_json::from_str::<Question>(line).unwrap());
//! let methods = ["parrot".to_string()];
//! let plan = Plan { warmup: 0, ..Plan::new("bird", &methods, &questions) };
//! let path = folder.path().join("bird-parrot.jsonl");
//! let log = AnswerLog::open(&path, &Manifest::default(), false, 0, 0)?;
//! let stop = AtomicBool::new(false);
//! let done = run(&plan, vec![log], &Aviary, &stop, &mut |_event| {})?;
//! assert_eq!(done.logs[0].answers[0].choices[0].turns, ["Hello"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer_log;
mod collect;
mod error;
mod schedule;
mod summary;
mod worker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::unbounded;

pub use answer_log::{AnswerLog, Skip, skips_beside};
pub use error::{AskError, BoxError, RunError};
pub use schedule::{Order, Task, schedule};
pub use summary::MethodSummary;

use super::answer::{Answer, Choice};
use super::question::Question;
use collect::Collector;
use worker::{Job, work};

/// Answers questions with one method.
pub trait Answerer {
    /// Holds one conversation: sends each turn and takes the answer. `choice` numbers the answers
    /// to the same question, so that each can be sampled with another seed.
    ///
    /// # Errors
    /// [`AskError::Unaskable`] for a question that this model cannot be asked,
    /// [`AskError::Failed`] for a failure of the machine.
    fn answer(&mut self, turns: &[String], choice: u32) -> Result<Choice, AskError>;

    /// Forgets earlier conversations. Called after the warm-up and before each new repeat.
    fn forget(&mut self) {}
}

/// Makes the answerers of a run. All worker threads use the same factory.
pub trait AnswererFactory: Sync {
    /// What the answerers of one thread share, for example a context of the model. Each thread
    /// starts with the default.
    type Shared: Default;

    /// Makes the answerer of a method, given by its index in [`Plan::methods`].
    ///
    /// # Errors
    /// If the method cannot start.
    fn answerer(
        &self,
        method: usize,
        shared: &mut Self::Shared,
    ) -> Result<Box<dyn Answerer + '_>, BoxError>;
}

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The model's name in the records.
    pub model_id: &'a str,
    /// The methods' names in the records.
    pub methods: &'a [String],
    /// The questions.
    pub questions: &'a [Question],
    /// Number of runs over the whole set.
    pub repeats: u32,
    /// Number of answers to each question.
    pub num_choices: u32,
    /// Warm-up: how often each method answers the last question before the measurements.
    pub warmup: u32,
    /// The order of methods and questions.
    pub order: Order,
    /// Number of worker threads, each with answerers of its own.
    pub jobs: usize,
}

impl<'a> Plan<'a> {
    /// One run over the questions, methods interleaved, with the original project's warm-up.
    pub fn new(model_id: &'a str, methods: &'a [String], questions: &'a [Question]) -> Self {
        Self {
            model_id,
            methods,
            questions,
            repeats: 1,
            num_choices: 1,
            warmup: 3,
            order: Order::Rotating,
            jobs: 1,
        }
    }
}

/// An event during a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run starts.
    Begun {
        /// Answered and skipped questions of earlier runs.
        done: usize,
        /// Number of all questions, times methods and repeats.
        total: usize,
    },
    /// A method warms up.
    WarmingUp {
        /// The method's index.
        method: usize,
    },
    /// An answer is on disk.
    Answered {
        /// The task.
        task: Task,
        /// The record.
        answer: &'a Answer,
    },
    /// A question is skipped, and that is on disk.
    Skipped {
        /// The task.
        task: Task,
        /// The record of it, with the reason.
        skip: &'a Skip,
    },
}

/// The result of a run that did not fail.
#[derive(Debug)]
pub struct Finished {
    /// The answer logs, in the order in which they were given.
    pub logs: Vec<FinishedLog>,
    /// Whether the run was stopped early.
    pub interrupted: bool,
}

/// An answer log after a run.
#[derive(Debug)]
pub struct FinishedLog {
    /// The method's index.
    pub method: usize,
    /// The repeat, from 0.
    pub repeat: u32,
    /// The answer file.
    pub path: PathBuf,
    /// Its records, those of earlier runs included.
    pub answers: Vec<Answer>,
    /// The skipped questions.
    pub skips: Vec<Skip>,
}

/// Asks every question that the logs lack.
///
/// [`Plan::jobs`] threads ask, or fewer if there is too little to do. When `stop` is raised, the
/// run finishes and keeps the answers in progress, and ends. At the end, also after a stop or a
/// failure, every answer file is ordered and has one record per question.
///
/// # Errors
/// The first failure. All answers before it are in the files.
pub fn run<F: AnswererFactory>(
    plan: &Plan<'_>,
    mut logs: Vec<AnswerLog>,
    factory: &F,
    stop: &AtomicBool,
    on_event: &mut dyn FnMut(&Event<'_>),
) -> Result<Finished, RunError> {
    let rounds = open_rounds(plan, &logs);
    let total = plan.questions.len() * logs.len();
    let open: usize = rounds.iter().map(Vec::len).sum();
    on_event(&Event::Begun {
        done: total - open,
        total,
    });
    let halt = AtomicBool::new(false);
    let mut collector = Collector {
        plan,
        logs: &mut logs,
        halt: &halt,
        on_event,
        asked: 0,
        failure: None,
    };
    let job = Job {
        plan,
        factory,
        stop,
        halt: &halt,
    };
    std::thread::scope(|scope| {
        let (round_sender, round_receiver) = unbounded();
        let (sender, reports) = unbounded();
        let jobs = plan.jobs.clamp(1, rounds.len().max(1));
        for round in rounds {
            round_sender.send(round).expect("a receiver is here");
        }
        drop(round_sender);
        for _ in 0..jobs {
            let (job, rounds, sender) = (&job, round_receiver.clone(), sender.clone());
            scope.spawn(move || work(job, &rounds, &sender));
        }
        drop(sender);
        collector.collect(&reports);
    });
    let Collector { asked, failure, .. } = collector;
    let finished: Result<Vec<_>, _> = logs.into_iter().map(AnswerLog::finish).collect();
    match failure {
        Some(error) => Err(error),
        None => Ok(Finished {
            logs: finished?,
            interrupted: asked < open && stop.load(Ordering::Relaxed),
        }),
    }
}

/// The schedule without the questions that the logs already have.
fn open_rounds(plan: &Plan<'_>, logs: &[AnswerLog]) -> Vec<Vec<Task>> {
    let all = schedule(
        plan.order,
        plan.questions.len(),
        plan.methods.len(),
        plan.repeats,
    );
    let is_open = |task: &Task| {
        let id = plan.questions[task.question].question_id;
        index_of(logs, *task).is_some_and(|index| !logs[index].is_done(id))
    };
    all.into_iter()
        .map(|round| round.into_iter().filter(is_open).collect::<Vec<_>>())
        .filter(|round| !round.is_empty())
        .collect()
}

/// The index of the log that a task's answer goes to.
fn index_of(logs: &[AnswerLog], task: Task) -> Option<usize> {
    logs.iter()
        .position(|log| (log.method, log.repeat) == (task.method, task.repeat))
}
