//! What a sampler is told.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;

use crate::TokenId;
use crate::verify::sample::dry::DryBreakers;

/// A member of the chain of samplers, by llama.cpp's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplerKind {
    /// Repetition, presence and frequency penalties.
    Penalties,
    /// Penalties for going on with a repetition (DRY).
    Dry,
    /// Keeps tokens within some standard deviations of the largest logit.
    TopNSigma,
    /// Keeps the largest logits.
    TopK,
    /// Keeps tokens whose surprise is near the expected one.
    TypicalP,
    /// Keeps the most probable tokens up to a sum of probabilities.
    TopP,
    /// Keeps tokens that are probable enough beside the best.
    MinP,
    /// Leaves out the most probable tokens at times (XTC).
    Xtc,
    /// Divides the logits.
    Temperature,
}

impl SamplerKind {
    /// All of them, in llama.cpp's default order.
    pub const ALL: [Self; 9] = [
        Self::Penalties,
        Self::Dry,
        Self::TopNSigma,
        Self::TopK,
        Self::TypicalP,
        Self::TopP,
        Self::MinP,
        Self::Xtc,
        Self::Temperature,
    ];

    /// Its name on llama.cpp's command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Penalties => "penalties",
            Self::Dry => "dry",
            Self::TopNSigma => "top_n_sigma",
            Self::TopK => "top_k",
            Self::TypicalP => "typ_p",
            Self::TopP => "top_p",
            Self::MinP => "min_p",
            Self::Xtc => "xtc",
            Self::Temperature => "temperature",
        }
    }

    /// Its letter in llama.cpp's `--sampler-seq`.
    pub fn letter(self) -> char {
        match self {
            Self::Penalties => 'e',
            Self::Dry => 'd',
            Self::TopNSigma => 's',
            Self::TopK => 'k',
            Self::TypicalP => 'y',
            Self::TopP => 'p',
            Self::MinP => 'm',
            Self::Xtc => 'x',
            Self::Temperature => 't',
        }
    }
}

/// A name that is no sampler's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "unknown sampler {0:?}: choose among {names}",
    names = SamplerKind::ALL.map(SamplerKind::name).join(", ")
)]
pub struct UnknownSampler(String);

impl FromStr for SamplerKind {
    type Err = UnknownSampler;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        // The other spellings are llama.cpp's, too.
        match name.replace('-', "_").as_str() {
            "nucleus" => Ok(Self::TopP),
            "typical" | "typical_p" | "typ" => Ok(Self::TypicalP),
            "temp" => Ok(Self::Temperature),
            plain => {
                let found = Self::ALL.into_iter().find(|kind| kind.name() == plain);
                found.ok_or_else(|| UnknownSampler(name.to_owned()))
            }
        }
    }
}

/// The penalty for going on with a repetition (DRY): `multiplier * base ^ (length -
/// allowed_length)`, where `length` is that of the repetition so far.
#[derive(Clone, Debug, PartialEq)]
pub struct DryParams {
    /// Scales the penalty; 0 turns it off.
    pub multiplier: f32,
    /// How fast it grows; less than 1 turns it off.
    pub base: f32,
    /// Repetitions shorter than this are free.
    pub allowed_length: usize,
    /// How many of the latest tokens are looked at; 0 turns it off.
    pub last_n: usize,
    /// Where repetitions are broken.
    pub breakers: Option<Arc<DryBreakers>>,
}

impl DryParams {
    /// llama.cpp's defaults: off.
    pub const DEFAULT: Self = Self {
        multiplier: 0.0,
        base: 1.75,
        allowed_length: 2,
        last_n: 64,
        breakers: None,
    };
}

/// Mirostat 2.0, which takes the place of the other samplers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirostat {
    /// The surprise to keep to, in bits.
    pub tau: f32,
    /// How fast it is corrected.
    pub eta: f32,
}

