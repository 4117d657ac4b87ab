//! `/v1/chat/completions`.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::server::answers::{Answers, End};
use crate::server::app::{App, now};
use crate::server::error::ApiError;
use crate::server::fields::Fields;
use crate::server::heavy;
use crate::server::logprobs::{self, Logprob};
use crate::server::messages::{Conversation, tool_choice};
use crate::server::params::{Dialect, Params};
use crate::server::reply::{Part, ToolCall};
use crate::server::respond::{Event, Form, Whole, drafts, respond};
use crate::server::tally::usage;

/// Answers a chat.
pub(super) async fn chat(app: Arc<App>, object: Map<String, Value>) -> Result<Response, ApiError> {
    let fields = Fields::new(&object);
    let conversation = Conversation::read(fields)?;
    let mut params = Params::read(fields, Dialect::Chat, &app.defaults)?;
    if let Some(call) = tool_choice(fields)? {
        params.asks.grammar = Some(call);
        params.check()?;
    }
    let (prompt, mut reading) = heavy(|| conversation.prompt(&app))?;
    // What a grammar demands is the reply itself.
    reading.reasons &= params.asks.grammar.is_none();
    if app.logs_prompts {
        app.log(&format!("prompt: {:?}", prompt.text));
    }
    let mut answers = app.ask(vec![prompt.tokens], &params)?;
    answers.read_as(&reading);
    let form = ChatForm {
        id: format!("chatcmpl-{}-{}", app.started, answers.id()),
        created: now(),
        model: app.name.clone(),
        include_usage: params.include_usage,
        shows_drafts: params.shows_drafts,
        times_chunks: params.times_chunks,
        calls: vec![0; params.n],
        logprobs: params.asks.logprobs.map(|_| vec![Vec::new(); params.n]),
    };
    respond(answers, Box::new(form), params.stream).await
}

struct ChatForm {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
    shows_drafts: bool,
    times_chunks: bool,
    /// Calls so far, for each answer.
    calls: Vec<usize>,
    /// Log-probabilities for the next chunk of each answer, if they are asked for.
    logprobs: Option<Vec<Vec<Logprob>>>,
}

impl ChatForm {
    fn object(&self, kind: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": super::FINGERPRINT,
            "choices": choices,
        })
    }

    fn chunk(&mut self, index: usize, delta: Value, finish_reason: Option<&str>) -> Value {
        let logprobs = self.logprobs.as_mut();
        let logprobs = logprobs.map(|of| std::mem::take(&mut of[index]));
        let logprobs = logprobs.filter(|tokens| !tokens.is_empty());
        let choice = json!({
            "index": index,
            "delta": delta,
            "logprobs": logprobs.map(|tokens| logprobs::chat(&tokens)),
            "finish_reason": finish_reason,
        });
        let mut chunk = self.object("chat.completion.chunk", json!([choice]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn call_id(&self, index: usize, number: usize) -> String {
        let (_, id) = self.id.split_once('-').unwrap_or_default();
        format!("call_{id}_{index}_{number}")
    }

    fn call(&self, index: usize, number: usize, call: &ToolCall) -> Value {
        json!({
            "id": self.call_id(index, number),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        })
    }
}

impl Form for ChatForm {
    fn begin(&mut self, answers: &Answers) -> Vec<Event> {
        let first = |(index, _)| {
            let delta = json!({"role": "assistant", "content": ""});
            self.chunk(index, delta, None).into()
        };
        answers.tallies().enumerate().map(first).collect()
    }

    fn logprobs(&mut self, index: usize, logprobs: Vec<Logprob>) {
        if let Some(of) = &mut self.logprobs {
            of[index].extend(logprobs);
        }
    }

    fn part(&mut self, index: usize, part: &Part, answers: &Answers) -> Vec<Event> {
        let mut sources = None;
        let delta = match part {
            Part::Reasoning(text) => json!({"reasoning_content": text}),
            Part::Content(pieces) => {
                sources = self.shows_drafts.then(|| drafts(pieces));
                let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
                json!({"content": text})
            }
            Part::Call(call) => {
                let number = self.calls[index];
                self.calls[index] += 1;
                let mut call = self.call(index, number, call);
                call["index"] = number.into();
                json!({"tool_calls": [call]})
            }
        };
        let mut chunk = self.chunk(index, delta, None);
        if let Some(sources) = sources {
            chunk["drafts"] = sources;
        }
        if self.times_chunks {
            answers.tally(index).write(&mut chunk);
        }
        vec![chunk.into()]
    }

    fn end(&mut self, index: usize, end: &End, answers: &Answers) -> Vec<Event> {
        let mut chunk = self.chunk(index, json!({}), Some(end.name()));
        answers.tally(index).write(&mut chunk);
        vec![chunk.into()]
    }

    fn last(&mut self, answers: &Answers) -> Vec<Event> {
        if !self.include_usage {
            return Vec::new();
        }
        let mut chunk = self.object("chat.completion.chunk", json!([]));
        chunk["usage"] = usage(answers.tallies(), answers.prompts);
        vec![chunk.into()]
    }

    fn whole(&mut self, wholes: &[Whole], answers: &Answers) -> Value {
        let choice = |(index, whole): (usize, &Whole)| {
            let mut message = json!({"role": "assistant", "content": whole.content});
            if !whole.reasoning.is_empty() {
                message["reasoning_content"] = whole.reasoning.as_str().into();
            }
            if !whole.calls.is_empty() {
                let calls = whole.calls.iter().enumerate();
                message["tool_calls"] = calls
                    .map(|(number, call)| self.call(index, number, call))
                    .collect();
                if whole.content.is_empty() {
                    message["content"] = Value::Null;
                }
            }
            let mut choice = json!({
                "index": index,
                "message": message,
                "logprobs": self.logprobs.is_some().then(|| logprobs::chat(&whole.logprobs)),
                "finish_reason": whole.end.as_ref().map(End::name),
            });
            if self.shows_drafts {
                choice["drafts"] = drafts(&whole.pieces);
            }
            choice
        };
        let choices = wholes.iter().enumerate().map(choice).collect();
        let mut object = self.object("chat.completion", choices);
        object["usage"] = usage(answers.tallies(), answers.prompts);
        answers.tally(0).write(&mut object);
        object
    }
}
