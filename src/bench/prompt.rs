//! Turns of questions as tokens for the model.

use crate::TokenId;
use crate::bench::question::Question;
use crate::runtime::llama::Vocabulary;
use crate::runtime::{ChatTemplate, Message, Role, TemplateError};

/// Applies the chat template to the turns of questions, so that every method gets the same tokens.
pub struct Prompter<'e> {
    vocabulary: Vocabulary<'e>,
    template: Option<ChatTemplate>,
    opening: Vec<Message>,
}

impl<'e> Prompter<'e> {
    /// With a chat template, or `None` for plain text. The `opening` messages come before the first
    /// turn of every conversation.
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

    /// A new conversation.
    pub fn conversation(&self) -> Conversation<'_> {
        Conversation {
            prompter: self,
            messages: self.opening.clone(),
            begun: false,
        }
    }

    /// The length of a question's conversation in tokens if every answer reaches the limit.
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

    /// An answer as text, without special tokens and surrounding white space, as FastChat does.
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
    /// The tokens of the prompt for `turn`. `last` is the last token of the conversation so far.
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
                // The answer's tokens are in the KV cache. The template only needs to see that
                // there was an answer.
                self.messages.push(Message::new(Role::Assistant, "…"));
                self.messages.push(message);
                vocabulary.tokenize_next_turn(&text, last)
            }
        };
        Ok(tokens)
    }
}
