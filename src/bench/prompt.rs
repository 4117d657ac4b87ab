//! Turns of questions as tokens for the model.

use crate::TokenId;
use crate::bench::question::Question;
use crate::runtime::llama::Vocabulary;
use crate::runtime::{ChatEncoder, ChatTemplate, Message, PromptError, PromptTokenizer, Role};

/// Applies the chat template to the turns of questions, so that every method gets the same tokens.
pub struct Prompter<'e> {
    vocabulary: Vocabulary<'e>,
    template: Option<ChatTemplate>,
    opening: Vec<Message>,
    parse_special: bool,
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
            parse_special: false,
        }
    }

    /// Lets the spelling of a control token in a turn become that token. Otherwise it is plain
    /// text.
    pub fn parse_special(mut self, yes: bool) -> Self {
        self.parse_special = yes;
        self
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
    /// If the template or the tokenizer fails on it.
    pub fn longest(
        &self,
        question: &Question,
        max_new_tokens: usize,
    ) -> Result<Longest, PromptError> {
        let mut conversation = self.conversation();
        let mut tokens = 0usize;
        let mut has_bos_twice = false;
        for turn in &question.turns {
            let prompt = conversation.next(turn, None)?;
            has_bos_twice |= tokens == 0 && self.vocabulary.has_bos_twice(&prompt);
            tokens = tokens
                .saturating_add(prompt.len())
                .saturating_add(max_new_tokens);
        }
        Ok(Longest {
            tokens,
            has_bos_twice,
        })
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

/// A question's conversation if every answer reaches the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Longest {
    /// Its length.
    pub tokens: usize,
    /// Whether it begins with two beginning-of-sequence tokens.
    pub has_bos_twice: bool,
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
    /// If the template or the tokenizer fails on the conversation.
    pub fn next(&mut self, turn: &str, last: Option<TokenId>) -> Result<Vec<TokenId>, PromptError> {
        let prompter = self.prompter;
        let encoder = ChatEncoder {
            tokenizer: &prompter.vocabulary,
            template: prompter.template.as_ref(),
            parse_special: prompter.parse_special,
        };
        let message = Message::new(Role::User, turn);
        if !self.begun {
            let messages = [&self.messages[..], std::slice::from_ref(&message)].concat();
            let prompt = encoder.first(&messages)?;
            self.begun = true;
            self.messages = messages;
            return Ok(prompt.tokens);
        }
        let tokens = encoder.next(&self.messages, &message, last)?;
        // The answer's tokens are in the KV cache. The template only needs to see that there was
        // an answer.
        self.messages.push(Message::new(Role::Assistant, "…"));
        self.messages.push(message);
        Ok(tokens)
    }
}
