//! Turns of questions as tokens for the model.

use crate::TokenId;
use crate::bench::question::Question;
use crate::runtime::llama::Vocabulary;
use crate::runtime::{
    ChatEncoder, ChatTemplate, Message, Prompt, PromptError, PromptTokenizer, Role,
};

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
        let mut said = Vec::new();
        let mut longest = Longest::default();
        for (answers, turn) in question.turns.iter().enumerate() {
            let prompt = conversation.next(turn, &said)?;
            longest.has_bos_twice |= answers == 0 && self.vocabulary.has_bos_twice(&prompt.tokens);
            said.truncate(prompt.keep);
            said.extend(prompt.tokens);
            let answers = max_new_tokens.saturating_mul(answers + 1);
            longest.tokens = longest.tokens.max(said.len().saturating_add(answers));
            // Any text shows where answers go.
            conversation.push_answer("…".into());
        }
        Ok(longest)
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
}

impl Conversation<'_> {
    /// The prompt for `turn`. `said` are the tokens of the conversation so far.
    ///
    /// # Errors
    /// If the template or the tokenizer fails on the conversation, or if the template leaves out or
    /// changes the text of the turn.
    pub fn next(&mut self, turn: &str, said: &[TokenId]) -> Result<Prompt, PromptError> {
        let prompter = self.prompter;
        let encoder = ChatEncoder {
            tokenizer: &prompter.vocabulary,
            template: prompter.template.as_ref(),
            parse_special: prompter.parse_special,
        };
        self.messages.push(Message::new(Role::User, turn));
        let prompt = match said {
            [] => encoder.first(&self.messages)?,
            said => encoder.next(&self.messages, said)?,
        };
        if let Some(template) = &prompter.template {
            template.check_question(&prompt.text, turn)?;
        }
        Ok(prompt)
    }

    /// Adds the model's answer to the last turn.
    pub fn answered(&mut self, answer: &[TokenId]) {
        self.messages.push(self.prompter.vocabulary.answer(answer));
    }

    /// Adds an answer as text.
    pub fn push_answer(&mut self, answer: String) {
        self.messages.push(Message::new(Role::Assistant, answer));
    }
}
