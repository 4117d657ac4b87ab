//! Flags that several subcommands share.

use std::ffi::OsString;
use std::sync::atomic::AtomicBool;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

use crate::cli::exit::user_error;
use crate::cli::model::ModelSource;
use crate::cli::suffix::SuffixArgs;
use crate::engine::{Method, MethodParams, SessionOptions};
use crate::runtime::llama::{CacheType, ContextOptions, FlashAttention, Model, ModelOptions};
use crate::tree::Source;
use crate::verify::SamplingParams;

/// Largest draft tree: more than any machine gains from, and still far from filling memory with
/// logits.
const MAX_CAPACITY: usize = 1024;

/// Most threads: ggml's own limit, beyond which it crashes.
const MAX_THREADS: u32 = 512;

/// Tokens of an answer that ends only with the model's end token or the context.
pub(super) const NO_LIMIT: usize = usize::MAX;

/// Longest run of tokens looked up: indexes make room for one table a length.
const MAX_NGRAM_SIZE: u64 = 1024;

/// Most tokens copied from one place: far more than a tree takes.
const MAX_PRED_TOKENS: u64 = 65_536;

/// Which model, and how to run it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(super) struct ModelArgs {
    #[command(flatten)]
    pub source: ModelSource,

    /// Tokens the context holds, prompt and answer together; 0 for as many as the model was trained
    /// on [default: as many as this run can need, up to that]
    #[arg(
        short = 'c',
        long = "ctx-size",
        alias = "ctx_size",
        value_name = "N",
        value_parser = context_size
    )]
    pub ctx_size: Option<u32>,

    /// Threads to compute with [default: one per core]
    #[arg(short = 't', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_THREADS)))]
    pub threads: Option<u32>,

    /// Layers to put on the GPU [default: all, if this build has a GPU backend]
    #[arg(
        long = "n-gpu-layers",
        visible_alias = "ngl",
        alias = "n_gpu_layers",
        value_name = "N"
    )]
    pub n_gpu_layers: Option<u32>,

    /// Fused attention kernels
    #[arg(long = "flash-attn", visible_alias = "fa", alias = "flash_attn", value_enum, default_value_t, value_name = "WHEN",
          num_args = 0..=1, default_missing_value = "on")]
    pub flash_attn: When,

    /// Most tokens of a prompt handed over at once
    #[arg(short = 'b', long = "batch-size", alias = "batch_size", default_value_t = 2048, value_name = "N",
          value_parser = at_least_one)]
    pub batch_size: u32,

    /// Most tokens computed at once [default: 256, on a GPU 512]
    #[arg(long = "ubatch-size", visible_alias = "ub", alias = "ubatch_size", value_name = "N", value_parser = at_least_one)]
    pub ubatch_size: Option<u32>,

    /// How the cache stores keys: f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl
    #[arg(
        long = "cache-type-k",
        visible_alias = "ctk",
        alias = "cache_type_k",
        default_value = "f16",
        value_name = "TYPE"
    )]
    pub cache_type_k: CacheType,

    /// How the cache stores values, like --cache-type-k
    #[arg(
        long = "cache-type-v",
        visible_alias = "ctv",
        alias = "cache_type_v",
        default_value = "f16",
        value_name = "TYPE"
    )]
    pub cache_type_v: CacheType,

    /// Give models with sliding-window attention a small cache; they then decode plainly
    #[arg(long, alias = "no_swa_full")]
    pub no_swa_full: bool,

    /// Read the model into memory instead of mapping the file
    #[arg(long, alias = "no_mmap")]
    pub no_mmap: bool,

    /// Never use logitspec's own kernels (on x86 Linux, they compute passes of two tokens and more
    /// for F16 and Q8_0 weights, with AVX-512 VNNI for Q4_0, Q4_K and Q6_K, and with AMX for Q5_K
    /// as well)
    #[arg(long, alias = "llama_kernels")]
    pub llama_kernels: bool,

    /// Show llama.cpp's own log on standard error
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

