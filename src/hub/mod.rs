//! Models from the Hugging Face Hub.
//!
//! [`Hub::fetch`] turns a [`ModelName`] into files on disk. It lists the repository, chooses the
//! files of the model ([`choose`](mod@choose)), downloads those that are not in the cache that all
//! Hugging Face tools share, and checks every SHA-256. Interrupted downloads continue where they
//! stopped. Nothing here prints: a callback gets the progress, and can cancel the download.
//!
//! [`Settings::from_env`] reads the address of the Hub, the token and the cache folder.

mod cache;
pub mod choose;
mod client;
mod error;
mod helpers;
mod http;
mod listing;
mod name;
mod settings;
mod transfer;

use std::ops::ControlFlow;
use std::time::Duration;

pub use client::{Fetched, FetchedFile, Hub};
pub use error::HubError;
pub use listing::{Listing, RepoFile};
pub use name::ModelName;
pub use settings::{RetryPolicy, Settings};

/// The progress of [`Hub::fetch`].
#[derive(Debug)]
pub enum Event<'a> {
    /// A file begins.
    Begun {
        /// The file.
        file: &'a RepoFile,
        /// Its number, from 1.
        number: usize,
        /// Number of files.
        of: usize,
    },
    /// Computing the SHA-256 of what is on disk.
    Checking {
        /// Bytes read.
        done: u64,
    },
    /// More bytes have arrived.
    Received {
        /// Bytes on disk, including those of earlier downloads.
        done: u64,
    },
    /// The part on disk is damaged. The file is downloaded from the start.
    StartedOver,
    /// A request failed and will be repeated.
    Retrying {
        /// What went wrong.
        cause: &'a str,
        /// Time until then.
        wait: Duration,
    },
    /// Waiting for another process that is downloading this file.
    Locked,
    /// Waiting, without news.
    Waiting,
    /// The file is complete.
    Finished {
        /// Whether anything was downloaded.
        fetched: bool,
    },
}

/// Gets each event. `Break` cancels the download; the bytes that have arrived stay on disk.
pub type Watch<'a> = dyn FnMut(&Event<'_>) -> ControlFlow<()> + 'a;
