//! `logitspec calibrate`: the cost of a forward pass on this machine.

mod output;

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde_json::json;

use crate::cli::cost;
use crate::cli::exit::{Outcome, user_error};
use crate::cli::interrupt::{flow, watch_for_ctrl_c};
use crate::cli::model_args::ModelArgs;
use crate::cli::progress::bar;
use crate::cli::stdout::{print_json, stdout};
use crate::engine::MOST_TOKENS;
use crate::engine::calibrate::{
    Calibration, CalibrationError, CalibrationPlan, PassTimes, calibrate, contradictory,
};
use crate::runtime::DecodeError;
use crate::runtime::llama::{ContextOptions, LlamaTarget, Model};

/// A calibration with fewer sizes says too little about larger passes, unless the user asked for
/// few.
const FEW: usize = 8;

/// Measure the cost of forward passes of a model on this machine, and keep it
///
/// The cost of a pass by its number of tokens decides how large draft trees should be. Without a
/// calibration, the first run of a model measures a few sizes in a second, and all runs refine that
/// with their own passes. A calibration is a full table, of long contexts, too; runs with the same
/// settings start from it and leave it as it is. Run it while the machine is idle. LOGITSPEC_CACHE
/// names the folder to keep measurements in, instead of the user's cache folder.
#[derive(Debug, Args)]
pub(super) struct CalibrateArgs {
    /// Minimum measurements per size if they take less than a second; otherwise two
    #[arg(
        long,
        default_value_t = 5,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    repeats: u16,

    /// Largest pass to measure, in tokens
    #[arg(
        long,
        alias = "max_tokens",
        default_value_t = MOST_TOKENS as u16,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=MOST_TOKENS as i64)
    )]
    max_tokens: u16,

    /// Print one JSON object; simulate --cost reads its "seconds"
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    model: ModelArgs,
}

pub(super) fn run(args: &CalibrateArgs) -> anyhow::Result<Outcome> {
    let interrupted = watch_for_ctrl_c();
    let model = args.model.load(interrupted)?;
    let (plan, context) = args.plan(&model);
    if let Some(reason) = model.cannot_draft(&context) {
        return Err(user_error(format!(
            "nothing to calibrate: this model decodes without drafts, since {reason}"
        )));
    }
    let mut target = model.context(&context)?;
    let times = match measure(&mut target, &plan, interrupted) {
        Err(DecodeError::Aborted) => {
            tell_line!("stopped; nothing is kept");
            return Ok(Outcome::Interrupted);
        }
        other => other?,
    };
    if times.is_empty() {
        return Err(user_error(
            "the context is too small to measure anything: raise -c/--ctx-size",
        ));
    }
    let calibration = Calibration {
        key: cost::key(&model, &context),
        times,
    };
    // Measurements are printed even if they cannot be kept.
    let written = args
        .folder_to_keep_in(&calibration.times)
        .map(|folder| calibration.write(&folder));
    args.print(&calibration, written.as_ref())?;
    match written {
        Some(Err(error)) => Err(error.into()),
        _ => Ok(Outcome::Done),
    }
}

fn measure(
    target: &mut LlamaTarget<'_>,
    plan: &CalibrationPlan,
    interrupted: &AtomicBool,
) -> Result<Vec<PassTimes>, DecodeError> {
    let bar = bar(0, "measuring {bar:32} {pos}/{len} {eta}");
    let times = calibrate(target, plan, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        flow(interrupted)
    });
    bar.finish_and_clear();
    times
}

impl CalibrateArgs {
    /// What to measure, and the context to measure it in.
    fn plan(&self, model: &Model) -> (CalibrationPlan, ContextOptions) {
        let mut plan = CalibrationPlan {
            repeats: self.repeats.into(),
            ..CalibrationPlan::default()
        };
        let largest = usize::from(self.max_tokens);
        plan.sizes.retain(|&size| size < largest);
        plan.sizes.push(largest);
        let longest = plan.contexts.last().copied().unwrap_or(0) + MOST_TOKENS;
        let context = ContextOptions {
            draft_tree_capacity: largest,
            ..self.model.context(model, longest)
        };
        let n_ctx = context.n_ctx.unwrap_or(model.n_ctx_train()) as usize;
        if plan.contexts.iter().all(|&n_past| n_past + largest > n_ctx) {
            // In a small context, a prefix of a quarter leaves room for large passes.
            plan.contexts = vec![n_ctx / 4];
        }
        (plan, context)
    }

    /// The folder to keep the measurements in. `None`, with a word about the reason, if they are
    /// not worth keeping or there is no such folder.
    fn folder_to_keep_in(&self, times: &[PassTimes]) -> Option<PathBuf> {
        let doubtful = contradictory(times);
        if doubtful {
            tell_line!(
                "warning: larger passes took less time than smaller ones, so the machine was busy \
                 with something else; nothing is kept: run it again while the machine is idle"
            );
        }
        let folder = cost::folder();
        if folder.is_none() {
            tell_line!(
                "note: nothing is kept, as there is no cache folder: set LOGITSPEC_CACHE to one"
            );
        }
        let largest = usize::from(self.max_tokens);
        let measured = times.iter().map(|it| it.tokens).max();
        let few = measured < Some(largest.min(FEW));
        if few {
            tell_line!(
                "note: nothing is kept, because passes of fewer than {FEW} tokens do not tell what \
                 draft trees cost: raise -c/--ctx-size"
            );
        }
        folder.filter(|_| !doubtful && !few)
    }

    fn print(
        &self,
        calibration: &Calibration,
        written: Option<&Result<PathBuf, CalibrationError>>,
    ) -> anyhow::Result<()> {
        let times = &calibration.times;
        let kept = written.and_then(|written| written.as_ref().ok());
        if self.json {
            print_json(&json!({
                "key": calibration.key,
                "times": times,
                "seconds": cost::seconds(times),
                "file": kept,
            }))?;
            return Ok(());
        }
        let mut out = stdout();
        write!(out, "{}", output::table(times))?;
        if let Some(note) = output::left_out(times) {
            writeln!(out, "{note}")?;
        }
        write!(out, "\n{}", output::plot(times))?;
        if let Some(file) = kept {
            tell_line!("kept in {}", file.display());
        }
        Ok(())
    }
}
