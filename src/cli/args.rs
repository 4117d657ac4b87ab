//! The flags for drafting and sampling, and the session that they describe.

use std::ffi::OsString;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::cli::exit::user_error;
use crate::cli::suffix::SuffixArgs;
use crate::engine::{Method, MethodParams, SessionOptions};
use crate::tree::Source;
use crate::verify::SamplingParams;

/// Largest draft tree: larger than any machine gains from, yet its logits still fit into memory.
const MAX_CAPACITY: usize = 1024;

/// No limit on new tokens: an answer ends with the model's end token or with the context.
pub(super) const NO_LIMIT: usize = usize::MAX;

/// Longest n-gram: indexes hold one table for each length.
const MAX_NGRAM_SIZE: u64 = 1024;

/// Most tokens copied from one match: far more than a tree takes.
const MAX_PRED_TOKENS: u64 = 65_536;

/// The drafting method and its parameters.
#[derive(Debug, Args)]
#[command(next_help_heading = "Drafting")]
pub(super) struct DraftArgs {
    /// Drafting method: logitspec, logitspec-reference (as published), prompt-lookup,
    /// token-recycling, suffix, or baseline (no drafts). All methods give the same answer; only the
    /// speed differs
    #[arg(long, default_value_t, value_name = "METHOD")]
    pub method: Method,

    #[command(flatten)]
    pub size: SizeArgs,
    #[command(flatten)]
    pub tree: TreeArgs,
}

/// How the size of draft trees is chosen.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Drafting")]
pub(super) struct SizeArgs {
    /// Fill every draft tree to --draft-tree-capacity. By default, logitspec chooses the size of
    /// each tree by the measured cost of a forward pass, up to that capacity
    #[arg(long, alias = "fill_tree")]
    pub fill_tree: bool,
}

/// The parameters of draft trees.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Drafting")]
pub(super) struct TreeArgs {
    /// Maximum number of tokens in one verification pass. 1 drafts nothing; 8 to 64 are typical:
    /// fewer on slow CPUs, more on GPUs
    #[arg(
        long,
        alias = "draft_tree_capacity",
        default_value_t = 64,
        value_name = "N"
    )]
    pub draft_tree_capacity: usize,

    /// Longest n-gram to look up in the text so far [default: 32 for logitspec, 64 for suffix, 3
    /// (as published) for the others]
    #[arg(
        long,
        alias = "max_ngram_size",
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_NGRAM_SIZE)
    )]
    pub max_ngram_size: Option<usize>,

    /// Maximum number of draft tokens copied from one match; for token-recycling, the nodes of its
    /// tree [default: 48 for logitspec, 64 for suffix, 80 for token-recycling; as published, 20 for
    /// logitspec-reference and 10 for prompt-lookup]
    #[arg(
        long,
        alias = "num_pred_tokens",
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(0..=MAX_PRED_TOKENS)
    )]
    pub num_pred_tokens: Option<usize>,

    /// Draft sources that logitspec does not use, to measure what each one gains: text (the
    /// conversation so far), history, corpus, last-logits, recycled
    #[arg(
        long,
        alias = "leave_out",
        value_delimiter = ',',
        value_name = "SOURCE,..."
    )]
    pub leave_out: Vec<Source>,

    #[command(flatten)]
    pub suffix: SuffixArgs,
}

impl TreeArgs {
    /// The methods' parameters.
    pub(super) fn method_params(&self) -> MethodParams {
        MethodParams {
            max_ngram_size: self.max_ngram_size,
            num_pred_tokens: self.num_pred_tokens,
            leave_out: self.leave_out.iter().copied().collect(),
            suffix: self.suffix.params(),
        }
    }
}

