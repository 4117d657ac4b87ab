//! Where a drafted token came from.

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
}

impl Source {
    /// All sources.
    pub const ALL: [Self; 5] = [
        Self::Text,
        Self::History,
        Self::Corpus,
        Self::LastLogits,
        Self::Recycled,
    ];

    /// Its name in statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::History => "history",
            Self::Corpus => "corpus",
            Self::LastLogits => "last-logits",
            Self::Recycled => "recycled",
        }
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
