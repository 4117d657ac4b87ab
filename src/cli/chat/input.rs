//! What is typed or piped in: lines, and questions of several lines.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Context, Event, EventContext, EventHandler,
    Helper, KeyCode, KeyEvent, Modifiers, RepeatCount,
};

use super::command::{Command, completions, wants_file};

/// Begins and ends a text of several lines.
const QUOTES: &str = "\"\"\"";
/// At the end of a line, says that another one follows.
const CONTINUED: char = '\\';

/// How lines make up a question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    /// Whether a question goes on until a line ends with a backslash, instead of only then.
    pub multiline: bool,
}

impl Lines {
    /// Whether another line belongs to this input.
    pub(super) fn is_unfinished(self, input: &str) -> bool {
        let input = input.trim();
        if let Some(quoted) = input.strip_prefix(QUOTES) {
            return !quoted.ends_with(QUOTES);
        }
        let is_command = !input.contains('\n') && Command::parse(input).is_some();
        !is_command && input.ends_with(CONTINUED) != self.multiline
    }

    /// The input with one more line.
    pub(super) fn add(self, input: &mut String, line: &str) {
        let is_quoted = input.trim_start().starts_with(QUOTES);
        if !self.multiline && !is_quoted && self.is_unfinished(input) {
            let end = input.trim_end().len() - CONTINUED.len_utf8();
            input.truncate(end);
            input.push('\n');
        }
        *input += line;
    }

    /// The text of a finished input.
    pub(super) fn text(self, input: &str) -> Cow<'_, str> {
        let input = input.trim();
        if let Some(quoted) = input.strip_prefix(QUOTES) {
            return quoted.strip_suffix(QUOTES).unwrap_or(quoted).trim().into();
        }
        match input.strip_suffix(CONTINUED) {
            Some(text) if self.multiline => text.trim().into(),
            _ => input.into(),
        }
    }
}

/// What came of a prompt in the terminal.
pub(super) enum Typed {
    Input(String),
    Interrupted,
    End,
}

/// The line editor, with the inputs of earlier conversations.
pub(super) struct Editor {
    editor: rustyline::Editor<ChatHelper, DefaultHistory>,
    continued: Continue,
    history: Option<PathBuf>,
}

impl Editor {
    pub(super) fn new(lines: Lines) -> anyhow::Result<Self> {
        let mut editor = rustyline::Editor::new()?;
        editor.set_completion_type(CompletionType::List);
        editor.set_helper(Some(ChatHelper {
            lines,
            files: FilenameCompleter::new(),
        }));
        let alt_enter = KeyEvent(KeyCode::Enter, Modifiers::ALT);
        editor.bind_sequence(alt_enter, EventHandler::Simple(Cmd::Newline));
        let continued = Continue::default();
        if !lines.multiline {
            let enter = KeyEvent(KeyCode::Enter, Modifiers::NONE);
            let handler = Box::new(continued.clone());
            editor.bind_sequence(enter, EventHandler::Conditional(handler));
        }
        let history = history_file();
        if let Some(path) = &history {
            // The first run has no history.
            let _ = editor.load_history(path);
        }
        Ok(Self {
            editor,
            continued,
            history,
        })
    }

