//! `logitspec calibrate`: what a pass costs here.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::bench::sha256_of_file;
use crate::cli::args::ModelArgs;
use crate::cli::exit::{Outcome, user_error};
use crate::cli::generate::{flow, watch_for_ctrl_c};
use crate::cli::stdout::{print_json, stdout};
use crate::engine::calibrate::{
    Calibration, CalibrationKey, CalibrationPlan, PassTimes, calibrate, contradictory, cost_model,
};
use crate::engine::{CostModel, MOST_TOKENS, SessionOptions};
use crate::runtime::DecodeError;
use crate::runtime::llama::{ContextOptions, Model, build, default_threads, devices, system};

/// Measure what a pass over so many tokens costs, for a model on this machine, and keep it
///
/// Every later run of the model with the same settings starts from these measurements; without them
/// it starts from a guess. Either way it goes on learning from its own passes, so this is never
/// needed, but spares a short while of trees that are too large or too small. Run it when the
/// machine has nothing else to do. LOGITSPEC_CACHE names the folder to keep them in, instead of the
/// user's cache folder.
#[derive(Debug, Args)]
pub(super) struct CalibrateArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// How often each size is measured at least, if that takes less than a second; twice otherwise
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeats: u16,

    /// Largest pass
    #[arg(long, alias = "max_tokens", default_value_t = MOST_TOKENS as u16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MOST_TOKENS as i64))]
    max_tokens: u16,

    /// Print one JSON object; its "seconds" are what simulate --cost takes
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CalibrateArgs) -> anyhow::Result<Outcome> {
    let interrupted = watch_for_ctrl_c();
    let model = args.model.load(interrupted)?;
    let mut plan = CalibrationPlan {
        repeats: args.repeats.into(),
        ..CalibrationPlan::default()
    };
    let largest = usize::from(args.max_tokens);
    plan.sizes.retain(|&size| size < largest);
    plan.sizes.push(largest);
    let longest = plan.contexts.last().copied().unwrap_or(0) + MOST_TOKENS;
    let context = ContextOptions {
        draft_tree_capacity: largest,
        ..args.model.context(&model, longest)
    };
    let n_ctx = context.n_ctx.unwrap_or(model.n_ctx_train()) as usize;
    if plan.contexts.iter().all(|&n_past| n_past + largest > n_ctx) {
        // For short texts only: measured after a quarter of one, so that large passes fit, too.
        plan.contexts = vec![n_ctx / 4];
    }
    if let Some(reason) = model.cannot_draft(&context) {
        return Err(user_error(format!(
            "nothing to calibrate: this model decodes plainly, since {reason}"
        )));
    }
    let mut target = model.context(&context)?;
    let style = ProgressStyle::with_template("measuring {bar:32} {pos}/{len} {eta}");
    let bar =
        ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let times = calibrate(&mut target, &plan, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        flow(interrupted.load(Ordering::Relaxed))
    });
    bar.finish_and_clear();
    let times = match times {
        Err(DecodeError::Aborted) => {
            tell_line!("stopped; nothing is kept");
            return Ok(Outcome::Interrupted);
        }
        other => other?,
    };
    if times.is_empty() {
        return Err(user_error(
            "the context is too small to measure anything: raise -c/--ctx-size".to_owned(),
        ));
    }
    let calibration = Calibration {
        key: key(&model, &context),
        times,
    };
    let doubtful = contradictory(&calibration.times);
    if doubtful {
        tell_line!(
            "warning: larger passes took less time than smaller ones, so the machine was busy with something else; \
             nothing is kept: run it again when it is quiet"
        );
    }
    let folder = folder();
    if folder.is_none() {
        tell_line!("note: nothing is kept, as there is no cache folder; LOGITSPEC_CACHE names one");
    }
    let measured = calibration.times.iter().map(|it| it.tokens).max();
    let few = measured < Some(largest.min(FEW));
    if few {
        tell_line!(
            "note: nothing is kept, as passes of fewer than {FEW} tokens do not tell what trees cost: raise -c/--ctx-size"
        );
    }
    let folder = folder.filter(|_| !doubtful && !few);
    // What was measured is shown even if it cannot be kept.
    let written = folder.map(|folder| calibration.write(&folder));
    let kept = written.as_ref().and_then(|written| written.as_ref().ok());
    if args.json {
        let cost = cost_model(&calibration.times);
        let seconds: Vec<f64> = (1..=MOST_TOKENS).map(|n| cost.cost().of(n)).collect();
        let whole = json!({
            "key": calibration.key,
            "times": calibration.times,
            "seconds": seconds,
            "file": kept,
        });
        print_json(&whole)?;
    } else {
        let mut out = stdout();
        write!(out, "{}", table(&calibration.times))?;
        if let Some(note) = left_out(&calibration.times) {
            writeln!(out, "{note}")?;
        }
        write!(out, "\n{}", plot(&calibration.times))?;
        if let Some(file) = kept {
            tell_line!("kept in {}", file.display());
        }
    }
    match written {
        Some(Err(error)) => Err(error.into()),
        _ => Ok(Outcome::Done),
    }
}

