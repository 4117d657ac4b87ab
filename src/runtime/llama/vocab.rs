//! Tokenizing and detokenizing.

use std::ffi::CStr;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::VocabType;

use crate::TokenId;
use crate::store::VocabFingerprint;

/// A model's vocabulary.
#[derive(Clone, Copy)]
pub struct Vocabulary<'a> {
    model: &'a LlamaModel,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn new(model: &'a LlamaModel) -> Self {
        Self { model }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        usize::try_from(self.model.vocab().n_tokens()).unwrap_or(0)
    }

    /// Whether there are no tokens. Such a model cannot read text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Identifies the vocabulary in token files.
    pub fn fingerprint(&self) -> VocabFingerprint {
        let vocab = self.model.vocab();
        let text = |token| {
            vocab
                .text(LlamaToken(token))
                .map_or(&b""[..], CStr::to_bytes)
        };
        VocabFingerprint::of((0..vocab.n_tokens()).map(text))
    }

    /// The type of the tokenizer.
    pub fn kind(&self) -> &'static str {
        match self.model.vocab().vocab_type() {
            VocabType::NONE => "none",
            VocabType::SPM => "SentencePiece",
            VocabType::BPE => "byte-level BPE",
            VocabType::WPM => "WordPiece",
            VocabType::UGM => "Unigram",
            VocabType::RWKV => "RWKV",
            _ => "other",
        }
    }

    /// Tokenizes the start of a conversation. Parses special tokens in the text. Adds the
    /// beginning-of-sequence token if the model uses one.
    pub fn tokenize(&self, text: &str) -> Vec<TokenId> {
        self.raw(text, true)
    }

    /// Tokenizes a text in the middle of a conversation. Adds nothing before it.
    pub fn tokenize_continuation(&self, text: &str) -> Vec<TokenId> {
        // SentencePiece adds a space before a text, which would be wrong here. So put a byte before
        // the text that never merges with its neighbors, and remove it together with the space.
        const GUARD: &str = "\u{1}";
        let tokens = self.raw(text, false);
        let starts_special = tokens.first().is_some_and(|&t| self.is_control(t));
        if starts_special || !matches!(self.model.vocab().vocab_type(), VocabType::SPM) {
            return tokens;
        }
        let guard = self.raw(GUARD, false);
        let guarded = self.raw(&format!("{GUARD}{text}"), false);
        match guarded.strip_prefix(guard.as_slice()) {
            Some(rest) => rest.to_vec(),
            None => tokens,
        }
    }

    /// Tokenizes the text between two answers, from
    /// [`ChatTemplate::next_turn`](crate::runtime::ChatTemplate::next_turn).
    ///
    /// `last` is the last token of the conversation. If it is an end-of-generation token, the one
    /// at
    /// the start of `text` is left out.
    pub fn tokenize_next_turn(&self, text: &str, last: Option<TokenId>) -> Vec<TokenId> {
        let mut tokens = self.tokenize_continuation(text);
        if !last.is_some_and(|token| self.is_end(token)) {
            return tokens;
        }
        let is_blank = |token: &TokenId| self.bytes(*token).trim_ascii().is_empty();
        match tokens.iter().position(|&token| self.is_end(token)) {
            // Some templates write a space before the end token.
            Some(end) if tokens[..end].iter().all(is_blank) => tokens.split_off(end + 1),
            _ => tokens,
        }
    }

    /// Tokenizes a recorded answer. SentencePiece adds the space before it that the model
    /// generated.
    pub fn tokenize_answer(&self, text: &str) -> Vec<TokenId> {
        self.raw(text, false)
    }

    /// The token that ends answers, if there is one.
    pub fn end(&self) -> Option<TokenId> {
        let vocab = self.model.vocab();
        [vocab.eot(), vocab.eos()]
            .into_iter()
            .find(|token| token.0 >= 0)
            .map(|token| token.0.cast_unsigned())
    }

    /// Tokenizes a document of a corpus. Adds no special tokens.
    pub fn tokenize_document(&self, text: &str) -> Vec<TokenId> {
        self.raw(text, false)
    }

    fn raw(&self, text: &str, add_special: bool) -> Vec<TokenId> {
        self.model
            .vocab()
            .tokenize(text.as_bytes(), add_special, true)
            .into_iter()
            .map(|token| token.0.cast_unsigned())
            .collect()
    }

    /// The text of a token as bytes. Empty for control tokens.
    pub fn bytes(&self, token: TokenId) -> Vec<u8> {
        self.model
            .vocab()
            .token_to_piece(LlamaToken(token.cast_signed()), false, None)
    }

    /// The text of a token, including special tokens.
    pub fn written(&self, token: TokenId) -> String {
        let bytes = self
            .model
            .vocab()
            .token_to_piece(LlamaToken(token.cast_signed()), true, None);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether this is an end-of-generation token.
    pub fn is_end(&self, token: TokenId) -> bool {
        self.model.vocab().is_eog(LlamaToken(token.cast_signed()))
    }

    fn is_control(&self, token: TokenId) -> bool {
        self.model
            .vocab()
            .is_control(LlamaToken(token.cast_signed()))
    }

    /// The text of the beginning-of-sequence token. Empty if there is none.
    pub fn bos(&self) -> String {
        self.special(self.model.vocab().bos())
    }

    /// The text of the end-of-sequence token. Empty if there is none.
    pub fn eos(&self) -> String {
        self.special(self.model.vocab().eos())
    }

    /// Whether a conversation starts with the beginning-of-sequence token.
    pub fn adds_bos(&self) -> bool {
        self.model.vocab().should_add_bos()
    }

    fn special(&self, token: LlamaToken) -> String {
        if token.0 < 0 {
            String::new()
        } else {
            self.written(token.0.cast_unsigned())
        }
    }
}
