//! The flags for what a request asks for beside its prompt.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::TokenId;
use crate::cli::escapes::unescaped;
use crate::cli::exit::user_error;
use crate::cli::sampling::SamplingArgs;
use crate::engine::{RequestOptions, Stops};
use crate::runtime::llama::{Model, Vocabulary};
use crate::runtime::{Place, PromptTokenizer};
use crate::verify::{GrammarSource, SamplingParams};

/// Where answers end.
#[derive(Debug, Args)]
#[command(next_help_heading = "Answer")]
pub(super) struct StopArgs {
    /// End the answer before this text; may be given several times. \n, \r, \t and \\ are escapes
    #[arg(
        short = 'r',
        long,
        alias = "reverse-prompt",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    stop: Vec<String>,

    /// End the answer before this token: its number, or the text of a control token; may be given
    /// several times
    #[arg(long, alias = "stop_token", value_name = "TOKEN")]
    stop_token: Vec<String>,
}

impl StopArgs {
    /// The stops, and what ends an answer in the text that is shown: with `special`, control tokens
    /// are part of it.
    fn stops(&self, vocabulary: &Vocabulary<'_>, special: bool) -> anyhow::Result<Stops> {
        if self.stop.is_empty() && self.stop_token.is_empty() {
            return Ok(Stops::default());
        }
        let mut tokens = Vec::new();
        for text in &self.stop_token {
            tokens.push(stop_token(text, vocabulary)?);
        }
        let strings: Vec<String> = self.stop.iter().map(|text| unescaped(text)).collect();
        if strings.iter().any(String::is_empty) {
            return Err(user_error("--stop is empty: give some text"));
        }
        // Control tokens are not shown, so that their text would not be found.
        tokens.extend(strings.iter().filter_map(|text| control(text, vocabulary)));
        let bytes = Arc::new(vocabulary.token_bytes(special));
        Ok(Stops::new(strings, tokens, bytes))
    }
}

/// The control token of this spelling, if it is one.
fn control(text: &str, vocabulary: &Vocabulary<'_>) -> Option<TokenId> {
    let tokens = vocabulary.encode(text, Place::AfterControl, true).ok()?;
    match tokens[..] {
        [token] if vocabulary.control_tokens().contains(token) => Some(token),
        _ => None,
    }
}

fn stop_token(text: &str, vocabulary: &Vocabulary<'_>) -> anyhow::Result<TokenId> {
    let wrong = |why: String| Err(user_error(format!("--stop-token {text}: {why}")));
    if let Ok(number) = text.parse::<TokenId>() {
        return match (number as usize) < vocabulary.len() {
            true => Ok(number),
            false => wrong(format!(
                "the model has {} tokens, numbered from 0",
                vocabulary.len()
            )),
        };
    }
    match control(text, vocabulary) {
        Some(token) => Ok(token),
        None => {
            wrong("no control token has this text: give a token's number, or use --stop".into())
        }
    }
}

/// The form of the answer.
#[derive(Debug, Args)]
#[command(next_help_heading = "Answer")]
pub(super) struct GrammarArgs {
    /// Answer with JSON that this JSON schema allows: a file, or the schema itself
    #[arg(
        short = 'j',
        long,
        alias = "json_schema",
        value_name = "FILE|JSON",
        conflicts_with_all = ["json_schema_file", "grammar", "grammar_file", "regex"]
    )]
    json_schema: Option<String>,

    /// The same with a file, by llama.cpp's name
    #[arg(
        long,
        alias = "json_schema_file",
        visible_alias = "jf",
        value_name = "FILE",
        conflicts_with_all = ["grammar", "grammar_file", "regex"],
        hide = true
    )]
    json_schema_file: Option<PathBuf>,

    /// Answer by this grammar in llama.cpp's format (GBNF): a file, or the grammar itself
    #[arg(
        long,
        value_name = "FILE|GRAMMAR",
        conflicts_with_all = ["grammar_file", "regex"]
    )]
    grammar: Option<String>,

    /// The same with a file, by llama.cpp's name
    #[arg(
        long,
        alias = "grammar_file",
        value_name = "FILE",
        conflicts_with = "regex",
        hide = true
    )]
    grammar_file: Option<PathBuf>,

    /// Answer with text that this regular expression matches as a whole
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    regex: Option<String>,
}

