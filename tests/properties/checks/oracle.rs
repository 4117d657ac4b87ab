//! Plain decoding in its simplest form. Every session must give the same tokens.

use logitspec::TokenId;
use logitspec::logits::Row;
use logitspec::runtime::{ScriptedModel, TargetModel};
use logitspec::verify::{Sampler, SamplingParams, Select};

use super::drafters::naive_argmax;

/// Decodes one token at a time, from the whole text, without a cache.
pub struct Plain {
    model: ScriptedModel,
    sampler: Option<Sampler>,
    pub text: Vec<TokenId>,
    /// The next token, if it was selected already.
    next: Option<TokenId>,
}

impl Plain {
    pub fn new(model: ScriptedModel, sampling: SamplingParams) -> Self {
        let greedy = sampling.is_greedy();
        Self {
            model,
            sampler: (!greedy).then(|| Sampler::new(sampling)),
            text: Vec::new(),
            next: None,
        }
    }

    /// Selects the next token without committing it.
    pub fn draw_ahead(&mut self) -> TokenId {
        let row = self.model.logits_after(&self.text);
        *self.next.get_or_insert_with(|| match &mut self.sampler {
            Some(sampler) => {
                let selected = sampler.select(Row::from(&row), &self.text, &[]);
                selected.expect("the rows are finite")
            }
            None => naive_argmax(&row),
        })
    }

    /// Selects and commits the next token.
    pub fn step(&mut self) -> TokenId {
        let token = self.draw_ahead();
        self.next = None;
        self.text.push(token);
        token
    }

    /// Appends a prompt.
    pub fn append(&mut self, prompt: &[TokenId]) {
        self.next = None;
        self.text.extend_from_slice(prompt);
    }

    pub fn truncate(&mut self, len: usize) {
        if len < self.text.len() {
            self.next = None;
            self.text.truncate(len);
        }
    }

    pub fn is_end(&self, token: TokenId) -> bool {
        self.model.is_end(token)
    }

    /// Whether the text does not fit the context, so that no token can follow.
    pub fn is_full(&self) -> bool {
        self.text.len() > self.model.n_ctx()
    }

    /// Checks the logits after the text.
    pub fn assert_last_logits(&self, logits: &[f32]) {
        assert_eq!(logits, self.model.logits_after(&self.text));
    }
}
