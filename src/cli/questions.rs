//! The context that questions need.

use crate::bench::Question;
use crate::bench::prompt::Prompter;
use crate::cli::conversation::warn_of_second_bos;
use crate::cli::model_args::ModelArgs;
use crate::runtime::PromptError;
use crate::runtime::llama::{ContextOptions, Model};

/// A context that holds the longest conversation, up to the trained context, with answers of
/// `max_new_tokens` and a draft tree of `capacity` tokens.
///
/// # Errors
/// If the chat template fails.
pub(super) fn context_of_questions(
    args: &ModelArgs,
    model: &Model,
    prompter: &Prompter<'_>,
    questions: &[Question],
    max_new_tokens: usize,
    capacity: usize,
) -> anyhow::Result<ContextOptions> {
    let mut needed = 0;
    for question in questions {
        match prompter.longest(question, max_new_tokens) {
            Ok(longest) => {
                needed = needed.max(longest.tokens);
                if longest.has_bos_twice {
                    warn_of_second_bos(&prompter.vocabulary());
                }
            }
            // Whoever asks it says so.
            Err(PromptError::Tokenize(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let needed = needed.saturating_add(capacity);
    // llama.cpp rounds up to this anyway.
    let needed = needed.checked_next_multiple_of(256).unwrap_or(needed);
    Ok(ContextOptions {
        draft_tree_capacity: capacity,
        ..args.context(model, needed)
    })
}
