//! Log-probabilities of tokens: when their text is shown, and how each API writes them.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use crate::TokenId;
use crate::runtime::llama::Vocabulary;
use crate::verify::TokenLogprobs;

/// What OpenAI's API writes for a token that cannot be.
const NEVER: f32 = -9999.0;

/// A token with its log-probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprob {
    /// The token.
    pub id: TokenId,
    /// Its text, which may be part of a character.
    pub bytes: Vec<u8>,
    /// The logarithm of its probability.
    pub logprob: f32,
    /// The most probable tokens in its place.
    pub top: Vec<Logprob>,
}

impl Logprob {
    /// What the engine says, with texts.
    pub fn of(found: &TokenLogprobs, vocabulary: &Vocabulary<'_>) -> Self {
        let text = vocabulary.shown(true);
        let one = |id: TokenId, logprob: f32| Self {
            id,
            bytes: text(id),
            logprob: if logprob.is_finite() { logprob } else { NEVER },
            top: Vec::new(),
        };
        let top = found.top.iter().map(|&(id, logprob)| one(id, logprob));
        Self {
            top: top.collect(),
            ..one(found.token, found.logprob)
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// A name that no other token has: parts of characters are named by their bytes.
    fn name(&self) -> String {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => {
                let bytes = self.bytes.iter().map(|byte| format!("\\x{byte:02x}"));
                format!("bytes:{}", bytes.collect::<String>())
            }
        }
    }

    /// Characters that begin in it.
    fn characters(&self) -> usize {
        let begins = |byte: &&u8| **byte & 0xC0 != 0x80;
        self.bytes.iter().filter(begins).count()
    }
}

/// Log-probabilities of an answer that wait for their text to be shown: stop strings may cut it.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Each with where its text ends in the answer, in bytes.
    tokens: VecDeque<(usize, Logprob)>,
    end: usize,
    shown: usize,
}

impl Waiting {
    /// A token of the answer, which added so many bytes to its text; `None` for one that clients do
    /// not get.
    pub fn push(&mut self, logprob: Option<Logprob>, bytes: usize) {
        self.end += bytes;
        self.tokens.extend(logprob.map(|it| (self.end, it)));
    }

    /// So many bytes more of the text are shown.
    pub fn show(&mut self, bytes: usize) {
        self.shown += bytes;
    }

    /// Takes those whose text is shown.
    pub fn take(&mut self) -> Vec<Logprob> {
        let shown = self.tokens.iter().take_while(|(end, _)| *end <= self.shown);
        let count = shown.count();
        self.tokens.drain(..count).map(|(_, it)| it).collect()
    }
}

/// `choices[].logprobs` of a chat.
pub fn chat(tokens: &[Logprob]) -> Value {
    json!({"content": list(tokens), "refusal": null})
}

/// A list of tokens, each with its most probable rivals.
pub fn list(tokens: &[Logprob]) -> Value {
    with_top(tokens, one)
}

fn one(it: &Logprob) -> Value {
    json!({"token": it.text(), "logprob": it.logprob, "bytes": it.bytes})
}

/// llama-server's `completion_probabilities`.
pub fn native(tokens: &[Logprob]) -> Value {
    let with_id = |it: &Logprob| {
        let mut object = one(it);
        object["id"] = it.id.into();
        object
    };
    with_top(tokens, with_id)
}

fn with_top(tokens: &[Logprob], one: impl Fn(&Logprob) -> Value) -> Value {
    let whole = |it: &Logprob| {
        let mut object = one(it);
        object["top_logprobs"] = it.top.iter().map(&one).collect();
        object
    };
    tokens.iter().map(whole).collect()
}

/// `choices[].logprobs` of `/v1/completions`. The text of the first token begins at character
/// `offset`, which moves behind the last one.
pub fn completion(tokens: &[Logprob], offset: &mut usize) -> Value {
    let place = |it: &Logprob| {
        let at = *offset;
        *offset += it.characters();
        at
    };
    let offsets: Vec<usize> = tokens.iter().map(place).collect();
    let rivals = |it: &Logprob| -> Map<String, Value> {
        let named = |of: &Logprob| (of.name(), json!(of.logprob));
        it.top.iter().chain([it]).map(named).collect()
    };
    json!({
        "tokens": tokens.iter().map(Logprob::name).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|it| it.logprob).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(rivals).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Logprob {
        Logprob {
            id: 7,
            bytes: text.into(),
            logprob: -0.5,
            top: Vec::new(),
        }
    }

    #[test]
    fn tokens_wait_until_all_of_their_text_is_shown() {
        let mut waiting = Waiting::default();
        waiting.push(Some(token("ab")), 2);
        waiting.push(None, 1);
        waiting.push(Some(token("cd")), 2);
        assert_eq!(waiting.take(), []);
        waiting.show(4);
        assert_eq!(waiting.take(), [token("ab")]);
        waiting.push(Some(token("")), 0);
        waiting.show(1);
        assert_eq!(waiting.take(), [token("cd"), token("")]);
    }

    #[test]
    fn offsets_count_characters() {
        let mut offset = 3;
        let object = completion(&[token("é"), token("ab"), token("c")], &mut offset);
        assert_eq!(object["text_offset"], json!([3, 4, 6]));
        assert_eq!(offset, 7);
        let half = Logprob {
            bytes: vec![0xC3],
            ..token("")
        };
        let object = completion(&[half], &mut offset);
        assert_eq!(object["tokens"][0], "bytes:\\xc3");
        assert_eq!(object["top_logprobs"][0]["bytes:\\xc3"], -0.5);
        assert_eq!(offset, 8);
    }
}
