//! The record to replay, and its tokenizer.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::bench::{Manifest, read_questions};
use crate::cli::conversation::{TemplateArgs, opening, warn_of_second_bos};
use crate::cli::cost::kept_seconds;
use crate::cli::exit::user_error;
use crate::cli::model::VocabularySource;
use crate::cli::progress::spinner;
use crate::cli::tokenizer::AnyTokenizer;
use crate::cli::trace::is_trace;
use crate::runtime::ChatTemplate;
use crate::runtime::llama::{Model, ModelOptions};
use crate::simulate::{
    Fields, JsonTokenizer, LineRead, Request, RequestEncoder, TextTokenizer, holds_chats,
    read_jsonl, read_recorded_answers, read_trace, requests_from_answers,
};
use crate::store::VocabFingerprint;

/// The flags for the record and its tokenizer.
#[derive(Debug, Args)]
pub(super) struct InputArgs {
    /// The questions of --answers: the file question.jsonl of a question set
    #[arg(
        long,
        value_name = "FILE",
        requires = "answers",
        help_heading = "Record"
    )]
    questions: Option<PathBuf>,

    /// Recorded answers to --questions: an answer file of `logitspec bench` or of Spec-Bench
    #[arg(
        long,
        value_name = "FILE",
        requires = "questions",
        help_heading = "Record"
    )]
    answers: Option<PathBuf>,

    /// A record: a log of prompts and responses or of chats (see --jsonl), or a trace
    #[arg(
        value_name = "FILE",
        conflicts_with_all = ["answers", "jsonl", "trace"],
        help_heading = "Record"
    )]
    file: Option<PathBuf>,

    /// A record of prompts and responses, or of chats as OpenAI's API logs them (messages, with the
    /// answers among them or beside them in response or choices), one JSON object per line
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["answers", "trace"],
        help_heading = "Record"
    )]
    jsonl: Option<PathBuf>,

    /// The key of the prompt in --jsonl: a text or token ids
    #[arg(
        long,
        default_value = "prompt",
        value_name = "KEY",
        help_heading = "Record"
    )]
    prompt_field: String,

    /// The key of the response in --jsonl: a text or token ids
    #[arg(
        long,
        default_value = "response",
        value_name = "KEY",
        help_heading = "Record"
    )]
    response_field: String,

    /// The key of the category in --jsonl, if its lines have one
    #[arg(
        long,
        default_value = "category",
        value_name = "KEY",
        help_heading = "Record"
    )]
    category_field: String,

    /// Traces that `logitspec generate --trace` wrote
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        conflicts_with = "answers",
        help_heading = "Record"
    )]
    trace: Vec<PathBuf>,

    /// The limit of new tokens in the record: the model ended all responses that are shorter
    #[arg(
        short = 'n',
        long,
        alias = "max_new_tokens",
        default_value_t = 1024,
        value_name = "N",
        help_heading = "Record"
    )]
    max_new_tokens: usize,

    /// The tokenizer of the model that answered: a tokenizer.json
    #[arg(
        long,
        alias = "tokenizer_path",
        value_name = "FILE",
        help_heading = "Tokens"
    )]
    tokenizer_path: Option<PathBuf>,

    #[command(flatten, next_help_heading = "Tokens")]
    model: VocabularySource,

    /// With --tokenizer-path: the beginning-of-sequence token, or none [default: the vocabulary's
    /// usual one]
    #[arg(
        long,
        value_name = "TOKEN",
        requires = "tokenizer_path",
        help_heading = "Tokens"
    )]
    bos: Option<String>,

    /// With --tokenizer-path: the token that ends answers, or none [default: the vocabulary's usual
    /// one]
    #[arg(
        long,
        value_name = "TOKEN",
        requires = "tokenizer_path",
        help_heading = "Tokens"
    )]
    eos: Option<String>,

    #[command(flatten)]
    template: TemplateArgs,
}

impl InputArgs {
    /// The JSON Lines file with requests.
    fn jsonl(&self) -> Option<&Path> {
        let file = self.file.as_deref().filter(|path| !is_trace(path));
        self.jsonl.as_deref().or(file)
    }

    /// The traces.
    fn traces(&self) -> Vec<&Path> {
        let file = self.file.as_deref().filter(|path| is_trace(path));
        self.trace
            .iter()
            .map(PathBuf::as_path)
            .chain(file)
            .collect()
    }

    fn fields(&self) -> Fields {
        Fields {
            prompt: self.prompt_field.clone(),
            response: self.response_field.clone(),
            category: self.category_field.clone(),
        }
    }

    /// Reads the record.
    pub(super) fn read(&self) -> anyhow::Result<Vec<Request>> {
        let traces = self.traces();
        if !traces.is_empty() {
            let requests = traces.into_iter().map(|path| Ok(read_trace(path)?));
            return requests.collect();
        }
        if self.answers.is_none() && self.jsonl().is_none() {
            return Err(user_error(
                "nothing to replay: name a log (one JSON object per line, as for --jsonl) or a \
                 trace, or give --questions FILE with --answers FILE",
            ));
        }
        let is_raw = match self.jsonl() {
            Some(path) => !holds_chats(path, &self.fields())?,
            None => false,
        };
        // The flag outranks a model that the environment names.
        if let Some(path) = &self.tokenizer_path {
            let tokenizer =
                JsonTokenizer::from_file(path, self.bos.as_deref(), self.eos.as_deref())?;
            // Prompts are recorded as the model got them; chats and question files are not.
            let usual = if is_raw { "none" } else { "vicuna" };
            let name = self.template.template.as_deref().unwrap_or(usual);
            let template = self
                .template
                .named(name, tokenizer.bos(), tokenizer.eos())?;
            return self.requests(&tokenizer, None, template.as_ref());
        }
        let Some(path) = self.model.locate()? else {
            return Err(user_error(
                "no tokenizer: give --tokenizer-path FILE (a tokenizer.json), or the model that \
                 answered with -m FILE (a GGUF) or -hf",
            ));
        };
        let options = ModelOptions {
            info_only: true,
            ..ModelOptions::default()
        };
        let model = Model::load(path, &options)?;
        let vocabulary = model.vocabulary();
        let template = match (&self.template.template, is_raw) {
            (None, true) => None,
            _ => self.template.choose(&model)?,
        };
        self.requests(&vocabulary, Some(path), template.as_ref())
    }

