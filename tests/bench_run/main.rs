//! Runs with scripted answerers: who is asked what and when, what is on the disk after whatever
//! ended the run, and what the next run makes of it.

mod ends;
mod order;
mod resume;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use logitspec::bench::run::{
    AnswerLog, Answerer, AnswererFactory, AskError, BoxError, Event, Finished, Order, Plan,
    RunError, Task, run,
};
use logitspec::bench::{Answer, Choice, Manifest, Question, read_answers};
use tempfile::TempDir;

/// What an answerer was asked: its method, the question's first turn, and the number of the choice.
type Asked = (usize, String, u32);
/// What an answerer does when it is asked.
type Does<'a> = dyn Fn(&Asked) -> Result<(), AskError> + Sync + 'a;

/// A run with everything that it needs.
struct Bench<'a> {
    folder: TempDir,
    methods: Vec<String>,
    questions: Vec<Question>,
    manifest: Manifest,
    repeats: u32,
    num_choices: u32,
    warmup: u32,
    order: Order,
    jobs: usize,
    overwrite: bool,
    stop: AtomicBool,
    does: Box<Does<'a>>,
    asked: Mutex<Vec<Asked>>,
    /// What the events said, in their order.
    told: Vec<String>,
}

impl<'a> Bench<'a> {
    fn new(methods: &[&str], questions: usize) -> Self {
        let question = |number: usize| Question {
            question_id: 81 + number as i64,
            category: ["writing", "qa"][number % 2].into(),
            turns: vec![format!("q{number}"), "and then?".into()],
            extra: serde_json::Map::new(),
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            methods: methods.iter().map(ToString::to_string).collect(),
            questions: (0..questions).map(question).collect(),
            manifest: Manifest::default(),
            repeats: 1,
            num_choices: 1,
            warmup: 0,
            order: Order::Rotating,
            jobs: 1,
            overwrite: false,
            stop: AtomicBool::new(false),
            does: Box::new(|_| Ok(())),
            asked: Mutex::new(Vec::new()),
            told: Vec::new(),
        }
    }

    fn path(&self, method: usize, repeat: u32) -> PathBuf {
        let name = format!("{}-{repeat}.jsonl", self.methods[method]);
        self.folder.path().join(name)
    }

    fn logs(&self) -> Result<Vec<AnswerLog>, RunError> {
        let repeats = 0..self.repeats;
        let all = repeats.flat_map(|repeat| (0..self.methods.len()).map(move |at| (at, repeat)));
        all.map(|(at, repeat)| {
            let path = self.path(at, repeat);
            AnswerLog::open(&path, &self.manifest, self.overwrite, at, repeat)
        })
        .collect()
    }

    /// Runs once.
    fn run(&mut self) -> Result<Finished, RunError> {
        let logs = self.logs()?;
        let plan = Plan {
            repeats: self.repeats,
            num_choices: self.num_choices,
            warmup: self.warmup,
            order: self.order,
            jobs: self.jobs,
            ..Plan::new("model", &self.methods, &self.questions)
        };
        let script = Script {
            does: &*self.does,
            asked: &self.asked,
        };
        let told = &mut self.told;
        run(&plan, logs, &script, &self.stop, &mut |event| {
            told.push(words(event));
        })
    }

    fn script(&self) -> Script<'_> {
        Script {
            does: &*self.does,
            asked: &self.asked,
        }
    }

    /// What was asked since the last call, warming up included.
    fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// All answers by method, repeat and question, with what differs from run to run taken off.
    fn answers(&self) -> BTreeMap<(usize, u32, i64), Answer> {
        let mut all = BTreeMap::new();
        for repeat in 0..self.repeats {
            for method in 0..self.methods.len() {
                let log = read_answers(self.path(method, repeat)).unwrap();
                assert_eq!(
                    log.notices,
                    [],
                    "a run leaves no half lines and no question twice"
                );
                for answer in log.answers {
                    let timeless = Answer {
                        tstamp: 0.0,
                        ..answer
                    };
                    all.insert((method, repeat, timeless.question_id), timeless);
                }
            }
        }
        all
    }
}

/// Makes answerers that do as the bench says.
struct Script<'a> {
    does: &'a Does<'a>,
    asked: &'a Mutex<Vec<Asked>>,
}

impl<'a> Script<'a> {
    fn scripted(&self, method: usize) -> Scripted<'a> {
        Scripted {
            method,
            does: self.does,
            asked: self.asked,
        }
    }
}

impl AnswererFactory for Script<'_> {
    type Shared = ();

    fn answerer(&self, method: usize, _: &mut ()) -> Result<Box<dyn Answerer + '_>, BoxError> {
        Ok(Box::new(self.scripted(method)))
    }
}

/// An answerer whose answers follow from what it is asked.
struct Scripted<'a> {
    method: usize,
    does: &'a Does<'a>,
    asked: &'a Mutex<Vec<Asked>>,
}

impl Answerer for Scripted<'_> {
    fn answer(&mut self, turns: &[String], choice: u32) -> Result<Choice, AskError> {
        let asked = (self.method, turns[0].clone(), choice);
        self.asked.lock().unwrap().push(asked.clone());
        (self.does)(&asked)?;
        Ok(choice_of(turns, choice))
    }
}

fn choice_of(turns: &[String], choice: u32) -> Choice {
    let each = turns.len();
    Choice {
        turns: turns
            .iter()
            .map(|turn| format!("{turn}! ({choice})"))
            .collect(),
        decoding_steps: vec![2; each],
        new_tokens: vec![5; each],
        wall_time: vec![0.5; each],
        accept_lengths: [3, 2].repeat(each),
        ..Choice::default()
    }
}

fn words(event: &Event<'_>) -> String {
    let place = |task: &Task| format!("q{} m{} r{}", task.question, task.method, task.repeat);
    match event {
        Event::Begun { done, total } => format!("{done} of {total}"),
        Event::WarmingUp { method } => format!("warm m{method}"),
        Event::Answered { task, .. } => format!("answered {}", place(task)),
        Event::Skipped { task, skip } => format!("skipped {}: {}", place(task), skip.reason),
    }
}

/// A failure of the machine.
fn failure() -> AskError {
    AskError::Failed("the machine is on fire".into())
}
