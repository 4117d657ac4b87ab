//! Tokenizes text with the vocabulary of a GGUF file.

use crate::TokenId;
use crate::runtime::TokenizeError;
use crate::runtime::llama::Vocabulary;
use crate::simulate::TextTokenizer;

impl TextTokenizer for Vocabulary<'_> {
    fn answer(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        let mut tokens = self.tokenize_answer(text)?;
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
}
