//! Progress bars on standard error. They stay hidden unless standard error is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `len` steps, drawn by an `indicatif` template.
pub(super) fn bar(len: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(len).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A spinner for work of unknown length.
pub(super) fn spinner(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// A bar for the prefill of a long prompt.
pub(super) fn prefill_bar(tokens: usize) -> ProgressBar {
    bar(
        tokens as u64,
        "reading the prompt {bar:32} {pos}/{len} tokens {eta}",
    )
}
