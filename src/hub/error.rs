//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::hub::choose::{shown, size_text};
use crate::hub::listing::RepoFile;

/// Why a model could not be fetched. Each message is one line that names the mend.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not the name of a model.
    #[error(
        "{given:?} is not the name of a model on the Hub: write USER/REPO or USER/REPO:QUANT, as in TheBloke/CodeLlama-7B-Instruct-GGUF:Q4_K_M"
    )]
    Name {
        /// What was given.
        given: String,
    },
    /// An environment variable with a value that cannot be meant.
    #[error("{name}={value:?} {reason}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The home directory is unknown, and no variable says where the cache is.
    #[error("nowhere to keep models: set HF_HOME to a folder")]
    NoHome,
    /// Status 404.
    #[error("{endpoint} has no {what}; check the spelling")]
    NotFound {
        /// The server.
        endpoint: String,
        /// The repository or file.
        what: String,
    },
    /// Status 401: the Hub answers so for repositories that don't exist, too.
    #[error(
        "{endpoint} does not let anyone see {repo} (401): check the spelling; if it is private or gated, {}",
        token_mend(*had_token)
    )]
    Unauthorized {
        /// The server.
        endpoint: String,
        /// The repository.
        repo: String,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// Status 403, or a repository that wants a licence accepted first.
    #[error(
        "{repo} is gated: ask for access at {endpoint}/{repo}, then {}",
        token_mend(*had_token)
    )]
    Gated {
        /// The server.
        endpoint: String,
        /// The repository.
        repo: String,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// No connection.
    #[error(
        "cannot reach {endpoint}: {cause}; check the network (and HF_ENDPOINT and HTTPS_PROXY, if they are set), or name a file that is here with -m"
    )]
    Offline {
        /// The server.
        endpoint: String,
        /// What the system says.
        cause: String,
    },
    /// `HF_HUB_OFFLINE` is set and the model is not in the cache.
    #[error("{name} is not in the cache {cache:?} and HF_HUB_OFFLINE is set: unset it to download")]
    OfflineWanted {
        /// The model.
        name: String,
        /// Where we looked.
        cache: PathBuf,
    },
    /// `HF_HUB_OFFLINE` is set and only the server knows.
    #[error(
        "what {repo} holds is known to the Hub only, and HF_HUB_OFFLINE is set: unset it to list that"
    )]
    ListingOffline {
        /// The repository.
        repo: String,
    },
    /// Status 5xx, or 429, again and again.
    #[error("{endpoint} answers {status} ({}) after {tries} tries; try again later", reason(*status))]
    Server {
        /// The server.
        endpoint: String,
        /// The status.
        status: u16,
        /// How often we asked.
        tries: u32,
    },
    /// A status that nobody expects.
    #[error(
        "{endpoint} answers {status} ({}) for {what}; check HF_ENDPOINT if it is set, or try again later",
        reason(*status)
    )]
    Status {
        /// The server.
        endpoint: String,
        /// The status.
        status: u16,
        /// What was asked for.
        what: String,
    },
    /// An answer that the Hub would not give.
    #[error(
        "{endpoint} does not answer as the Hub does: {cause}; check HF_ENDPOINT, and whether the network wants you to log in first"
    )]
    Answer {
        /// The server.
        endpoint: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A transfer that broke off again and again.
    #[error(
        "the transfer of {file} broke off after {} of {}, {tries} times in a row: {cause}; the same command goes on from there",
        size_text(*done),
        size_text(*size)
    )]
    BrokenOff {
        /// The file.
        file: String,
        /// Bytes that are here.
        done: u64,
        /// Bytes that there are.
        size: u64,
        /// How often it broke off.
        tries: u32,
        /// What the system says.
        cause: String,
    },
    /// What came is not what was promised.
    #[error(
        "{file} arrived damaged (sha256 {got}, but {expected} was promised) and was thrown away; try again, or another network"
    )]
    Sum {
        /// The file.
        file: String,
        /// The promised sum.
        expected: String,
        /// The sum of what came.
        got: String,
    },
    /// A repository without GGUF files.
    #[error(
        "{repo} holds no GGUF file: look for a repository whose name ends in -GGUF, or convert this one (README, \"Your own model\")"
    )]
    NoGguf {
        /// The repository.
        repo: String,
    },
    /// Nothing matches what stands behind the colon.
    #[error("{repo} holds nothing called {quant}; there are: {}", shown(have))]
    NoSuchQuant {
        /// The repository.
        repo: String,
        /// What was asked for.
        quant: String,
        /// The models that there are.
        have: Vec<Vec<RepoFile>>,
    },
    /// Several models match.
    #[error(
        "{repo} holds several models; choose one with {repo}:QUANT or {repo}:FILE: {}",
        shown(have)
    )]
    Unclear {
        /// The repository.
        repo: String,
        /// Those that match.
        have: Vec<Vec<RepoFile>>,
    },
    /// A split model of which parts are missing.
    #[error("{repo} holds only {have} of the {of} parts of {file}; choose another file")]
    MissingParts {
        /// The repository.
        repo: String,
        /// The first part that is there.
        file: String,
        /// How many there are.
        have: usize,
        /// How many there should be.
        of: usize,
    },
    /// Not enough room on the disk.
    #[error(
        "{folder:?} has room for {}, {} are needed: free some, or set HF_HOME to a folder on another disk",
        size_text(*free),
        size_text(*needed)
    )]
    NoSpace {
        /// The cache.
        folder: PathBuf,
        /// Bytes to fetch.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The disk refused.
    #[error("{path:?}: {error}; check the disk, or set HF_HOME to another folder")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The caller called it off; what had arrived stays.
    #[error("stopped; the same command goes on where it stopped")]
    Cancelled,
}

impl HubError {
    /// Whether the user can mend it (as against a failure of the network).
    pub fn is_input_error(&self) -> bool {
        matches!(
            self,
            Self::Name { .. }
                | Self::Setting { .. }
                | Self::NoHome
                | Self::NotFound { .. }
                | Self::Unauthorized { .. }
                | Self::Gated { .. }
                | Self::OfflineWanted { .. }
                | Self::ListingOffline { .. }
                | Self::NoGguf { .. }
                | Self::NoSuchQuant { .. }
                | Self::Unclear { .. }
                | Self::MissingParts { .. }
                | Self::NoSpace { .. }
                | Self::Disk { .. }
        )
    }

    /// Whether the server could not be asked, so that a copy in the cache is the best there is.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Offline { .. } | Self::Server { .. })
    }
}

fn token_mend(had_token: bool) -> &'static str {
    if had_token {
        "use an HF_TOKEN that may read it (the one sent may not)"
    } else {
        "set HF_TOKEN to a token that may read it (huggingface.co/settings/tokens)"
    }
}

fn reason(status: u16) -> &'static str {
    ureq::http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("no reason known")
}
