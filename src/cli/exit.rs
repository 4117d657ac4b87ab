//! Exit codes, and the one line that says what went wrong.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

use crate::bench::QuestionError;
use crate::bench::run::RunError;
use crate::bench::server::ServerError;
use crate::cli::hints;
use crate::cli::interrupt::INTERRUPTED;
use crate::engine::GenerateError;
use crate::engine::calibrate::CalibrationError;
use crate::hub::HubError;
use crate::report::ReportError;
use crate::runtime::llama::{Abort, LoadError, LoraError};
use crate::runtime::{PromptError, TemplateError, TokenizeError};
use crate::simulate::InputError;
use crate::store::TokenFileError;

/// How a subcommand ended if it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything is done.
    Done,
    /// What was to be checked does not hold; the output says so.
    Failed,
    /// Ctrl-C stopped it; what was finished is printed.
    Interrupted,
}

impl Outcome {
    /// Done, or `interrupted`.
    pub(super) fn done_or(interrupted: bool) -> Self {
        match interrupted {
            true => Self::Interrupted,
            false => Self::Done,
        }
    }
}

/// An error in the input. The message says how to correct it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UserError(pub(super) String);

/// A [`UserError`] with this message.
pub(super) fn user_error(message: impl Into<String>) -> anyhow::Error {
    UserError(message.into()).into()
}

/// The exit code of a subcommand. Prints what went wrong to standard error, in one line.
pub(super) fn report(done: anyhow::Result<Outcome>) -> ExitCode {
    match done {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Ok(Outcome::Interrupted) => ExitCode::from(INTERRUPTED),
        // The reader of the pipe has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.downcast_ref().is_some_and(is_cancelled) => {
            say(&format!("{error:#}"));
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            say(&format!("error: {}", hints::describe(error.as_ref())));
            ExitCode::from(if is_users(&error) { 2 } else { 1 })
        }
    }
}

/// Prints help and version to standard output, and a usage error as one line.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return report(print_help(error).map(|()| Outcome::Done));
    }
    let text = error.render().to_string();
    let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(tip) = rest
        .lines()
        .find_map(|line| line.trim().strip_prefix("tip: "))
    {
        line += &format!(" ({tip})");
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        line = "error: no command given; see --help for all of them".into();
    } else if let Some(word) = bare_word(error) {
        let subcommand = std::env::args_os().nth(1);
        line += match subcommand {
            _ if word.to_ascii_lowercase().ends_with(".gguf") => "; name the model with -m FILE",
            Some(it) if it == "generate" => "; give the prompt with -p TEXT",
            _ => "; see --help for all flags",
        };
    } else {
        line += "; see --help for all flags";
    }
    say(&line);
    ExitCode::from(2)
}

/// The unexpected argument, if it does not look like a flag.
fn bare_word(error: &clap::Error) -> Option<&str> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) if error.kind() == ErrorKind::UnknownArgument => {
            Some(word.as_str()).filter(|word| !word.starts_with('-'))
        }
        _ => None,
    }
}

/// Prints that llama.cpp ends the process. Returns the exit code.
pub(super) fn on_abort(abort: &Abort) -> i32 {
    say(&format!("error: {}", abort.message));
    if abort.is_input_error { 2 } else { 1 }
}

fn print_help(help: &clap::Error) -> anyhow::Result<()> {
    help.print()
        .and_then(|()| io::stdout().flush())
        .context("cannot write to standard output")
}

fn say(line: &str) {
    let line = line.replace('\n', " ");
    // There is nowhere to report that standard error is closed.
    let _ = writeln!(io::stderr(), "{line}");
}

pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn is_cancelled(error: &HubError) -> bool {
    matches!(error, HubError::Cancelled)
}

/// Whether another flag of `serve` would have helped.
fn is_servers(_cause: &(dyn std::error::Error + 'static)) -> bool {
    #[cfg(feature = "server")]
    if let Some(error) = _cause.downcast_ref() {
        return crate::cli::serve::is_input_error(error);
    }
    false
}

fn is_of_workers(_cause: &(dyn std::error::Error + 'static)) -> bool {
    #[cfg(feature = "rpc")]
    if _cause.is::<crate::runtime::llama::rpc::RpcError>() {
        return true;
    }
    false
}

fn is_users(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<UserError>()
            || cause.is::<LoadError>()
            || cause.is::<LoraError>()
            || cause.is::<TemplateError>()
            || cause.is::<PromptError>()
            || cause.is::<TokenizeError>()
            || cause.is::<ReportError>()
            || cause.is::<TokenFileError>()
            || cause.is::<QuestionError>()
            || cause.is::<InputError>()
            || cause.is::<CalibrationError>()
            || is_servers(cause)
            || is_of_workers(cause)
            || cause
                .downcast_ref::<RunError>()
                .is_some_and(RunError::is_input_error)
            || cause
                .downcast_ref::<ServerError>()
                .is_some_and(ServerError::is_input_error)
            || cause
                .downcast_ref::<HubError>()
                .is_some_and(HubError::is_input_error)
            || cause
                .downcast_ref::<GenerateError>()
                .is_some_and(GenerateError::is_input_error)
    })
}
