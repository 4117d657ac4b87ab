//! Text to tokens and back.

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

    /// Whether there is no token: such a model cannot read text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which vocabulary this is, to know it again in a file of tokens.
    pub fn fingerprint(&self) -> VocabFingerprint {
        let vocab = self.model.vocab();
        let text = |token| {
            vocab
                .text(LlamaToken(token))
                .map_or(&b""[..], CStr::to_bytes)
        };
        VocabFingerprint::of((0..vocab.n_tokens()).map(text))
    }

    /// Kind of tokenizer, in llama.cpp's words.
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

    /// The tokens of a text that starts a conversation. Special tokens written out in the text are
    /// recognised; the beginning-of-sequence token is added if the model wants it.
    pub fn tokenize(&self, text: &str) -> Vec<TokenId> {
        self.raw(text, true)
    }

    /// The tokens of a text that goes on where others ended: nothing is added before it.
    pub fn tokenize_continuation(&self, text: &str) -> Vec<TokenId> {
        // SentencePiece vocabularies put a space before a text, which would be wrong in mid-text. A
        // byte that never joins with its neighbours takes the space upon itself and is cut off with
        // it.
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

    /// The tokens that lead from an answer to the next: what closes the one, the new message, what
    /// opens the other, as [`ChatTemplate::next_turn`](crate::runtime::ChatTemplate::next_turn)
    /// gives it.
    ///
    /// `last` is the last token of the conversation. If the model ended its answer itself, the end
    /// that the template writes is already there.
    pub fn tokenize_next_turn(&self, text: &str, last: Option<TokenId>) -> Vec<TokenId> {
        let mut tokens = self.tokenize_continuation(text);
        if !last.is_some_and(|token| self.is_end(token)) {
            return tokens;
        }
        let is_blank = |token: &TokenId| self.bytes(*token).trim_ascii().is_empty();
        match tokens.iter().position(|&token| self.is_end(token)) {
            // Some templates write a space before the end.
            Some(end) if tokens[..end].iter().all(is_blank) => tokens.split_off(end + 1),
            _ => tokens,
        }
    }

    /// The tokens of an answer on record, which began right after what opens answers. SentencePiece
    /// vocabularies put the space before it that templates leave to the model.
    pub fn tokenize_answer(&self, text: &str) -> Vec<TokenId> {
        self.raw(text, false)
    }

    /// The token that ends answers, if the vocabulary names one.
    pub fn end(&self) -> Option<TokenId> {
        let vocab = self.model.vocab();
        [vocab.eot(), vocab.eos()]
            .into_iter()
            .find(|token| token.0 >= 0)
            .map(|token| token.0.cast_unsigned())
    }

    /// The tokens of a text that stands for itself, as a document of a corpus does: nothing is
    /// added.
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

    /// The bytes a token stands for in text; control tokens stand for none.
    pub fn bytes(&self, token: TokenId) -> Vec<u8> {
        self.model
            .vocab()
            .token_to_piece(LlamaToken(token.cast_signed()), false, None)
    }

    /// A token as it is written in the vocabulary, special tokens too.
    pub fn written(&self, token: TokenId) -> String {
        let bytes = self
            .model
            .vocab()
            .token_to_piece(LlamaToken(token.cast_signed()), true, None);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the model ends its answer with this token.
    pub fn is_end(&self, token: TokenId) -> bool {
        self.model.vocab().is_eog(LlamaToken(token.cast_signed()))
    }

    fn is_control(&self, token: TokenId) -> bool {
        self.model
            .vocab()
            .is_control(LlamaToken(token.cast_signed()))
    }

    /// The beginning-of-sequence token as written, or nothing.
    pub fn bos(&self) -> String {
        self.special(self.model.vocab().bos())
    }

    /// The end-of-sequence token as written, or nothing.
    pub fn eos(&self) -> String {
        self.special(self.model.vocab().eos())
    }

    /// Whether a conversation's first token is the beginning-of-sequence token.
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