/// A calibration with fewer sizes says too little of larger ones, unless it was asked for.
const FEW: usize = 8;

/// Where measurements are kept; `None` if this user has no such place.
fn folder() -> Option<PathBuf> {
    match std::env::var_os("LOGITSPEC_CACHE") {
        Some(folder) if !folder.is_empty() => Some(folder.into()),
        _ => Some(dirs::cache_dir()?.join("logitspec")),
    }
}

/// What measurements depend on.
fn key(model: &Model, context: &ContextOptions) -> CalibrationKey {
    let info = model.info();
    let mut key = json!({
        "architecture": info.architecture,
        "parameters": info.parameters,
        "size": info.size,
        "quantization": info.quantization,
        "layers": info.layers,
        "embedding_length": info.embedding_length,
        "devices": devices(),
        "gpu_layers": model.gpu_layers(),
        "threads": context.threads.unwrap_or_else(default_threads),
        "flash_attention": format!("{:?}", model.flash_attention(context)),
        "cache_types": format!("{} {}", context.cache_type_k, context.cache_type_v),
        "ubatch": model.n_ubatch(context),
        "llama_cpp": build(),
        "system": system(),
    });
    if let Some(kernels) = model.few_token_kernels() {
        key["few_token_kernels"] = kernels.into();
    }
    match key {
        serde_json::Value::Object(map) => map.into_iter().collect(),
        _ => CalibrationKey::new(),
    }
}

/// The beginning of the SHA-256 of the measurements that a run of logitspec starts from; `None` if
/// it starts from a guess.
pub(super) fn kept(model: &Model, context: &ContextOptions) -> Option<String> {
    const DIGITS: usize = 12;
    let (folder, key) = (folder()?, key(model, context));
    Calibration::read(&folder, &key).ok()??;
    let mut sha256 = sha256_of_file(Calibration::path(&folder, &key)).ok()?;
    sha256.truncate(DIGITS);
    Some(sha256)
}

/// What is known of the cost of a pass before the first: measured here before, or a guess.
pub(super) fn known_cost(
    model: &Model,
    context: &ContextOptions,
    options: &SessionOptions,
) -> CostModel {
    let Some(folder) = folder().filter(|_| options.weighs_cost()) else {
        return CostModel::of(model);
    };
    match Calibration::read(&folder, &key(model, context)) {
        Ok(Some(calibration)) => cost_model(&calibration.times),
        Ok(None) => CostModel::of(model),
        Err(error) => {
            tell_line!("warning: {error}");
            CostModel::of(model)
        }
    }
}

