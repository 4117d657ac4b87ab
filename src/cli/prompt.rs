//! Where a prompt comes from.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;

use crate::cli::exit::user_error;

/// The prompt, or where it is read from.
#[derive(Debug, Args)]
pub(super) struct PromptArgs {
    /// The prompt
    #[arg(
        short = 'p',
        long,
        value_name = "TEXT",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    prompt: Option<String>,

    /// Read the prompt from a file; - is standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl PromptArgs {
    /// The prompt's text. If `question`, white space alone is no prompt: chat templates ask about
    /// nothing then.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub(super) fn read(&self, question: bool) -> anyhow::Result<String> {
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
                        "no prompt: give -p TEXT, -f FILE, or text on standard input (for a conversation: logitspec chat)",
                    ));
                }
                let mut bytes = Vec::new();
                io::stdin()
                    .read_to_end(&mut bytes)
                    .map_err(unreadable_input)?;
                (bytes, "standard input".to_owned())
            }
        };
        if bytes.is_empty() || question && bytes.trim_ascii().is_empty() {
            return Err(user_error(format!(
                "the prompt from {source} is empty: give some text with -p TEXT, -f FILE or standard input"
            )));
        }
        Ok(text_of_bytes(bytes, &source))
    }
}

/// Standard input that is a folder, or fails.
pub(super) fn unreadable_input(error: io::Error) -> anyhow::Error {
    user_error(format!(
        "cannot read standard input: {error}; check what it is redirected from"
    ))
}

/// The text of bytes from `source`; a note tells if not all of them are text.
pub(super) fn text_of_bytes(bytes: Vec<u8>, source: &str) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        tell_line!(
            "note: the prompt from {source} is not valid UTF-8; invalid bytes were replaced by U+FFFD"
        );
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    })
}
