//! Running a question set: every question to every method, fairly, with nothing lost.
//!
//! What answers is behind the trait [`Answerer`]: the engine on llama.cpp, a `llama-server` over
//! HTTP, or a scripted one in tests. Each method has one answer file for each repeat, a [`Lane`];
//! [`run()`] asks what the lanes lack, in the order of the [`schedule()`], and appends each answer
//! before the next question is asked.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//! use logitspec::bench::{Choice, Manifest, Question};
//! use logitspec::bench::run::{Answerer, AskError, Lane, Order, Plan, run};
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
//! # let folder = tempfile::tempdir()?;
//! let questions = [r#"{"question_id": 81, "category": "writing", "turns": ["Hello"]}"#]
//!     .map(|line| serde_json::from_str::<Question>(line).unwrap());
//! let methods = ["parrot".to_string()];
//! let plan = Plan { warmup: 0, ..Plan::new("bird", &methods, &questions) };
//! let lane = Lane::open(&folder.path().join("bird-parrot.jsonl"), &Manifest::default(), false, 0, 0)?;
//! let done = run(
//!     &plan,
//!     vec![lane],
//!     &|| Box::new(|_method| Ok(Box::new(Parrot) as Box<dyn Answerer>)),
//!     &AtomicBool::new(false),
//!     &mut |_event| {},
//! )?;
//! assert_eq!(done.lanes[0].answers[0].choices[0].turns, ["Hello"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod lane;
mod schedule;
mod summary;
mod worker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Receiver, unbounded};
use sha2::{Digest, Sha256};

pub use error::{AskError, BoxError, RunError};
pub use lane::{Lane, Skip, skips_beside};
pub use schedule::{Order, Task, schedule};
pub use summary::MethodSummary;

use super::answer::{Answer, Choice};
use super::question::Question;
use worker::{Job, Report, work};

/// What answers questions: one method of decoding with a model.
pub trait Answerer {
    /// Holds one conversation: says each turn and takes the answer. `choice` is its number among
    /// the answers to the same question; where answers are drawn at random, each draws its own.
    ///
    /// # Errors
    /// [`AskError::Unaskable`] for a question that cannot be asked of this model,
    /// [`AskError::Failed`] for a failure of the machine.
    fn answer(&mut self, turns: &[String], choice: u32) -> Result<Choice, AskError>;

    /// Forgets what it remembers of earlier conversations, if it does: it was warming up, or
    /// another repeat begins.
    fn forget(&mut self) {}
}

/// Makes the answerers of one thread, each by its method's number. What they share there, such as a
/// context of the model, lives in it.
pub type Maker<'e> = Box<dyn FnMut(usize) -> Result<Box<dyn Answerer + 'e>, BoxError> + 'e>;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The model's name in the records.
    pub model_id: &'a str,
    /// The methods' names in the records.
    pub methods: &'a [String],
    /// The questions.
    pub questions: &'a [Question],
    /// How often the whole set is run.
    pub repeats: u32,
    /// Answers to each question.
    pub num_choices: u32,
    /// How often each method answers the last question before anything is measured.
    pub warmup: u32,
    /// Which method comes when.
    pub order: Order,
    /// How many answer at the same time, each with an instance of its own.
    pub jobs: usize,
}

impl<'a> Plan<'a> {
    /// One run over the questions, methods interleaved, as the original warms up.
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

/// What happens during a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// It begins: so many answers of so many are there from earlier runs.
    Begun {
        /// Answers, and recorded skips, that are there.
        done: usize,
        /// All there will be.
        total: usize,
    },
    /// A method warms up.
    WarmingUp {
        /// Its number.
        method: usize,
    },
    /// An answer is on the disk.
    Answered {
        /// What was asked.
        task: Task,
        /// The record.
        answer: &'a Answer,
    },
    /// A question was left out, which is on the disk too.
    Skipped {
        /// What was asked.
        task: Task,
        /// Why it is left out.
        skip: &'a Skip,
    },
}

/// How a run ended that did not fail.
#[derive(Debug)]
pub struct Finished {
    /// The files in the order of the lanes.
    pub lanes: Vec<FinishedLane>,
    /// Whether it was stopped before everything was asked.
    pub interrupted: bool,
}

/// One answer file after a run.
#[derive(Debug)]
pub struct FinishedLane {
    /// The method's number.
    pub method: usize,
    /// Which repeat, from 0.
    pub repeat: u32,
    /// The file.
    pub path: PathBuf,
    /// Its records, those of earlier runs included.
    pub answers: Vec<Answer>,
    /// The questions left out.
    pub skips: Vec<Skip>,
}

