//! `logitspec inspect`: the properties of a GGUF file.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::exit::Outcome;
use crate::cli::interrupt::watch_for_ctrl_c;
use crate::cli::model::{ModelSource, note_odd_context};
use crate::cli::stdout::{print_json, stdout};
use crate::runtime::llama::{Model, ModelInfo, ModelOptions};

/// Show the properties of a GGUF file
///
/// Prints architecture, size, quantization, vocabulary, context length and chat template. Only the
/// file's header is read, so this is fast for models of any size.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The GGUF file
    #[arg(value_name = "FILE", conflicts_with_all = ["model_path", "hf_repo"])]
    file: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    source: ModelSource,
}

pub(super) fn run(args: &InspectArgs) -> anyhow::Result<Outcome> {
    let path = args
        .source
        .locate(args.file.as_deref(), watch_for_ctrl_c())?;
    let options = ModelOptions {
        info_only: true,
        ..ModelOptions::default()
    };
    let model = Model::load(&path, &options)?;
    note_odd_context(&model);
    let info = model.info();
    if args.json {
        print_json(&info)?;
    } else {
        stdout().write_all(describe(&info).as_bytes())?;
    }
    Ok(Outcome::Done)
}

const MIB: f64 = (1 << 20) as f64;

fn describe(info: &ModelInfo) -> String {
    let kv_mib = |tokens: u32| info.kv_bytes_per_token as f64 * f64::from(tokens) / MIB;
    let drafting = match &info.cannot_draft {
        None => "yes".to_owned(),
        Some(reason) => format!("no: {reason}"),
    };
    let mut lines = vec![
        (
            "name",
            info.name.clone().unwrap_or_else(|| "(none given)".into()),
        ),
        ("architecture", info.architecture.clone()),
        (
            "parameters",
            in_units(info.parameters as f64, 1e3, ["", " K", " M", " B", " T"]),
        ),
        (
            "size",
            in_units(
                info.size as f64,
                1024.0,
                [" B", " KiB", " MiB", " GiB", " TiB"],
            ),
        ),
        ("quantization", info.quantization.clone()),
        (
            "shape",
            format!(
                "{} layers, {} wide, {} heads ({} for keys and values)",
                info.layers, info.embedding_length, info.heads, info.kv_heads
            ),
        ),
        (
            "vocabulary",
            format!("{} tokens, {}", info.vocabulary, info.tokenizer),
        ),
        ("trained context", format!("{} tokens", info.context_length)),
        (
            "KV cache",
            format!(
                "{:.2} MiB per 1,000 tokens in f16, {:.0} MiB for the trained context",
                kv_mib(1000),
                kv_mib(info.context_length)
            ),
        ),
        ("speculation", drafting),
    ];
    let template = info.chat_template.as_deref();
    lines.push(("chat template", template.unwrap_or("(none)").into()));
    lines
        .into_iter()
        .map(|(name, value)| {
            format!(
                "{name:<16} {}\n",
                value.trim().replace('\n', "\n                 ")
            )
        })
        .collect()
}

fn in_units(mut value: f64, step: f64, units: [&str; 5]) -> String {
    let mut unit = 0;
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = if unit == 0 { 0 } else { 2 };
    format!("{value:.digits$}{}", units[unit])
}
