//! Questions from a pipe, one a line.

use std::io::{self, BufRead};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// How long Ctrl-C may go unseen while nothing comes.
const LOOK_UP: Duration = Duration::from_millis(100);

/// What came of waiting for a line.
pub(super) enum Waited {
    /// A line, with its end.
    Line(Vec<u8>),
    /// There are no more.
    End,
    /// Ctrl-C.
    Interrupted,
}

/// The lines of standard input.
///
/// Another thread waits for them: a read goes on after a signal, and nobody could tell it to stop.
pub(super) struct Questions {
    lines: Receiver<io::Result<Vec<u8>>>,
}

impl Questions {
    pub(super) fn from_stdin() -> Self {
        // Without room: no line is read before the one before it was taken.
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
            match self.lines.recv_timeout(LOOK_UP) {
                Ok(line) => return line.map(Waited::Line),
                Err(RecvTimeoutError::Disconnected) => return Ok(Waited::End),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
