//! `logitspec simulate`: measures drafting methods on recorded text.

mod input;
mod output;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use serde::Deserialize;

use crate::bench::category::{row_of, rows};
use crate::cli::args::{TreeArgs, capacity_within};
use crate::cli::exit::{Outcome, user_error};
use crate::cli::history::{HistoryArgs, InitialMemory};
use crate::cli::progress::bar;
use crate::cli::stdout::{print_json, stdout};
use crate::draft::PassCost;
use crate::engine::Method;
use crate::simulate::{Request, Settings, Tally, replay};
use output::CostSource;

/// Measure drafting methods on recorded text, without running the model
///
/// Recorded answers are replayed token by token. A draft is accepted exactly as far as it agrees
/// with the recorded answer. This takes seconds and needs no weights. It gives the mean accepted
/// tokens, the drafted tokens per step and the drafting time of every method. With what earlier
/// answers of -m or `logitspec calibrate` found passes to cost here, or with --cost, it also gives
/// the expected speedup of decoding.
///
/// Plain text has no logits. Methods that draft from logits get them from a --trace, or from
/// --answers that `logitspec bench --methods baseline --ranked 64` wrote. On plain text, their
/// figures show what the text alone gives them.
///
/// Examples:
///   logitspec simulate --questions question.jsonl --answers answers.jsonl -m model.gguf
///   logitspec simulate log.jsonl -m model.gguf
///   logitspec simulate log.jsonl --response-field answer --tokenizer-path tokenizer.json
///   logitspec simulate --trace trace.jsonl --methods logitspec,prompt-lookup
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct SimulateArgs {
    /// Methods, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "METHODS")]
    methods: Vec<Method>,

    /// Cost of a forward pass by its size: a file {"seconds": [of 1 token, of 2, ...]}, as
    /// `logitspec calibrate --json` writes it [default: what is known of -m here]
    #[arg(long, value_name = "FILE")]
    cost: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    input: input::InputArgs,

    /// First request to replay, counted from 0 in the file's order
    #[arg(
        long,
        alias = "question_begin",
        value_name = "N",
        help_heading = "Record"
    )]
    question_begin: Option<usize>,

    /// The request after the last one to replay
    #[arg(
        long,
        alias = "question_end",
        value_name = "N",
        help_heading = "Record"
    )]
    question_end: Option<usize>,

    /// Replay only every K-th of these requests
    #[arg(
        long,
        default_value_t = 1,
        value_name = "K",
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Record"
    )]
    every: u32,

    /// Which one of every K: --every 2 with --offset 0 and with --offset 1 are two halves
    #[arg(long, default_value_t = 0, value_name = "J", help_heading = "Record")]
    offset: u32,

    #[command(flatten)]
    tree: TreeArgs,
    #[command(flatten)]
    history: HistoryArgs,
}

pub(super) fn run(args: &SimulateArgs) -> anyhow::Result<Outcome> {
    let capacity = capacity_within(args.tree.draft_tree_capacity)?;
    if args.offset >= args.every {
        return Err(user_error(format!(
            "--offset {} is out of range: give 0 to {} with --every {}",
            args.offset,
            args.every - 1,
            args.every
        )));
    }
    let named = args.cost.as_deref().map(read_cost).transpose()?;
    let requests = args.input.read()?;
    let (source, cost) = args.cost(named)?;
    let chosen = args.choose(&requests)?;
    let methods = match args.methods.as_slice() {
        [] => &Method::ALL,
        named => named,
    };
    let memory = args.history.open(methods, || args.input.vocabulary())?;

    let requests_in_all = (methods.len() * chosen.len()) as u64;
    let bar = bar(requests_in_all, "{bar:24} {pos}/{len} {eta} left  {msg}");
    let mut tables = Vec::new();
    for &method in methods {
        bar.set_message(method.name());
        let mut settings = Settings::new(method, capacity);
        settings.cost = cost.clone().unwrap_or_else(PassCost::flat);
        let tallies = args.replay(method, &chosen, &settings, &memory, &bar);
        tables.push(output::MethodFigures::new(method, &tallies, cost.as_ref()));
    }
    bar.finish_and_clear();

    if args.json {
        let report = serde_json::json!({
            "requests": chosen.len(),
            "history": args.history.history,
            "pool_file": args.history.pool_file(),
            "corpus": args.history.common.corpus(),
            "draft_tree_capacity": capacity,
            "cost": source.name(),
            "methods": tables,
        });
        print_json(&report)?;
    } else {
        let has_logits = requests.iter().any(Request::has_logits);
        let text = output::table(&tables) + "\n" + &output::remarks(source, has_logits);
        stdout().write_all(text.as_bytes())?;
    }
    Ok(Outcome::Done)
}

