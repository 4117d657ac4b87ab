//! Downloads a model with a progress bar.

use std::io::{self, IsTerminal};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar};

use crate::cli::interrupt::flow;
use crate::cli::progress::bar;
use crate::hub::{Event, Fetched, Hub, HubError, ModelName, Settings};

/// How often to print a line if there is no terminal for a bar.
const PRINT_EVERY: Duration = Duration::from_secs(30);

/// Downloads a model and shows the progress. With `check`, also verifies the SHA-256 of files that
/// are already in the cache.
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
        flow(interrupted)
    });
    progress.bar.finish_and_clear();
    let fetched = fetched?;
    if let Some(outage) = &fetched.outage {
        tell_line!("note: using the model in the cache: {outage}");
    }
    for it in &fetched.files {
        if it.fetched && it.file.sha256.is_none() {
            tell_line!(
                "note: the server gives no SHA-256 for {}; only its size was checked",
                it.file.name
            );
        }
    }
    Ok(fetched)
}

struct Progress {
    bar: ProgressBar,
    terminal: bool,
    /// The current file, with its number if there are several.
    file: String,
    size: u64,
    /// The time of the last printed line.
    printed: Instant,
    /// Whether the current file was announced.
    announced: bool,
}

impl Progress {
    fn new() -> Self {
        Self {
            bar: bar(
                0,
                "{msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
            ),
            terminal: io::stderr().is_terminal(),
            file: String::new(),
            size: 0,
            printed: Instant::now(),
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
                    "note: the part of {} on the disk is damaged, downloading it from the start",
                    self.file
                ));
                self.bar.reset();
            }
            Event::Retrying { cause, wait } => self.line(&format!(
                "note: {cause}; trying again in {:.1} s",
                wait.as_secs_f64()
            )),
            Event::Locked => self.line(&format!(
                "note: waiting for another process that is downloading {}",
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
            // Speed and time left count from here.
            self.bar.reset_eta();
            if !self.terminal {
                tell_line!("downloading {}, {}", self.file, HumanBytes(self.size));
            }
        }
        self.bar.set_position(done);
        if !self.terminal && self.printed.elapsed() >= PRINT_EVERY {
            self.printed = Instant::now();
            tell_line!("{} of {}", HumanBytes(done), HumanBytes(self.size));
        }
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| tell_line!("{text}"));
    }
}
