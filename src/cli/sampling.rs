//! The flags for sampling, with llama.cpp's names and meaning.

use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, Parser};
use serde_json::{Value, json};

use crate::TokenId;
use crate::cli::escapes::unescaped;
use crate::cli::exit::user_error;
use crate::runtime::llama::Vocabulary;
use crate::verify::{DryBreakers, DryParams, Mirostat, SamplerKind, SamplingParams};

/// How the next token is sampled.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(super) struct SamplingArgs {
    /// Sampling temperature: 0 always takes the most probable token; higher values vary the answer
    /// more
    #[arg(long, alias = "temp", default_value_t = 0.0, value_name = "T")]
    pub temperature: f64,

    /// Sample from the K most probable tokens; 0 for all
    #[arg(long, alias = "top_k", default_value_t = 40, value_name = "K")]
    pub top_k: usize,

    /// Sample from the smallest set of tokens whose probabilities sum to P
    #[arg(long, alias = "top_p", default_value_t = 0.95, value_name = "P")]
    pub top_p: f64,

    /// Drop tokens less than P times as probable as the most probable one
    #[arg(long, alias = "min_p", default_value_t = 0.05, value_name = "P")]
    pub min_p: f64,

    /// Penalty for repeating one of the last tokens; 1 for none
    #[arg(
        long,
        alias = "repeat_penalty",
        default_value_t = 1.0,
        value_name = "X"
    )]
    pub repeat_penalty: f64,

    /// Random seed; -1 for a random one. The same seed gives the same answer with every method,
    /// except for rounding
    #[arg(
        short = 's',
        long,
        default_value = "0",
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = seed
    )]
    pub seed: u64,

    #[command(flatten)]
    pub more: MoreSamplingArgs,
}

/// The samplers that are off by default.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(super) struct MoreSamplingArgs {
    /// Samplers in order, as in llama.cpp; one that is not named does nothing [default:
    /// penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature]
    #[arg(
        long,
        value_delimiter = ';',
        value_name = "NAME;...",
        conflicts_with = "sampler_seq"
    )]
    pub samplers: Option<Vec<SamplerKind>>,

    /// The same by letters, for example edskypmxt
    #[arg(
        long,
        alias = "sampling-seq",
        alias = "sampler_seq",
        value_name = "LETTERS"
    )]
    pub sampler_seq: Option<String>,

    /// Vary the temperature by this to both sides with the entropy (dynamic temperature); 0 for off
    #[arg(
        long,
        alias = "dynatemp_range",
        default_value_t = 0.0,
        value_name = "X"
    )]
    pub dynatemp_range: f64,

    /// Exponent of the dynamic temperature
    #[arg(long, alias = "dynatemp_exp", default_value_t = 1.0, value_name = "X")]
    pub dynatemp_exp: f64,

    /// Locally typical sampling: keep tokens of nearly the expected surprise; 1 for off
    #[arg(
        long = "typical",
        alias = "typical-p",
        alias = "typical_p",
        default_value_t = 1.0,
        value_name = "P"
    )]
    pub typical_p: f64,

    /// Keep tokens within N standard deviations of the largest logit; -1 for off
    #[arg(
        long = "top-nsigma",
        alias = "top-n-sigma",
        alias = "top_n_sigma",
        default_value_t = -1.0,
        value_name = "N",
        allow_negative_numbers = true
    )]
    pub top_n_sigma: f64,

    /// How often XTC leaves out the most probable tokens; 0 for never
    #[arg(
        long,
        alias = "xtc_probability",
        default_value_t = 0.0,
        value_name = "P"
    )]
    pub xtc_probability: f64,

    /// XTC leaves out tokens at least so probable, but for the least probable of them; above 0.5
    /// for off
    #[arg(long, alias = "xtc_threshold", default_value_t = 0.1, value_name = "P")]
    pub xtc_threshold: f64,

    /// How many of the last tokens the penalties see; 0 for none
    #[arg(long, alias = "repeat_last_n", default_value_t = 64, value_name = "N")]
    pub repeat_last_n: usize,

    /// Subtracted from the logits of the last tokens; 0 for off
    #[arg(
        long,
        alias = "presence_penalty",
        default_value_t = 0.0,
        value_name = "X",
        allow_negative_numbers = true
    )]
    pub presence_penalty: f64,

    /// Subtracted from the logits of the last tokens for each time; 0 for off
    #[arg(
        long,
        alias = "frequency_penalty",
        default_value_t = 0.0,
        value_name = "X",
        allow_negative_numbers = true
    )]
    pub frequency_penalty: f64,

    #[command(flatten)]
    pub dry: DryArgs,

    /// 2 for Mirostat 2.0 instead of all samplers but the temperature; 0 for off
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub mirostat: u8,

    /// Mirostat's learning rate
    #[arg(long, alias = "mirostat_lr", default_value_t = 0.1, value_name = "X")]
    pub mirostat_lr: f64,

    /// Mirostat's target surprise, in bits
    #[arg(long, alias = "mirostat_ent", default_value_t = 5.0, value_name = "X")]
    pub mirostat_ent: f64,

    /// Add BIAS to the logit of a token: 15043+1 or 15043-1; 15043-inf forbids it
    #[arg(short = 'l', long, alias = "logit_bias", value_name = "TOKEN(+/-)BIAS")]
    pub logit_bias: Vec<LogitBias>,

    /// Never end the answer with an end token
    #[arg(long, alias = "ignore_eos")]
    pub ignore_eos: bool,
}

