//! What can go wrong in a session.

use crate::TokenId;
use crate::runtime::{DecodeError, TargetModel};

/// Why a session could not go on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GenerateError {
    /// The prompt does not fit.
    #[error(
        "the text has {tokens} tokens, but the context holds {n_ctx}: shorten the prompt, or use a \
         larger context"
    )]
    PromptTooLong {
        /// Tokens of the conversation with the new prompt.
        tokens: usize,
        /// Tokens the context holds.
        n_ctx: usize,
    },
    /// There is nothing to go on from.
    #[error("the prompt is empty: give some text")]
    EmptyPrompt,
    /// The prompt has a token that the model does not know.
    #[error("token {token} is not in the model's vocabulary of {n_vocab}")]
    UnknownToken {
        /// The token.
        token: TokenId,
        /// Size of the vocabulary.
        n_vocab: usize,
    },
    /// The caller called it off while the prompt was being decoded.
    #[error("cancelled")]
    Cancelled,
    /// The model failed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Refuses a prompt that cannot be decoded behind `kept` tokens.
pub(super) fn check_prompt<M: TargetModel>(
    model: &M,
    kept: usize,
    prompt: &[TokenId],
) -> Result<(), GenerateError> {
    let n_vocab = model.n_vocab();
    if let Some(&token) = prompt.iter().find(|&&token| token as usize >= n_vocab) {
        return Err(GenerateError::UnknownToken { token, n_vocab });
    }
    let (tokens, n_ctx) = (kept + prompt.len(), model.n_ctx());
    if tokens > n_ctx {
        return Err(GenerateError::PromptTooLong { tokens, n_ctx });
    }
    match prompt.is_empty() {
        true => Err(GenerateError::EmptyPrompt),
        false => Ok(()),
    }
}

impl GenerateError {
    /// Whether other input would have helped (as against a failure of the machine).
    pub fn is_input_error(&self) -> bool {
        matches!(
            self,
            Self::PromptTooLong { .. } | Self::EmptyPrompt | Self::UnknownToken { .. }
        )
    }
}
