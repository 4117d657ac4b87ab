//! What the server is and does: `/health`, `/v1/models`, `/props`, `/slots`, `/metrics`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::server::app::App;
use crate::server::error::{ApiError, json_body};

/// Whether requests are taken.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    match app.lost.get() {
        Some(reason) => ApiError::lost(reason).into_response(),
        None if app.stopping.load(Relaxed) => ApiError::stopping().into_response(),
        None => json_body(&json!({"status": "ok"})).into_response(),
    }
}

/// The model.
pub(super) async fn models(State(app): State<Arc<App>>) -> Response {
    let info = app.model.info();
    let model = json!({
        "id": app.name,
        "object": "model",
        "created": app.started,
        "owned_by": "logitspec",
        "meta": {
            "n_ctx": app.n_ctx,
            "n_ctx_train": app.model.n_ctx_train(),
            "n_vocab": info.vocabulary,
            "n_embd": info.embedding_length,
            "n_params": info.parameters,
            "size": info.size,
        },
    });
    json_body(&json!({"object": "list", "data": [model]})).into_response()
}

/// How the server is set up.
pub(super) async fn props(State(app): State<Arc<App>>) -> Response {
    let vocabulary = app.model.vocabulary();
    let sampling = &app.defaults.asks.sampling;
    let options = &app.defaults.options;
    let template = app.template.as_ref();
    let props = json!({
        "default_generation_settings": {
            "n_ctx": app.n_ctx,
            "params": {
                "temperature": sampling.temperature,
                "top_k": sampling.top_k,
                "top_p": sampling.top_p,
                "min_p": sampling.min_p,
                "repeat_penalty": sampling.repeat_penalty,
            },
        },
        "speculative": {
            "method": options.method,
            "draft_tree_capacity": options.draft_tree_capacity,
        },
        "total_slots": app.limits.parallel,
        "model_path": app.model.path(),
        "model_alias": app.name,
        "chat_template": app.model.chat_template().unwrap_or_default(),
        "chat_template_name": template.map(|template| template.name()),
        "chat_template_takes_tools": template.is_some_and(|template| template.takes_tools()),
        "can_infill": vocabulary.infill().is_some(),
        "bos_token": vocabulary.bos(),
        "eos_token": vocabulary.eos(),
        "build_info": super::FINGERPRINT,
    });
    json_body(&props).into_response()
}

/// What the slots do.
pub(super) async fn slots(State(app): State<Arc<App>>) -> Response {
    let slot = |(id, slot): (usize, crate::server::engine::Slot)| {
        json!({
            "id": id,
            "id_task": slot.request,
            "n_ctx": app.n_ctx,
            "is_processing": slot.request.is_some(),
            "n_prompt_tokens": slot.prompt,
            "n_decoded": slot.answered,
            "n_cached": slot.cached,
        })
    };
    let slots: Value = app
        .status
        .slots()
        .into_iter()
        .enumerate()
        .map(slot)
        .collect();
    json_body(&slots).into_response()
}

/// Metrics for Prometheus.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = app.metrics.encode(&app.status, app.n_ctx);
    ([(header::CONTENT_TYPE, KIND)], text).into_response()
}

/// The page for people.
pub(super) async fn page() -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
        script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; \
        form-action 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, include_str!("page.html")).into_response()
}
