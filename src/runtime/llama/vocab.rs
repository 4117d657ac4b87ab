//! Tokenizing and detokenizing.

use std::ffi::CStr;
use std::num::NonZeroU16;
use std::sync::OnceLock;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;
use llama_cpp_2::vocab::VocabType;

use crate::runtime::llama::stack::{longest_match, with_stack_for};
use crate::runtime::{
    ControlToken, ControlTokens, Message, Place, PromptTokenizer, Role, TokenizeError,
};
use crate::store::VocabFingerprint;
use crate::verify::DryBreakers;
use crate::{TokenBytes, TokenId};

/// A model's vocabulary.
#[derive(Clone, Copy)]
pub struct Vocabulary<'a> {
    model: &'a LlamaModel,
    control: &'a LazyControlTokens,
}

/// A text to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillIn {
    /// The prompt.
    pub prompt: Vec<TokenId>,
    /// Tokens that end the text, beside those that end answers.
    pub ends: Vec<TokenId>,
}

/// The control tokens of a model, once they were asked for.
pub(super) type LazyControlTokens = OnceLock<ControlTokens>;

impl<'a> Vocabulary<'a> {
    pub(super) fn new(model: &'a LlamaModel, control: &'a LazyControlTokens) -> Self {
        Self { model, control }
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

    /// Tokenizes a raw prompt: parses special tokens in the text, and adds the
    /// beginning-of-sequence token if the model uses one.
    ///
    /// Adds no end-of-sequence token, whatever the model says: a prompt is to be continued.
    ///
    /// # Errors
    /// If there is not enough memory for so long a text.
    pub fn tokenize(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        self.raw_prompt(text)
    }

    /// Tokenizes a text in the middle of a conversation. Adds nothing before it.
    ///
    /// # Errors
    /// If there is not enough memory for so long a text.
    pub fn tokenize_continuation(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        self.continuation(text, true)
    }

    /// Tokenizes a recorded answer. SentencePiece adds the space before it that the model
    /// generated.
    ///
    /// # Errors
    /// If there is not enough memory for so long a text.
    pub fn tokenize_answer(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        self.raw(text, true)
    }

    /// The token that ends answers, if there is one.
    pub fn end(&self) -> Option<TokenId> {
        let vocab = self.model.vocab();
        [vocab.eot(), vocab.eos()]
            .into_iter()
            .find(|token| token.0 >= 0)
            .map(|token| token.0.cast_unsigned())
    }

    /// The prompt for the text between `prefix` and `suffix`, if the model has tokens for it, and
    /// the tokens that end such a text, beside those that end answers.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn fill_in(&self, prefix: &str, suffix: &str) -> Result<Option<FillIn>, TokenizeError> {
        let vocab = self.model.vocab();
        let markers = [vocab.fim_pre(), vocab.fim_suf(), vocab.fim_mid()];
        if markers.iter().any(|marker| marker.0 < 0) {
            return Ok(None);
        }
        let [before, after, middle] = markers.map(|marker| marker.0.cast_unsigned());
        let mut prompt = self.prefix();
        prompt.push(before);
        prompt.extend(self.encode(prefix, Place::AfterControl, false)?);
        prompt.push(after);
        // CodeLlama was trained without a space before the suffix, which SentencePiece would add.
        prompt.extend(self.encode(suffix, Place::Middle, false)?);
        prompt.push(middle);
        // llama.cpp does not count CodeLlama's among the tokens that end answers.
        let is_end = |token: &i32| {
            let text = vocab.text(LlamaToken(*token)).map(CStr::to_bytes);
            text == Some("▁<EOT>".as_bytes())
        };
        let ends = (0..vocab.n_tokens()).filter(is_end).map(i32::cast_unsigned);
        Ok(Some(FillIn {
            prompt,
            ends: ends.collect(),
        }))
    }

    /// All tokens that end answers.
    pub fn ends(&self) -> Vec<TokenId> {
        let vocab = self.model.vocab();
        let ends = (0..vocab.n_tokens()).filter(|&token| vocab.is_eog(LlamaToken(token)));
        ends.map(i32::cast_unsigned).collect()
    }

