//! Which chat template, and the tokens of a turn.

use std::path::Path;

use clap::Args;

use crate::TokenId;
use crate::cli::exit::user_error;
use crate::runtime::llama::{Engine, Vocabulary};
use crate::runtime::{ChatTemplate, Message};

/// How a conversation is written for the model.
#[derive(Debug, Args)]
#[command(next_help_heading = "Chat")]
pub(super) struct TemplateArgs {
    /// Chat template: vicuna, llama2, codellama-instruct, none (the bare text), or a file with Jinja [default:
    /// the model's own]
    #[arg(long, value_name = "NAME|FILE")]
    pub template: Option<String>,

    /// Instructions for the whole conversation, instead of the template's own
    #[arg(long, alias = "system_prompt", value_name = "TEXT")]
    pub system: Option<String>,
}

impl TemplateArgs {
    /// The template to use; `None` for the bare text.
    pub(super) fn choose(&self, engine: &Engine) -> anyhow::Result<Option<ChatTemplate>> {
        let vocabulary = engine.vocabulary();
        let (bos, eos) = (vocabulary.bos(), vocabulary.eos());
        let Some(name) = &self.template else {
            let Some(source) = engine.chat_template() else {
                return Err(user_error(format!(
                    "{:?} has no chat template of its own: choose one with --template {}, none or a file",
                    engine.path(),
                    ChatTemplate::BUILTIN.join(", ")
                )));
            };
            return Ok(Some(ChatTemplate::new("of the model", &source, &bos, &eos)?));
        };
        if name == "none" {
            return Ok(None);
        }
        if let Some(template) = ChatTemplate::builtin(name, &bos, &eos) {
            return Ok(Some(template));
        }
        let source = std::fs::read_to_string(Path::new(name)).map_err(|error| {
            user_error(format!(
                "--template {name} is neither {}, none nor a readable file: {error}",
                ChatTemplate::BUILTIN.join(", ")
            ))
        })?;
        Ok(Some(ChatTemplate::new(name, &source, &bos, &eos)?))
    }
}

/// The tokens that lead from an answer to the next: what closes the one, `text`, what opens the other.
///
/// `last` is the last token of the conversation. If the model ended its answer itself, the end that the template
/// writes is already there.
pub(super) fn next_turn_tokens(
    vocabulary: Vocabulary<'_>,
    text: &str,
    last: Option<TokenId>,
) -> Vec<TokenId> {
    let tokens = vocabulary.tokenize_continuation(text);
    if !last.is_some_and(|token| vocabulary.is_end(token)) {
        return tokens;
    }
    let end = tokens.iter().position(|&token| vocabulary.is_end(token));
    let is_blank = |token: &TokenId| vocabulary.bytes(*token).trim_ascii().is_empty();
    match end {
        // Some templates write a space before the end.
        Some(end) if tokens[..end].iter().all(is_blank) => tokens[end + 1..].to_vec(),
        _ => tokens,
    }
}

/// The messages of a conversation that is about to begin.
pub(super) fn opening(system: Option<&str>) -> Vec<Message> {
    system
        .map(|text| Message::new(crate::runtime::Role::System, text))
        .into_iter()
        .collect()
}
