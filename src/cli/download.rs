//! Fetching a model, as the user sees it.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::hub::{Event, Fetched, Hub, HubError, ModelName, Settings};

/// How often a line is printed where there is no terminal for a bar.
const EVERY: Duration = Duration::from_secs(30);

/// Brings a model here and shows how far it is; with `check` the sums of files that are here
/// already are verified.
///
/// # Errors
/// Any [`HubError`]; [`HubError::Cancelled`] if Ctrl-C raises `interrupted`.
pub(super) fn fetch(
    name: &ModelName,
    check: bool,
    interrupted: &AtomicBool,
) -> Result<Fetched, HubError> {
    let hub = Hub::new(Settings::from_env()?)?;
    let mut progress = Progress::new();
    let fetched = hub.fetch(name, check, &mut |event| {
        progress.show(event);
        match interrupted.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    progress.bar.finish_and_clear();
    let fetched = fetched?;
    if let Some(outage) = &fetched.outage {
        tell_line!("note: using what is in the cache: {outage}");
    }
    for it in &fetched.files {
        if it.fetched && it.file.sha256.is_none() {
            tell_line!(
                "note: the server gives no sha256 for {}, only its size was checked",
                it.file.name
            );
        }
    }
    Ok(fetched)
}

struct Progress {
    bar: ProgressBar,
    terminal: bool,
    /// The file being fetched, with its number if there are several.
    file: String,
    size: u64,
    said: Instant,
    /// Whether the file was announced, where there is no terminal.
    announced: bool,
}

impl Progress {
    fn new() -> Self {
        let style = ProgressStyle::with_template(
            "{msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
        );
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self {
            bar: ProgressBar::new(0).with_style(style),
            terminal: io::stderr().is_terminal(),
            file: String::new(),
            size: 0,
            said: Instant::now(),
            announced: false,
        }
    }

    fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Begun { file, number, of } => {
                let base = file.name.rsplit('/').next().unwrap_or_default();
                self.file = match of {
                    1 => base.to_owned(),
                    _ => format!("{base} ({number} of {of})"),
                };
                self.size = file.size;
                self.announced = false;
                self.bar.reset();
                self.bar.set_length(file.size);
                self.bar.set_message(self.file.clone());
            }
            Event::Checking { done } => {
                self.bar.set_message(format!("checking {}", self.file));
                self.bar.set_position(*done);
            }
            Event::Received { done } => self.received(*done),
            Event::StartedOver => {
                self.line(&format!(
                    "note: what is here of {} is damaged, fetching it from the beginning",
                    self.file
                ));
                self.bar.reset();
            }
            Event::Retrying { cause, wait } => self.line(&format!(
                "note: {cause}; trying again in {:.1} s",
                wait.as_secs_f64()
            )),
            Event::Locked => self.line(&format!(
                "note: another process is fetching {}, waiting for it",
                self.file
            )),
            Event::Waiting => {}
            Event::Finished { .. } => self.bar.set_position(self.size),
        }
    }

    fn received(&mut self, done: u64) {
        if !self.announced {
            self.announced = true;
            self.bar.set_message(self.file.clone());
            // Speed and time left are reckoned from here on.
            self.bar.reset_eta();
            if !self.terminal {
                tell_line!("fetching {}, {}", self.file, HumanBytes(self.size));
            }
        }
        self.bar.set_position(done);
        if !self.terminal && self.said.elapsed() >= EVERY {
            self.said = Instant::now();
            tell_line!("{} of {}", HumanBytes(done), HumanBytes(self.size));
        }
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| tell_line!("{text}"));
    }
}
