//! Standard error, for what is said beside the answer.

/// Says something on standard error, as `eprint!` does, but does not end the process where nobody
/// can be told: an answer is worth more than the word about it.
macro_rules! tell {
    ($($what:tt)*) => {{
        use std::io::Write;
        let _ = write!(std::io::stderr(), $($what)*);
    }};
}

/// [`tell!`] with the end of a line, as `eprintln!`.
macro_rules! tell_line {
    ($($what:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($what)*);
    }};
}