/// A switch that can be left to the program.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum When {
    /// Where it helps
    #[default]
    Auto,
    /// Always
    On,
    /// Never
    Off,
}

/// How to draft.
#[derive(Debug, Args)]
#[command(next_help_heading = "Drafting")]
pub(super) struct DraftArgs {
    /// How to draft: logitspec, logitspec-reference (as published), prompt-lookup, token-recycling,
    /// suffix, or baseline (no draft). The answer is the same with all of them, only the speed
    /// differs
    #[arg(long, default_value_t, value_name = "METHOD")]
    pub method: Method,

    #[command(flatten)]
    pub size: SizeArgs,
    #[command(flatten)]
    pub tree: TreeArgs,
}

/// How large trees are.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Drafting")]
pub(super) struct SizeArgs {
    /// Fill every tree to its capacity, whatever a pass costs; otherwise logitspec sizes each tree
    /// by the measured cost of a pass, and --draft-tree-capacity is the most it may take
    #[arg(long, alias = "fill_tree")]
    pub fill_tree: bool,
}

/// What a draft tree may take, and from where.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Drafting")]
pub(super) struct TreeArgs {
    /// Most tokens in one verification pass: 1 drafts nothing, 8 to 64 are typical; slow processors
    /// want fewer, GPUs more
    #[arg(
        long,
        alias = "draft_tree_capacity",
        default_value_t = 64,
        value_name = "N"
    )]
    pub draft_tree_capacity: usize,

    /// Longest run of tokens looked up in the text so far [default: logitspec 32, suffix 64, 3 as
    /// published for the others]
    #[arg(long, alias = "max_ngram_size", value_name = "N",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_NGRAM_SIZE))]
    pub max_ngram_size: Option<usize>,

    /// Most tokens copied from one place in the text, or nodes of token-recycling's tree [default:
    /// logitspec 48, suffix 64, token-recycling 80; as published, 20 for logitspec-reference and 10
    /// for prompt-lookup]
    #[arg(long, alias = "num_pred_tokens", value_name = "N",
          value_parser = RangedU64ValueParser::<usize>::new().range(0..=MAX_PRED_TOKENS))]
    pub num_pred_tokens: Option<usize>,

    /// Sources that logitspec does not draw upon, to see what each is worth: text (of the
    /// conversation), history, corpus, last-logits, recycled
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

/// How to choose among tokens.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(super) struct SamplingArgs {
    /// 0 always takes the most probable token; more makes answers more varied
    #[arg(long, alias = "temp", default_value_t = 0.0, value_name = "T")]
    pub temperature: f64,

    /// Draw from the K most probable tokens; 0 for all
    #[arg(long, alias = "top_k", default_value_t = 40, value_name = "K")]
    pub top_k: usize,

    /// Draw from the fewest tokens whose probabilities sum to P
    #[arg(long, alias = "top_p", default_value_t = 0.95, value_name = "P")]
    pub top_p: f64,

    /// Leave out tokens less than P times as probable as the best
    #[arg(long, alias = "min_p", default_value_t = 0.05, value_name = "P")]
    pub min_p: f64,

    /// Make tokens of the last 64 less probable; 1 does nothing
    #[arg(
        long,
        alias = "repeat_penalty",
        default_value_t = 1.0,
        value_name = "X"
    )]
    pub repeat_penalty: f64,

    /// Seed of the random numbers: the same seed gives the same answer with every method, as far as
    /// rounding lets it
    #[arg(short = 's', long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
}

/// Rewrites the flags that llama.cpp's users write with one dash and several letters (`-ngl 99`),
/// which clap would take for several short flags.
pub(super) fn rewrite_llama_cpp_flags(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    const REWRITTEN: [&str; 6] = ["-ngl", "-fa", "-ub", "-ctk", "-ctv", "-hf"];
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

fn at_least_one(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("give a number of at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("give a whole number of at least 1".into()),
    }
}

/// A number of tokens, or [`NO_LIMIT`], which llama.cpp's users write -1.
pub(super) fn token_limit(text: &str) -> Result<usize, String> {
    match text {
        "-1" => Ok(NO_LIMIT),
        _ => text
            .parse()
            .map_err(|_| "give a whole number of tokens, or -1 for no limit".into()),
    }
}

fn context_size(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| {
        "give a whole number of tokens, or 0 for as many as the model was trained on".into()
    })
}

