//! Traces of `generate --trace`: the text, and the runners-up that the model had for it.

use std::path::Path;

use serde::Deserialize;

use crate::TokenId;
use crate::logits::Candidate;
use crate::simulate::input::for_each_line;
use crate::simulate::{InputError, Request, Turn};

/// First line of a trace.
#[derive(Deserialize)]
struct Header {
    prompt: Vec<TokenId>,
}

/// Any other line.
#[derive(Deserialize)]
struct Step {
    n_past: usize,
    ranked: Vec<TokenId>,
    /// Of `ranked`. Early traces have none.
    logits: Option<Vec<f32>>,
    accepted: Vec<TokenId>,
}

/// Reads the request that a trace is of.
///
/// A trace has candidates where one of its steps began: at every token if it is of `baseline`.
/// Where it has their order without their logits, they are given logits that fall by one from
/// candidate to candidate.
///
/// # Errors
/// A file that cannot be read or is no trace.
pub fn read_trace(path: &Path) -> Result<Request, InputError> {
    let mut prompt: Option<Vec<TokenId>> = None;
    let mut turn = Turn::default();
    for_each_line(path, "the trace", |text| {
        let mend = "give a file that logitspec generate --trace wrote";
        let Some(prompt) = &prompt else {
            let header: Header = serde_json::from_slice(text)
                .map_err(|_| format!("not the header of a trace; {mend}"))?;
            prompt = Some(header.prompt);
            return Ok(());
        };
        let step: Step =
            serde_json::from_slice(text).map_err(|_| format!("not a step of a trace; {mend}"))?;
        if step.n_past != prompt.len() + turn.answer.len() || step.accepted.is_empty() {
            return Err(format!(
                "this step does not go on where the one before it ended; {mend}"
            ));
        }
        let falling = || (0..step.ranked.len()).map(|rank| -(rank as f32)).collect();
        let logits = step.logits.unwrap_or_else(falling);
        if logits.len() != step.ranked.len() {
            return Err(format!("logits and ranked must have equal lengths; {mend}"));
        }
        let candidates = step.ranked.into_iter().zip(logits);
        let candidates = candidates.map(|(token, logit)| Candidate { token, logit });
        turn.ranked.push(candidates.collect());
        turn.answer.extend_from_slice(&step.accepted);
        turn.ranked.resize(turn.answer.len(), Vec::new());
        Ok(())
    })?;
    let Some(prompt) = prompt.filter(|_| !turn.answer.is_empty()) else {
        return Err(InputError::Nothing {
            path: path.into(),
            reason: "no step in it; give a file that logitspec generate --trace wrote".into(),
        });
    };
    turn.prompt = prompt;
    Ok(Request {
        category: "trace".into(),
        turns: vec![turn],
    })
}