/// The flags for DRY.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(super) struct DryArgs {
    /// Penalty for going on with a repetition (DRY); 0 for off
    #[arg(
        long,
        alias = "dry_multiplier",
        default_value_t = 0.0,
        value_name = "X"
    )]
    pub dry_multiplier: f64,

    /// How fast the DRY penalty grows with the length of the repetition
    #[arg(long, alias = "dry_base", default_value_t = 1.75, value_name = "X")]
    pub dry_base: f64,

    /// Repetitions shorter than this are free of the DRY penalty
    #[arg(
        long,
        alias = "dry_allowed_length",
        default_value_t = 2,
        value_name = "N"
    )]
    pub dry_allowed_length: usize,

    /// How many of the last tokens DRY looks at
    #[arg(
        long,
        alias = "dry_penalty_last_n",
        default_value_t = 64,
        value_name = "N"
    )]
    pub dry_penalty_last_n: usize,

    /// Text that breaks repetitions, instead of \n, :, " and *; may be given several times; none
    /// for no such text
    #[arg(long, alias = "dry_sequence_breaker", value_name = "TEXT")]
    pub dry_sequence_breaker: Vec<String>,
}

/// A bias on the logit of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LogitBias(TokenId, f32);

impl FromStr for LogitBias {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "give a token's number and a bias, for example 15043+1 or 15043-inf";
        let sign = text.find(['+', '-']).ok_or(FORM)?;
        let token = text[..sign].trim().parse().map_err(|_| FORM)?;
        let bias: f32 = text[sign..].trim().parse().map_err(|_| FORM)?;
        match bias.is_nan() {
            true => Err(FORM),
            false => Ok(Self(token, bias)),
        }
    }
}

/// A seed, or -1 for a random one, as in llama.cpp.
fn seed(text: &str) -> Result<u64, &'static str> {
    match text {
        "-1" => Ok(fastrand::u32(..).into()),
        _ => text
            .parse()
            .map_err(|_| "give a whole number, or -1 for a random one"),
    }
}

/// `value` of a flag, if it is within its range.
fn within(flag: &str, value: f64, range: std::ops::RangeInclusive<f64>) -> anyhow::Result<f32> {
    if range.contains(&value) {
        return Ok(value as f32);
    }
    let (low, high) = range.into_inner();
    Err(user_error(format!(
        "{flag} {value} is out of range: give {low} to {high}"
    )))
}

