//! Counting tokens by tokenizing texts again.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use tokenizers::Tokenizer;

use super::ReportError;
use super::load::Method;

/// Counts every answer of `method` as the original evaluation counts the plain decoder's: each turn
/// tokenized, less the begin-of-sequence token.
///
/// The original takes one off because its tokenizer, Llama's, always puts that token first. Some
/// `tokenizer.json` of the same tokenizer leave that to the program that loads them; then there is
/// nothing to take off, and the count comes out the same.
///
/// Texts that occur more than once, as the answers of repeated runs do, are tokenized once; all
/// cores take part.
pub(super) fn count_again(
    method: &mut Method,
    path: &Path,
    notices: &mut Vec<String>,
) -> Result<(), ReportError> {
    let unusable = |error: tokenizers::Error| ReportError::Tokenizer {
        path: path.into(),
        // Errors from deep in a tokenizer can be many lines long; the first says what it is about.
        reason: error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_string(),
    };
    let mut tokenizer = Tokenizer::from_file(path).map_err(unusable)?;
    // A tokenizer.json can ask for both. They serve training, and would falsify a count.
    tokenizer.with_truncation(None).map_err(unusable)?;
    tokenizer.with_padding(None);
    let begins = tokenizer.encode_fast("", true).map_err(unusable)?.len();
    if begins != 1 {
        notices.push(format!(
            "{}: this tokenizer puts {begins} special tokens around a text instead of one first; as many are left \
             out of the base's count",
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
        entry.counted_tokens = entry.choice().turns.iter().map(|turn| counts[turn]).sum();
    }
    Ok(())
}