impl GrammarArgs {
    /// Whether the answer has to follow something.
    pub(super) fn is_given(&self) -> bool {
        let texts = [&self.json_schema, &self.grammar, &self.regex];
        let files = [&self.json_schema_file, &self.grammar_file];
        texts.iter().any(|it| it.is_some()) || files.iter().any(|it| it.is_some())
    }

    /// What the answer has to follow, with the flag that says so.
    pub(super) fn read(&self) -> anyhow::Result<Option<(String, GrammarSource)>> {
        let file = |flag: &str, path: &Path| {
            let text = std::fs::read_to_string(path).map_err(|error| {
                user_error(format!(
                    "{flag} {}: {error}; give a readable file",
                    path.display()
                ))
            })?;
            anyhow::Ok((format!("{flag} {}", path.display()), text))
        };
        // Text is told from a file's name by what is in every such text.
        let either = |flag: &str, given: &str, is_text: bool| match is_text {
            true => Ok((flag.to_owned(), given.to_owned())),
            false => file(flag, Path::new(given)),
        };
        let schema = match (&self.json_schema, &self.json_schema_file) {
            (Some(given), _) => {
                let text = given.trim_start();
                let is_text = text.starts_with('{') || text == "true" || text == "false";
                Some(either("--json-schema", given, is_text)?)
            }
            (None, Some(path)) => Some(file("--json-schema-file", path)?),
            (None, None) => None,
        };
        if let Some((flag, text)) = schema {
            return Ok(Some((flag, GrammarSource::JsonSchema(text))));
        }
        let grammar = match (&self.grammar, &self.grammar_file) {
            (Some(given), _) => Some(either("--grammar", given, given.contains("::="))?),
            (None, Some(path)) => Some(file("--grammar-file", path)?),
            (None, None) => None,
        };
        if let Some((flag, text)) = grammar {
            return Ok(Some((flag, GrammarSource::Gbnf(text))));
        }
        let regex = self.regex.clone().map(GrammarSource::Regex);
        Ok(regex.map(|regex| ("--regex".to_owned(), regex)))
    }
}

/// The flags for what a request asks for, checked as far as that needs no model.
pub(super) struct RequestFlags<'a> {
    sampling: &'a SamplingArgs,
    params: SamplingParams,
    stops: &'a StopArgs,
    grammar: Option<(String, GrammarSource)>,
    logprobs: Option<usize>,
}

impl<'a> RequestFlags<'a> {
    pub(super) fn new(
        sampling: &'a SamplingArgs,
        stops: &'a StopArgs,
        grammar: &GrammarArgs,
        logprobs: Option<usize>,
    ) -> anyhow::Result<Self> {
        let grammar = grammar.read()?;
        if let Some((flag, _)) = grammar.as_ref().filter(|_| sampling.more.ignore_eos) {
            return Err(user_error(format!(
                "{flag} ends the answer where it is complete, and --ignore-eos would go on: leave \
                 out one of the two"
            )));
        }
        Ok(Self {
            params: sampling.params()?,
            sampling,
            stops,
            grammar,
            logprobs,
        })
    }

    /// What these flags ask of `model`. `special` says whether control tokens are shown.
    pub(super) fn options(self, model: &Model, special: bool) -> anyhow::Result<RequestOptions> {
        let vocabulary = model.vocabulary();
        let compile = |(flag, source): (String, GrammarSource)| {
            let compiled = model.grammars().and_then(|it| it.compile(&source));
            compiled.map_err(|error| user_error(format!("{flag}: {error}")))
        };
        Ok(RequestOptions {
            sampling: self.sampling.with_vocabulary(self.params, &vocabulary)?,
            stops: self.stops.stops(&vocabulary, special)?,
            grammar: self.grammar.map(compile).transpose()?,
            logprobs: self.logprobs,
        })
    }
}