impl SamplingArgs {
    /// How these flags sample. What needs the vocabulary is added by
    /// [`with_vocabulary`](Self::with_vocabulary).
    pub(super) fn params(&self) -> anyhow::Result<SamplingParams> {
        let more = &self.more;
        Ok(SamplingParams {
            samplers: more.chain()?.into(),
            temperature: within("--temperature", self.temperature, 0.0..=100.0)?,
            dynatemp_range: within("--dynatemp-range", more.dynatemp_range, 0.0..=100.0)?,
            dynatemp_exponent: within("--dynatemp-exp", more.dynatemp_exp, 0.0..=100.0)?,
            top_k: self.top_k,
            top_p: within("--top-p", self.top_p, 0.0..=1.0)?,
            min_p: within("--min-p", self.min_p, 0.0..=1.0)?,
            typical_p: within("--typical", more.typical_p, 0.0..=1.0)?,
            top_n_sigma: within("--top-nsigma", more.top_n_sigma, -1.0..=100.0)?,
            xtc_probability: within("--xtc-probability", more.xtc_probability, 0.0..=1.0)?,
            xtc_threshold: within("--xtc-threshold", more.xtc_threshold, 0.0..=1.0)?,
            repeat_penalty: within("--repeat-penalty", self.repeat_penalty, 0.01..=100.0)?,
            presence_penalty: within("--presence-penalty", more.presence_penalty, -100.0..=100.0)?,
            frequency_penalty: within(
                "--frequency-penalty",
                more.frequency_penalty,
                -100.0..=100.0,
            )?,
            repeat_last_n: more.repeat_last_n,
            dry: more.dry.params()?,
            mirostat: more.mirostat()?,
            logit_bias: more.logit_bias.iter().map(|it| (it.0, it.1)).collect(),
            seed: self.seed,
        })
    }

    /// Adds what depends on the model: the tokens of DRY's breakers, and those that end answers.
    pub(super) fn with_vocabulary(
        &self,
        mut params: SamplingParams,
        vocabulary: &Vocabulary<'_>,
    ) -> anyhow::Result<SamplingParams> {
        let beyond = |&&(token, _): &&(TokenId, f32)| token as usize >= vocabulary.len();
        if let Some((token, _)) = params.logit_bias.iter().find(beyond) {
            return Err(user_error(format!(
                "--logit-bias {token}: the model has {} tokens, numbered from 0",
                vocabulary.len()
            )));
        }
        if self.more.ignore_eos {
            let ends = vocabulary.ends().into_iter();
            params
                .logit_bias
                .extend(ends.map(|token| (token, f32::NEG_INFINITY)));
        }
        if params.dry.multiplier != 0.0 {
            let breakers = self.more.dry.breakers();
            params.dry.breakers = Some(Arc::new(vocabulary.dry_breakers(breakers)));
        }
        Ok(params)
    }

    /// The flags that are off by default, by llama.cpp's names.
    pub(super) fn more_parameters(&self) -> Value {
        let (more, dry) = (&self.more, &self.more.dry);
        let samplers = more.chain().unwrap_or_default();
        let bias = |it: &LogitBias| match it.1.is_finite() {
            true => json!([it.0, it.1]),
            // JSON has no infinity.
            false => json!([it.0, it.1 > 0.0]),
        };
        json!({
            "samplers": samplers.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
            "dynatemp_range": more.dynatemp_range,
            "dynatemp_exponent": more.dynatemp_exp,
            "typical_p": more.typical_p,
            "top_n_sigma": more.top_n_sigma,
            "xtc_probability": more.xtc_probability,
            "xtc_threshold": more.xtc_threshold,
            "repeat_last_n": more.repeat_last_n,
            "presence_penalty": more.presence_penalty,
            "frequency_penalty": more.frequency_penalty,
            "dry_multiplier": dry.dry_multiplier,
            "dry_base": dry.dry_base,
            "dry_allowed_length": dry.dry_allowed_length,
            "dry_penalty_last_n": dry.dry_penalty_last_n,
            "dry_sequence_breakers": dry.breakers(),
            "mirostat": more.mirostat,
            "mirostat_eta": more.mirostat_lr,
            "mirostat_tau": more.mirostat_ent,
            "logit_bias": more.logit_bias.iter().map(bias).collect::<Vec<_>>(),
            "ignore_eos": more.ignore_eos,
        })
    }
}