impl ModelArgs {
    /// Loads the model, which is fetched first if need be, unless Ctrl-C raises `interrupted`.
    pub(super) fn load(&self, interrupted: &AtomicBool) -> anyhow::Result<Model> {
        self.check_cache_types()?;
        crate::runtime::llama::set_verbose(self.verbose);
        let path = self.source.locate(None, interrupted)?;
        let options = ModelOptions {
            n_gpu_layers: self.n_gpu_layers,
            use_mmap: !self.no_mmap,
            llama_kernels: self.llama_kernels,
            info_only: false,
        };
        Ok(Model::load(&path, &options)?)
    }

    /// llama.cpp reads quantized values with its fused attention kernels only.
    fn check_cache_types(&self) -> anyhow::Result<()> {
        let kind = self.cache_type_v;
        if !kind.is_unquantized() && matches!(self.flash_attn, When::Off) {
            return Err(user_error(format!(
                "-ctv {kind} needs fused attention, and -fa off forbids it: give -fa on (or auto), or -ctv f16"
            )));
        }
        Ok(())
    }

    /// The context these flags ask for, of `needed` tokens if they don't say how many.
    pub(super) fn context(&self, model: &Model, needed: usize) -> ContextOptions {
        let trained = model.n_ctx_train();
        let needed = u32::try_from(needed).unwrap_or(u32::MAX);
        ContextOptions {
            n_ctx: Some(match self.ctx_size {
                Some(0) => trained,
                Some(size) => size,
                None => needed.min(trained),
            }),
            n_batch: self.batch_size,
            n_ubatch: self.ubatch_size,
            threads: self.threads,
            flash_attention: match self.flash_attn {
                When::Auto => FlashAttention::Auto,
                When::On => FlashAttention::On,
                When::Off => FlashAttention::Off,
            },
            cache_type_k: self.cache_type_k,
            cache_type_v: self.cache_type_v,
            swa_full: !self.no_swa_full,
            ..ContextOptions::default()
        }
    }
}

/// That capacity of a draft tree, if there can be such a tree.
pub(super) fn capacity_within(capacity: usize) -> anyhow::Result<usize> {
    if (1..=MAX_CAPACITY).contains(&capacity) {
        return Ok(capacity);
    }
    Err(user_error(format!(
        "--draft-tree-capacity {capacity} is out of range: give 1 (no draft) to {MAX_CAPACITY}"
    )))
}

/// The session these flags ask for.
pub(super) fn session_options(
    draft: &DraftArgs,
    sampling: &SamplingArgs,
) -> anyhow::Result<SessionOptions> {
    let capacity = capacity_within(draft.tree.draft_tree_capacity)?;
    let within = |flag: &str, value: f64, range: std::ops::RangeInclusive<f64>| {
        if range.contains(&value) {
            return Ok(value as f32);
        }
        let (low, high) = range.into_inner();
        Err(user_error(format!(
            "{flag} {value} is out of range: give {low} to {high}"
        )))
    };
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
        sampling: SamplingParams {
            temperature: within("--temperature", sampling.temperature, 0.0..=100.0)?,
            top_k: sampling.top_k,
            top_p: within("--top-p", sampling.top_p, 0.0..=1.0)?,
            min_p: within("--min-p", sampling.min_p, 0.0..=1.0)?,
            repeat_penalty: within("--repeat-penalty", sampling.repeat_penalty, 0.01..=100.0)?,
            seed: sampling.seed,
            ..SamplingParams::default()
        },
        ranked: 0,
    })
}
