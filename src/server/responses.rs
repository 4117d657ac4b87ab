//! `/v1/responses`: text in, text out.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::server::answers::{Answers, End};
use crate::server::app::{App, now};
use crate::server::error::ApiError;
use crate::server::fields::Fields;
use crate::server::heavy;
use crate::server::logprobs::{self, Logprob};
use crate::server::messages::Conversation;
use crate::server::params::{Dialect, Params};
use crate::server::reply::Part;
use crate::server::respond::{Event, Form, Whole, respond};
use crate::server::tally::usage;

/// Answers a response request.
pub(super) async fn responses(
    app: Arc<App>,
    object: Map<String, Value>,
) -> Result<Response, ApiError> {
    let fields = Fields::new(&object);
    let params = Params::read(fields, Dialect::Responses, &app.defaults)?;
    for name in ["tools", "previous_response_id", "conversation"] {
        let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        if fields.get(name).is_some_and(|value| !is_empty(value)) {
            return Err(ApiError::unsupported(name));
        }
    }
    let mut chat = Map::new();
    chat.insert("messages".into(), messages(fields)?.into());
    let conversation = Conversation::read(Fields::new(&chat))?;
    let (prompt, reading) = heavy(|| conversation.prompt(&app))?;
    if app.logs_prompts {
        app.log(&format!("prompt: {:?}", prompt.text));
    }
    let mut answers = app.ask(vec![prompt.tokens], &params)?;
    answers.read_as(&reading);
    let form = ResponseForm {
        id: format!("{}-{}", app.started, answers.id()),
        created: now(),
        model: app.name.clone(),
        instructions: fields.get("instructions").cloned().unwrap_or_default(),
        number: 0,
        text: String::new(),
        logprobs: (Vec::new(), 0),
    };
    respond(answers, Box::new(form), params.stream).await
}

/// `instructions` and `input` as messages.
fn messages(fields: Fields<'_>) -> Result<Vec<Value>, ApiError> {
    let mut messages = Vec::new();
    if let Some(text) = fields.text("instructions")? {
        messages.push(json!({"role": "system", "content": text}));
    }
    match fields.get("input") {
        None => return Err(fields.wrong("input", "is missing: give a text")),
        Some(Value::String(text)) => messages.push(json!({"role": "user", "content": text})),
        Some(Value::Array(items)) => {
            for item in items {
                let kind = item
                    .get("type")
                    .and_then(Value::as_str)
                    .unwrap_or("message");
                match kind {
                    "message" => messages.push(item.clone()),
                    "reasoning" => {}
                    _ => return Err(fields.wrong("input", "only messages of text are supported")),
                }
            }
        }
        Some(_) => return Err(fields.wrong("input", "give a text or a list of messages")),
    }
    Ok(messages)
}

struct ResponseForm {
    id: String,
    created: u64,
    model: String,
    instructions: Value,
    /// Number of the next event.
    number: usize,
    /// The text so far.
    text: String,
    /// The log-probabilities so far, and how many of them were sent.
    logprobs: (Vec<Logprob>, usize),
}

impl ResponseForm {
    fn event(&mut self, name: &'static str, mut data: Value) -> Event {
        data["type"] = name.into();
        data["sequence_number"] = self.number.into();
        self.number += 1;
        Event {
            name: Some(name),
            data,
        }
    }

    fn response(&self, status: &str, output: Value) -> Value {
        json!({
            "id": format!("resp_{}", self.id),
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "instructions": self.instructions,
            "metadata": {},
            "model": self.model,
            "output": output,
            "parallel_tool_calls": true,
            "tool_choice": "auto",
            "tools": [],
            "temperature": null,
            "top_p": null,
            "usage": null,
        })
    }

    fn item(&self, status: &str, text: Option<&str>) -> Value {
        let part = |text| self.output_text(text);
        json!({
            "id": format!("msg_{}", self.id),
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": text.map(part).into_iter().collect::<Vec<_>>(),
        })
    }

    fn output_text(&self, text: &str) -> Value {
        let logprobs = logprobs::list(&self.logprobs.0);
        json!({"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs})
    }

    fn complete(&self, end: Option<&End>, text: &str, answers: &Answers) -> Value {
        let status = match end {
            Some(End::Length) => "incomplete",
            _ => "completed",
        };
        let output = json!([self.item(status, Some(text))]);
        let mut response = self.response(status, output);
        if status == "incomplete" {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        let usage = usage(answers.tallies(), answers.prompts);
        response["usage"] = json!({
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {
                "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
            },
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {
                "reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"],
            },
            "total_tokens": usage["total_tokens"],
        });
        answers.tally(0).write(&mut response);
        response
    }

    fn place(&self) -> Value {
        let item = format!("msg_{}", self.id);
        json!({"item_id": item, "output_index": 0, "content_index": 0})
    }
}

impl Form for ResponseForm {
    fn begin(&mut self, _: &Answers) -> Vec<Event> {
        let response = self.response("in_progress", json!([]));
        let item = self.item("in_progress", None);
        let mut part = self.place();
        part["part"] = self.output_text("");
        vec![
            self.event("response.created", json!({"response": response.clone()})),
            self.event("response.in_progress", json!({"response": response})),
            self.event(
                "response.output_item.added",
                json!({"output_index": 0, "item": item}),
            ),
            self.event("response.content_part.added", part),
        ]
    }

    fn logprobs(&mut self, _: usize, logprobs: Vec<Logprob>) {
        self.logprobs.0.extend(logprobs);
    }

    fn part(&mut self, _: usize, part: &Part, _: &Answers) -> Vec<Event> {
        let Part::Content(pieces) = part else {
            return Vec::new();
        };
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        self.text += &text;
        let mut delta = self.place();
        delta["delta"] = text.into();
        let (logprobs, sent) = &mut self.logprobs;
        delta["logprobs"] = logprobs::list(&logprobs[*sent..]);
        *sent = logprobs.len();
        vec![self.event("response.output_text.delta", delta)]
    }

    fn end(&mut self, _: usize, end: &End, answers: &Answers) -> Vec<Event> {
        let text = std::mem::take(&mut self.text);
        let mut done = self.place();
        done["text"] = text.as_str().into();
        done["logprobs"] = logprobs::list(&self.logprobs.0);
        let mut part = self.place();
        part["part"] = self.output_text(&text);
        let response = self.complete(Some(end), &text, answers);
        let item = response["output"][0].clone();
        let last = match end {
            End::Length => "response.incomplete",
            _ => "response.completed",
        };
        vec![
            self.event("response.output_text.done", done),
            self.event("response.content_part.done", part),
            self.event(
                "response.output_item.done",
                json!({"output_index": 0, "item": item}),
            ),
            self.event(last, json!({"response": response})),
        ]
    }

    fn says_done(&self) -> bool {
        false
    }

    fn whole(&mut self, wholes: &[Whole], answers: &Answers) -> Value {
        self.logprobs.0.clone_from(&wholes[0].logprobs);
        self.complete(wholes[0].end.as_ref(), &wholes[0].content, answers)
    }
}
