//! How far a run is, and what came of it.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::bench::Question;
use crate::bench::run::{Event, MethodSummary};

/// How often a line is printed where there is no terminal for a bar.
const EVERY: Duration = Duration::from_secs(30);

/// A bar with the speeds so far; a line now and then where there is no terminal.
pub(super) struct Progress<'a> {
    methods: &'a [String],
    questions: &'a [Question],
    bar: ProgressBar,
    terminal: bool,
    /// Sum of the answers' speeds, and their number, by method.
    speeds: Vec<(f64, u32)>,
    total: u64,
    done_before: u64,
    begun: Instant,
    said: Instant,
}

impl<'a> Progress<'a> {
    pub(super) fn new(methods: &'a [String], questions: &'a [Question]) -> Self {
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {eta} left  {msg}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self {
            methods,
            questions,
            bar: ProgressBar::new(0).with_style(style),
            terminal: io::stderr().is_terminal(),
            speeds: vec![(0.0, 0); methods.len()],
            total: 0,
            done_before: 0,
            begun: Instant::now(),
            said: Instant::now(),
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
                    self.line(&format!("{done} of {total} answers are there already"));
                }
            }
            Event::WarmingUp { method } => {
                // The time left is reckoned from the answers that count.
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
        if !self.terminal && self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            let done = self.bar.position();
            let each = self.begun.elapsed() / u32::try_from(done - self.done_before).unwrap_or(1);
            let left = each * u32::try_from(self.total.saturating_sub(done)).unwrap_or(u32::MAX);
            eprintln!(
                "{done}/{} answers, {} left, {}",
                self.total,
                HumanDuration(left),
                self.speeds_so_far()
            );
        }
    }

    fn speeds_so_far(&self) -> String {
        let said = self
            .methods
            .iter()
            .zip(&self.speeds)
            .filter(|(_, (_, count))| *count > 0)
            .map(|(name, (sum, count))| format!("{name} {:.1}", sum / f64::from(*count)));
        let said: Vec<String> = said.collect();
        format!("{} tokens/s", said.join(", "))
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }
}

/// The figures in a few aligned lines.
pub(super) fn table(summaries: &[MethodSummary]) -> String {
    let width = summaries.iter().map(|it| it.method.len());
    let width = width.max().unwrap_or(0).max("method".len());
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let mut text = format!(
        "{:width$}  {:>7}  {:>8}  {:>8}  {:>8}  {:>8}\n",
        "method", "answers", "left out", "accepted", "tokens/s", "speedup"
    );
    for it in summaries {
        text += &format!(
            "{:width$}  {:>7}  {:>8}  {:>8}  {:>8}  {:>8}\n",
            it.method,
            it.answers,
            it.skipped,
            figure(it.mean_accepted_tokens, 3),
            figure(it.tokens_per_second, 2),
            figure(it.ratio_to_baseline, 3),
        );
    }
    text
}

/// The command that reports on these files.
pub(super) fn report_hint(summaries: &[MethodSummary]) -> Option<String> {
    let files = |of: &dyn Fn(&&MethodSummary) -> bool| -> Vec<String> {
        let chosen = summaries.iter().filter(of).flat_map(|it| &it.files);
        chosen.map(|file| file.display().to_string()).collect()
    };
    let base = files(&|it| it.method == "baseline");
    let others = files(&|it| it.method != "baseline");
    if base.is_empty() || others.is_empty() {
        return None;
    }
    let mean = if base.len() > 1 { " --mean-report" } else { "" };
    Some(format!(
        "\nall figures: logitspec report {} --base {}{mean}",
        others.join(" "),
        base.join(" ")
    ))
}
