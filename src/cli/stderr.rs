//! Standard error: notes, warnings and statistics.

/// Prints to standard error like `eprint!`, but ignores a failure to write: an answer matters more
/// than a note about it.
macro_rules! tell {
    ($($what:tt)*) => {{
        use std::io::Write;
        let _ = write!(std::io::stderr(), $($what)*);
    }};
}

/// Like [`tell!`], with a line end.
macro_rules! tell_line {
    ($($what:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($what)*);
    }};
}
