//! The cost of a forward pass: measured at first use, learned from answers, and kept. What
//! `calibrate` keeps comes first.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench::answer::Choice;
use crate::bench::engine::EngineAnswerer;
use crate::bench::run::{Answerer, AskError};
use crate::bench::sha256_of_file;
use crate::cli::hints;
use crate::engine::calibrate::{
    Calibration, CalibrationError, CalibrationKey, Learned, Measured, PassTimes, cost_model,
    measure_briefly,
};
use crate::engine::{CostModel, MOST_TOKENS, SessionOptions};
use crate::runtime::llama::{
    ContextOptions, DeviceOptions, Model, ModelOptions, build, default_threads, devices,
    in_a_thread_of_its_own, system,
};

/// The folder that measurements are kept in; `None` if this user has no cache folder.
pub(super) fn folder() -> Option<PathBuf> {
    match std::env::var_os("LOGITSPEC_CACHE") {
        Some(folder) if !folder.is_empty() => Some(folder.into()),
        _ => Some(dirs::cache_dir()?.join("logitspec")),
    }
}

/// Everything that the cost of a forward pass depends on.
pub(super) fn key(model: &Model, context: &ContextOptions) -> CalibrationKey {
    let info = model.info();
    let mut key = json!({
        "architecture": info.architecture,
        "parameters": info.parameters,
        "size": info.size,
        "quantization": info.quantization,
        "layers": info.layers,
        "embedding_length": info.embedding_length,
        "devices": devices(),
        // Without a graphics processor they make no difference.
        "gpu_layers": model.gpu_layers().filter(|&n| n == 0 || model.is_on_gpu()),
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
    if model.is_batch_invariant() {
        key["batch_invariant"] = true.into();
    }
    let split = model.device_options();
    if *split != DeviceOptions::default() {
        key["split"] = format!("{split:?}").into();
    }
    match key {
        serde_json::Value::Object(map) => map.into_iter().collect(),
        _ => CalibrationKey::new(),
    }
}

/// The start of the SHA-256 of the calibration that a run starts from; `None` if there is none.
pub(super) fn checksum(model: &Model, context: &ContextOptions) -> Option<String> {
    const DIGITS: usize = 12;
    let (folder, key) = (folder()?, key(model, context));
    Calibration::read(&folder, &key).ok()??;
    let mut sha256 = sha256_of_file(Calibration::path(&folder, &key)).ok()?;
    sha256.truncate(DIGITS);
    Some(sha256)
}

/// Seconds of passes of one token and more that are kept for this model on this machine, with the
/// settings that commands have by default. Only the model's header needs to be loaded.
pub(super) fn kept_seconds(model: &Model) -> Option<Vec<f64>> {
    const USUAL_CTX: u32 = 8192;
    let context = ContextOptions {
        n_ctx: Some(model.n_ctx_train().min(USUAL_CTX)),
        ..ContextOptions::default()
    };
    // The kernels are part of the key.
    if !model.settles_kernels(&ModelOptions::default()) {
        return None;
    }
    let (folder, key) = (folder()?, key(model, &context));
    if let Ok(Some(calibration)) = Calibration::read(&folder, &key) {
        return Some(seconds(&calibration.times));
    }
    let learned = Learned::read(&folder, &key).ok()??;
    let cost = learned.cost_model(CostModel::of(model));
    let unit = learned.one / cost.cost().of(1);
    Some(all_sizes(&cost).map(|time| unit * time).collect())
}

/// Seconds of passes of one token and more.
pub(super) fn seconds(times: &[PassTimes]) -> Vec<f64> {
    all_sizes(&cost_model(times)).collect()
}

fn all_sizes(cost: &CostModel) -> impl Iterator<Item = f64> {
    (1..=MOST_TOKENS).map(|n| cost.cost().of(n))
}

/// What a pass costs: what sessions start from, and where what they learn is kept.
pub(super) struct KnownCost {
    start: CostModel,
    source: Source,
    /// Where to keep what sessions learn; `None` if that is not wanted.
    place: Option<(PathBuf, CalibrationKey)>,
}

/// Where the start comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    /// It does not matter here, or nothing is known.
    Guess,
    /// `calibrate`.
    Calibrated,
    /// Earlier runs.
    Learned,
    /// A measurement just now, of so many seconds.
    Measured(f64),
}

/// Most seconds of a first measurement.
const BUDGET: Duration = Duration::from_secs(1);

/// The cost of a pass: a calibration, or else what earlier runs learned. The first run measures it
/// in about a second, and says so unless it is `quiet`.
pub(super) fn known_cost(
    model: &Model,
    context: &ContextOptions,
    options: &SessionOptions,
    quiet: bool,
) -> KnownCost {
    let guess = KnownCost {
        start: CostModel::of(model),
        source: Source::Guess,
        place: None,
    };
    let Some(folder) = folder().filter(|_| options.weighs_cost()) else {
        return guess;
    };
    if model.cannot_draft(context).is_some() {
        return guess;
    }
    let key = key(model, context);
    if let Some(calibration) = usable(Calibration::read(&folder, &key)) {
        return KnownCost {
            start: cost_model(&calibration.times),
            source: Source::Calibrated,
            place: None,
        };
    }
    if let Some(learned) = usable(Learned::read(&folder, &key)) {
        return KnownCost {
            start: learned.cost_model(guess.start),
            source: Source::Learned,
            place: Some((folder, key)),
        };
    }
    let begun = Instant::now();
    let Some(measured) = measure(model, context, &guess.start) else {
        // Passes take long. Those of the answer will tell.
        return KnownCost {
            place: Some((folder, key)),
            ..guess
        };
    };
    let took = begun.elapsed().as_secs_f64();
    let learned = Learned::measured(key, measured);
    let written = learned.write(&folder);
    if !quiet {
        let kept = match &written {
            Ok(_) => "kept for the next run".to_owned(),
            Err(error) => format!("not kept: {}", hints::describe(error)),
        };
        tell_line!("note: measured the cost of a pass in {took:.1} s; {kept}");
    }
    KnownCost {
        start: learned.cost_model(guess.start),
        source: Source::Measured(took),
        place: written.is_ok().then_some((folder, learned.key)),
    }
}

/// What was read. A file that cannot be used is told of, and counts as none.
fn usable<T>(read: Result<Option<T>, CalibrationError>) -> Option<T> {
    read.unwrap_or_else(|error| {
        tell_line!("note: not used: {}", hints::describe(&error));
        None
    })
}

/// Measures briefly, in a small context of its own.
fn measure(model: &Model, context: &ContextOptions, guess: &CostModel) -> Option<Measured> {
    const SMALL_CTX: u32 = 512;
    let context = ContextOptions {
        n_ctx: Some(
            context
                .n_ctx
                .map_or(SMALL_CTX, |n_ctx| n_ctx.min(SMALL_CTX)),
        ),
        // It may depend on the size of the context.
        flash_attention: model.flash_attention(context),
        slots: 1,
        ..*context
    };
    // Answers do not need it, and whatever fails here fails there, too.
    in_a_thread_of_its_own(|| {
        let mut target = model.context(&context).ok()?;
        measure_briefly(&mut target, guess, BUDGET).ok()?
    })
}

impl KnownCost {
    /// What a session starts from.
    pub(super) fn start(&self) -> CostModel {
        self.start.clone()
    }

    /// For `--json`: where it comes from.
    pub(super) fn json(&self) -> Value {
        match self.source {
            Source::Guess => json!({"source": "guess"}),
            Source::Calibrated => json!({"source": "calibrated"}),
            Source::Learned => json!({"source": "learned"}),
            Source::Measured(seconds) => json!({"source": "measured", "seconds": seconds}),
        }
    }

    /// Keeps what a session learned, beside what other processes have kept since. The answers are
    /// there, so a failure is no error.
    pub(super) fn keep(&self, cost: &CostModel) {
        let Some((folder, key)) = &self.place else {
            return;
        };
        let learned = match Learned::read(folder, key) {
            Ok(Some(mut learned)) => learned.refine(cost).then_some(learned),
            _ => Learned::of(key.clone(), cost),
        };
        if let Some(Err(error)) = learned.map(|it| it.write(folder)) {
            tell_line!("note: {}", hints::describe(&error));
        }
    }
}

/// Answers, and keeps at the end what it learned about the cost of a pass.
pub(super) struct Learning<'e> {
    answerer: EngineAnswerer<'e>,
    known: KnownCost,
}

impl<'e> Learning<'e> {
    pub(super) fn new(answerer: EngineAnswerer<'e>, known: KnownCost) -> Self {
        Self { answerer, known }
    }
}

impl Answerer for Learning<'_> {
    fn answer(&mut self, turns: &[String], choice: u32) -> Result<Choice, AskError> {
        self.answerer.answer(turns, choice)
    }

    fn forget(&mut self) {
        self.answerer.forget();
    }
}

impl Drop for Learning<'_> {
    fn drop(&mut self) {
        self.known.keep(self.answerer.cost());
    }
}