    /// The bytes of all tokens. With `special`, control tokens have theirs, too. Takes some
    /// milliseconds.
    pub fn token_bytes(&self, special: bool) -> TokenBytes {
        let shown = self.shown(special);
        let tokens = 0..self.model.vocab().n_tokens().cast_unsigned();
        tokens.map(shown).collect()
    }

    /// Finds strings that break repetitions in the tokens.
    pub fn dry_breakers(&self, strings: Vec<String>) -> DryBreakers {
        let vocab = self.model.vocab();
        // llama.cpp looks at each token as if it began a text.
        let at_start = match vocab.vocab_type() {
            VocabType::SPM => NonZeroU16::new(1),
            _ => None,
        };
        let piece = |token| vocab.token_to_piece(LlamaToken(token), true, at_start);
        let pieces: TokenBytes = (0..vocab.n_tokens()).map(piece).collect();
        let tokenize = |rest: &[u8]| {
            let tokens = vocab.tokenize(rest, false, false).into_iter();
            tokens.map(|token| token.0.cast_unsigned()).collect()
        };
        DryBreakers::new(strings, pieces.all(), tokenize)
    }

    /// Tokenizes a document of a corpus. Adds no special tokens.
    ///
    /// # Errors
    /// If there is not enough memory for so long a text.
    pub fn tokenize_document(&self, text: &str) -> Result<Vec<TokenId>, TokenizeError> {
        self.raw(text, true)
    }

    fn continuation(&self, text: &str, parse_special: bool) -> Result<Vec<TokenId>, TokenizeError> {
        // SentencePiece adds a space before a text, which would be wrong here. So put a byte before
        // the text that never merges with its neighbors, and remove it together with the space.
        const GUARD: &str = "\u{1}";
        let tokens = self.raw(text, parse_special)?;
        let starts_special = tokens.first().is_some_and(|&t| self.is_control(t));
        if starts_special || !matches!(self.model.vocab().vocab_type(), VocabType::SPM) {
            return Ok(tokens);
        }
        let guard = self.raw(GUARD, parse_special)?;
        let guarded = self.raw(&format!("{GUARD}{text}"), parse_special)?;
        Ok(match guarded.strip_prefix(guard.as_slice()) {
            Some(rest) => rest.to_vec(),
            None => tokens,
        })
    }

    /// The tokens of a text alone. llama.cpp's own additions are left out, because it would add an
    /// end-of-sequence token, too, and because it ends the process if it has none to add.
    fn raw(&self, text: &str, parse_special: bool) -> Result<Vec<TokenId>, TokenizeError> {
        const HINT: &str = "break it into shorter lines, or shorten it";
        if i32::try_from(text.len()).is_err() {
            return Err(TokenizeError::new(text, format!("it is too long; {HINT}")));
        }
        let vocab = self.model.vocab();
        let tokenize = || vocab.tokenize(text.as_bytes(), false, parse_special);
        let tokens = match vocab.vocab_type() {
            VocabType::BPE => with_stack_for(text, tokenize).map_err(|_| {
                let longest = longest_match(text);
                let reason = format!("a line of {longest} bytes needs too much memory; {HINT}");
                TokenizeError::new(text, reason)
            })?,
            _ => tokenize(),
        };
        Ok(tokens.into_iter().map(|it| it.0.cast_unsigned()).collect())
    }

    /// The text of a token as bytes. Empty for control tokens.
    pub fn bytes(&self, token: TokenId) -> Vec<u8> {
        self.model
            .vocab()
            .token_to_piece(LlamaToken(token.cast_signed()), false, None)
    }