fn table(times: &[PassTimes]) -> String {
    let mut text = String::from(
        "context  tokens   pass ms  per token  times T(1)  graph ms  rows ms  kv ms  argmax us  top-64 us\n",
    );
    let mut one = 1.0;
    for it in times {
        if it.tokens == 1 {
            one = it.reused;
        }
        text += &format!(
            "{:>7}  {:>6}  {:>8.2}  {:>9.2}  {:>10.2}  {:>8.2}  {:>7.2}  {:>5.2}  {:>9.1}  {:>9.1}\n",
            it.n_past,
            it.tokens,
            1e3 * it.reused,
            1e3 * it.reused / it.tokens as f64,
            it.reused / one,
            // Below nothing by noise alone.
            1e3 * (it.rebuilt - it.reused).max(0.0),
            1e3 * it.rows,
            1e3 * it.kv,
            1e6 * it.argmax,
            1e6 * it.top_k,
        );
    }
    text
}

/// Says why longer contexts have fewer sizes, if so.
fn left_out(times: &[PassTimes]) -> Option<String> {
    let largest = |n_past: usize| {
        let of_context = times.iter().filter(|it| it.n_past == n_past);
        of_context.map(|it| it.tokens).max().unwrap_or(0)
    };
    let (first, last) = (times.first()?.n_past, times.last()?.n_past);
    (largest(last) < largest(first)).then(|| {
        format!(
            "After longer texts no passes of more than {} tokens: they do not fit, or cost so much that no tree gets there.",
            largest(last)
        )
    })
}

/// The cost of a pass by its size, as bars, at the shortest context measured.
fn plot(times: &[PassTimes]) -> String {
    const WIDTH: f64 = 48.0;
    let n_past = times.first().map_or(0, |it| it.n_past);
    let shown: Vec<&PassTimes> = times.iter().filter(|it| it.n_past == n_past).collect();
    let one = shown.first().map_or(1.0, |it| it.reused);
    let most = shown.iter().map(|it| it.reused / one).fold(1.0, f64::max);
    let bar = if io::stdout().is_terminal() {
        "█"
    } else {
        "#"
    };
    let mut text = format!("cost of a pass in passes of one token, {n_past} tokens in the cache\n");
    for it in shown {
        let ratio = it.reused / one;
        let width = (WIDTH * ratio / most).round().max(1.0) as usize;
        text += &format!("{:>4} {} {ratio:.2}\n", it.tokens, bar.repeat(width));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> Vec<PassTimes> {
        let time = |tokens: usize| PassTimes {
            n_past: 128,
            tokens,
            reused: 0.01 * tokens as f64,
            fastest: 0.01 * tokens as f64,
            rebuilt: 0.01 * tokens as f64 + 0.001,
            rows: 0.002 * tokens as f64,
            kv: 0.0001,
            argmax: 3e-6,
            top_k: 9e-6,
        };
        vec![time(1), time(4)]
    }

    #[test]
    fn the_table_gives_ratios_and_the_cost_of_building_a_graph() {
        let text = table(&times());
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(
            last,
            [
                "128", "4", "40.00", "10.00", "4.00", "1.00", "8.00", "0.10", "3.0", "9.0"
            ]
        );
    }

    #[test]
    fn noise_does_not_make_a_graph_cost_less_than_nothing() {
        let mut times = times();
        times[1].rebuilt = 0.01;
        let text = table(&times);
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(last[5], "0.00");
    }

    #[test]
    fn sizes_that_longer_texts_lack_are_told() {
        let time = |n_past, tokens| PassTimes {
            n_past,
            tokens,
            ..times()[0]
        };
        assert_eq!(
            left_out(&[time(1, 1), time(1, 4), time(9, 1), time(9, 4)]),
            None
        );
        let note = left_out(&[time(1, 1), time(1, 4), time(9, 1)]).unwrap();
        assert!(note.contains("more than 1 tokens"), "{note}");
    }

    #[test]
    fn bars_grow_with_the_cost() {
        let text = plot(&times());
        let bars: Vec<usize> = text
            .lines()
            .skip(1)
            .map(|line| line.matches(['#', '█']).count())
            .collect();
        assert_eq!(bars, [12, 48]);
    }
}