    /// Prints a note if the answers were made with another model or template, according to the
    /// manifest of `logitspec bench`: their tokens could differ. `model` is the model that they are
    /// read with, if any.
    fn compare_with_manifest(&self, answers: &Path, model: Option<&Path>) {
        let Ok(Some(manifest)) = Manifest::read(Manifest::path_beside(answers)) else {
            return;
        };
        let made_with = manifest.flags.get("template").and_then(|it| it.as_str());
        let read_with = self.template.template.as_deref();
        if made_with != read_with {
            let name = |template: Option<&str>| match template {
                Some(name) => format!("--template {name}"),
                None => "no --template".to_owned(),
            };
            tell_line!(
                "note: {}: made with {}, read with {}",
                answers.display(),
                name(made_with),
                name(read_with)
            );
        }
        let parsed = manifest
            .flags
            .get("parse-special")
            .and_then(|it| it.as_bool());
        if let Some(parsed) = parsed.filter(|&it| it != self.template.parse_special) {
            let (made, read) = if parsed { ("", "out") } else { ("out", "") };
            tell_line!(
                "note: {}: made with{made} --parse-special, read with{read} it",
                answers.display()
            );
        }
        let file_of = |path: &Path| path.file_name().map(ToOwned::to_owned);
        if let Some(model) = model
            && file_of(model) != file_of(&manifest.model.path)
        {
            tell_line!(
                "note: {}: made with {}, read with {}",
                answers.display(),
                manifest.model.path.display(),
                model.display()
            );
        }
    }

    /// The costs of passes that are kept for the model on this machine.
    pub(super) fn kept_seconds(&self) -> anyhow::Result<Option<Vec<f64>>> {
        let Some(path) = self.model.locate()? else {
            return Ok(None);
        };
        let options = ModelOptions {
            info_only: true,
            ..ModelOptions::default()
        };
        Ok(kept_seconds(&Model::load(path, &options)?))
    }

    /// The fingerprint of the vocabulary.
    pub(super) fn vocabulary(&self) -> anyhow::Result<VocabFingerprint> {
        let tokenizer = AnyTokenizer::from_path(self.tokenizer_path.as_deref(), &self.model)?;
        Ok(tokenizer.fingerprint())
    }

    fn requests(
        &self,
        tokenizer: &dyn TextTokenizer,
        model: Option<&Path>,
        template: Option<&ChatTemplate>,
    ) -> anyhow::Result<Vec<Request>> {
        // A JSON Lines record without a template holds prompts as the model got them.
        let is_raw = self.jsonl().is_some() && template.is_none();
        self.template.warn_of_system(template);
        let encoder = RequestEncoder {
            tokenizer,
            template,
            opening: opening(self.template.system()),
            parse_special: self.template.parse_special || is_raw,
            max_new_tokens: self.max_new_tokens,
        };
        let bar = spinner("{spinner} {pos} requests tokenized");
        let (mut cut, mut left_out) = (0, 0);
        let requests = match (&self.questions, &self.answers, self.jsonl()) {
            (Some(questions), Some(answers), _) => {
                self.compare_with_manifest(answers, model);
                answered(questions, answers, &encoder, &mut || bar.inc(1))
            }
            (_, _, Some(path)) => Ok(read_jsonl(path, &self.fields(), &encoder, &mut |line| {
                bar.inc(1);
                cut += u32::from(line == LineRead::Cut);
                left_out += u32::from(line == LineRead::LeftOut);
            })?),
            _ => Ok(Vec::new()),
        };
        bar.finish_and_clear();
        for (count, what) in [(cut, "replayed in part"), (left_out, "left out")] {
            if count > 0 {
                tell_line!(
                    "note: chats {what}: {count}, whose answers have no text or follow a tool"
                );
            }
        }
        let requests = requests?;
        let mut prompts = requests.iter().filter_map(|it| it.turns.first());
        if prompts.any(|turn| tokenizer.has_bos_twice(&turn.prompt)) {
            warn_of_second_bos(tokenizer);
        }
        Ok(requests)
    }
}

/// The requests of a question file and the answers to it.
fn answered(
    questions: &Path,
    answers: &Path,
    encoder: &RequestEncoder<'_>,
    progress: &mut dyn FnMut(),
) -> anyhow::Result<Vec<Request>> {
    let set = read_questions(questions)?;
    for skipped in &set.skipped {
        tell_line!("note: {skipped}");
    }
    let skipped = set.skipped.iter().map(|it| it.question_id);
    let asked = set.questions.iter().map(|it| it.question_id);
    let all: Vec<i64> = asked.chain(skipped).collect();
    let recorded = read_recorded_answers(answers)?;
    Ok(requests_from_answers(
        &set.questions,
        (&all, questions),
        (&recorded, answers),
        encoder,
        progress,
    )?)
}
