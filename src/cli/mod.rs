//! The command line: parses flags, calls the library and prints.
//!
//! Each subcommand has a module: `generate`, `chat`, `serve`, `bench`, `report`, `simulate`, `calibrate`,
//! `exactness`, `corpus`, `inspect` and `pull`. They do not use each other; what they share has
//! modules of its own. No other module of the crate reads a flag or prints.

// First, because its macros are only known below.
#[macro_use]
mod stderr;

mod args;
mod bench;
mod calibrate;
mod chat;
mod colors;
mod conversation;
mod corpus;
mod cost;
mod download;
mod exactness;
mod exit;
mod generate;
mod hints;
mod history;
mod inspect;
mod interrupt;
mod json;
mod lines;
mod memory;
mod model;
mod model_args;
mod output;
mod progress;
mod prompt;
mod pull;
mod report;
#[cfg(feature = "server")]
mod serve;
mod simulate;
mod stdout;
mod suffix;
mod tokenizer;
mod trace;

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
    Chat(Box<chat::ChatArgs>),
    #[cfg(feature = "server")]
    Serve(Box<serve::ServeArgs>),
    Inspect(inspect::InspectArgs),
    Pull(pull::PullArgs),
    Bench(Box<bench::BenchArgs>),
    Report(report::ReportArgs),
    Simulate(Box<simulate::SimulateArgs>),
    Calibrate(Box<calibrate::CalibrateArgs>),
    Exactness(Box<exactness::ExactnessArgs>),
    Corpus(corpus::CorpusArgs),
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

/// Runs the command line of this process.
///
/// Exit codes: 0 for success, 2 for bad usage or bad input, 130 after Ctrl-C, 1 for anything else.
pub fn main() -> ExitCode {
    crate::runtime::llama::bound_spinning();
    crate::runtime::llama::set_abort_handler(exit::on_abort);
    let args = args::rewrite_llama_cpp_flags(std::env::args_os());
    let matches = with_negative_numbers(Cli::command()).try_get_matches_from(args);
    let cli = match matches.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let done = match cli.command {
        Command::Generate(args) => generate::run(&args),
        Command::Chat(args) => chat::run(&args),
        #[cfg(feature = "server")]
        Command::Serve(args) => serve::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Pull(args) => pull::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Exactness(args) => exactness::run(&args),
        Command::Corpus(args) => corpus::run(&args),
    };
    exit::report(done)
}
