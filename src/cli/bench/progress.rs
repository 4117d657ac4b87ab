//! How far a run is, and what came of it.

use std::io::{self, IsTerminal};
use std::path::Path;
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
            tell_line!(
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
        match said.is_empty() {
            true => String::new(),
            false => format!("{} tokens/s", said.join(", ")),
        }
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| tell_line!("{text}"));
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
        chosen.map(|file| for_a_shell(file)).collect()
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

/// A path as a shell takes it.
fn for_a_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+:=,@".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(method: &str, files: &[&str]) -> MethodSummary {
        MethodSummary {
            method: method.into(),
            answers: 2,
            skipped: 1,
            mean_accepted_tokens: Some(2.5),
            tokens_per_second: Some(10.0),
            ratio_to_baseline: None,
            files: files.iter().map(Into::into).collect(),
        }
    }

    #[test]
    fn the_hint_is_a_command_for_a_shell() {
        let ours = summary("logitspec", &["a b/it's.jsonl"]);
        let base = summary("baseline", &["m-temp-0.0.jsonl"]);
        let hint = report_hint(&[ours.clone(), base.clone()]).unwrap();
        let command = r"logitspec report 'a b/it'\''s.jsonl' --base m-temp-0.0.jsonl";
        assert_eq!(hint.trim(), format!("all figures: {command}"));
        assert_eq!(report_hint(&[ours]), None);
        assert_eq!(report_hint(&[base]), None);
    }

    #[test]
    fn repeats_are_reported_as_means() {
        let ours = summary("logitspec", &["a", "a-repeat-1"]);
        let base = summary("baseline", &["b", "b-repeat-1"]);
        let hint = report_hint(&[ours, base]).unwrap();
        assert!(hint.ends_with("report a a-repeat-1 --base b b-repeat-1 --mean-report"));
    }

    #[test]
    fn the_table_has_a_dash_where_there_is_no_figure() {
        let table = table(&[summary("a-rather-long-name", &[])]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0].len(), lines[1].len());
        assert!(lines[1].ends_with("2.500     10.00         -"), "{table}");
    }
}
