//! `--color-drafts`: accepted draft tokens in the colour of what they were drafted from.

use std::io::IsTerminal;

use crate::tree::Source;

const PLAIN: &str = "\x1b[0m";

/// The escape sequence that begins a source's colour: one of the eight that every terminal has, and
/// can be set to what its owner can tell apart.
fn color(source: Source) -> &'static str {
    match source {
        Source::Text => "\x1b[32m",
        Source::History => "\x1b[36m",
        Source::Corpus => "\x1b[34m",
        Source::LastLogits => "\x1b[33m",
        Source::Recycled => "\x1b[35m",
    }
}

/// `text` in the colour of `source`.
pub(super) fn painted(text: &str, source: Source) -> String {
    format!("{}{text}{PLAIN}", color(source))
}

/// Which colour means what, on one line.
pub(super) fn legend() -> String {
    let names = Source::ALL.map(|source| painted(source.name(), source));
    names.join(", ")
}

/// Whether to use colours on `stream`: a terminal, and nobody objects (<https://no-color.org>).
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
