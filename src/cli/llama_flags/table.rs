//! The table of llama.cpp's flags.

use std::sync::LazyLock;

/// The table as text; its first lines say how to read it.
const TEXT: &str = include_str!("flags.txt");

/// All flags of llama.cpp that a user may try.
pub(super) static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| parse(TEXT));

/// A flag of llama.cpp.
#[derive(Clone, Debug)]
pub(super) struct Flag {
    /// Its names, with their dashes.
    pub names: Vec<&'static str>,
    pub takes: Takes,
    does: Does,
    /// What it does in `chat`, if that is something else.
    in_chat: Option<Does>,
}

/// The values that follow a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// So many.
    Exactly(usize),
    /// One of these words, or none.
    Word(Vec<&'static str>),
}

/// What is done with a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// It is a flag of ours, in the subcommands that have it.
    Ours,
    /// It is another name of this flag of ours.
    Same(&'static str),
    /// Each value it may have is this flag of ours, or nothing to be done.
    Choice(Vec<(&'static str, Option<&'static str>)>),
    /// It is left out, because of this.
    Nothing(&'static str),
    /// It is refused; this is what to do instead.
    Refused(&'static str),
}

impl Flag {
    /// The flag of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        FLAGS.iter().find(|flag| flag.names.contains(&name))
    }

    /// What is done with it in a subcommand.
    pub(super) fn does(&self, subcommand: &str) -> &Does {
        match &self.in_chat {
            Some(does) if subcommand == "chat" => does,
            _ => &self.does,
        }
    }
}

/// Reads the table.
fn parse(text: &'static str) -> Vec<Flag> {
    let mut flags = Vec::new();
    let mut usual = Does::Ours;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            usual = action(section.trim_end_matches(']'));
        } else if !line.is_empty() && !line.starts_with('#') {
            flags.push(flag(line, &usual));
        }
    }
    flags
}

/// Reads a line of the table.
fn flag(line: &'static str, usual: &Does) -> Flag {
    let mut columns = line.splitn(3, '|').map(str::trim);
    let names = columns.next().unwrap_or_default();
    let takes = columns.next().unwrap_or_default();
    let (in_chat, does) = match columns.next() {
        None => (None, usual.clone()),
        Some(text) => match text
            .strip_prefix("chat ")
            .and_then(|it| it.split_once(" / "))
        {
            Some((chat, other)) => (Some(action(chat)), action(other)),
            None => (None, action(text)),
        },
    };
    Flag {
        names: names.split_whitespace().collect(),
        takes: match takes.parse() {
            Ok(count) => Takes::Exactly(count),
            Err(_) => Takes::Word(takes.split(',').collect()),
        },
        does,
        in_chat,
    }
}

/// Reads what is done with a flag.
fn action(text: &'static str) -> Does {
    let (word, rest) = text.split_once([' ', ':']).unwrap_or((text, ""));
    let rest = rest.trim();
    match word {
        "ours" => Does::Ours,
        "same" => Does::Same(rest),
        "choice" => Does::Choice(rest.split(", ").map(choice).collect()),
        "nothing" => Does::Nothing(rest),
        "refused" => Does::Refused(rest),
        _ => unreachable!("flags.txt has {text:?}"),
    }
}

/// A value, and our flag of that meaning if one is needed.
fn choice(text: &'static str) -> (&'static str, Option<&'static str>) {
    text.split_once(' ')
        .map_or((text, None), |(value, ours)| (value, Some(ours)))
}
