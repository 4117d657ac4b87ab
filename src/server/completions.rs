//! `/v1/completions`.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::TokenId;
use crate::server::answers::{Answers, End};
use crate::server::app::{App, now, tokenize_error};
use crate::server::error::ApiError;
use crate::server::fields::Fields;
use crate::server::heavy;
use crate::server::held::Piece;
use crate::server::logprobs::{self, Logprob};
use crate::server::params::{Dialect, Params};
use crate::server::reply::Part;
use crate::server::respond::{Event, Form, Whole, drafts, respond};
use crate::server::tally::usage;

/// Most prompts of one request.
const MAX_PROMPTS: usize = 256;

/// Goes on with some texts.
pub(super) async fn complete(
    app: Arc<App>,
    object: Map<String, Value>,
) -> Result<Response, ApiError> {
    let fields = Fields::new(&object);
    let params = Params::read(fields, Dialect::Completion, &app.defaults)?;
    let prompts = heavy(|| prompts(&app, fields))?;
    let mut echoes = Vec::new();
    if fields.switch("echo")?.unwrap_or(false) {
        if params.asks.logprobs.is_some() {
            // Nobody shall take those of the answer for those of the prompt.
            return Err(fields.wrong("echo", "has no log-probabilities: leave out \"logprobs\""));
        }
        echoes = prompts.iter().map(|prompt| prompt.echo.clone()).collect();
    }
    if app.logs_prompts {
        prompts
            .iter()
            .for_each(|prompt| app.log(&format!("prompt: {:?}", prompt.echo)));
    }
    let prompts = prompts.into_iter().map(|prompt| prompt.tokens).collect();
    let answers = app.ask(prompts, &params)?;
    let count = answers.tallies().count();
    let logprobs = params.asks.logprobs.map(|_| vec![(0, Vec::new()); count]);
    let form = CompletionForm {
        id: format!("cmpl-{}-{}", app.started, answers.id()),
        created: now(),
        model: app.name.clone(),
        include_usage: params.include_usage,
        shows_drafts: params.shows_drafts,
        times_chunks: params.times_chunks,
        echoes,
        n: params.n,
        logprobs,
    };
    respond(answers, Box::new(form), params.stream).await
}

/// A prompt, and its text.
struct Prompt {
    tokens: Vec<TokenId>,
    echo: String,
}

/// The prompts: a text, a list of texts, a list of tokens, or a list of such lists.
fn prompts(app: &App, fields: Fields<'_>) -> Result<Vec<Prompt>, ApiError> {
    let wrong = || {
        fields.wrong(
            "prompt",
            "give a text, a list of tokens, or a list of one of these",
        )
    };
    let one = |value: &Value| -> Result<Prompt, ApiError> {
        match value {
            Value::String(text) => Ok(Prompt {
                tokens: raw_prompt(app, text)?,
                echo: text.clone(),
            }),
            Value::Array(items) => {
                let tokens: Option<Vec<TokenId>> = items.iter().map(token).collect();
                let tokens = tokens.ok_or_else(wrong)?;
                Ok(Prompt {
                    echo: text_of(app, &tokens),
                    tokens,
                })
            }
            _ => Err(wrong()),
        }
    };
    let prompts: Vec<Prompt> = match fields.get("prompt") {
        None => return Err(fields.wrong("prompt", "is missing: give a text")),
        Some(Value::Array(items)) if items.iter().any(|it| it.is_string() || it.is_array()) => {
            items.iter().map(one).collect::<Result<_, _>>()?
        }
        Some(value) => vec![one(value)?],
    };
    match prompts.len() {
        1..=MAX_PROMPTS => Ok(prompts),
        _ => Err(fields.wrong("prompt", format!("give 1 to {MAX_PROMPTS} prompts"))),
    }
}

/// A token.
pub(super) fn token(value: &Value) -> Option<TokenId> {
    TokenId::try_from(value.as_u64()?).ok()
}

