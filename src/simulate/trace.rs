//! Reads traces of `generate`: the text, and the candidates that the model had for each token.

use std::path::Path;

use serde::Deserialize;

use crate::TokenId;
use crate::logits::Candidate;
use crate::simulate::input::{LineError, for_each_line};
use crate::simulate::{InputError, RecordKind, Request, Turn};

/// The first line of a trace.
#[derive(Deserialize)]
struct Header {
    prompt: Vec<TokenId>,
}

/// Every other line.
#[derive(Deserialize)]
struct Step {
    n_past: usize,
    ranked: Vec<TokenId>,
    /// The logits of `ranked`. Old traces have none.
    logits: Option<Vec<f32>>,
    accepted: Vec<TokenId>,
}

/// Reads the request of a trace.
///
/// A trace has candidates for the first token of each step, and so for every token if its method is
/// `baseline`. If it lacks their logits, they get logits that fall by one per rank.
///
/// # Errors
/// A file that cannot be read or is not a trace.
pub fn read_trace(path: &Path) -> Result<Request, InputError> {
    let mut prompt: Option<Vec<TokenId>> = None;
    let mut turn = Turn::default();
    for_each_line(path, RecordKind::Trace, |text| {
        let Some(prompt) = &prompt else {
            let header: Header =
                serde_json::from_slice(text).map_err(|_| "not the header of a trace".to_owned())?;
            prompt = Some(header.prompt);
            return Ok(());
        };
        let step: Step =
            serde_json::from_slice(text).map_err(|_| "not a step of a trace".to_owned())?;
        if step.n_past != prompt.len() + turn.answer.len() || step.accepted.is_empty() {
            let reason = "this step does not continue where the one before it ended";
            return Err(LineError::from(reason.to_owned()));
        }
        let falling = || (0..step.ranked.len()).map(|rank| -(rank as f32)).collect();
        let logits = step.logits.unwrap_or_else(falling);
        if logits.len() != step.ranked.len() {
            let reason = "logits and ranked must have equal lengths";
            return Err(LineError::from(reason.to_owned()));
        }
        let candidates = step.ranked.into_iter().zip(logits);
        let candidates = candidates.map(|(token, logit)| Candidate { token, logit });
        turn.ranked.push(candidates.collect());
        turn.answer.extend_from_slice(&step.accepted);
        turn.ranked.resize(turn.answer.len(), Vec::new());
        Ok(())
    })?;
    let Some(prompt) = prompt.filter(|_| !turn.answer.is_empty()) else {
        return Err(InputError::Empty {
            path: path.into(),
            kind: RecordKind::Trace,
            reason: "holds no step",
        });
    };
    turn.prompt = prompt;
    Ok(Request {
        category: "trace".into(),
        turns: vec![turn],
    })
}
