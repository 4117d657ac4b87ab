//! The measured cost of a forward pass: where `calibrate` keeps it, and where the others find it.

use std::path::PathBuf;

use serde_json::json;

use crate::bench::sha256_of_file;
use crate::cli::hints;
use crate::engine::calibrate::{Calibration, CalibrationKey, PassTimes, cost_model};
use crate::engine::{CostModel, MOST_TOKENS, SessionOptions};
use crate::runtime::llama::{
    ContextOptions, DeviceOptions, Model, ModelOptions, build, default_threads, devices, system,
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

/// The start of the SHA-256 of the measurements that a run starts from; `None` if it starts from a
/// guess.
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
    let calibration = Calibration::read(&folder()?, &key(model, &context)).ok()??;
    Some(seconds(&calibration.times))
}

/// Seconds of passes of one token and more.
pub(super) fn seconds(times: &[PassTimes]) -> Vec<f64> {
    let cost = cost_model(times);
    (1..=MOST_TOKENS).map(|n| cost.cost().of(n)).collect()
}

/// The cost model that a session starts with: earlier measurements on this machine, or a guess.
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
            tell_line!("warning: {}", hints::describe(&error));
            CostModel::of(model)
        }
    }
}
