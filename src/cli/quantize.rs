//! `logitspec quantize`: writes a model with weights of another type.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::cli::exit::{Outcome, user_error};
use crate::cli::interrupt::{is_raised, watch_for_ctrl_c};
use crate::cli::model_args::MAX_THREADS;
use crate::cli::stdout::print_json;
use crate::files::{self, folder_of, is_same_place};
use crate::runtime::llama::{Model, ModelOptions, QuantizeError, quantize, quantize_types};

/// Write a model with weights of another type
///
/// Smaller weights are read faster and answer slightly worse. llama.cpp's own function makes them,
/// without an importance matrix. Start from F16, BF16 or F32 if you can: what an earlier
/// quantization has rounded away does not come back.
///
/// Example:
///   logitspec quantize model.F16.gguf model.Q4_K_M.gguf Q4_K_M
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct QuantizeArgs {
    /// The model: a GGUF file
    #[arg(value_name = "IN")]
    from: PathBuf,

    /// The file to write
    #[arg(value_name = "OUT")]
    to: PathBuf,

    /// Type of the weights, in upper or lower case
    #[arg(
        value_name = "TYPE",
        ignore_case = true,
        value_parser = PossibleValuesParser::new(quantize_types())
    )]
    kind: String,

    /// Replace OUT if it exists
    #[arg(long)]
    overwrite: bool,

    /// Number of CPU threads [default: one per core]
    #[arg(
        short = 't',
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_THREADS))
    )]
    threads: Option<u32>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &QuantizeArgs) -> anyhow::Result<Outcome> {
    let interrupted = watch_for_ctrl_c();
    args.check()?;
    let kind = args.kind.to_ascii_uppercase();
    tell_line!("quantizing {} to {kind}", args.from.display());
    let begun = Instant::now();
    let mut stopped = false;
    let done = files::write_atomically_at(&args.to, files::FOR_ALL, |temporary| {
        stopped = !write(&args.from, temporary, &kind, args.threads(), interrupted)?;
        match stopped {
            true => Err(anyhow!("stopped")),
            false => Ok(()),
        }
    });
    if stopped {
        tell_line!("stopped: nothing was written");
        return Ok(Outcome::Interrupted);
    }
    done.with_context(|| format!("cannot write {}", args.to.display()))?;
    let seconds = begun.elapsed().as_secs_f64();
    let sizes = [size_of(&args.from)?, size_of(&args.to)?];
    if args.json {
        print_json(&json!({
            "from": args.from,
            "to": args.to,
            "type": kind,
            "size_before": sizes[0],
            "size": sizes[1],
            "seconds": seconds,
        }))?;
    } else {
        let [before, now] = sizes.map(|size| size as f64 / 1e6);
        tell_line!(
            "wrote {}: {now:.1} MB, from {before:.1} MB, in {seconds:.1} s",
            args.to.display()
        );
    }
    Ok(Outcome::Done)
}

fn size_of(path: &Path) -> anyhow::Result<u64> {
    let metadata = std::fs::metadata(path);
    Ok(metadata
        .with_context(|| format!("cannot read {}", path.display()))?
        .len())
}

/// Quantizes in another thread, since llama.cpp cannot be asked to stop. `false` if Ctrl-C stopped
/// it: what was written so far is of no use then, and the thread ends with the process.
fn write(
    from: &Path,
    to: &Path,
    kind: &str,
    threads: u32,
    interrupted: &AtomicBool,
) -> anyhow::Result<bool> {
    let (done, result) = channel::<Result<(), QuantizeError>>();
    let (from, to, kind) = (from.to_owned(), to.to_owned(), kind.to_owned());
    std::thread::spawn(move || {
        // Nobody listens after Ctrl-C.
        let _ = done.send(quantize(&from, &to, &kind, threads));
    });
    loop {
        match result.recv_timeout(Duration::from_millis(100)) {
            Ok(outcome) => return Ok(outcome.map(|()| true)?),
            Err(RecvTimeoutError::Timeout) if is_raised(interrupted) => return Ok(false),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("llama.cpp panicked")),
        }
    }
}

impl QuantizeArgs {
    fn threads(&self) -> u32 {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        let all = || u32::try_from(all()).unwrap_or(MAX_THREADS).min(MAX_THREADS);
        self.threads.unwrap_or_else(all)
    }

    /// Refuses files that cannot be read or written, before the work starts.
    fn check(&self) -> anyhow::Result<()> {
        std::fs::File::open(&self.from).map_err(|error| {
            let from = self.from.display();
            user_error(format!("{from}: cannot be read: {error}; check IN"))
        })?;
        let options = ModelOptions {
            info_only: true,
            ..ModelOptions::default()
        };
        Model::load(&self.from, &options)?;
        let to = self.to.display();
        if is_same_place(&self.from, &self.to) {
            return Err(user_error(format!(
                "{to}: is the model itself; give OUT another name"
            )));
        }
        if self.to.is_dir() || !folder_of(&self.to).is_dir() {
            return Err(user_error(format!(
                "{to}: cannot be written; give OUT the name of a file in a folder that exists"
            )));
        }
        if self.to.exists() && !self.overwrite {
            return Err(user_error(format!(
                "{to}: exists; give OUT another name, or --overwrite to replace it"
            )));
        }
        files::check_writable(&self.to)
            .map_err(|error| user_error(format!("{to}: cannot be written: {error}; check OUT")))
    }
}