    /// What shows a token as bytes: with `special`, control tokens are shown, too.
    pub fn shown(&self, special: bool) -> impl Fn(TokenId) -> Vec<u8> + use<'a> {
        let model = self.model;
        move |token| {
            let token = LlamaToken(token.cast_signed());
            model.vocab().token_to_piece(token, special, None)
        }
    }

    /// An answer as its chat template gets it: with control tokens, for example those around the
    /// model's reasoning, and without the token that ended it.
    pub fn answer(&self, tokens: &[TokenId]) -> Message {
        let shown = self.shown(true);
        let tokens = tokens.iter().copied().filter(|&token| !self.is_end(token));
        let bytes: Vec<u8> = tokens.clone().flat_map(shown).collect();
        Message {
            control: tokens.filter(|&token| self.is_control(token)).collect(),
            ..Message::new(Role::Assistant, String::from_utf8_lossy(&bytes).trim())
        }
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

    /// Whether this is a control token.
    pub fn is_control(&self, token: TokenId) -> bool {
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

    /// The tokens around the parts of a text whose middle is to be filled in, if the model has
    /// them: before the text, before what follows, before what is to be filled in.
    pub fn infill(&self) -> Option<[TokenId; 3]> {
        let vocab = self.model.vocab();
        let tokens = [vocab.fim_pre(), vocab.fim_suf(), vocab.fim_mid()];
        let is_known = tokens.iter().all(|token| token.0 >= 0);
        is_known.then(|| tokens.map(|token| token.0.cast_unsigned()))
    }

    /// The tokens before the name of a repository and before the name of a file, if there are any.
    pub fn infill_names(&self) -> [Option<TokenId>; 2] {
        let vocab = self.model.vocab();
        let known = |token: LlamaToken| (token.0 >= 0).then(|| token.0.cast_unsigned());
        [known(vocab.fim_rep()), known(vocab.fim_sep())]
    }

    /// Whether the tokenizer puts the beginning-of-sequence token before a prompt.
    pub fn adds_bos(&self) -> bool {
        let vocab = self.model.vocab();
        // llama.cpp never adds one for RWKV.
        vocab.should_add_bos() && vocab.bos().0 >= 0 && vocab.vocab_type() != VocabType::RWKV
    }

    fn special(&self, token: LlamaToken) -> String {
        if token.0 < 0 {
            String::new()
        } else {
            self.written(token.0.cast_unsigned())
        }
    }
}

/// The tokens of bytes that lie behind other text, without control tokens.
#[cfg(feature = "grammar")]
pub(super) fn tokens_behind_text(model: &LlamaModel, text: &[u8]) -> Vec<TokenId> {
    // As in `continuation`.
    const GUARD: &[u8] = b"\x01";
    let vocab = model.vocab();
    let tokens = |text: &[u8]| {
        let tokens = vocab.tokenize(text, false, false).into_iter();
        tokens.map(|it| it.0.cast_unsigned()).collect::<Vec<_>>()
    };
    if vocab.vocab_type() != VocabType::SPM {
        return tokens(text);
    }
    let guarded = tokens(&[GUARD, text].concat());
    match guarded.strip_prefix(tokens(GUARD).as_slice()) {
        Some(rest) => rest.to_vec(),
        None => tokens(text),
    }
}

impl PromptTokenizer for Vocabulary<'_> {
    fn encode(
        &self,
        text: &str,
        place: Place,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, TokenizeError> {
        match place {
            Place::Start | Place::AfterControl => self.raw(text, parse_special),
            Place::Middle => self.continuation(text, parse_special),
        }
    }

    fn control_tokens(&self) -> &ControlTokens {
        self.control.get_or_init(|| {
            let vocab = self.model.vocab();
            ControlTokens::new((0..vocab.n_tokens()).filter_map(|id| {
                let attributes = vocab.attr(LlamaToken(id));
                let is_unknown = attributes.contains(LlamaTokenAttr::Unknown);
                if !is_unknown && !attributes.contains(LlamaTokenAttr::Control) {
                    return None;
                }
                Some(ControlToken {
                    id: id.cast_unsigned(),
                    text: vocab.text(LlamaToken(id))?.to_str().ok()?.to_owned(),
                    strips_left: attributes.contains(LlamaTokenAttr::LStrip),
                    strips_right: attributes.contains(LlamaTokenAttr::RStrip),
                    is_unknown,
                })
            }))
        })
    }

    fn prefix(&self) -> Vec<TokenId> {
        let bos = self.model.vocab().bos().0;
        match self.adds_bos() {
            true => vec![bos.cast_unsigned()],
            false => Vec::new(),
        }
    }

    fn bos_token(&self) -> Option<(TokenId, String)> {
        let bos = self.model.vocab().bos();
        (bos.0 >= 0).then(|| (bos.0.cast_unsigned(), self.special(bos)))
    }

    fn is_end(&self, token: TokenId) -> bool {
        Vocabulary::is_end(self, token)
    }

    fn is_blank(&self, token: TokenId) -> bool {
        self.bytes(token).trim_ascii().is_empty()
    }
}
