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
pub(super) enum Wanted {
    /// A prompt.
    Prompt(String),
    /// The text between two others.
    Middle {
        /// What lies before it.
        prefix: String,
        /// What lies behind it.
        suffix: String,
    },
}

impl PromptArgs {
    /// The prompt's text. In a chat, white space alone is not a prompt.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub(super) fn read(&self, chat: bool) -> anyhow::Result<Wanted> {
        if self.prefix.is_none() && self.suffix.is_none() {
            return Ok(Wanted::Prompt(self.read_prompt(chat)?));
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
    fn read_prompt(&self, chat: bool) -> anyhow::Result<String> {
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
        if bytes.is_empty() || chat && bytes.trim_ascii().is_empty() {
            return Err(user_error(format!(
                "the prompt from {source} is empty: give some text with -p TEXT, -f FILE or \
                 standard input"
            )));
        }
        Ok(text_of_bytes(bytes, &source))
    }
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
