//! The command line: parses flags, calls the library and prints.
//!
//! Each subcommand has a module: `generate`, `chat`, `serve`, `compare`, `bench`, `report`,
//! `simulate`, `calibrate`, `exactness`, `corpus`, `inspect`, `pull`, `quantize`, `devices` and
//! `rpc-server`. They do not use each other; what they share has modules of its own. No other
//! module of the crate reads a flag or prints.

// First, because its macros are only known below.
#[macro_use]
mod stderr;

mod args;
mod bench;
mod calibrate;
mod chat;
mod colors;
mod compare;
mod conversation;
mod corpus;
mod cost;
mod device_args;
mod devices;
mod download;
mod escapes;
mod exactness;
mod exit;
mod generate;
mod hints;
mod history;
mod inspect;
mod interrupt;
mod json;
mod lines;
mod llama_flags;
mod llama_server;
mod memory;
mod model;
mod model_args;
mod output;
mod progress;
mod prompt;
mod pull;
mod quantize;
mod questions;
mod report;
mod request;
#[cfg(feature = "rpc")]
mod rpc_server;
mod sampling;
#[cfg(feature = "server")]
mod serve;
mod simulate;
mod stdout;
mod stop;
mod suffix;
mod terminal;
mod tokenizer;
mod trace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Fast llama.cpp inference with speculative decoding: the same answers, without a draft model.
///
/// logitspec runs GGUF models with LogitSpec. It drafts the next tokens from the last logits and
/// from the text so far, verifies them in one forward pass, and keeps those that the model would
/// have written itself. It needs no draft model and no training, and works with any GGUF file.
#[derive(Debug, Parser)]
#[command(
    name = "logitspec",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Generate(Box<generate::GenerateArgs>),
    #[command(visible_alias = "run")]
    Chat(Box<chat::ChatArgs>),
    #[cfg(feature = "server")]
    Serve(Box<serve::ServeArgs>),
    Inspect(inspect::InspectArgs),
    Pull(pull::PullArgs),
    Quantize(quantize::QuantizeArgs),
    Compare(Box<compare::CompareArgs>),
    Bench(Box<bench::BenchArgs>),
    Report(report::ReportArgs),
    Simulate(Box<simulate::SimulateArgs>),
    Calibrate(Box<calibrate::CalibrateArgs>),
    Exactness(Box<exactness::ExactnessArgs>),
    Corpus(corpus::CorpusArgs),
    Devices(devices::DevicesArgs),
    #[cfg(feature = "rpc")]
    RpcServer(rpc_server::RpcServerArgs),
}

/// Lets every flag take a negative number. A flag that cannot use one then reports it itself.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| {
            let takes_one = arg.get_action().takes_values() && !arg.is_positional();
            arg.allow_negative_numbers(takes_one)
        })
        .mut_subcommands(with_negative_numbers)
}

/// Without a subcommand, flags are those of `chat`, or of `generate` if there is a prompt among
/// them; without anything, help is wanted.
fn with_usual_command(mut args: Vec<OsString>) -> Vec<OsString> {
    const OWN: [&str; 5] = ["-h", "--help", "--usage", "-V", "--version"];
    const PROMPT: [&str; 4] = ["-p", "--prompt", "-f", "--file"];
    let has_prompt = args.iter().any(|arg| {
        let arg = arg.to_string_lossy();
        PROMPT.contains(&arg.split('=').next().unwrap_or_default())
    });
    let first = args.get(1).map(|arg| arg.to_string_lossy().into_owned());
    match first {
        None => args.push("-h".into()),
        Some(flag) if flag.starts_with('-') && !OWN.contains(&flag.as_str()) => {
            let usual = if has_prompt { "generate" } else { "chat" };
            args.insert(1, usual.into());
        }
        Some(_) => {}
    }
    args
}

/// Runs the command line of this process.
///
/// Exit codes: 0 for success, 2 for bad usage or bad input, 130 after Ctrl-C, 1 for anything else.
pub fn main() -> ExitCode {
    crate::runtime::llama::bound_spinning();
    crate::runtime::llama::set_abort_handler(exit::on_abort);
    let command = with_negative_numbers(Cli::command());
    let args = with_usual_command(std::env::args_os().collect());
    let args = match llama_flags::rewrite(args, &command) {
        Ok(rewritten) => rewritten,
        Err(error) => return exit::report(Err(error)),
    };
    let matches = command.try_get_matches_from(&args.args);
    let cli = match matches.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    args.tell();
    let done = match cli.command {
        Command::Generate(args) => generate::run(&args),
        Command::Chat(args) => chat::run(&args),
        #[cfg(feature = "server")]
        Command::Serve(args) => serve::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Pull(args) => pull::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Exactness(args) => exactness::run(&args),
        Command::Corpus(args) => corpus::run(&args),
        Command::Devices(args) => devices::run(&args),
        #[cfg(feature = "rpc")]
        Command::RpcServer(args) => rpc_server::run(&args),
    };
    exit::report(done)
}
