//! How the prompt reaches the model: as a question in a chat template, or as text to continue.

use clap::Args;

use crate::TokenId;
use crate::cli::conversation::{TemplateArgs, opening, warn_if_bos_twice};
use crate::cli::exit::user_error;
use crate::cli::prompt::{PromptText, Wanted};
use crate::runtime::llama::Model;
use crate::runtime::{Message, Role};

/// The flags for the way the prompt is put.
#[derive(Debug, Args)]
#[command(next_help_heading = "Chat")]
pub(super) struct FramingArgs {
    /// Ask the prompt as a question, in the chat template. This is the default if the model has
    /// one; --template and --system imply it
    #[arg(long, alias = "conversation", alias = "cnv")]
    chat: bool,

    /// Continue the prompt as plain text, even if the model has a chat template
    #[arg(
        long,
        visible_alias = "no-conversation",
        alias = "no-cnv",
        alias = "no_conversation",
        conflicts_with_all = ["chat", "template", "system", "system_prompt_file"]
    )]
    raw: bool,

    #[command(flatten)]
    template: TemplateArgs,
}

/// A prompt as the model gets it.
#[derive(Debug)]
pub(super) struct Framed {
    pub tokens: Vec<TokenId>,
    /// Whether it is a question in a chat, not a text to continue.
    pub is_chat: bool,
    /// What was done with the prompt, for the user.
    pub note: String,
    /// Tokens that end the answer beside the usual ones.
    pub ends: Vec<TokenId>,
    /// What to try if the model says nothing.
    pub if_empty: &'static str,
}

impl FramingArgs {
    /// Puts the prompt as the flags say. Without any, it is asked if the model has a chat template.
    ///
    /// # Errors
    /// If the prompt is no question, or if the template or the tokenizer fails.
    pub(super) fn frame(&self, model: &Model, wanted: &Wanted) -> anyhow::Result<Framed> {
        let framed = match wanted {
            Wanted::Middle { prefix, suffix } => return fill_in(model, prefix, suffix),
            Wanted::Prompt(prompt) if self.is_chat(model) => self.ask(model, prompt)?,
            Wanted::Prompt(prompt) => self.go_on(model, prompt)?,
        };
        warn_if_bos_twice(&model.vocabulary(), &framed.tokens);
        Ok(framed)
    }

    fn is_chat(&self, model: &Model) -> bool {
        let by_default = || model.chat_template().is_some();
        let named = |name: &String| name != "none";
        let template = &self.template.template;
        !self.raw
            && (self.chat
                || self.template.system().is_some()
                || template.as_ref().map_or_else(by_default, named))
    }

    fn go_on(&self, model: &Model, prompt: &PromptText) -> anyhow::Result<Framed> {
        let (why, if_empty) = match model.chat_template() {
            Some(_) => ("", "without --raw, it is asked as a question"),
            None => (
                ": the model has no chat template (--template names one)",
                "--template asks it as a question",
            ),
        };
        Ok(Framed {
            tokens: model.vocabulary().tokenize(&prompt.text)?,
            is_chat: false,
            note: format!("continuing the prompt as plain text{why}"),
            ends: Vec::new(),
            if_empty,
        })
    }

    fn ask(&self, model: &Model, prompt: &PromptText) -> anyhow::Result<Framed> {
        prompt.check_question()?;
        let vocabulary = model.vocabulary();
        let flags = &self.template;
        let template = flags.choose(model)?;
        flags.warn_of_system(template.as_ref());
        let encoder = flags.encoder(&vocabulary, template.as_ref());
        let text = match template {
            Some(_) => prompt.text.trim(),
            None => &prompt.text,
        };
        let mut messages = opening(flags.system());
        messages.push(Message::new(Role::User, text));
        let asked = encoder.first(&messages)?;
        let note = match &template {
            Some(template) => {
                flags.warn_if_left_out(&asked.text, text, flags.system());
                format!(
                    "asking with the chat template {}; --raw continues the prompt instead",
                    template.name()
                )
            }
            None => "asking without a chat template".to_owned(),
        };
        Ok(Framed {
            tokens: asked.tokens,
            is_chat: true,
            note,
            ends: Vec::new(),
            if_empty: "try another question, or another --template",
        })
    }
}

/// A prompt for what lies between two texts.
fn fill_in(model: &Model, prefix: &str, suffix: &str) -> anyhow::Result<Framed> {
    let Some(fill) = model.vocabulary().fill_in(prefix, suffix)? else {
        return Err(user_error(format!(
            "{:?} has no tokens for --prefix and --suffix: choose a model that was trained to fill \
             in the middle, or leave them out",
            model.path()
        )));
    };
    Ok(Framed {
        tokens: fill.prompt,
        is_chat: false,
        note: "filling in what lies between the prefix and the suffix".to_owned(),
        ends: fill.ends,
        if_empty: "the model sees nothing missing between the two texts",
    })
}
