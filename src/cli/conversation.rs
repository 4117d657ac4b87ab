//! The chat template and the system prompt.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use crate::TokenId;
use crate::bench::prompt::Prompter;
use crate::cli::exit::user_error;
use crate::runtime::llama::Model;
use crate::runtime::{ChatEncoder, ChatTemplate, Message, PromptTokenizer};

/// How messages name the model's own template.
const OWN: &str = "of the model";

/// How messages name a template that stands in the command line.
const TYPED: &str = "of --template";

/// The flags for the chat template.
#[derive(Debug, Args)]
#[command(next_help_heading = "Chat")]
pub(super) struct TemplateArgs {
    /// Chat template: vicuna, llama2, codellama-instruct, none (plain text), a Jinja file, or Jinja
    /// itself [default: the model's own]
    #[arg(long, value_name = "NAME|FILE|JINJA")]
    pub template: Option<String>,

    /// System prompt, instead of the template's own
    #[arg(long, alias = "system_prompt", value_name = "TEXT")]
    system: Option<String>,

    /// Read the system prompt from a file
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "system",
        value_parser = text_of_file
    )]
    system_prompt_file: Option<FileText>,

    /// Make control tokens of their spellings in messages, such as `</s>`. Without this flag, only
    /// the template's own markers are control tokens, and messages are plain text
    #[arg(long, alias = "parse_special")]
    pub parse_special: bool,
}

/// The text of a file that a flag names.
#[derive(Clone, Debug)]
struct FileText(String);

fn text_of_file(name: &str) -> Result<FileText, String> {
    let text = std::fs::read_to_string(name).map(FileText);
    text.map_err(|error| format!("cannot read it: {error}"))
}

impl TemplateArgs {
    /// The system prompt that the flags give.
    pub(super) fn system(&self) -> Option<&str> {
        let file = self.system_prompt_file.as_ref();
        self.system
            .as_deref()
            .or(file.map(|text| text.0.trim_end()))
    }

    /// The template to use; `None` for plain text.
    pub(super) fn choose(&self, model: &Model) -> anyhow::Result<Option<ChatTemplate>> {
        let vocabulary = model.vocabulary();
        let (bos, eos) = (vocabulary.bos(), vocabulary.eos());
        let Some(name) = &self.template else {
            let Some(source) = model.chat_template() else {
                return Err(user_error(format!(
                    "{:?} has no chat template of its own: choose one with --template {}, none or \
                     a file",
                    model.path(),
                    ChatTemplate::BUILTIN.join(", ")
                )));
            };
            return Ok(Some(ChatTemplate::new(OWN, &source, &bos, &eos)?));
        };
        self.named(name, &bos, &eos)
    }

    /// Prints a warning if the rendered prompt lacks the question or the system prompt: the model
    /// would answer something else.
    pub(super) fn warn_if_left_out(&self, prompt: &str, question: &str, system: Option<&str>) {
        let warn = |what: &str| {
            tell_line!(
                "warning: the chat template {} leaves out or changes the {what}; check it, or \
                 choose another with --template",
                self.name()
            );
        };
        if !prompt.contains(question.trim()) {
            warn("question");
        }
        if system.is_some_and(|text| !prompt.contains(text.trim())) {
            warn("system prompt");
        }
    }

    /// Prints a warning if there is a system prompt, but no place for it.
    pub(super) fn warn_of_system(&self, template: Option<&ChatTemplate>) {
        if self.system().is_none() {
            return;
        }
        match template {
            None => tell_line!(
                "warning: plain text has no place for a system prompt: --system is left out; \
                 choose a template with --template"
            ),
            Some(template) if !template.takes_system() => tell_line!(
                "warning: the chat template {} has no place for a system prompt: --system becomes \
                 the beginning of the first question",
                self.name()
            ),
            Some(_) => {}
        }
    }

    /// Makes prompts of questions. Prints a warning if there is no place for the system prompt.
    pub(super) fn prompter<'m>(&self, model: &'m Model) -> anyhow::Result<Prompter<'m>> {
        let template = self.choose(model)?;
        self.warn_of_system(template.as_ref());
        let prompter = Prompter::new(model.vocabulary(), template, opening(self.system()));
        Ok(prompter.parse_special(self.parse_special))
    }

    /// How messages name the template.
    fn name(&self) -> &str {
        match self.template.as_deref() {
            None => OWN,
            Some(source) if is_jinja(source) => TYPED,
            Some(name) => name,
        }
    }

    /// Makes prompts with this tokenizer and template.
    pub(super) fn encoder<'a>(
        &self,
        tokenizer: &'a dyn PromptTokenizer,
        template: Option<&'a ChatTemplate>,
    ) -> ChatEncoder<'a> {
        ChatEncoder {
            tokenizer,
            template,
            parse_special: self.parse_special,
        }
    }

    /// The template of this name or in this file, for a vocabulary with these special tokens.
    pub(super) fn named(
        &self,
        name: &str,
        bos: &str,
        eos: &str,
    ) -> anyhow::Result<Option<ChatTemplate>> {
        if name == "none" {
            return Ok(None);
        }
        if let Some(template) = ChatTemplate::builtin(name, bos, eos) {
            return Ok(Some(template));
        }
        if is_jinja(name) {
            return Ok(Some(ChatTemplate::new(TYPED, name, bos, eos)?));
        }
        let source = std::fs::read_to_string(Path::new(name)).map_err(|error| {
            user_error(format!(
                "--template {name} is not {}, none or a readable file: {error}",
                ChatTemplate::BUILTIN.join(", ")
            ))
        })?;
        if source.trim().is_empty() {
            return Err(user_error(format!(
                "--template {name} is empty: name a file with a Jinja template, or use \
                 --template none for plain text"
            )));
        }
        Ok(Some(ChatTemplate::new(name, &source, bos, eos)?))
    }
}

/// Whether this is a template, not the name of one.
fn is_jinja(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// The messages before the first turn of a conversation.
pub(super) fn opening(system: Option<&str>) -> Vec<Message> {
    system
        .map(|text| Message::new(crate::runtime::Role::System, text))
        .into_iter()
        .collect()
}

/// Prints a warning if a prompt has the beginning-of-sequence token twice.
pub(super) fn warn_if_bos_twice(tokenizer: &dyn PromptTokenizer, prompt: &[TokenId]) {
    if tokenizer.has_bos_twice(prompt) {
        warn_of_second_bos(tokenizer);
    }
}

/// Prints a warning, only once, that a prompt has the beginning-of-sequence token twice.
pub(super) fn warn_of_second_bos(tokenizer: &dyn PromptTokenizer) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if WARNED.swap(true, Ordering::Relaxed) {
        return;
    }
    let bos = tokenizer.bos_token().map(|(_, text)| text);
    let bos = bos.unwrap_or_default();
    tell_line!(
        "warning: the prompt begins with the BOS token {bos}, and the tokenizer adds another one: \
         leave out {bos}, or the model sees BOS twice"
    );
}
