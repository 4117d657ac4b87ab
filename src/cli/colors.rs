//! `--color-drafts`: accepted draft tokens in the colour of their source.

use std::io::IsTerminal;

use crate::tree::Source;

const PLAIN: &str = "\x1b[0m";

/// The escape sequence of a source's colour. It is one of the eight colours that every terminal has
/// and lets its user change.
fn color(source: Source) -> &'static str {
    match source {
        Source::Text => "\x1b[32m",
        Source::History => "\x1b[36m",
        Source::Corpus => "\x1b[34m",
        Source::LastLogits => "\x1b[33m",
        Source::Recycled => "\x1b[35m",
        Source::Grammar => "\x1b[31m",
        Source::Prediction => "\x1b[37m",
    }
}

/// `text` in the colour of `source`.
pub(super) fn painted(text: &str, source: Source) -> String {
    format!("{}{text}{PLAIN}", color(source))
}

/// The names of the sources in their colours, on one line.
pub(super) fn legend() -> String {
    let names = Source::ALL.map(|source| painted(source.name(), source));
    names.join(", ")
}

/// Whether to use colours on `stream`: it is a terminal, and `NO_COLOR` is not set
/// (<https://no-color.org>).
pub(super) fn has_color(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_sources_look_alike() {
        let colors: BTreeSet<&str> = Source::ALL.map(color).into();
        assert_eq!(colors.len(), Source::ALL.len());
        assert!(
            legend().contains("\x1b[33mlast-logits\x1b[0m"),
            "{}",
            legend()
        );
    }
}
