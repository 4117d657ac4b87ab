//! Requests, one JSON object per line: a prompt and a response, or a chat.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::chat::{Chat, messages};
use super::{
    InputError, LineError, LinePart, RecordKind, RecordedChoice, RequestEncoder, for_each_line,
    single_turn,
};
use crate::TokenId;
use crate::files::json_reason;
use crate::runtime::Prompt;
use crate::simulate::Request;

/// The keys of a JSON line.
#[derive(Clone, Debug)]
pub struct Fields {
    /// The prompt: a text, or an array of token ids.
    pub prompt: String,
    /// The response, likewise.
    pub response: String,
    /// The category, if lines have one.
    pub category: String,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRead {
    /// All of it is replayed.
    Whole,
    /// A chat whose later turns cannot be replayed: they have tool calls, or no text.
    Cut,
    /// A chat that cannot be replayed at all.
    LeftOut,
}

/// Whether the first line of a JSON Lines file is a chat. Chats need a chat template.
///
/// # Errors
/// If the file cannot be read.
pub fn holds_chats(path: &Path, fields: &Fields) -> Result<bool, InputError> {
    let mut first = None;
    for_each_line(path, RecordKind::Requests, |text| {
        let line = || serde_json::from_slice::<Value>(text).unwrap_or_default();
        first.get_or_insert_with(|| messages(&line(), &fields.prompt).is_some());
        Ok(())
    })?;
    Ok(first.unwrap_or(false))
}

/// Reads one request from each line of a JSON Lines file: a prompt and its response, or a chat as
/// OpenAI's API logs it. `on_line` hears what became of each line.
///
/// # Errors
/// A file that cannot be read, a line without the fields, a template that fails, or no request at
/// all.
pub fn read_jsonl(
    path: &Path,
    fields: &Fields,
    encoder: &RequestEncoder<'_>,
    on_line: &mut dyn FnMut(LineRead),
) -> Result<Vec<Request>, InputError> {
    let mut requests = Vec::new();
    for_each_line(path, RecordKind::Requests, |text| {
        let line: Value = serde_json::from_slice(text)
            .map_err(|error| format!("not JSON: {}", json_reason(&error)))?;
        let category = line.get(&fields.category).and_then(Value::as_str);
        if let Some(messages) = messages(&line, &fields.prompt) {
            let chat = Chat::read(&line, messages, &fields.response);
            let request = chat.request(encoder, category.unwrap_or("chats"))?;
            on_line(match (&request, chat.is_cut) {
                (None, _) => LineRead::LeftOut,
                (Some(_), true) => LineRead::Cut,
                (Some(_), false) => LineRead::Whole,
            });
            requests.extend(request);
            return Ok(());
        }
        let prompt = text_or_tokens(&line, &fields.prompt, LinePart::Prompt)?;
        let response = text_or_tokens(&line, &fields.response, LinePart::Response)?;
        requests.push(request(
            encoder,
            category.unwrap_or("requests"),
            prompt,
            response,
        )?);
        on_line(LineRead::Whole);
        Ok(())
    })?;
    match requests.is_empty() {
        true => Err(InputError::Empty {
            path: path.into(),
            kind: RecordKind::Requests,
            reason: "holds no answer to replay; give a file with one JSON object per line",
        }),
        false => Ok(requests),
    }
}

fn request(
    encoder: &RequestEncoder<'_>,
    category: &str,
    prompt: Field,
    response: Field,
) -> Result<Request, InputError> {
    match (prompt, response) {
        (Field::Tokens(prompt), Field::Tokens(ids)) => Ok(single_turn(
            category,
            encoder.turn_from_tokens(raw(prompt), &ids, &[]),
        )),
        (Field::Tokens(prompt), Field::Text(answer)) => Ok(single_turn(
            category,
            encoder.turn_from_text(raw(prompt), &answer)?,
        )),
        (Field::Text(said), response) => {
            let (text, token_ids) = match response {
                Field::Text(answer) => (answer, None),
                Field::Tokens(ids) => (String::new(), Some(vec![ids])),
            };
            let choice = RecordedChoice {
                turns: vec![text],
                token_ids,
                ranked: None,
            };
            encoder.request(category, &[said], &choice)
        }
    }
}

/// A prompt that is recorded as tokens.
fn raw(tokens: Vec<TokenId>) -> Prompt {
    Prompt {
        keep: 0,
        tokens,
        text: String::new(),
    }
}

/// The value of a prompt or response.
enum Field {
    Text(String),
    Tokens(Vec<TokenId>),
}

fn text_or_tokens(line: &Value, key: &str, part: LinePart) -> Result<Field, LineError> {
    let refused = |reason| Err(LineError { part, reason });
    match line.get(key) {
        Some(Value::String(text)) => Ok(Field::Text(text.clone())),
        Some(value @ Value::Array(_)) => Vec::deserialize(value).map(Field::Tokens).or_else(|_| {
            refused(format!(
                "{key:?} is an array, but not of token ids; it must be a text or token ids"
            ))
        }),
        Some(_) => refused(format!("{key:?} is neither a text nor token ids")),
        None => refused(format!("there is no {key:?}")),
    }
}