    /// Waits for an input.
    pub(super) fn next(&mut self) -> anyhow::Result<Typed> {
        self.continued.places().clear();
        match self.editor.readline("> ") {
            Ok(input) => {
                let input = self.continued.take_out(input);
                // The conversation goes on even if the history cannot be kept.
                let _ = self.editor.add_history_entry(&input);
                Ok(Typed::Input(input))
            }
            Err(ReadlineError::Interrupted) => Ok(Typed::Interrupted),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the inputs for later conversations.
    pub(super) fn keep_history(&mut self) {
        if let Some(path) = &self.history {
            if let Some(folder) = path.parent() {
                let _ = std::fs::create_dir_all(folder);
            }
            let _ = self.editor.save_history(path);
        }
    }
}

/// The file that keeps the questions of earlier conversations, in the XDG state folder.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
    Some(state.join("logitspec/history"))
}

/// Enter behind a backslash begins another line. Remembers where, so that a pasted text keeps its
/// backslashes.
#[derive(Clone, Default)]
struct Continue(Arc<Mutex<Vec<usize>>>);

impl Continue {
    fn places(&self) -> MutexGuard<'_, Vec<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The input without the backslashes, for the next one to begin.
    fn take_out(&self, mut input: String) -> String {
        let mut places = std::mem::take(&mut *self.places());
        places.sort_unstable();
        for place in places.into_iter().rev() {
            // What was edited later stays as it is.
            if input
                .get(place..)
                .is_some_and(|rest| rest.starts_with("\\\n"))
            {
                input.remove(place);
            }
        }
        input
    }
}

impl ConditionalEventHandler for Continue {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, input: &EventContext<'_>) -> Option<Cmd> {
        let typed = input.line();
        let at_end = input.pos() == typed.len() && typed.ends_with(CONTINUED);
        if !at_end || typed.trim_start().starts_with(QUOTES) {
            return None;
        }
        self.places().push(typed.len() - CONTINUED.len_utf8());
        Some(Cmd::Newline)
    }
}

/// Completes commands and names of files, and knows where an input ends.
struct ChatHelper {
    lines: Lines,
    files: FilenameCompleter,
}

impl Helper for ChatHelper {}
impl Highlighter for ChatHelper {}

impl Hinter for ChatHelper {
    type Hint = String;
}

impl Completer for ChatHelper {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..pos];
        if wants_file(typed) {
            return self.files.complete_path(line, pos);
        }
        let pair = |name: String| Pair {
            display: name.trim_end().into(),
            replacement: name,
        };
        let found = match typed.starts_with('/') {
            true => completions(typed).into_iter().map(pair).collect(),
            false => Vec::new(),
        };
        Ok((0, found))
    }
}

impl Validator for ChatHelper {
    fn validate(&self, input: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match self.lines.is_unfinished(input.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts that these lines make up, and what is left unfinished.
    fn texts(multiline: bool, lines: &str) -> (Vec<String>, String) {
        let of = Lines { multiline };
        let mut texts = Vec::new();
        let mut input = String::new();
        for line in lines.split_inclusive('\n') {
            of.add(&mut input, line);
            if !of.is_unfinished(&input) {
                texts.push(of.text(&input).into_owned());
                input.clear();
            }
        }
        (texts, input)
    }

    #[test]
    fn a_backslash_or_quotes_make_a_text_of_several_lines() {
        let (all, rest) = texts(false, "one\ntwo \\\nthree\\\n  four\nfive\n");
        assert_eq!(all, ["one", "two \nthree\n  four", "five"]);
        assert_eq!(rest, "");
        let (all, rest) = texts(
            false,
            "\"\"\"a \\\n\n/exit\nb\"\"\"\n\"\"\"c\"\"\"\n\"\"\"\nd\n",
        );
        assert_eq!(all, ["a \\\n\n/exit\nb", "c"]);
        assert_eq!(rest, "\"\"\"\nd\n");
        // Elsewhere in a line they mean nothing.
        let (all, _) = texts(false, "say \"\"\"\na\\b\n");
        assert_eq!(all, ["say \"\"\"", "a\\b"]);
    }

    #[test]
    fn only_typed_continuations_lose_their_backslash() {
        let continued = Continue::default();
        let input = "ls \\\n  -l \\\nend";
        continued.places().extend([10, 3]);
        assert_eq!(continued.take_out(input.into()), "ls \n  -l \nend");
        continued.places().extend([3, 9, 99]);
        assert_eq!(continued.take_out(input.into()), "ls \n  -l \\\nend");
        assert_eq!(continued.take_out(input.into()), input);
    }

    #[test]
    fn a_multiline_input_ends_with_a_backslash_and_a_command_with_its_line() {
        let (all, rest) = texts(true, "one\n\ntwo\\\n/reset\nthree \\\nfour\n");
        assert_eq!(all, ["one\n\ntwo", "/reset", "three"]);
        assert_eq!(rest, "four\n");
    }
}