/// Asks everything that the lanes lack.
///
/// `makers` is called once in each thread, [`Plan::jobs`] of them if there is enough to do, and
/// what it gives there makes the answerer of each method. When `stop` is raised, the answers in
/// progress are finished and kept, and the run ends. In the end, and also after a stop or a
/// failure, every file is ordered and has one record a question.
///
/// # Errors
/// The first failure; whatever was answered before it is in the files.
pub fn run<'e>(
    plan: &Plan<'_>,
    mut lanes: Vec<Lane>,
    makers: &(dyn Fn() -> Maker<'e> + Sync),
    stop: &AtomicBool,
    on_event: &mut dyn FnMut(&Event<'_>),
) -> Result<Finished, RunError> {
    let rounds = open_rounds(plan, &lanes);
    let total = plan.questions.len() * lanes.len();
    let open: usize = rounds.iter().map(Vec::len).sum();
    on_event(&Event::Begun {
        done: total - open,
        total,
    });
    let mut asked = 0;
    let mut failure = None;
    let halt = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (round_sender, round_receiver) = unbounded();
        let (sender, reports) = unbounded();
        let jobs = plan.jobs.clamp(1, rounds.len().max(1));
        for round in rounds {
            round_sender.send(round).expect("a receiver is here");
        }
        drop(round_sender);
        for _ in 0..jobs {
            let (rounds, sender) = (round_receiver.clone(), sender.clone());
            let job = Job {
                plan,
                makers,
                stop,
                halt: &halt,
            };
            scope.spawn(move || work(&job, &rounds, &sender));
        }
        drop(sender);
        asked = collect(plan, &mut lanes, &reports, &halt, on_event, &mut failure);
    });
    let finished: Result<Vec<_>, _> = lanes.into_iter().map(Lane::finish).collect();
    match failure {
        Some(error) => Err(error),
        None => Ok(Finished {
            lanes: finished?,
            interrupted: asked < open && stop.load(Ordering::Relaxed),
        }),
    }
}

/// The schedule without what the lanes have already.
fn open_rounds(plan: &Plan<'_>, lanes: &[Lane]) -> Vec<Vec<Task>> {
    let all = schedule(
        plan.order,
        plan.questions.len(),
        plan.methods.len(),
        plan.repeats,
    );
    let is_open = |task: &Task| {
        let id = plan.questions[task.question].question_id;
        lane_of(lanes, *task).is_some_and(|at| !lanes[at].is_done(id))
    };
    all.into_iter()
        .map(|round| round.into_iter().filter(is_open).collect::<Vec<_>>())
        .filter(|round| !round.is_empty())
        .collect()
}

fn lane_of(lanes: &[Lane], task: Task) -> Option<usize> {
    lanes
        .iter()
        .position(|lane| (lane.method, lane.repeat) == (task.method, task.repeat))
}

/// Puts what the workers report into the files, in this one thread. A worker waits until its report
/// is on the disk, so that the writing does not disturb its next measurement. Returns how many
/// reports there were.
fn collect(
    plan: &Plan<'_>,
    lanes: &mut [Lane],
    reports: &Receiver<Report>,
    halt: &AtomicBool,
    on_event: &mut dyn FnMut(&Event<'_>),
    failure: &mut Option<RunError>,
) -> usize {
    let mut asked = 0;
    for report in reports {
        let mut waiting = None;
        let kept = match report {
            Report::WarmingUp { method } => {
                on_event(&Event::WarmingUp { method });
                Ok(())
            }
            Report::Failed { error } => Err(error),
            Report::Asked { task, result, kept } => {
                asked += 1;
                let at = lane_of(lanes, task).expect("only tasks of lanes are asked");
                let done = keep(plan, &mut lanes[at], task, result, on_event);
                waiting = Some(kept);
                done
            }
        };
        if let Err(error) = kept {
            halt.store(true, Ordering::Relaxed);
            failure.get_or_insert(error);
        }
        if let Some(worker) = waiting {
            // After `halt`, or the worker would ask on. One that is gone needs no word.
            let _ = worker.send(());
        }
    }
    asked
}

fn keep(
    plan: &Plan<'_>,
    lane: &mut Lane,
    task: Task,
    result: Result<Vec<Choice>, AskError>,
    on_event: &mut dyn FnMut(&Event<'_>),
) -> Result<(), RunError> {
    let question = &plan.questions[task.question];
    let method = &plan.methods[task.method];
    match result {
        Ok(choices) => {
            let answer = record(plan, question, method, task.repeat, choices);
            lane.append(&answer)?;
            on_event(&Event::Answered {
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
            lane.skip(skip.clone())?;
            on_event(&Event::Skipped { task, skip: &skip });
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

/// A name that follows from what was asked and said, so that a run that was taken up again gives
/// the file that an undisturbed one gives.
fn answer_id(
    model_id: &str,
    method: &str,
    repeat: u32,
    question: &Question,
    choices: &[Choice],
) -> String {
    let mut hash = Sha256::new();
    let said = choices.iter().flat_map(|choice| &choice.turns);
    let id = [question.question_id.to_string(), repeat.to_string()];
    for part in [model_id, method]
        .into_iter()
        .chain(id.iter().map(String::as_str))
        .chain(said.map(String::as_str))
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