/// How the next token is drawn. The defaults are llama.cpp's, but for the temperature, which is 0:
/// greedy.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// The samplers, in order.
    pub samplers: Cow<'static, [SamplerKind]>,
    /// Divides the logits; 0 or less takes the largest.
    pub temperature: f32,
    /// The temperature varies by this to both sides, with the entropy; 0 or less turns it off.
    pub dynatemp_range: f32,
    /// How entropy becomes temperature.
    pub dynatemp_exponent: f32,
    /// Keep this many of the largest logits; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest tokens whose probabilities reach this sum, the best at least; 1 or more
    /// keeps all.
    pub top_p: f32,
    /// Keep tokens at least this many times as probable as the best; 0 or less keeps all, 1 or more
    /// only the best.
    pub min_p: f32,
    /// Keep the tokens of nearly the expected surprise whose probabilities exceed this sum; 1 or
    /// more keeps all.
    pub typical_p: f32,
    /// Keep tokens within so many standard deviations of the largest logit; 0 or less keeps all.
    pub top_n_sigma: f32,
    /// How often the most probable tokens are left out; 0 or less never.
    pub xtc_probability: f32,
    /// Tokens at least so probable are left out, but for the least probable of them; above 0.5
    /// none.
    pub xtc_threshold: f32,
    /// Divides positive and multiplies negative logits of tokens seen lately, and is positive; 1
    /// does nothing.
    pub repeat_penalty: f32,
    /// Subtracted from the logits of tokens seen lately.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens seen lately, for each time.
    pub frequency_penalty: f32,
    /// How many of the latest tokens the penalties see.
    pub repeat_last_n: usize,
    /// The penalty for repetitions.
    pub dry: DryParams,
    /// Mirostat instead of the samplers; logit bias and temperature stay.
    pub mirostat: Option<Mirostat>,
    /// Added to the logits of these tokens before all samplers; minus infinity forbids them.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl SamplingParams {
    /// The default as a constant.
    pub const DEFAULT: Self = Self {
        samplers: Cow::Borrowed(&SamplerKind::ALL),
        temperature: 0.0,
        dynatemp_range: 0.0,
        dynatemp_exponent: 1.0,
        top_k: 40,
        top_p: 0.95,
        min_p: 0.05,
        typical_p: 1.0,
        top_n_sigma: -1.0,
        xtc_probability: 0.0,
        xtc_threshold: 0.1,
        repeat_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        repeat_last_n: 64,
        dry: DryParams::DEFAULT,
        mirostat: None,
        logit_bias: Vec::new(),
        seed: 0,
    };

    /// Draws from the model's own distribution: temperature 1, and nothing else.
    pub fn open() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..Self::DEFAULT
        }
    }

    /// Whether the largest logit is always taken.
    pub fn is_greedy(&self) -> bool {
        self.logit_bias.is_empty()
            && self.mirostat.is_none()
            && self.chain() == [SamplerKind::Temperature]
            && self.takes_best()
    }

    /// Whether the temperature leaves only the largest logit.
    fn takes_best(&self) -> bool {
        self.temperature <= 0.0 && self.dynatemp_range <= 0.0
    }

    /// The samplers that do anything, in order.
    pub(super) fn chain(&self) -> Vec<SamplerKind> {
        let samplers = match self.mirostat {
            Some(_) => &[SamplerKind::Temperature][..],
            None => &self.samplers,
        };
        let active = samplers.iter().copied().filter(|&it| self.is_active(it));
        let mut chain: Vec<SamplerKind> = active.collect();
        let best = chain
            .iter()
            .position(|&it| it == SamplerKind::Temperature)
            .filter(|_| self.takes_best());
        if let Some(best) = best {
            // These keep the largest logit, so before a temperature of 0 they change nothing.
            let keeps_best = |kind: &SamplerKind| {
                use SamplerKind::{MinP, TopK, TopNSigma, TopP};
                matches!(kind, TopNSigma | TopK | TopP | MinP)
            };
            let idle = chain[..best].iter().rev().take_while(|it| keeps_best(it));
            let idle = idle.count();
            chain.drain(best - idle..best);
        }
        chain
    }

    fn is_active(&self, kind: SamplerKind) -> bool {
        match kind {
            SamplerKind::Penalties => {
                let changes = [self.presence_penalty, self.frequency_penalty];
                let changes = self.repeat_penalty != 1.0 || changes != [0.0, 0.0];
                self.repeat_last_n > 0 && changes
            }
            SamplerKind::Dry => {
                self.dry.multiplier != 0.0 && self.dry.base >= 1.0 && self.dry.last_n > 0
            }
            SamplerKind::TopNSigma => self.top_n_sigma > 0.0,
            SamplerKind::TopK => self.top_k > 0,
            SamplerKind::TypicalP => self.typical_p < 1.0,
            SamplerKind::TopP => self.top_p < 1.0,
            SamplerKind::MinP => self.min_p > 0.0,
            SamplerKind::Xtc => self.xtc_probability > 0.0 && self.xtc_threshold <= 0.5,
            SamplerKind::Temperature => self.temperature != 1.0 || self.dynatemp_range > 0.0,
        }
    }
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self::DEFAULT
    }
}