/// How the next token is sampled.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(super) struct SamplingArgs {
    /// Sampling temperature: 0 always takes the most probable token; higher values vary the answer
    /// more
    #[arg(long, alias = "temp", default_value_t = 0.0, value_name = "T")]
    pub temperature: f64,

    /// Sample from the K most probable tokens; 0 for all
    #[arg(long, alias = "top_k", default_value_t = 40, value_name = "K")]
    pub top_k: usize,

    /// Sample from the smallest set of tokens whose probabilities sum to P
    #[arg(long, alias = "top_p", default_value_t = 0.95, value_name = "P")]
    pub top_p: f64,

    /// Drop tokens less than P times as probable as the most probable one
    #[arg(long, alias = "min_p", default_value_t = 0.05, value_name = "P")]
    pub min_p: f64,

    /// Penalty for repeating one of the last 64 tokens; 1 for none
    #[arg(
        long,
        alias = "repeat_penalty",
        default_value_t = 1.0,
        value_name = "X"
    )]
    pub repeat_penalty: f64,

    /// Random seed. The same seed gives the same answer with every method, except for rounding
    #[arg(short = 's', long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
}

/// Gives llama.cpp's flags of several letters a second dash: clap would read `-ngl 99` as three
/// short flags.
pub(super) fn rewrite_llama_cpp_flags(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    const REWRITTEN: [&str; 8] = ["-ngl", "-fa", "-ub", "-ctk", "-ctv", "-hf", "-sp", "-np"];
    let mut rewritten: Vec<OsString> = Vec::new();
    let mut flags_ended = false;
    for arg in args {
        flags_ended |= arg == "--";
        let is_value = rewritten
            .last()
            .is_some_and(|last| last == "-p" || last == "--prompt");
        match REWRITTEN.iter().find(|&&flag| arg == flag) {
            Some(flag) if !flags_ended && !is_value => rewritten.push(format!("-{flag}").into()),
            _ => rewritten.push(arg),
        }
    }
    rewritten
}

/// A number of tokens, or -1 for [`NO_LIMIT`], as in llama.cpp.
pub(super) fn token_limit(text: &str) -> Result<usize, String> {
    match text {
        "-1" => Ok(NO_LIMIT),
        _ => text
            .parse()
            .map_err(|_| "give a whole number of tokens, or -1 for no limit".into()),
    }
}

/// The capacity, if it is in range.
pub(super) fn capacity_within(capacity: usize) -> anyhow::Result<usize> {
    if (1..=MAX_CAPACITY).contains(&capacity) {
        return Ok(capacity);
    }
    Err(user_error(format!(
        "--draft-tree-capacity {capacity} is out of range: give 1 (no draft) to {MAX_CAPACITY}"
    )))
}

/// How these flags select tokens.
pub(super) fn sampling_params(sampling: &SamplingArgs) -> anyhow::Result<SamplingParams> {
    let within = |flag: &str, value: f64, range: std::ops::RangeInclusive<f64>| {
        if range.contains(&value) {
            return Ok(value as f32);
        }
        let (low, high) = range.into_inner();
        Err(user_error(format!(
            "{flag} {value} is out of range: give {low} to {high}"
        )))
    };
    Ok(SamplingParams {
        temperature: within("--temperature", sampling.temperature, 0.0..=100.0)?,
        top_k: sampling.top_k,
        top_p: within("--top-p", sampling.top_p, 0.0..=1.0)?,
        min_p: within("--min-p", sampling.min_p, 0.0..=1.0)?,
        repeat_penalty: within("--repeat-penalty", sampling.repeat_penalty, 0.01..=100.0)?,
        seed: sampling.seed,
        ..SamplingParams::default()
    })
}

/// The session that these flags ask for.
pub(super) fn session_options(
    draft: &DraftArgs,
    sampling: &SamplingArgs,
) -> anyhow::Result<SessionOptions> {
    let capacity = capacity_within(draft.tree.draft_tree_capacity)?;
    let of_logitspec = [(
        "--leave-out",
        !draft.tree.leave_out.is_empty(),
        "has those sources",
    )];
    for (flag, given, what) in of_logitspec {
        if given && draft.method != Method::Logitspec {
            let method = draft.method;
            tell_line!("note: {flag} does nothing with --method {method}; logitspec {what}");
        }
    }
    Ok(SessionOptions {
        method: draft.method,
        method_params: draft.tree.method_params(),
        draft_tree_capacity: capacity,
        fill_tree: draft.size.fill_tree,
        exact: true,
        sampling: sampling_params(sampling)?,
        ranked: 0,
    })
}
