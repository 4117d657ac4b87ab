//! `/tokenize`, `/detokenize` and `/apply-template`.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::TokenId;
use crate::runtime::{Place, PromptTokenizer};
use crate::server::app::{App, tokenize_error};
use crate::server::completions::{text_of, token};
use crate::server::error::{ApiError, json_body};
use crate::server::fields::Fields;
use crate::server::heavy;
use crate::server::messages::Conversation;

/// The tokens of a text.
pub(super) async fn tokenize(
    app: Arc<App>,
    object: Map<String, Value>,
) -> Result<Response, ApiError> {
    let fields = Fields::new(&object);
    let Some(text) = fields.text("content")? else {
        return Err(fields.wrong("content", "is missing: give a text"));
    };
    let vocabulary = app.model.vocabulary();
    let parse_special = fields.switch("parse_special")?.unwrap_or(true);
    let mut tokens = match fields.switch("add_special")?.unwrap_or(false) {
        true => vocabulary.prefix(),
        false => Vec::new(),
    };
    let more = heavy(|| vocabulary.encode(text, Place::Start, parse_special));
    tokens.extend(more.map_err(|error| tokenize_error("content", &error))?);
    let tokens: Value = match fields.switch("with_pieces")?.unwrap_or(false) {
        false => json!(tokens),
        true => tokens.iter().map(|&token| piece(&app, token)).collect(),
    };
    Ok(json_body(&json!({"tokens": tokens})).into_response())
}

/// A token with its text; bytes that are no text are given as numbers.
fn piece(app: &App, token: TokenId) -> Value {
    let bytes = app.model.vocabulary().shown(true)(token);
    match String::from_utf8(bytes) {
        Ok(text) => json!({"id": token, "piece": text}),
        Err(error) => json!({"id": token, "piece": error.as_bytes()}),
    }
}

/// The text of tokens.
pub(super) async fn detokenize(
    app: Arc<App>,
    object: Map<String, Value>,
) -> Result<Response, ApiError> {
    let fields = Fields::new(&object);
    let Some(list) = fields.list("tokens")? else {
        return Err(fields.wrong("tokens", "is missing: give a list of tokens"));
    };
    let n_vocab = app.defaults.n_vocab;
    let known = |value: &Value| token(value).filter(|&token| (token as usize) < n_vocab);
    let tokens: Option<Vec<TokenId>> = list.iter().map(known).collect();
    let wanted = format!("give tokens from 0 to {}", n_vocab - 1);
    let tokens = tokens.ok_or_else(|| fields.wrong("tokens", wanted))?;
    Ok(json_body(&json!({"content": text_of(&app, &tokens)})).into_response())
}

/// The prompt that a conversation makes.
pub(super) async fn apply_template(
    app: Arc<App>,
    object: Map<String, Value>,
) -> Result<Response, ApiError> {
    let conversation = Conversation::read(Fields::new(&object))?;
    let (prompt, _) = heavy(|| conversation.prompt(&app))?;
    Ok(json_body(&json!({"prompt": prompt.text})).into_response())
}