/// The tokens of a text that the model goes on with.
pub(super) fn raw_prompt(app: &App, text: &str) -> Result<Vec<TokenId>, ApiError> {
    let tokens = app.model.vocabulary().tokenize(text);
    tokens.map_err(|error| tokenize_error("prompt", &error))
}

/// The text of tokens; unknown ones have none.
pub(super) fn text_of(app: &App, tokens: &[TokenId]) -> String {
    let vocabulary = app.model.vocabulary();
    let known = tokens
        .iter()
        .filter(|&&token| (token as usize) < app.defaults.n_vocab);
    let bytes: Vec<u8> = known
        .flat_map(|&token| vocabulary.shown(true)(token))
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

struct CompletionForm {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
    shows_drafts: bool,
    times_chunks: bool,
    /// The prompts that answers begin with; empty if they don't.
    echoes: Vec<String>,
    n: usize,
    /// For each answer, where the text of the next token begins, and the log-probabilities for the
    /// next chunk; if they are asked for.
    logprobs: Option<Vec<(usize, Vec<Logprob>)>>,
}

impl CompletionForm {
    fn object(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": super::FINGERPRINT,
            "choices": choices,
        })
    }

    fn choice(&mut self, index: usize, pieces: &[Piece], end: Option<&End>) -> Value {
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        let logprobs = self.logprobs.as_mut().map(|of| {
            let (offset, tokens) = &mut of[index];
            logprobs::completion(&std::mem::take(tokens), offset)
        });
        let mut choice = json!({
            "index": index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": end.map(End::name),
        });
        if self.shows_drafts && !pieces.is_empty() {
            choice["drafts"] = drafts(pieces);
        }
        choice
    }

    fn echo(&self, index: usize) -> Option<Piece> {
        let text = self.echoes.get(index / self.n)?.clone();
        Some(Piece { text, source: None })
    }

    fn chunk(&self, choice: Value) -> Event {
        let mut chunk = self.object(json!([choice]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk.into()
    }
}

impl Form for CompletionForm {
    fn begin(&mut self, answers: &Answers) -> Vec<Event> {
        let indices = 0..answers.tallies().count();
        let echo = |index| {
            let choice = self
                .echo(index)
                .map(|echo| self.choice(index, &[echo], None));
            choice.map(|choice| self.chunk(choice))
        };
        indices.filter_map(echo).collect()
    }

    fn logprobs(&mut self, index: usize, logprobs: Vec<Logprob>) {
        if let Some(of) = &mut self.logprobs {
            of[index].1.extend(logprobs);
        }
    }

    fn part(&mut self, index: usize, part: &Part, answers: &Answers) -> Vec<Event> {
        // Text is not taken apart here.
        let Part::Content(pieces) = part else {
            return Vec::new();
        };
        let choice = self.choice(index, pieces, None);
        let mut event = self.chunk(choice);
        if self.times_chunks {
            answers.tally(index).write(&mut event.data);
        }
        vec![event]
    }

    fn end(&mut self, index: usize, end: &End, answers: &Answers) -> Vec<Event> {
        let choice = self.choice(index, &[], Some(end));
        let mut event = self.chunk(choice);
        answers.tally(index).write(&mut event.data);
        vec![event]
    }

    fn last(&mut self, answers: &Answers) -> Vec<Event> {
        if !self.include_usage {
            return Vec::new();
        }
        let mut chunk = self.object(json!([]));
        chunk["usage"] = usage(answers.tallies(), answers.prompts);
        vec![chunk.into()]
    }

    fn whole(&mut self, wholes: &[Whole], answers: &Answers) -> Value {
        let choice = |(index, whole): (usize, &Whole)| {
            let echo = self.echo(index).into_iter();
            let pieces: Vec<Piece> = echo.chain(whole.pieces.iter().cloned()).collect();
            self.logprobs(index, whole.logprobs.clone());
            self.choice(index, &pieces, whole.end.as_ref())
        };
        let choices = wholes.iter().enumerate().map(choice).collect();
        let mut object = self.object(choices);
        object["usage"] = usage(answers.tallies(), answers.prompts);
        answers.tally(0).write(&mut object);
        object
    }
}
