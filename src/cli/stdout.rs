//! Standard output, whose errors name it.

use std::io::{self, Write};

use serde::Serialize;

/// Standard output, whose errors name it.
#[derive(Debug)]
pub(super) struct StandardOutput(io::Stdout);

/// Standard output of this process.
pub(super) fn stdout() -> StandardOutput {
    StandardOutput(io::stdout())
}

/// Prints one JSON object, on one line.
pub(super) fn print_json(object: &impl Serialize) -> io::Result<()> {
    let mut out = stdout();
    serde_json::to_writer(&mut out, object)?;
    writeln!(out)?;
    out.flush()
}

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(named)
    }
}

/// Keeps the kind: `exit` recognises a closed pipe by it, and `write_all` an interrupted call.
fn named(error: io::Error) -> io::Error {
    let message = format!("cannot write to standard output: {error}");
    io::Error::new(error.kind(), message)
}
