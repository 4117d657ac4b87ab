//! Counts tokens by tokenizing the texts again.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use tokenizers::Tokenizer;

use super::ReportError;
use super::load::Method;

/// Counts the tokens of every answer of `method` as the original evaluation counts those of plain
/// decoding: it tokenizes each turn and subtracts the beginning-of-sequence token.
///
/// The original subtracts one because Llama's tokenizer always adds that token. Some
/// `tokenizer.json` files of the same tokenizer do not add it. Then nothing is subtracted, and the
/// count is the same.
///
/// Texts that occur more than once, such as the answers of repeated runs, are tokenized once. All
/// cores are used.
pub(super) fn count_again(
    method: &mut Method,
    path: &Path,
    notices: &mut Vec<String>,
) -> Result<(), ReportError> {
    let unusable = |error: tokenizers::Error| ReportError::Tokenizer {
        path: path.into(),
        // Errors from deep in a tokenizer can be many lines long. The first line is enough.
        reason: error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_string(),
    };
    let mut tokenizer = Tokenizer::from_file(path).map_err(unusable)?;
    // A tokenizer.json can ask for both. They are meant for training and would falsify the count.
    tokenizer.with_truncation(None).map_err(unusable)?;
    tokenizer.with_padding(None);
    let begins = tokenizer.encode_fast("", true).map_err(unusable)?.len();
    if begins != 1 {
        notices.push(format!(
            "{}: this tokenizer puts {begins} special tokens around a text instead of one before \
             it; as many are subtracted from the base's count",
            path.display()
        ));
    }

    let texts: BTreeSet<&str> = method
        .entries()
        .flat_map(|entry| &entry.choice().turns)
        .map(String::as_str)
        .collect();
    let texts: Vec<&str> = texts.into_iter().collect();
    let encoded = tokenizer
        .encode_batch_fast(texts.clone(), true)
        .map_err(unusable)?;
    let counts: HashMap<String, u64> = texts
        .into_iter()
        .zip(&encoded)
        .map(|(text, tokens)| (text.to_string(), tokens.len().saturating_sub(begins) as u64))
        .collect();
    for entry in method.runs.iter_mut().flat_map(|run| run.values_mut()) {
        let tokens = entry.choice().turns.iter().map(|turn| counts[turn]).sum();
        entry.counted_tokens = Some(tokens);
    }
    Ok(())
}
