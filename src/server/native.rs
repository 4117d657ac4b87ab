//! llama-server's `/completion` and `/infill`.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::TokenId;
use crate::runtime::llama::Vocabulary;
use crate::runtime::{Place, PromptTokenizer};
use crate::server::answers::{Answers, End};
use crate::server::app::{App, tokenize_error};
use crate::server::completions::{raw_prompt, text_of, token};
use crate::server::error::ApiError;
use crate::server::fields::Fields;
use crate::server::heavy;
use crate::server::logprobs::{self, Logprob};
use crate::server::params::{Dialect, Params};
use crate::server::reply::Part;
use crate::server::respond::{Event, Form, Whole, drafts, respond};

/// Goes on with a text.
pub(super) async fn completion(
    app: Arc<App>,
    object: Map<String, Value>,
) -> Result<Response, ApiError> {
    let fields = Fields::new(&object);
    let tokens = heavy(|| prompt(&app, fields))?;
    answer(app, fields, tokens).await
}

/// Fills in the middle of a text.
pub(super) async fn infill(
    app: Arc<App>,
    object: Map<String, Value>,
) -> Result<Response, ApiError> {
    let fields = Fields::new(&object);
    let tokens = heavy(|| infill_prompt(&app, fields))?;
    answer(app, fields, tokens).await
}

async fn answer(
    app: Arc<App>,
    fields: Fields<'_>,
    tokens: Vec<TokenId>,
) -> Result<Response, ApiError> {
    let params = Params::read(fields, Dialect::Native, &app.defaults)?;
    if params.n != 1 {
        return Err(fields.wrong("n", "this address gives one answer: leave it out"));
    }
    let text = text_of(&app, &tokens);
    if app.logs_prompts {
        app.log(&format!("prompt: {text:?}"));
    }
    let answers = app.ask(vec![tokens], &params)?;
    let form = NativeForm {
        model: app.name.clone(),
        shows_drafts: params.shows_drafts,
        times_chunks: params.times_chunks,
        prompt: text,
        logprobs: params.asks.logprobs.map(|_| Vec::new()),
    };
    respond(answers, Box::new(form), params.stream).await
}

/// The prompt: a text, or a list of texts and tokens.
fn prompt(app: &App, fields: Fields<'_>) -> Result<Vec<TokenId>, ApiError> {
    let wrong = || fields.wrong("prompt", "give a text, or a list of texts and tokens");
    match fields.get("prompt") {
        None => Err(fields.wrong("prompt", "is missing: give a text")),
        Some(Value::String(text)) => raw_prompt(app, text),
        Some(Value::Array(items)) => {
            let vocabulary = app.model.vocabulary();
            let mut tokens = Vec::new();
            for item in items {
                match item {
                    Value::String(text) if tokens.is_empty() => tokens = raw_prompt(app, text)?,
                    Value::String(text) => {
                        let more = vocabulary.tokenize_continuation(text);
                        tokens.extend(more.map_err(|error| tokenize_error("prompt", &error))?);
                    }
                    number => tokens.push(token(number).ok_or_else(wrong)?),
                }
            }
            Ok(tokens)
        }
        Some(_) => Err(wrong()),
    }
}

/// The prompt in the order that the model was trained on: other files, what comes before, what
/// follows, and then what is to be filled in.
fn infill_prompt(app: &App, fields: Fields<'_>) -> Result<Vec<TokenId>, ApiError> {
    let vocabulary = app.model.vocabulary();
    let Some([prefix_mark, suffix_mark, middle_mark]) = vocabulary.infill() else {
        return Err(ApiError::invalid(
            "this model cannot fill in: it has no tokens for it; use one that was trained for it",
        ));
    };
    let missing = |name| fields.wrong(name, "is missing: give a text, which may be empty");
    let prefix = fields
        .text("input_prefix")?
        .ok_or_else(|| missing("input_prefix"))?;
    let suffix = fields
        .text("input_suffix")?
        .ok_or_else(|| missing("input_suffix"))?;
    let middle = fields.text("prompt")?.unwrap_or_default();
    let plain = |text: &str| {
        let tokens = vocabulary.encode(text, Place::Middle, false);
        tokens.map_err(|error| tokenize_error("prompt", &error))
    };
    let mut tokens = vocabulary.prefix();
    tokens.extend(other_files(&vocabulary, fields, &plain)?);
    tokens.push(prefix_mark);
    tokens.extend(plain(prefix)?);
    tokens.push(suffix_mark);
    tokens.extend(plain(suffix)?);
    tokens.push(middle_mark);
    tokens.extend(plain(middle)?);
    Ok(tokens)
}

