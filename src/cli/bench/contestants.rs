//! The contestants of a benchmark and their names.

use std::str::FromStr;

use crate::cli::bench::BenchArgs;
use crate::cli::exit::user_error;
use crate::engine::{Method, SessionOptions};

/// A method, given as `METHOD` or `NAME=METHOD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedMethod {
    pub name: String,
    pub method: Method,
}

impl FromStr for NamedMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, method) = text
            .split_once('=')
            .map_or((None, text), |(name, method)| (Some(name), method));
        let method: Method = method.parse().map_err(|error| format!("{error}"))?;
        let name = name.unwrap_or(method.name());
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!(
                "{name:?} cannot be a name: use letters, digits, - _ and ., because it becomes \
                 part of a file name"
            ));
        }
        Ok(Self {
            name: name.into(),
            method,
        })
    }
}

/// One that answers the questions.
#[derive(Clone, Debug)]
pub(super) enum Contestant {
    /// Our engine.
    Engine(NamedMethod),
    /// A `llama-server`, with its name in the answer files.
    Server(String),
}

impl Contestant {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Engine(named) => named.name.clone(),
            Self::Server(name) => name.clone(),
        }
    }

    /// Whether it grows draft trees. The drafting flags concern no others.
    pub(super) fn drafts(&self) -> bool {
        matches!(self, Self::Engine(named) if named.method != Method::Baseline)
    }

    /// The drafting method, if it drafts.
    pub(super) fn method(&self) -> Option<Method> {
        match self {
            Self::Engine(named) if self.drafts() => Some(named.method),
            _ => None,
        }
    }

    /// The session options of this contestant. Plain decoding needs no draft tree.
    pub(super) fn session_options(&self, common: SessionOptions) -> SessionOptions {
        SessionOptions {
            method: match self {
                Self::Engine(named) => named.method,
                Self::Server(_) => Method::Baseline,
            },
            draft_tree_capacity: match self.drafts() {
                true => common.draft_tree_capacity,
                false => 1,
            },
            ..common
        }
    }
}

/// The contestants that the flags ask for.
pub(super) fn all(args: &BenchArgs) -> anyhow::Result<Vec<Contestant>> {
    let engines = args.methods.iter().cloned().map(Contestant::Engine);
    let mut all: Vec<Contestant> = engines.collect();
    if let Some(name) = args.server.name() {
        if args.jobs > 1 {
            return Err(user_error(
                "--llama-server answers one question at a time: leave out --jobs",
            ));
        }
        all.push(Contestant::Server(name));
    }
    for (number, contestant) in all.iter().enumerate() {
        let name = contestant.name();
        if all[..number].iter().any(|earlier| earlier.name() == name) {
            return Err(user_error(format!(
                "--methods has {name} twice: give one of them another name, for example \
                 again={name}"
            )));
        }
    }
    if args.answer_file.is_some() && all.len() > 1 {
        return Err(user_error(format!(
            "--answer-file names one file, but there are {} methods: use --answer-dir, or only one \
             method",
            all.len()
        )));
    }
    Ok(all)
}
