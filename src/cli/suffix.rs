//! Parameters of the method suffix.

use clap::Args;

use crate::draft::SuffixParams;

/// Parameters of the method suffix.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Method suffix")]
pub(super) struct SuffixArgs {
    /// Maximum number of draft tokens per token of the match
    #[arg(
        long,
        alias = "max_spec_factor",
        default_value_t = 1.0,
        value_name = "X",
        value_parser = not_negative
    )]
    max_spec_factor: f32,

    /// Added to the maximum number of draft tokens that --max-spec-factor gives
    #[arg(
        long,
        alias = "max_spec_offset",
        default_value_t = 0.0,
        value_name = "X",
        value_parser = finite
    )]
    max_spec_offset: f32,

    /// Do not draft tokens less probable than this
    #[arg(
        long,
        alias = "min_token_prob",
        default_value_t = 0.1,
        value_name = "P",
        value_parser = probability
    )]
    min_token_prob: f32,

    /// Draft a tree of the most probable tokens instead of one chain
    #[arg(long, alias = "use_tree_spec")]
    tree_spec: bool,
}

impl SuffixArgs {
    /// The method's own parameters, without those that it shares with other methods.
    pub(super) fn params(&self) -> SuffixParams {
        SuffixParams {
            max_spec_factor: self.max_spec_factor,
            max_spec_offset: self.max_spec_offset,
            min_token_prob: self.min_token_prob,
            tree: self.tree_spec,
            ..SuffixParams::default()
        }
    }
}

fn finite(text: &str) -> Result<f32, String> {
    let number = text.parse().ok().filter(|it: &f32| it.is_finite());
    number.ok_or_else(|| "give a number".into())
}

fn not_negative(text: &str) -> Result<f32, String> {
    let number = finite(text).ok().filter(|it| *it >= 0.0);
    number.ok_or_else(|| "give a number of at least 0".into())
}

fn probability(text: &str) -> Result<f32, String> {
    let number = finite(text).ok().filter(|it| (0.0..=1.0).contains(it));
    number.ok_or_else(|| "give a probability, 0 to 1".into())
}
