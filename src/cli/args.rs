//! The flags for drafting, and the session that they describe.

use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::cli::exit::user_error;
use crate::cli::suffix::SuffixArgs;
use crate::engine::{Method, MethodParams, SessionOptions};
use crate::tree::Source;

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
    /// conversation so far), history, corpus, last-logits, recycled; with any method: grammar
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

/// A number of tokens, or -1 (or llama.cpp's -2, until the context is full) for [`NO_LIMIT`].
pub(super) fn token_limit(text: &str) -> Result<usize, String> {
    match text {
        "-1" | "-2" => Ok(NO_LIMIT),
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

/// The session that these flags ask for.
pub(super) fn session_options(draft: &DraftArgs) -> anyhow::Result<SessionOptions> {
    let capacity = capacity_within(draft.tree.draft_tree_capacity)?;
    let of_logitspec = [(
        "--leave-out",
        draft.tree.leave_out.iter().any(|&it| it != Source::Grammar),
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
        ranked: 0,
    })
}
