//! Answers while they are generated: from the engine's events to text.

use std::fmt::Write;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::TokenId;
use crate::engine::TextStream;
use crate::server::app::{App, Ticket};
use crate::server::engine::{Event, Finish, StepEvent};
use crate::server::error::ApiError;
use crate::server::held::{Piece, StopText};
use crate::server::logprobs::{Logprob, Waiting};
use crate::server::params::Params;
use crate::server::reply::{MARKERS, Part, ReplyParser};
use crate::server::tally::Tally;

/// How to read the reply of a chat model.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Names of the tools.
    pub tools: Vec<String>,
    /// Whether the prompt opened the reasoning.
    pub reasons: bool,
    /// Whether more than one call is passed on.
    pub parallel_calls: bool,
}

/// Why an answer ended, as OpenAI's API has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The model ended it.
    Eos,
    /// It ran into this string.
    Stop(String),
    /// It reached the limit.
    Length,
    /// It called tools.
    Calls,
}

impl End {
    /// OpenAI's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Eos | Self::Stop(_) => "stop",
            Self::Length => "length",
            Self::Calls => "tool_calls",
        }
    }
}

/// What happens to one of the answers.
#[derive(Clone, Debug)]
pub enum Update {
    /// More of it.
    Part(Part),
    /// The log-probabilities of tokens whose text comes with the next part, or came before.
    Logprobs(Vec<Logprob>),
    /// It is complete.
    End(End),
    /// The model failed, or the server stops.
    Failed(ApiError),
}

/// The answers to a request: one, or one for each prompt and choice.
pub struct Answers {
    app: Arc<App>,
    receiver: UnboundedReceiver<(usize, Event)>,
    answers: Vec<Answer>,
    stops: Vec<String>,
    capacity: usize,
    open: usize,
    asked: Instant,
    /// Number of prompts.
    pub prompts: usize,
}

/// One answer.
struct Answer {
    ticket: Ticket,
    tally: Tally,
    text: TextStream,
    stops: StopText,
    logprobs: Waiting,
    parser: Option<ReplyParser>,
    parallel_calls: bool,
    calls: usize,
    ended: bool,
    first: Option<f64>,
    last: Instant,
}

impl Answers {
    pub(super) fn new(
        app: &Arc<App>,
        receiver: UnboundedReceiver<(usize, Event)>,
        params: &Params,
        prompts: usize,
    ) -> Self {
        Self {
            app: app.clone(),
            receiver,
            answers: Vec::new(),
            stops: params.asks.stop.clone(),
            capacity: params.options.draft_tree_capacity,
            open: 0,
            asked: Instant::now(),
            prompts,
        }
    }

    /// Adds an answer whose request is about to be submitted.
    pub(super) fn add(&mut self, ticket: Ticket, prompt: usize, prediction: usize) {
        self.open += 1;
        self.answers.push(Answer {
            ticket,
            tally: Tally {
                prompt,
                prediction,
                capacity: self.capacity,
                ..Tally::default()
            },
            text: TextStream::default(),
            stops: StopText::new(self.stops.clone()),
            logprobs: Waiting::default(),
            parser: None,
            parallel_calls: true,
            calls: 0,
            ended: false,
            first: None,
            last: Instant::now(),
        });
    }

    /// Reads the answers as replies of a chat model, not as plain text; before the first update.
    pub fn read_as(&mut self, reading: &Reading) {
        for answer in &mut self.answers {
            let parser = ReplyParser::new(reading.tools.clone(), reading.reasons);
            answer.parser = Some(parser);
            answer.parallel_calls = reading.parallel_calls;
        }
    }

    /// What the answers took so far.
    pub fn tallies(&self) -> impl Iterator<Item = &Tally> + Clone {
        self.answers.iter().map(|answer| &answer.tally)
    }

    /// What one took so far.
    pub fn tally(&self, index: usize) -> &Tally {
        &self.answers[index].tally
    }

    /// A number for the whole request.
    pub fn id(&self) -> u64 {
        self.answers[0].ticket.id()
    }

