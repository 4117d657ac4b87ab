//! Models from the Hugging Face Hub.
//!
//! [`Hub::fetch`] turns a [`ModelName`] into files on the disk: it asks the Hub what the repository
//! holds, chooses the files that are meant ([`choose`](mod@choose)), fetches what is not yet in the
//! cache that all Hugging Face tools share, and checks every sum. Interrupted transfers go on where
//! they stopped. Nothing here prints: progress goes to a function of the caller's, which can also
//! call the whole thing off.
//!
//! Where the Hub is, who asks and where the cache is: [`Settings::from_env`].

mod cache;
pub mod choose;
mod client;
mod error;
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
pub use settings::{Patience, Settings};

/// What [`Hub::fetch`] is doing.
#[derive(Debug)]
pub enum Event<'a> {
    /// The next file's turn.
    Begun {
        /// The file.
        file: &'a RepoFile,
        /// Its number, from 1.
        number: usize,
        /// How many files there are.
        of: usize,
    },
    /// Reading what is on the disk already, for the sum.
    Checking {
        /// Bytes read.
        done: u64,
    },
    /// More has arrived.
    Received {
        /// Bytes that are here, those from earlier times included.
        done: u64,
    },
    /// What was here from an earlier time was wrong; the file is fetched from its beginning.
    StartedOver,
    /// A request failed; there will be another.
    Retrying {
        /// What went wrong.
        cause: &'a str,
        /// How long until then.
        wait: Duration,
    },
    /// Another process is fetching this file; we wait for it.
    Locked,
    /// Nothing new.
    Waiting,
    /// The file is complete.
    Finished {
        /// Whether anything had to be fetched.
        fetched: bool,
    },
}

/// Is told what happens; `Break` calls everything off. What has arrived stays on the disk.
pub type Watch<'a> = dyn FnMut(&Event<'_>) -> ControlFlow<()> + 'a;
