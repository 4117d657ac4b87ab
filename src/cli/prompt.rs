//! Where the prompt comes from.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;

use crate::cli::exit::user_error;

/// The flags for the prompt.
#[derive(Debug, Args)]
pub(super) struct PromptArgs {
    /// The prompt
    #[arg(
        short = 'p',
        long,
        value_name = "TEXT",
        conflicts_with_all = ["file", "prefix", "suffix"],
        allow_hyphen_values = true
    )]
    prompt: Option<String>,

    /// Replace the escapes of the prompt: \n, \r, \t, \', \", \\ and \xHH
    #[arg(short = 'e', long)]
    escape: bool,

    /// Read the prompt from a file; - for standard input
    #[arg(
        short = 'f',
        long,
        value_name = "FILE",
        conflicts_with_all = ["prefix", "suffix"]
    )]
    file: Option<PathBuf>,

    /// Fill in the middle: write what lies between the text of this file and that of --suffix. For
    /// models that were trained for it, such as CodeLlama
    #[arg(long, value_name = "FILE", conflicts_with_all = ["chat", "template", "system"])]
    prefix: Option<PathBuf>,

    /// The text behind what is to be filled in
    #[arg(long, value_name = "FILE", conflicts_with_all = ["chat", "template", "system"])]
    suffix: Option<PathBuf>,
}

/// What the user wants an answer to.
#[derive(Debug)]
pub(super) enum Wanted {
    /// A prompt.
    Prompt(PromptText),
    /// The text between two others.
    Middle {
        /// What lies before it.
        prefix: String,
        /// What lies behind it.
        suffix: String,
    },
}

/// A prompt that is not empty.
#[derive(Debug)]
pub(super) struct PromptText {
    pub text: String,
    /// Where it comes from, for messages.
    source: String,
}

impl PromptText {
    /// Refuses white space, which can be continued, but is no question.
    pub(super) fn check_question(&self) -> anyhow::Result<()> {
        match self.text.trim_ascii().is_empty() {
            true => Err(empty(&self.source)),
            false => Ok(()),
        }
    }
}

fn empty(source: &str) -> anyhow::Error {
    user_error(format!(
        "the prompt from {source} is empty: give some text with -p TEXT, -f FILE or standard input"
    ))
}

impl PromptArgs {
    /// Prints a note if there is text on standard input while the prompt comes from elsewhere.
    /// Nothing is read: the text may be meant for the next command.
    pub(super) fn note_unread_input(&self) {
        let flag = match (&self.prompt, &self.file) {
            (Some(_), _) => "-p",
            (None, Some(path)) if path.as_os_str() != "-" => "-f",
            _ => return,
        };
        if has_unread_input() {
            tell_line!(
                "note: standard input is not read, because {flag} gives the prompt: leave out \
                 {flag}, or put both texts into one"
            );
        }
    }

    /// The prompt's text.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub(super) fn read(&self) -> anyhow::Result<Wanted> {
        if self.prefix.is_none() && self.suffix.is_none() {
            return Ok(Wanted::Prompt(self.read_prompt()?));
        }
        let text = |flag: &str, path: &Option<PathBuf>| {
            let Some(path) = path else {
                return Ok(String::new());
            };
            let bytes = std::fs::read(path).map_err(|error| {
                user_error(format!("cannot read {path:?}: {error}; check {flag}"))
            })?;
            anyhow::Ok(text_of_bytes(bytes, &format!("{path:?}")))
        };
        Ok(Wanted::Middle {
            prefix: text("--prefix", &self.prefix)?,
            suffix: text("--suffix", &self.suffix)?,
        })
    }

    /// The text of a prompt.
    fn read_prompt(&self) -> anyhow::Result<PromptText> {
        let (bytes, source) = match (&self.prompt, &self.file) {
            (Some(text), _) => (text.clone().into_bytes(), "-p".to_owned()),
            (None, Some(path)) if path.as_os_str() != "-" => {
                let bytes = std::fs::read(path).map_err(|error| {
                    user_error(format!(
                        "cannot read the prompt file {path:?}: {error}; check -f"
                    ))
                })?;
                (bytes, format!("{path:?}"))
            }
            (None, file) => {
                if file.is_none() && io::stdin().is_terminal() {
                    return Err(user_error(
                        "no prompt: give -p TEXT, -f FILE, or text on standard input (for a \
                         conversation, use logitspec chat)",
                    ));
                }
                let mut bytes = Vec::new();
                io::stdin()
                    .read_to_end(&mut bytes)
                    .map_err(unreadable_input)?;
                (bytes, "standard input".to_owned())
            }
        };
        if bytes.is_empty() {
            return Err(empty(&source));
        }
        let mut text = text_of_bytes(bytes, &source);
        if self.escape {
            text = unescaped(&text);
        }
        Ok(PromptText { text, source })
    }
}

/// The text with its escapes replaced. Others stay as they are.
fn unescaped(text: &str) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        done += before;
        let code = after.strip_prefix('x').and_then(|it| it.get(..2));
        let byte = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let (c, length) = match (after.chars().next(), byte) {
            (Some('n'), _) => ('\n', 1),
            (Some('r'), _) => ('\r', 1),
            (Some('t'), _) => ('\t', 1),
            (Some(c @ ('\'' | '"' | '\\')), _) => (c, 1),
            (_, Some(byte)) => (byte.into(), 3),
            _ => ('\\', 0),
        };
        done.push(c);
        rest = &after[length..];
    }
    done + rest
}

/// Whether a pipe at standard input holds text.
#[cfg(unix)]
fn has_unread_input() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::{FileType, fstat};

    let stdin = io::stdin();
    let is_pipe = fstat(&stdin)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode as _) == FileType::Fifo);
    let mut files = [PollFd::new(&stdin, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let polled = is_pipe && poll(&mut files, Some(&at_once)).is_ok();
    polled && files[0].revents().contains(PollFlags::IN)
}

#[cfg(not(unix))]
fn has_unread_input() -> bool {
    false
}

/// The error for standard input that is a folder or fails.
pub(super) fn unreadable_input(error: io::Error) -> anyhow::Error {
    user_error(format!(
        "cannot read standard input: {error}; check what it is redirected from"
    ))
}

/// The text of bytes from `source`. Prints a note if they are not valid UTF-8.
pub(super) fn text_of_bytes(bytes: Vec<u8>, source: &str) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        tell_line!(
            "note: the prompt from {source} is not valid UTF-8; invalid bytes were replaced by \
             U+FFFD"
        );
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_replaced_and_nothing_else() {
        let escaped = r#"a\nb\tc\\n \"q\" \'s\' \x41\x7a \d \x4 \é \"#;
        let text = "a\nb\tc\\n \"q\" 's' Az \\d \\x4 \\é \\";
        assert_eq!(unescaped(escaped), text);
        assert_eq!(unescaped(""), "");
    }
}
