//! Plain decoding without any machinery: what every session must say.

use logitspec::TokenId;
use logitspec::logits::Row;
use logitspec::runtime::{ScriptedModel, TargetModel};
use logitspec::verify::{Sampler, SamplingParams, Select};

use super::drafters::naive_argmax;

/// Asks the model for one token at a time, with the whole text, and keeps no cache.
pub struct Plain {
    model: ScriptedModel,
    sampler: Option<Sampler>,
    pub text: Vec<TokenId>,
    /// The next token, if it was drawn already.
    next: Option<TokenId>,
}

impl Plain {
    pub fn new(model: ScriptedModel, sampling: SamplingParams) -> Self {
        let greedy = sampling.temperature <= 0.0 && sampling.repeat_penalty == 1.0;
        Self {
            model,
            sampler: (!greedy).then(|| Sampler::new(sampling)),
            text: Vec::new(),
            next: None,
        }
    }

    /// Draws the next token without saying it.
    pub fn draw_ahead(&mut self) -> TokenId {
        let row = self.model.logits_after(&self.text);
        *self.next.get_or_insert_with(|| match &mut self.sampler {
            Some(sampler) => sampler.select(Row::from(&row), &self.text, &[]),
            None => naive_argmax(&row),
        })
    }

    /// Says the next token.
    pub fn say(&mut self) -> TokenId {
        let token = self.draw_ahead();
        self.next = None;
        self.text.push(token);
        token
    }

    /// Listens to a prompt.
    pub fn hear(&mut self, prompt: &[TokenId]) {
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

    /// Whether the text is longer than a context that would have to hold it before anything
    /// follows.
    pub fn is_full(&self) -> bool {
        self.text.len() > self.model.n_ctx()
    }

    /// Whether the text says `logits` come next.
    pub fn assert_last_logits(&self, logits: &[f32]) {
        assert_eq!(logits, self.model.logits_after(&self.text));
    }
}
