//! Where the time went.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Time spent in the parts of one decode step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// Growing the tree, the search for candidates included.
    pub draft: Duration,
    /// In the model, its synchronisation included.
    pub decode: Duration,
    /// Walking the tree.
    pub verify: Duration,
    /// Bringing KV cache and pool up to date, before and after the pass.
    pub commit: Duration,
    /// Of `commit`, the part that went into moving cells of the KV cache between sequences, or into
    /// waiting until they were moved.
    pub kv: Duration,
}

impl StepTimes {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.overhead() + self.decode
    }

    /// What is not the model: draft, verify and commit.
    pub fn overhead(&self) -> Duration {
        self.draft + self.verify + self.commit
    }
}

/// Seconds spent on one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timings {
    /// Loading the model; counted once, not for each answer.
    pub load: f64,
    /// Decoding the prompt.
    pub prefill: f64,
    /// Growing trees.
    pub draft: f64,
    /// Inside `llama_decode` and its synchronisation, the prompt excepted.
    pub decode: f64,
    /// Walking trees.
    pub verify: f64,
    /// Bringing KV cache and pool up to date.
    pub commit: f64,
    /// From the prompt's first token to the answer's last, loading excepted.
    pub total: f64,
}

impl Timings {
    /// Adds one step.
    pub fn add(&mut self, step: &StepTimes) {
        self.draft += step.draft.as_secs_f64();
        self.decode += step.decode.as_secs_f64();
        self.verify += step.verify.as_secs_f64();
        self.commit += step.commit.as_secs_f64();
    }

    /// Adds those of what follows.
    pub fn append(&mut self, more: &Self) {
        self.load += more.load;
        self.prefill += more.prefill;
        self.draft += more.draft;
        self.decode += more.decode;
        self.verify += more.verify;
        self.commit += more.commit;
        self.total += more.total;
    }
}

/// A stopwatch with laps.
#[derive(Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start or the last lap.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}
