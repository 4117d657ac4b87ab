//! `logitspec pull`: downloads a model from the Hub.

use std::io::Write;
use std::ops::ControlFlow;

use clap::Args;
use serde_json::json;

use crate::cli::download;
use crate::cli::exit::Outcome;
use crate::cli::interrupt::watch_for_ctrl_c;
use crate::cli::stdout::stdout;
use crate::hub::choose;
use crate::hub::{Hub, ModelName, RepoFile, Settings};

/// Download a model from the Hugging Face Hub
///
/// The file goes into the cache that all Hugging Face tools share. Its SHA-256 is checked and its
/// path is printed. An interrupted download continues where it stopped, and a file that is already
/// in the cache is only checked. Without QUANT, the only model of the repository is taken, or the
/// first of Q4_K_M, Q8_0, Q5_K_M, Q6_K, Q4_K_S, Q4_0, F16, BF16, F32. Files beside a model (mmproj,
/// imatrix, LoRA adapters, draft heads) are taken only if QUANT is their file name.
///
/// Environment: HF_TOKEN for private and gated models, HF_HOME for another folder than
/// ~/.cache/huggingface, HF_ENDPOINT for a mirror, HF_HUB_OFFLINE=1 to use the cache only.
///
/// Examples:
///   logitspec pull TheBloke/CodeLlama-7B-Instruct-GGUF:Q4_K_M
///   logitspec pull TheBloke/vicuna-7B-v1.5-GGUF --list
///   logitspec generate -m "$(logitspec pull TheBloke/vicuna-7B-v1.5-GGUF)" -p "Hello"
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct PullArgs {
    /// The repository, and one of its models: a quantization such as Q8_0, or a file name
    #[arg(value_name = "USER/REPO[:QUANT]")]
    name: ModelName,

    /// List the models of the repository, or those that match QUANT; download nothing
    #[arg(long)]
    list: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &PullArgs) -> anyhow::Result<Outcome> {
    let text = match args.list {
        true => list(args)?,
        false => pull(args)?,
    };
    stdout().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}

fn pull(args: &PullArgs) -> anyhow::Result<String> {
    let fetched = download::fetch(&args.name, true, watch_for_ctrl_c())?;
    if !args.json {
        return Ok(format!("{}\n", fetched.model().display()));
    }
    let files = fetched.files.iter().map(|it| {
        json!({
            "name": it.file.name,
            "path": it.path,
            "size": it.file.size,
            "sha256": it.file.sha256,
            "fetched": it.fetched,
        })
    });
    let report = json!({
        "repo": args.name.repo(),
        "commit": fetched.commit,
        "model": fetched.model(),
        "files": files.collect::<Vec<_>>(),
    });
    Ok(format!("{report}\n"))
}

fn list(args: &PullArgs) -> anyhow::Result<String> {
    let repo = args.name.repo();
    let hub = Hub::new(Settings::from_env()?)?;
    let listing = hub.listing(repo, &mut |_| ControlFlow::Continue(()))?;
    let models = choose::list(&args.name, &listing.files)?;
    let size = |parts: &[RepoFile]| parts.iter().map(|part| part.size).sum::<u64>();
    if args.json {
        let models = models.iter().map(|parts| {
            let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
            json!({ "files": names, "size": size(parts) })
        });
        let report = json!({
            "repo": repo,
            "commit": listing.commit,
            "models": models.collect::<Vec<_>>(),
        });
        return Ok(format!("{report}\n"));
    }
    if models.is_empty() {
        tell_line!("note: {repo} holds no GGUF file");
    }
    let line = |parts: &Vec<RepoFile>| {
        let more = match parts.len() {
            1 => String::new(),
            n => format!(" and {} more parts", n - 1),
        };
        let size = choose::size_text(size(parts));
        format!("{size:>9}  {}{more}\n", parts[0].name)
    };
    Ok(models.iter().map(line).collect())
}
