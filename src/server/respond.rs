//! How answers are sent: whole, or as server-sent events while they are generated.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde_json::Value;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::server::answers::{Answers, End, Update};
use crate::server::error::{ApiError, json_body};
use crate::server::held::Piece;
use crate::server::logprobs::Logprob;
use crate::server::reply::{Part, ToolCall};

/// Comments are sent this often, so that nothing between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A server-sent event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name, if it has one.
    pub name: Option<&'static str>,
    /// Its data.
    pub data: Value,
}

impl From<Value> for Event {
    fn from(data: Value) -> Self {
        Self { name: None, data }
    }
}

/// A complete answer.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    /// The text.
    pub content: String,
    /// The text with its sources.
    pub pieces: Vec<Piece>,
    /// The reasoning.
    pub reasoning: String,
    /// Calls of tools.
    pub calls: Vec<ToolCall>,
    /// The log-probabilities of its tokens, if they were asked for.
    pub logprobs: Vec<Logprob>,
    /// Why it ended.
    pub end: Option<End>,
}

/// The form of answers in one of the APIs.
pub trait Form: Send {
    /// The events before the first answer begins.
    fn begin(&mut self, _answers: &Answers) -> Vec<Event> {
        Vec::new()
    }

    /// The events of a part of an answer.
    fn part(&mut self, index: usize, part: &Part, answers: &Answers) -> Vec<Event>;

    /// The log-probabilities of tokens whose text comes with the next part, or came before.
    fn logprobs(&mut self, _index: usize, _logprobs: Vec<Logprob>) {}

    /// The events of an answer's end.
    fn end(&mut self, index: usize, end: &End, answers: &Answers) -> Vec<Event>;

    /// The events after all answers.
    fn last(&mut self, _answers: &Answers) -> Vec<Event> {
        Vec::new()
    }

    /// Whether `data: [DONE]` comes last.
    fn says_done(&self) -> bool {
        true
    }

    /// All answers in one object.
    fn whole(&mut self, wholes: &[Whole], answers: &Answers) -> Value;
}

/// Sends answers.
///
/// # Errors
/// If the model fails before anything was sent.
pub async fn respond(
    mut answers: Answers,
    mut form: Box<dyn Form>,
    stream: bool,
) -> Result<Response, ApiError> {
    if stream {
        return Ok(event_stream(answers, form));
    }
    let mut wholes = vec![Whole::default(); answers.tallies().count()];
    while let Some(updates) = answers.next().await {
        for (index, update) in updates {
            let whole = &mut wholes[index];
            match update {
                Update::Part(Part::Content(pieces)) => {
                    pieces.iter().for_each(|piece| whole.content += &piece.text);
                    whole.pieces.extend(pieces);
                }
                Update::Part(Part::Reasoning(text)) => whole.reasoning += &text,
                Update::Part(Part::Call(call)) => whole.calls.push(call),
                Update::Logprobs(logprobs) => whole.logprobs.extend(logprobs),
                Update::End(end) => whole.end = Some(end),
                Update::Failed(error) => return Err(error),
            }
        }
    }
    Ok(json_body(&form.whole(&wholes, &answers)).into_response())
}

fn event_stream(answers: Answers, form: Box<dyn Form>) -> Response {
    let mut ticks = interval(KEEP_ALIVE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once.
    ticks.reset();
    let mut stream = EventStream {
        ready: VecDeque::new(),
        answers,
        form,
        ticks,
        ended: false,
    };
    let first = stream.form.begin(&stream.answers);
    stream.write(first);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        // nginx would collect the events otherwise.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::new(stream)).into_response()
}

/// A body of server-sent events. It is asked for more only as fast as the client reads.
struct EventStream {
    ready: VecDeque<u8>,
    answers: Answers,
    form: Box<dyn Form>,
    ticks: Interval,
    ended: bool,
}

impl EventStream {
    fn write(&mut self, events: Vec<Event>) {
        for event in events {
            if let Some(name) = event.name {
                self.ready.extend(format!("event: {name}\n").bytes());
            }
            self.ready
                .extend(format!("data: {}\n\n", event.data).bytes());
        }
    }

    fn take(&mut self, updates: Vec<(usize, Update)>) {
        for (index, update) in updates {
            let events = match update {
                Update::Part(part) => self.form.part(index, &part, &self.answers),
                Update::Logprobs(logprobs) => {
                    self.form.logprobs(index, logprobs);
                    continue;
                }
                Update::End(end) => self.form.end(index, &end, &self.answers),
                Update::Failed(error) => vec![error.body().into()],
            };
            self.write(events);
        }
    }

    fn finish(&mut self) {
        self.ended = true;
        let last = self.form.last(&self.answers);
        self.write(last);
        if self.form.says_done() {
            self.ready.extend(b"data: [DONE]\n\n");
        }
    }

    fn frame(&mut self) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes: Vec<u8> = self.ready.drain(..).collect();
        Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
    }
}

impl hyper::body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.ready.is_empty() {
            return self.frame();
        }
        while !self.ended {
            match self.answers.poll(context) {
                Poll::Ready(Some(updates)) => self.take(updates),
                Poll::Ready(None) => self.finish(),
                Poll::Pending if self.ticks.poll_tick(context).is_ready() => {
                    self.ready.extend(b": still here\n\n");
                }
                Poll::Pending => return Poll::Pending,
            }
            if !self.ready.is_empty() {
                return self.frame();
            }
        }
        Poll::Ready(None)
    }
}

/// The sources of some text, as extension fields have them: pairs of a text and a name or null.
pub fn drafts(pieces: &[Piece]) -> Value {
    let pair = |piece: &Piece| {
        let name = piece.source.map(|source| source.name());
        serde_json::json!([piece.text, name])
    };
    pieces.iter().map(pair).collect()
}