    /// The next updates, each with the number of its answer; `None` after the last.
    pub async fn next(&mut self) -> Option<Vec<(usize, Update)>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// Like [`next`](Self::next).
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Vec<(usize, Update)>>> {
        let mut updates = Vec::new();
        while self.open > 0 {
            match self.receiver.poll_recv(context) {
                Poll::Ready(Some((index, event))) => self.take(index, event, &mut updates),
                Poll::Ready(None) => {
                    // The engine dropped the requests: it stops.
                    for index in 0..self.answers.len() {
                        self.fail(index, ApiError::stopping(), &mut updates);
                    }
                }
                Poll::Pending if updates.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready((!updates.is_empty()).then_some(updates))
    }

    fn take(&mut self, index: usize, event: Event, updates: &mut Vec<(usize, Update)>) {
        if self.answers[index].ended {
            return;
        }
        match event {
            Event::Started { cached } => self.answers[index].tally.cached = cached,
            Event::Prefilled { seconds } => {
                let tally = &mut self.answers[index].tally;
                tally.prompt_seconds = seconds;
                self.app.metrics.prefilled(tally);
            }
            Event::Step(step) => self.step(index, &step, updates),
            Event::Finished(finish) => self.finish(index, finish, updates),
            Event::Failed(message) => self.fail(index, ApiError::failed(message), updates),
            Event::Lost(message) => self.fail(index, ApiError::lost(message), updates),
        }
    }

    fn step(&mut self, index: usize, step: &StepEvent, updates: &mut Vec<(usize, Update)>) {
        let answer = &mut self.answers[index];
        let waited = answer.last.elapsed().as_secs_f64();
        answer.last = Instant::now();
        if answer.first.is_none() {
            answer.first = Some(self.asked.elapsed().as_secs_f64());
        }
        answer.tally.add(step);
        let first = answer.first.filter(|_| answer.tally.steps() == 1);
        self.app.metrics.step(step, first, waited);
        let mut parts = Vec::new();
        let mut logprobs = step.logprobs.iter();
        for &(token, source) in &step.tokens {
            let bytes = shown(&self.app, token, answer.parser.is_some());
            let text = answer.text.push(&bytes);
            answer.add(&Piece { text, source }, &mut parts);
            let parser = answer.parser.as_ref();
            let is_reasoning = parser.is_some_and(ReplyParser::is_reasoning);
            answer.tally.reasoning += usize::from(is_reasoning);
            if let Some(found) = logprobs.next() {
                let vocabulary = self.app.model.vocabulary();
                // Control tokens are no text.
                let is_text = !is_reasoning && !vocabulary.bytes(token).is_empty();
                let found = is_text.then(|| Logprob::of(found, &vocabulary));
                answer.logprobs.push(found, bytes.len());
            }
        }
        answer.tell(index, parts, updates);
        if answer.stops.hit().is_some() {
            self.finish(index, Finish::Stop, updates);
        }
    }

    fn finish(&mut self, index: usize, finish: Finish, updates: &mut Vec<(usize, Update)>) {
        let answer = &mut self.answers[index];
        let parts = answer.finish();
        answer.tell(index, parts, updates);
        let end = match (finish, answer.stops.hit()) {
            _ if answer.calls > 0 => End::Calls,
            (_, Some(stop)) => End::Stop(stop.to_owned()),
            (Finish::Stop, None) => End::Eos,
            (Finish::Length, None) => End::Length,
        };
        // The engine goes on behind a stop string until it is told.
        let stopped = answer.stops.hit().is_some();
        self.close(index, !stopped, end.name());
        updates.push((index, Update::End(end)));
    }

    fn fail(&mut self, index: usize, error: ApiError, updates: &mut Vec<(usize, Update)>) {
        if !self.answers[index].ended {
            self.close(index, true, "error");
            updates.push((index, Update::Failed(error)));
        }
    }

    /// Notes that an answer has ended, and says so.
    fn close(&mut self, index: usize, engine_is_done: bool, reason: &'static str) {
        let answer = &mut self.answers[index];
        answer.ended = true;
        self.open -= 1;
        match engine_is_done {
            true => answer.ticket.give_back(),
            false => answer.ticket.cancel(),
        }
        let seconds = self.asked.elapsed().as_secs_f64();
        self.app.metrics.ended(reason, seconds);
        let (id, tally) = (answer.ticket.id(), &answer.tally);
        let mut line = format!("request {id}: {reason}, {} prompt tokens", tally.prompt);
        let _ = write!(
            line,
            " ({} cached), {} new tokens in {} steps, {:.1} tokens/s, {seconds:.2} s",
            tally.cached,
            tally.answered,
            tally.steps(),
            tally.per_second(),
        );
        self.app.log(&line);
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        for index in 0..self.answers.len() {
            if !self.answers[index].ended {
                self.close(index, false, "cancelled");
            }
        }
    }
}

impl Answer {
    /// Adds text.
    fn add(&mut self, piece: &Piece, parts: &mut Vec<Part>) {
        for piece in self.stops.push(piece) {
            self.parse(&piece, parts);
        }
    }

    /// Says what is new: the log-probabilities of tokens that are shown, and parts.
    fn tell(&mut self, index: usize, parts: Vec<Part>, updates: &mut Vec<(usize, Update)>) {
        let logprobs = self.logprobs.take();
        if !logprobs.is_empty() {
            updates.push((index, Update::Logprobs(logprobs)));
        }
        updates.extend(parts.into_iter().map(|part| (index, Update::Part(part))));
    }

    fn parse(&mut self, piece: &Piece, parts: &mut Vec<Part>) {
        self.logprobs.show(piece.text.len());
        match &mut self.parser {
            Some(parser) => {
                let new = parser.push(piece);
                self.pass_on(new, parts);
            }
            None => parts.push(Part::Content(vec![piece.clone()])),
        }
    }

    /// What is left at the end.
    fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        let rest = self.text.finish();
        if !rest.is_empty() {
            self.add(
                &Piece {
                    text: rest,
                    source: None,
                },
                &mut parts,
            );
        }
        for piece in self.stops.finish() {
            self.parse(&piece, &mut parts);
        }
        if let Some(mut parser) = self.parser.take() {
            let rest = parser.finish();
            self.pass_on(rest, &mut parts);
        }
        parts
    }

    fn pass_on(&mut self, new: Vec<Part>, parts: &mut Vec<Part>) {
        for part in new {
            match &part {
                Part::Call(_) if self.calls > 0 && !self.parallel_calls => continue,
                Part::Call(_) => self.calls += 1,
                Part::Reasoning(_) | Part::Content(_) => {}
            }
            parts.push(part);
        }
    }
}

/// What shows a token. In replies, the control tokens that mean something to clients are shown.
fn shown(app: &App, token: TokenId, is_reply: bool) -> Vec<u8> {
    let vocabulary = app.model.vocabulary();
    let bytes = vocabulary.bytes(token);
    if bytes.is_empty() && is_reply {
        let written = vocabulary.written(token);
        if MARKERS.contains(&written.as_str()) {
            return written.into_bytes();
        }
    }
    bytes
}
