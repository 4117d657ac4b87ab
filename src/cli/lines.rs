//! Lines of standard input, read so that Ctrl-C can stop the wait.

use std::io::{self, BufRead};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// How often to check for Ctrl-C while no line comes.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// The result of waiting for a line.
pub(super) enum Waited {
    /// A line, with its line end.
    Line(Vec<u8>),
    /// There are no more lines.
    End,
    /// Ctrl-C was pressed.
    Interrupted,
}

/// The lines of standard input.
///
/// Another thread reads them, because a blocking read continues after a signal.
pub(super) struct InputLines {
    lines: Receiver<io::Result<Vec<u8>>>,
}

impl InputLines {
    pub(super) fn from_stdin() -> Self {
        // No buffer: the next line is read only after the previous one was taken.
        let (sender, lines) = sync_channel(0);
        thread::spawn(move || {
            let mut stdin = io::stdin().lock();
            loop {
                let mut line = Vec::new();
                let line = match stdin.read_until(b'\n', &mut line) {
                    Ok(0) => break,
                    Ok(_) => Ok(line),
                    Err(error) => Err(error),
                };
                let failed = line.is_err();
                if sender.send(line).is_err() || failed {
                    break;
                }
            }
        });
        Self { lines }
    }

    /// Waits for the next line, or for Ctrl-C to raise `interrupted`.
    ///
    /// # Errors
    /// If standard input cannot be read.
    pub(super) fn next(&self, interrupted: &AtomicBool) -> io::Result<Waited> {
        loop {
            if interrupted.load(Ordering::Relaxed) {
                return Ok(Waited::Interrupted);
            }
            match self.lines.recv_timeout(CHECK_EVERY) {
                Ok(line) => return line.map(Waited::Line),
                Err(RecvTimeoutError::Disconnected) => return Ok(Waited::End),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