/// The flags alone, for their defaults.
#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    sampling: SamplingArgs,
}

impl SamplingArgs {
    /// Those of [`more_parameters`](Self::more_parameters) that are not the default.
    pub(super) fn changed_parameters(&self) -> Vec<(String, Value)> {
        let default = Alone::parse_from(["logitspec"]).sampling.more_parameters();
        let Value::Object(all) = self.more_parameters() else {
            return Vec::new();
        };
        let changed = all
            .into_iter()
            .filter(|(name, value)| default[name] != *value);
        changed
            .map(|(name, value)| (name.replace('_', "-"), value))
            .collect()
    }
}

impl MoreSamplingArgs {
    /// The samplers in order.
    fn chain(&self) -> anyhow::Result<Vec<SamplerKind>> {
        if let Some(samplers) = &self.samplers {
            return Ok(samplers.clone());
        }
        let Some(letters) = &self.sampler_seq else {
            return Ok(SamplerKind::ALL.into());
        };
        let of_letter = |letter: char| {
            let found = SamplerKind::ALL
                .into_iter()
                .find(|it| it.letter() == letter);
            found.ok_or_else(|| {
                let known = SamplerKind::ALL.map(|it| format!("{} ({})", it.letter(), it.name()));
                user_error(format!(
                    "--sampler-seq {letters}: no sampler has the letter {letter:?}: choose \
                     among {}",
                    known.join(", ")
                ))
            })
        };
        letters.chars().map(of_letter).collect()
    }

    fn mirostat(&self) -> anyhow::Result<Option<Mirostat>> {
        match self.mirostat {
            0 => Ok(None),
            2 => Ok(Some(Mirostat {
                tau: within("--mirostat-ent", self.mirostat_ent, 0.0..=100.0)?,
                eta: within("--mirostat-lr", self.mirostat_lr, 0.0..=1.0)?,
            })),
            other => Err(user_error(format!(
                "--mirostat {other} is not supported: give 2 (Mirostat 2.0) or 0 (off)"
            ))),
        }
    }
}

impl DryArgs {
    fn params(&self) -> anyhow::Result<DryParams> {
        Ok(DryParams {
            multiplier: within("--dry-multiplier", self.dry_multiplier, 0.0..=100.0)?,
            base: within("--dry-base", self.dry_base, 1.0..=100.0)?,
            allowed_length: self.dry_allowed_length,
            last_n: self.dry_penalty_last_n,
            breakers: None,
        })
    }

    /// What breaks repetitions.
    fn breakers(&self) -> Vec<String> {
        match self.dry_sequence_breaker.as_slice() {
            [] => DryBreakers::DEFAULT.map(String::from).into(),
            [none] if none == "none" => Vec::new(),
            given => given.iter().map(|it| unescaped(it)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_is_a_token_and_a_number_with_its_sign() {
        let bias = |text: &str| text.parse::<LogitBias>();
        assert_eq!(bias("15043+1"), Ok(LogitBias(15043, 1.0)));
        assert_eq!(bias("7-0.5"), Ok(LogitBias(7, -0.5)));
        assert_eq!(bias("7-inf"), Ok(LogitBias(7, f32::NEG_INFINITY)));
        for wrong in ["", "7", "+1", "7+", "7=1", "7+nan", "-7+1"] {
            assert!(bias(wrong).is_err(), "{wrong}");
        }
    }
}
