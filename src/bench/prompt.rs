//! What a benchmark says to a model: turns become tokens.

use crate::TokenId;
use crate::bench::question::Question;
use crate::runtime::llama::Vocabulary;
use crate::runtime::{ChatTemplate, Message, Role, TemplateError};

/// Writes the turns of questions as the model wants them, so that everyone who answers is asked the
/// same tokens.
pub struct Prompter<'e> {
    vocabulary: Vocabulary<'e>,
    template: Option<ChatTemplate>,
    opening: Vec<Message>,
}

impl<'e> Prompter<'e> {
    /// With a template, or `None` for the bare text; `opening` comes before the first turn of every
    /// conversation.
    pub fn new(
        vocabulary: Vocabulary<'e>,
        template: Option<ChatTemplate>,
        opening: Vec<Message>,
    ) -> Self {
        Self {
            vocabulary,
            template,
            opening,
        }
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> Vocabulary<'e> {
        self.vocabulary
    }

    /// A conversation that is about to begin.
    pub fn conversation(&self) -> Conversation<'_> {
        Conversation {
            prompter: self,
            messages: self.opening.clone(),
            begun: false,
        }
    }

    /// Most tokens that the conversation of a question can have if every answer is as long as it
    /// may be.
    ///
    /// # Errors
    /// If the template fails on it.
    pub fn longest(
        &self,
        question: &Question,
        max_new_tokens: usize,
    ) -> Result<usize, TemplateError> {
        let mut conversation = self.conversation();
        let mut tokens = 0usize;
        for turn in &question.turns {
            let prompt = conversation.next(turn, None)?;
            tokens = tokens
                .saturating_add(prompt.len())
                .saturating_add(max_new_tokens);
        }
        Ok(tokens)
    }

    /// An answer as text: special tokens left out, and the white space around it, as FastChat does.
    pub fn text(&self, tokens: &[TokenId]) -> String {
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|&token| self.vocabulary.bytes(token))
            .collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

/// The prompts of one conversation.
pub struct Conversation<'p> {
    prompter: &'p Prompter<'p>,
    messages: Vec<Message>,
    begun: bool,
}

impl Conversation<'_> {
    /// The tokens that lead to the answer to `turn`; `last` is the last token of the conversation
    /// so far.
    ///
    /// # Errors
    /// If the template fails on the conversation.
    pub fn next(
        &mut self,
        turn: &str,
        last: Option<TokenId>,
    ) -> Result<Vec<TokenId>, TemplateError> {
        let vocabulary = self.prompter.vocabulary;
        let message = Message::new(Role::User, turn);
        let first = !std::mem::replace(&mut self.begun, true);
        let tokens = match &self.prompter.template {
            None if first => vocabulary.tokenize(turn),
            None => vocabulary.tokenize_continuation(turn),
            Some(template) if first => {
                self.messages.push(message);
                vocabulary.tokenize(&template.prompt(&self.messages)?)
            }
            Some(template) => {
                let text = template.next_turn(&self.messages, &message)?;
                // What was said is in the model's cache; the template only has to see that there
                // was an answer.
                self.messages.push(Message::new(Role::Assistant, "…"));
                self.messages.push(message);
                vocabulary.tokenize_next_turn(&text, last)
            }
        };
        Ok(tokens)
    }
}
