//! What can go wrong with a download.

use std::io;
use std::path::PathBuf;

use crate::hub::choose::{size_text, text_of as list};
use crate::hub::listing::RepoFile;

/// Why a model could not be downloaded. Each message is one line that names the fix.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not the name of a model.
    #[error(
        "{given:?} is not the name of a model on the Hub: write USER/REPO or USER/REPO:QUANT, as \
         in TheBloke/CodeLlama-7B-Instruct-GGUF:Q4_K_M"
    )]
    Name {
        /// The text that was given.
        given: String,
    },
    /// An environment variable has an invalid value.
    #[error("{name}={value:?} {reason}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The home directory is unknown, and no variable names the cache.
    #[error("no folder to keep models in: set HF_HOME to one")]
    NoHome,
    /// Status 404.
    #[error("{endpoint} has no {what}; check the spelling")]
    NotFound {
        /// The server.
        endpoint: String,
        /// The repository or file.
        what: String,
    },
    /// Status 401. The Hub also gives it for repositories that do not exist.
    #[error(
        "{endpoint} refuses access to {repo} (401): check the spelling; if it is private or gated, \
         {}",
        token_hint(*had_token)
    )]
    Unauthorized {
        /// The server.
        endpoint: String,
        /// The repository.
        repo: String,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// Status 403, or a repository whose licence must be accepted first.
    #[error(
        "{repo} is gated: ask for access at {endpoint}/{repo}, then {}",
        token_hint(*had_token)
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
        "cannot reach {endpoint}: {cause}; check the network (and HF_ENDPOINT and HTTPS_PROXY, if \
         they are set)"
    )]
    Offline {
        /// The server.
        endpoint: String,
        /// The system's message.
        cause: String,
    },
    /// `HF_HUB_OFFLINE` is set and the model is not in the cache.
    #[error(
        "{name} is not in the cache {cache:?}, and HF_HUB_OFFLINE is set: unset it to download"
    )]
    OfflineWanted {
        /// The model.
        name: String,
        /// The cache folder.
        cache: PathBuf,
    },
    /// `HF_HUB_OFFLINE` is set, but only the server has the list.
    #[error(
        "only the Hub can list {repo}, and HF_HUB_OFFLINE is set: unset it to list the repository"
    )]
    ListingOffline {
        /// The repository.
        repo: String,
    },
    /// Status 5xx or 429, several times in a row.
    #[error(
        "{endpoint} answers {status} ({}) after {tries} tries; try again later",
        reason(*status)
    )]
    Server {
        /// The server.
        endpoint: String,
        /// The status.
        status: u16,
        /// Number of requests.
        tries: u32,
    },
    /// An unexpected status.
    #[error(
        "{endpoint} answers {status} ({}) for {what}; check HF_ENDPOINT if it is set, or try again \
         later",
        reason(*status)
    )]
    Status {
        /// The server.
        endpoint: String,
        /// The status.
        status: u16,
        /// The repository or file that was requested.
        what: String,
    },
    /// An answer that is not one of the Hub.
    #[error(
        "{endpoint} does not answer like the Hub: {cause}; check HF_ENDPOINT, and whether the \
         network requires you to log in first"
    )]
    Answer {
        /// The server.
        endpoint: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A download that broke off several times in a row.
    #[error(
        "the download of {file} broke off after {} of {}, {tries} times in a row: {cause}; the \
         same command continues from there",
        size_text(*done),
        size_text(*size)
    )]
    BrokenOff {
        /// The file.
        file: String,
        /// Bytes on disk.
        done: u64,
        /// Size of the file in bytes.
        size: u64,
        /// Number of failures in a row.
        tries: u32,
        /// The system's message.
        cause: String,
    },
    /// The downloaded file has the wrong SHA-256.
    #[error(
        "{file} arrived damaged (SHA-256 {got} instead of {expected}) and was deleted; try again, \
         or use another network"
    )]
    Checksum {
        /// The file.
        file: String,
        /// The SHA-256 that the Hub names.
        expected: String,
        /// The SHA-256 of the file that arrived.
        got: String,
    },
    /// A repository without GGUF files.
    #[error(
        "{repo} holds no GGUF file: look for a repository whose name ends in -GGUF, or convert \
         this one (docs/models.md)"
    )]
    NoGguf {
        /// The repository.
        repo: String,
    },
    /// No model matches the text after the colon.
    #[error("{repo} holds nothing called {quant}; it holds: {}", list(have))]
    NoSuchQuant {
        /// The repository.
        repo: String,
        /// The repository or file that was requested.
        quant: String,
        /// The models of the repository.
        have: Vec<Vec<RepoFile>>,
    },
    /// Several models match.
    #[error(
        "{repo} holds several models; choose one with {repo}:QUANT or {repo}:FILE: {}",
        list(have)
    )]
    Unclear {
        /// The repository.
        repo: String,
        /// The models that match.
        have: Vec<Vec<RepoFile>>,
    },
    /// A split model whose parts are not all there.
    #[error("{repo} holds only {have} of the {of} parts of {file}; choose another file")]
    MissingParts {
        /// The repository.
        repo: String,
        /// The first part in the repository.
        file: String,
        /// Number of parts in the repository.
        have: usize,
        /// Number of parts of the model.
        of: usize,
    },
    /// Not enough space on the disk.
    #[error(
        "{folder:?} has space for {}, but {} are needed: free some, or set HF_HOME to a folder on \
         another disk",
        size_text(*free),
        size_text(*needed)
    )]
    NoSpace {
        /// The cache.
        folder: PathBuf,
        /// Bytes to download.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The disk reported an error.
    #[error("{path:?}: {error}; check the disk, or set HF_HOME to another folder")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The system's message.
        error: io::Error,
    },
    /// The caller cancelled the download. The bytes that have arrived stay.
    #[error("stopped; the same command continues where it stopped")]
    Cancelled,
}

impl HubError {
    /// Whether the user can fix it, as opposed to a failure of the network.
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

    /// Whether the server could not be reached, so that a copy in the cache should be used.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Offline { .. } | Self::Server { .. })
    }
}

fn token_hint(had_token: bool) -> &'static str {
    if had_token {
        "use an HF_TOKEN that may read it (the one that was sent may not)"
    } else {
        "set HF_TOKEN to a token that may read it (huggingface.co/settings/tokens)"
    }
}

fn reason(status: u16) -> &'static str {
    ureq::http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("unknown status")
}
