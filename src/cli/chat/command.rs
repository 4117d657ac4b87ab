//! What a line that begins with a slash asks for.

/// A command of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command<'l> {
    Reset,
    /// Instructions for the model; without a text, they are shown.
    System(Option<&'l str>),
    Save(&'l str),
    Load(&'l str),
    Stats,
    Help,
    Exit,
    /// No command, but it looks like one.
    Unknown(&'l str),
    /// A command that lacks its argument, named here.
    Lacks(&'l str, &'static str),
}

/// A command as its users see it.
struct Entry {
    names: &'static [&'static str],
    argument: &'static str,
    what: &'static str,
}

const ENTRIES: [Entry; 7] = [
    Entry {
        names: &["/clear", "/reset"],
        argument: "",
        what: "start a new conversation (without --no-shared-pool, drafts may copy from this one)",
    },
    Entry {
        names: &["/system"],
        argument: "TEXT",
        what: "give the model other instructions; without TEXT, show them",
    },
    Entry {
        names: &["/save"],
        argument: "FILE",
        what: "save the conversation",
    },
    Entry {
        names: &["/load"],
        argument: "FILE",
        what: "go on with a saved conversation",
    },
    Entry {
        names: &["/stats"],
        argument: "",
        what: "show the speed of the last answer",
    },
    Entry {
        names: &["/help"],
        argument: "",
        what: "show this list",
    },
    Entry {
        names: &["/exit", "/quit"],
        argument: "",
        what: "end the conversation (also Ctrl-D)",
    },
];

impl<'l> Command<'l> {
    /// The command that this input is; `None` for a question.
    pub(super) fn parse(input: &'l str) -> Option<Self> {
        let input = input.trim();
        let word = input.split_whitespace().next()?;
        if !word.starts_with('/') {
            return None;
        }
        let argument = Some(input[word.len()..].trim()).filter(|text| !text.is_empty());
        let needs = |what| argument.ok_or(Self::Lacks(word, what));
        Some(match (word, argument) {
            ("/clear" | "/reset", None) => Self::Reset,
            ("/system", text) => Self::System(text),
            ("/save", _) => needs("FILE").map_or_else(|it| it, Self::Save),
            ("/load", _) => needs("FILE").map_or_else(|it| it, Self::Load),
            ("/stats", None) => Self::Stats,
            ("/help" | "/?", None) => Self::Help,
            ("/exit" | "/quit", None) => Self::Exit,
            (_, None) => Self::Unknown(word),
            // A question may begin with a path.
            _ => return None,
        })
    }
}

/// The list of commands.
pub(super) fn help() -> String {
    let line = |it: &Entry| {
        let names = format!("{} {}", it.names.join(", "), it.argument);
        format!("{names:16} {}\n", it.what)
    };
    let lines: String = ENTRIES.iter().map(line).collect();
    lines
        + "Several lines: end a line with \\, or press Alt-Enter; or put the text between two \
           lines of \"\"\"."
}

/// The commands that begin with what was typed, each with a space behind if an argument follows.
pub(super) fn completions(typed: &str) -> Vec<String> {
    let all = ENTRIES.iter().flat_map(|it| {
        let space = if it.argument.is_empty() { "" } else { " " };
        it.names.iter().map(move |name| format!("{name}{space}"))
    });
    all.filter(|name| name.starts_with(typed)).collect()
}

/// Whether the name of a file follows what was typed.
pub(super) fn wants_file(typed: &str) -> bool {
    ["/save ", "/load "].iter().any(|it| typed.starts_with(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_questions() {
        let parse = Command::parse;
        assert_eq!(parse(" /clear \n"), Some(Command::Reset));
        assert_eq!(
            parse("/system Be brief.\nAlways."),
            Some(Command::System(Some("Be brief.\nAlways.")))
        );
        assert_eq!(parse("/system"), Some(Command::System(None)));
        assert_eq!(parse("/save a b.json"), Some(Command::Save("a b.json")));
        assert_eq!(parse("/load"), Some(Command::Lacks("/load", "FILE")));
        assert_eq!(parse("/rest"), Some(Command::Unknown("/rest")));
        for question in [
            "/etc/passwd holds what?",
            "/exit is a command?",
            "1 / 2",
            "",
        ] {
            assert_eq!(parse(question), None, "{question}");
        }
    }

    #[test]
    fn every_command_of_the_list_is_known_and_completed() {
        for entry in &ENTRIES {
            for &name in entry.names {
                let typed = format!("{name} {}", entry.argument);
                let known = Command::parse(&typed).unwrap();
                assert!(!matches!(known, Command::Unknown(_)), "{name}");
                assert!(
                    completions(&name[..2])
                        .iter()
                        .any(|it| it.trim_end() == name)
                );
                assert!(help().contains(name));
            }
        }
        assert_eq!(completions("/s"), ["/system ", "/save ", "/stats"]);
        assert!(completions("/x").is_empty());
    }
}
