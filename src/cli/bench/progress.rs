//! The progress of a run.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar};

use crate::bench::Question;
use crate::bench::run::Event;
use crate::cli::progress::bar;

/// How often to print a line if there is no terminal for a bar.
const PRINT_EVERY: Duration = Duration::from_secs(30);

/// A bar with the speeds so far. Without a terminal, a line now and then.
pub(super) struct Progress<'a> {
    methods: &'a [String],
    questions: &'a [Question],
    bar: ProgressBar,
    terminal: bool,
    /// Sum and number of the answers' speeds, by method.
    speeds: Vec<(f64, u32)>,
    total: u64,
    done_before: u64,
    begun: Instant,
    /// The time of the last printed line.
    printed: Instant,
}

impl<'a> Progress<'a> {
    pub(super) fn new(methods: &'a [String], questions: &'a [Question]) -> Self {
        Self {
            methods,
            questions,
            bar: bar(0, "{bar:24} {pos}/{len} {eta} left  {msg}"),
            terminal: io::stderr().is_terminal(),
            speeds: vec![(0.0, 0); methods.len()],
            total: 0,
            done_before: 0,
            begun: Instant::now(),
            printed: Instant::now(),
        }
    }

    pub(super) fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Begun { done, total } => {
                self.total = *total as u64;
                self.done_before = *done as u64;
                self.bar.set_length(self.total);
                self.bar.set_position(self.done_before);
                if *done > 0 {
                    self.line(&format!("{done} of {total} answers already exist"));
                }
            }
            Event::WarmingUp { method } => {
                // Estimate the time left from the measured answers only.
                self.bar.reset_eta();
                self.bar
                    .set_message(format!("warming up {}", self.methods[*method]));
            }
            Event::Answered { task, answer } => {
                if let Some(choice) = answer.choices.first()
                    && choice.total_wall_time() > 0.0
                {
                    let (sum, count) = &mut self.speeds[task.method];
                    *sum += choice.total_new_tokens() as f64 / choice.total_wall_time();
                    *count += 1;
                }
                self.step();
            }
            Event::Skipped { task, skip } => {
                let question = &self.questions[task.question];
                self.line(&format!(
                    "note: question {} left out for {}: {}",
                    question.question_id, self.methods[task.method], skip.reason
                ));
                self.step();
            }
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn step(&mut self) {
        self.bar.inc(1);
        self.bar.set_message(self.speeds_so_far());
        if !self.terminal && self.printed.elapsed() >= PRINT_EVERY {
            self.printed = Instant::now();
            let done = self.bar.position();
            let each = self.begun.elapsed() / u32::try_from(done - self.done_before).unwrap_or(1);
            let left = each * u32::try_from(self.total.saturating_sub(done)).unwrap_or(u32::MAX);
            tell_line!(
                "{done}/{} answers, {} left, {}",
                self.total,
                HumanDuration(left),
                self.speeds_so_far()
            );
        }
    }

    fn speeds_so_far(&self) -> String {
        let speeds = self
            .methods
            .iter()
            .zip(&self.speeds)
            .filter(|(_, (_, count))| *count > 0)
            .map(|(name, (sum, count))| format!("{name} {:.1}", sum / f64::from(*count)));
        let speeds: Vec<String> = speeds.collect();
        match speeds.is_empty() {
            true => String::new(),
            false => format!("{} tokens/s", speeds.join(", ")),
        }
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| tell_line!("{text}"));
    }
}
