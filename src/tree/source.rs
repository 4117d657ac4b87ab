//! Where a drafted token came from.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The evidence that put a node into a draft tree.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// It followed such tokens earlier in this conversation.
    #[default]
    Text,
    /// It followed such tokens in earlier requests.
    History,
    /// It followed such tokens in a corpus.
    Corpus,
    /// A runner-up of the last logits.
    LastLogits,
    /// A candidate of the logits that its parent's token had when it was seen last.
    Recycled,
    /// The only token that the request's grammar allows.
    Grammar,
    /// It followed such tokens in the text that the request predicts.
    Prediction,
}

impl Source {
    /// All sources.
    pub const ALL: [Self; 7] = [
        Self::Text,
        Self::History,
        Self::Corpus,
        Self::LastLogits,
        Self::Recycled,
        Self::Grammar,
        Self::Prediction,
    ];

    /// Its name in statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::History => "history",
            Self::Corpus => "corpus",
            Self::LastLogits => "last-logits",
            Self::Recycled => "recycled",
            Self::Grammar => "grammar",
            Self::Prediction => "prediction",
        }
    }
}

/// A name that is no source's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "unknown source {0:?}: choose one of {names}",
    names = Source::ALL.map(Source::name).join(", ")
)]
pub struct UnknownSource(String);

impl FromStr for Source {
    type Err = UnknownSource;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|source| source.name() == name);
        found.ok_or_else(|| UnknownSource(name.to_owned()))
    }
}

/// Some of the sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceSet([bool; Source::ALL.len()]);

impl SourceSet {
    /// Whether `source` is among them.
    pub fn has(self, source: Source) -> bool {
        self.0[source as usize]
    }

    /// Adds `source`.
    pub fn insert(&mut self, source: Source) {
        self.0[source as usize] = true;
    }

    /// The sources, in the order of [`Source::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Source> {
        Source::ALL.into_iter().filter(move |&it| self.has(it))
    }
}

impl FromIterator<Source> for SourceSet {
    fn from_iter<I: IntoIterator<Item = Source>>(sources: I) -> Self {
        let mut set = Self::default();
        sources.into_iter().for_each(|source| set.insert(source));
        set
    }
}

/// A number for each source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerSource([usize; Source::ALL.len()]);

impl PerSource {
    /// Counts one of `source`.
    pub fn add(&mut self, source: Source) {
        self.0[source as usize] += 1;
    }

    /// The number of `source`.
    pub fn of(&self, source: Source) -> usize {
        self.0[source as usize]
    }

    /// Adds all of `other`.
    pub fn add_all(&mut self, other: &Self) {
        for (mine, others) in self.0.iter_mut().zip(&other.0) {
            *mine += others;
        }
    }

    /// Sources with their numbers, those without any left out.
    pub fn iter(&self) -> impl Iterator<Item = (Source, usize)> + '_ {
        let all = Source::ALL
            .into_iter()
            .map(|source| (source, self.of(source)));
        all.filter(|&(_, number)| number > 0)
    }
}