/// Other files of the repository, each behind its name.
fn other_files(
    vocabulary: &Vocabulary<'_>,
    fields: Fields<'_>,
    plain: &dyn Fn(&str) -> Result<Vec<TokenId>, ApiError>,
) -> Result<Vec<TokenId>, ApiError> {
    let [repository, file] = vocabulary.infill_names();
    let mut tokens = Vec::new();
    let files = fields.list("input_extra")?.map_or(&[][..], Vec::as_slice);
    if let Some(mark) = repository.filter(|_| !files.is_empty()) {
        tokens.push(mark);
        tokens.extend(plain("repository\n")?);
    }
    for extra in files {
        let text = |name: &str| extra.get(name).and_then(Value::as_str);
        let Some(text_of_file) = text("text") else {
            return Err(fields.wrong("input_extra", "give a list of {\"filename\", \"text\"}"));
        };
        let name = text("filename").unwrap_or("file");
        match file {
            Some(mark) => {
                tokens.push(mark);
                tokens.extend(plain(&format!("{name}\n"))?);
            }
            None => tokens.extend(plain(&format!("{name}:\n"))?),
        }
        tokens.extend(plain(text_of_file)?);
    }
    Ok(tokens)
}

struct NativeForm {
    model: String,
    shows_drafts: bool,
    times_chunks: bool,
    prompt: String,
    /// Log-probabilities for the next chunk, if they are asked for.
    logprobs: Option<Vec<Logprob>>,
}

impl NativeForm {
    fn result(&self, content: &str, end: Option<&End>, answers: &Answers) -> Value {
        let tally = answers.tally(0);
        let (kind, word) = match end {
            Some(End::Stop(word)) => ("word", word.as_str()),
            Some(End::Length) => ("limit", ""),
            Some(End::Eos | End::Calls) => ("eos", ""),
            None => ("none", ""),
        };
        let mut result = json!({
            "index": 0,
            "content": content,
            "stop": true,
            "model": self.model,
            "prompt": self.prompt,
            "tokens_predicted": tally.answered,
            "tokens_evaluated": tally.prompt,
            "tokens_cached": tally.prompt + tally.answered,
            "stop_type": kind,
            "stopping_word": word,
            "truncated": false,
        });
        tally.write(&mut result);
        result
    }

    fn write_logprobs(&mut self, object: &mut Value) {
        if let Some(tokens) = &mut self.logprobs {
            let tokens = std::mem::take(tokens);
            object["completion_probabilities"] = logprobs::native(&tokens);
        }
    }
}

impl Form for NativeForm {
    fn logprobs(&mut self, _: usize, logprobs: Vec<Logprob>) {
        if let Some(of) = &mut self.logprobs {
            of.extend(logprobs);
        }
    }

    fn part(&mut self, _: usize, part: &Part, answers: &Answers) -> Vec<Event> {
        let Part::Content(pieces) = part else {
            return Vec::new();
        };
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        let mut chunk = json!({"index": 0, "content": text, "stop": false});
        if self.shows_drafts {
            chunk["drafts"] = drafts(pieces);
        }
        if self.times_chunks {
            answers.tally(0).write(&mut chunk);
        }
        self.write_logprobs(&mut chunk);
        vec![chunk.into()]
    }

    fn end(&mut self, _: usize, end: &End, answers: &Answers) -> Vec<Event> {
        let mut result = self.result("", Some(end), answers);
        self.write_logprobs(&mut result);
        vec![result.into()]
    }

    fn says_done(&self) -> bool {
        false
    }

    fn whole(&mut self, wholes: &[Whole], answers: &Answers) -> Value {
        let whole = &wholes[0];
        let mut result = self.result(&whole.content, whole.end.as_ref(), answers);
        if self.shows_drafts {
            result["drafts"] = drafts(&whole.pieces);
        }
        self.logprobs(0, whole.logprobs.clone());
        self.write_logprobs(&mut result);
        result
    }
}