impl SimulateArgs {
    /// The cost of passes: that of --cost, or what is kept for the model on this machine.
    fn cost(&self, named: Option<PassCost>) -> anyhow::Result<(CostSource, Option<PassCost>)> {
        if named.is_some() {
            return Ok((CostSource::File, named));
        }
        let kept = self.input.kept_seconds()?.map(PassCost::from_times);
        let source = match kept {
            Some(_) => CostSource::Kept,
            None => CostSource::Unknown,
        };
        Ok((source, kept))
    }

    /// The requests that the flags select.
    fn choose<'a>(&self, requests: &'a [Request]) -> anyhow::Result<Vec<&'a Request>> {
        let end = self.question_end.unwrap_or(requests.len());
        let chosen: Vec<&Request> = requests
            .iter()
            .take(end)
            .skip(self.question_begin.unwrap_or(0))
            .skip(self.offset as usize)
            .step_by(self.every as usize)
            .collect();
        match chosen.is_empty() {
            false => Ok(chosen),
            true => Err(user_error(format!(
                "no request left of {}: change --question-begin, --question-end or --offset",
                requests.len()
            ))),
        }
    }

    /// Replays all requests with one method. Returns a tally for each row of the table.
    fn replay<'a>(
        &self,
        method: Method,
        requests: &[&'a Request],
        settings: &Settings,
        memory: &InitialMemory,
        bar: &ProgressBar,
    ) -> Vec<(&'a str, Tally)> {
        let mut params = self.tree.method_params();
        params.suffix.max_cached_tokens = self.history.common.pool_max_tokens();
        let all = rows(requests.iter().map(|request| request.category.as_str()));
        let mut tallies: Vec<(&str, Tally)> = all
            .into_iter()
            .chain([output::OVERALL])
            .map(|row| (row, Tally::default()))
            .collect();
        let memory = memory.copy();
        let make = || method.drafter_with(params, memory.clone());
        let mut drafter = make();
        for request in requests {
            let replayed = replay(request, drafter.as_mut(), settings);
            if self.history.history {
                drafter.next_request();
            } else {
                drafter = make();
            }
            let row = row_of(&request.category);
            for (name, tally) in &mut tallies {
                if *name == row || *name == output::OVERALL {
                    tally.add(&replayed);
                }
            }
            bar.inc(1);
        }
        tallies
    }
}

/// Reads the cost of forward passes.
fn read_cost(path: &Path) -> anyhow::Result<PassCost> {
    #[derive(Deserialize)]
    struct Cost {
        seconds: Vec<f64>,
    }
    let bad = |reason: String| {
        user_error(format!(
            "--cost {}: {reason}; give a file {{\"seconds\": [time of 1 token, of 2, ...]}}, as \
             logitspec calibrate --json writes it",
            path.display()
        ))
    };
    let bytes = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let cost: Cost = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    if cost.seconds.is_empty() || cost.seconds.iter().any(|t| !t.is_finite() || *t <= 0.0) {
        return Err(bad(
            "seconds must hold at least one time, all above 0".into()
        ));
    }
    Ok(PassCost::from_times(cost.seconds))
}
