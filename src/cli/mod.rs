//! The command line: parse, call the library, print.
//!
//! One file per subcommand. Nothing deeper in the crate reads a flag or prints.

// First, since its macros are known from there on.
#[macro_use]
mod stderr;

mod answer;
mod args;
mod bench;
mod calibrate;
mod chat;
mod colors;
mod conversation;
mod corpus;
mod download;
mod earlier;
mod exit;
mod generate;
mod inspect;
mod memory;
mod model;
mod output;
mod prompt;
mod pull;
mod questions;
mod report;
mod simulate;
mod stdout;
mod suffix;
mod trace;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Faster llama.cpp answers, word for word the same.
///
/// logitspec runs GGUF models with LogitSpec speculative decoding: it guesses the next few tokens
/// from the last logits and from the text so far, verifies all guesses in one pass of the model,
/// and keeps the ones the model would have written itself. No draft model, no training, any GGUF.
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
    Chat(Box<chat::ChatArgs>),
    Inspect(inspect::InspectArgs),
    Pull(pull::PullArgs),
    Bench(Box<bench::BenchArgs>),
    Report(report::ReportArgs),
    Simulate(Box<simulate::SimulateArgs>),
    Calibrate(Box<calibrate::CalibrateArgs>),
    Corpus(corpus::CorpusArgs),
}

/// Lets every flag take a negative number, so that whoever gives one to a flag that has no use for
/// it is told by that flag.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| {
            let takes_one = arg.get_action().takes_values() && !arg.is_positional();
            arg.allow_negative_numbers(takes_one)
        })
        .mut_subcommands(with_negative_numbers)
}

/// Runs the command line of this process.
///
/// Exit codes: 0 done; 2 bad usage or bad input; 130 interrupted by Ctrl-C; 1 anything else.
pub fn main() -> ExitCode {
    let args = args::rewrite_llama_cpp_flags(std::env::args_os());
    let matches = with_negative_numbers(Cli::command()).try_get_matches_from(args);
    let cli = match matches.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let done = match cli.command {
        Command::Generate(args) => generate::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Pull(args) => pull::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Corpus(args) => corpus::run(&args),
    };
    exit::report(done)
}
