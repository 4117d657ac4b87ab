//! The settings of a run, for its manifests.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};

use crate::bench::server::LlamaServer;
use crate::bench::{Manifest, ModelFile, sha256_of_file};
use crate::cli::bench::BenchArgs;
use crate::cli::bench::contestants::Contestant;
use crate::cli::cost;
use crate::engine::SessionOptions;
use crate::runtime::llama::{ContextOptions, Lora, Model, build, devices};
use crate::store::checksum_of;

/// Models of this size or more take a while to hash.
const LARGE: u64 = 4 << 30;

/// The settings that all methods share, and those that only some methods have.
pub(super) struct Settings {
    common: Manifest,
    drafting: BTreeMap<String, Value>,
    /// This crate's kernels for passes of two or more tokens, if the model uses them.
    kernels: Option<String>,
    /// The checksum of the cost measurements that methods start from.
    calibration: String,
    server: BTreeMap<String, Value>,
    server_build: String,
}

impl Settings {
    pub(super) fn new(
        args: &BenchArgs,
        model: &Model,
        context: &ContextOptions,
        questions: &Path,
        server: Option<&LlamaServer>,
    ) -> anyhow::Result<Self> {
        let path = model.path();
        let info = model.info();
        if info.size >= LARGE {
            tell_line!("computing the SHA-256 of {}", path.display());
        }
        let server_build = server.and_then(LlamaServer::build);
        Ok(Self {
            common: Manifest {
                method: String::new(),
                model: ModelFile {
                    path: path.into(),
                    sha256: sha256(path)?,
                    quantization: info.quantization,
                },
                llama_cpp: build(),
                commit: commit(),
                devices: devices(),
                threads: args.threads(),
                flags: common_flags(args, model, context, questions)?,
                time: SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0.0, |since| since.as_secs_f64()),
            },
            drafting: drafting_flags(args),
            kernels: model.few_token_kernels(),
            calibration: cost::checksum(model, context).unwrap_or_else(|| "none".into()),
            server: entries(json!({ "llama-server-args": args.server.flags() })),
            server_build: server_build.unwrap_or_else(|| "unknown".into()),
        })
    }

    pub(super) fn manifest(&self, contestant: &Contestant, options: SessionOptions) -> Manifest {
        let options = contestant.session_options(options);
        let mut manifest = self.common.clone();
        manifest.method = contestant.name();
        match contestant {
            Contestant::Engine(named) => {
                if named.name != named.method.name() {
                    manifest
                        .flags
                        .insert("method".into(), named.method.name().into());
                }
                if let Some(kernels) = &self.kernels {
                    manifest
                        .flags
                        .insert("few-token-kernels".into(), kernels.as_str().into());
                }
                if contestant.drafts() {
                    manifest.flags.extend(self.drafting.clone());
                    if options.weighs_cost() {
                        let flags = &mut manifest.flags;
                        flags.insert("calibration".into(), self.calibration.as_str().into());
                    }
                }
            }
            Contestant::Server(_) => {
                manifest.llama_cpp.clone_from(&self.server_build);
                manifest.flags.extend(self.server.clone());
            }
        }
        manifest
    }
}

/// The flags that concern every method.
fn common_flags(
    args: &BenchArgs,
    model: &Model,
    context: &ContextOptions,
    questions: &Path,
) -> anyhow::Result<BTreeMap<String, Value>> {
    let sampling = &args.sampling;
    let mut flags = entries(json!({
        "batch-size": args.model.batch_size,
        "cache-type-k": context.cache_type_k.to_string(),
        "cache-type-v": context.cache_type_v.to_string(),
        "ctx-size": context.n_ctx,
        "exact": model.is_exact(),
        // The result, because it depends on more than the flag.
        "flash-attn": format!("{:?}", model.flash_attention(context)).to_lowercase(),
        "jobs": args.jobs,
        "max-new-tokens": args.max_new_tokens,
        "min-p": sampling.min_p,
        "n-gpu-layers": args.model.devices.n_gpu_layers(),
        "no-mmap": args.model.no_mmap,
        "no-swa-full": args.model.no_swa_full,
        "num-choices": args.num_choices,
        "parse-special": args.template.parse_special,
        "ranked": args.ranked,
        "questions-sha256": sha256(questions)?,
        "repeat-penalty": sampling.repeat_penalty,
        "seed": sampling.seed,
        "sequential": args.sequential,
        "system": args.template.system(),
        "temperature": sampling.temperature,
        "template": args.template.template,
        "top-k": sampling.top_k,
        "top-p": sampling.top_p,
        // The result, because the default depends on the device.
        "ubatch-size": model.n_ubatch(context),
        "warmup": args.warmup,
    }));
    // What is off by default is not named, so that older runs can be resumed.
    flags.extend(sampling.changed_parameters());
    for (name, value) in args.model.devices.llama_flags() {
        let name = name.trim_start_matches('-');
        flags.entry(name.to_owned()).or_insert(value.into());
    }
    if !args.model.lora.is_empty() {
        let lora = |it: &Lora| format!("{}:{}", it.path.display(), it.scale);
        let all: Vec<String> = args.model.lora.iter().map(lora).collect();
        flags.insert("lora".into(), all.into());
    }
    Ok(flags)
}

/// The flags that concern methods that draft.
fn drafting_flags(args: &BenchArgs) -> BTreeMap<String, Value> {
    let suffix = args.tree.method_params().suffix;
    entries(json!({
        // The checksums of the files, not their names.
        "corpus": args.history.common.corpus().and_then(checksum_of),
        "draft-tree-capacity": args.tree.draft_tree_capacity,
        "fill-tree": args.size.fill_tree,
        "history": args.history.history,
        "leave-out": args.tree.method_params().leave_out.iter().collect::<Vec<_>>(),
        "max-ngram-size": args.tree.max_ngram_size,
        "max-spec-factor": suffix.max_spec_factor,
        "max-spec-offset": suffix.max_spec_offset,
        "min-token-prob": suffix.min_token_prob,
        "tree-spec": suffix.tree,
        "num-pred-tokens": args.tree.num_pred_tokens,
        "pool-file": args.history.pool_file().and_then(checksum_of),
        "pool-max-tokens": args.history.common.pool_max_tokens(),
    }))
}

fn sha256(path: &Path) -> anyhow::Result<String> {
    sha256_of_file(path).with_context(|| format!("cannot read {}", path.display()))
}

fn entries(flags: Value) -> BTreeMap<String, Value> {
    match flags {
        Value::Object(map) => map.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

/// This program's version, with the commit if it was built in a git checkout.
fn commit() -> String {
    let commit = env!("LOGITSPEC_COMMIT");
    format!("{} {commit}", env!("CARGO_PKG_VERSION"))
        .trim_end()
        .into()
}
