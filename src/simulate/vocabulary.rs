//! Tokenizes text with the vocabulary of a GGUF file.

use crate::TokenId;
use crate::runtime::llama::Vocabulary;
use crate::simulate::{TextTokenizer, TokenizeError};

impl TextTokenizer for Vocabulary<'_> {
    fn start(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        Ok(self.tokenize(text))
    }

    fn next_turn(&self, text: &str, last: Option<TokenId>) -> Result<Vec<TokenId>, TokenizeError> {
        Ok(self.tokenize_next_turn(text, last))
    }

    fn answer(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        let mut tokens = self.tokenize_answer(text);
        if let Some(end) = tokens
            .iter()
            .position(|&token| Vocabulary::is_end(self, token))
        {
            tokens.truncate(end);
        }
        Ok(tokens)
    }

    fn end(&self) -> Option<TokenId> {
        Vocabulary::end(self)
    }

    fn is_end(&self, token: TokenId) -> bool {
        Vocabulary::is_end(self, token)
    }
}
