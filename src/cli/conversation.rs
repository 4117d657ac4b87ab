//! The chat template and the system prompt.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use crate::TokenId;
use crate::cli::exit::user_error;
use crate::runtime::llama::Model;
use crate::runtime::{ChatEncoder, ChatTemplate, Message, PromptTokenizer};

/// The flags for the chat template.
#[derive(Debug, Args)]
#[command(next_help_heading = "Chat")]
pub(super) struct TemplateArgs {
    /// Chat template: vicuna, llama2, codellama-instruct, none (plain text), or a Jinja file
    /// [default: the model's own]
    #[arg(long, value_name = "NAME|FILE")]
    pub template: Option<String>,

    /// System prompt, instead of the template's own
    #[arg(long, alias = "system_prompt", value_name = "TEXT")]
    pub system: Option<String>,

    /// Make control tokens of their spellings in messages, such as `</s>`. Without this flag, only
    /// the template's own markers are control tokens, and messages are plain text
    #[arg(long, alias = "parse_special")]
    pub parse_special: bool,
}

impl TemplateArgs {
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
            return Ok(Some(ChatTemplate::new(
                "of the model",
                &source,
                &bos,
                &eos,
            )?));
        };
        self.named(name, &bos, &eos)
    }

    /// Prints a warning if the rendered prompt lacks the user's text: the model would answer
    /// something else.
    pub(super) fn warn_if_left_out(&self, prompt: &str, text: &str) {
        if !prompt.contains(text.trim()) {
            let of = self.template.as_deref().unwrap_or("of the model");
            tell_line!(
                "warning: the chat template {of} leaves out or changes the question; check it, or \
                 choose another with --template"
            );
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
        let source = std::fs::read_to_string(Path::new(name)).map_err(|error| {
            user_error(format!(
                "--template {name} is not {}, none or a readable file: {error}",
                ChatTemplate::BUILTIN.join(", ")
            ))
        })?;
        Ok(Some(ChatTemplate::new(name, &source, bos, eos)?))
    }
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
