//! Starts the user's `llama-server` with the settings of our own engine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;

use crate::bench::server::LlamaServer;
use crate::cli::exit::user_error;
use crate::cli::model_args::{ModelArgs, When};
use crate::cli::stop::remember_server;
use crate::runtime::llama::{ContextOptions, Model, default_threads};

/// The limit for loading a model: large models on slow disks take a while.
const LOAD_LIMIT: Duration = Duration::from_secs(900);

/// A `llama-server` to measure, too.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Also measure llama.cpp's llama-server, given by its path, on the same model and questions
    #[arg(long, alias = "llama_server", value_name = "PROGRAM")]
    llama_server: Option<PathBuf>,

    /// More flags for llama-server, for example "--spec-type ngram-simple"
    #[arg(
        long,
        alias = "llama_server_args",
        value_name = "FLAGS",
        requires = "llama_server",
        allow_hyphen_values = true
    )]
    llama_server_args: Option<String>,
}

/// The server's name in the answer files: `llama-server`, with the kind of speculation if there is
/// one.
fn server_name(flags: &str) -> String {
    let words: Vec<&str> = flags.split_whitespace().collect();
    let value = |flag: &str| {
        let after = words.windows(2).find(|pair| pair[0] == flag);
        after.map(|pair| pair[1].trim_matches(['"', '\'']).replace(',', "+"))
    };
    let kind = value("--spec-type").or_else(|| {
        let drafts = ["-md", "--model-draft", "--spec-draft-model"];
        words
            .iter()
            .any(|word| drafts.contains(word))
            .then(|| "draft-model".to_owned())
    });
    kind.map_or("llama-server".to_owned(), |kind| {
        format!("llama-server-{kind}")
    })
}

impl ServerArgs {
    /// The server's name, if one is asked for.
    pub(super) fn name(&self) -> Option<String> {
        self.llama_server.as_ref()?;
        Some(server_name(self.flags().unwrap_or_default()))
    }

    /// The user's flags for the server.
    pub(super) fn flags(&self) -> Option<&str> {
        self.llama_server_args.as_deref()
    }

    /// Starts the server, if one is asked for, with the settings of `args` and `context`, and waits
    /// until it is ready.
    pub(super) fn start(
        &self,
        args: &ModelArgs,
        model: &Model,
        context: &ContextOptions,
        stop: &AtomicBool,
    ) -> anyhow::Result<Option<LlamaServer>> {
        let Some(program) = &self.llama_server else {
            return Ok(None);
        };
        let flags = server_flags(args, model, context, self.flags().unwrap_or_default())?;
        tell_line!("starting {}", program.display());
        let mut server = LlamaServer::start(program, &flags)?;
        remember_server(&server);
        server.wait_until_ready(LOAD_LIMIT, stop)?;
        Ok(Some(server))
    }
}

/// The settings of `args` and `context` as the server's flags, and `more` flags.
fn server_flags(
    args: &ModelArgs,
    model: &Model,
    context: &ContextOptions,
    more: &str,
) -> anyhow::Result<Vec<OsString>> {
    let threads = context.threads.unwrap_or_else(default_threads);
    let mut flags: Vec<OsString> = vec!["-m".into(), model.path().into()];
    let mut flag = |name: &str, value: String| flags.extend([name.into(), value.into()]);
    flag("-np", "1".into());
    flag("-c", context.n_ctx.unwrap_or_default().to_string());
    flag("-t", threads.to_string());
    flag("-b", context.n_batch.to_string());
    flag("-ub", model.n_ubatch(context).to_string());
    for (name, value) in args.devices.llama_flags() {
        flag(name, value);
    }
    match args.flash_attn {
        When::Auto => {}
        When::On => flag("-fa", "on".into()),
        When::Off => flag("-fa", "off".into()),
    }
    if context.cache_type_k != Default::default() || context.cache_type_v != Default::default() {
        flag("-ctk", context.cache_type_k.to_string());
        flag("-ctv", context.cache_type_v.to_string());
    }
    if args.no_mmap {
        flags.push("--no-mmap".into());
    }
    flags.extend(split(more)?.into_iter().map(OsString::from));
    Ok(flags)
}

/// Splits flags as a shell does: at white space, except in quotes.
fn split(text: &str) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(user_error(format!(
            "--llama-server-args: the quote {open} is not closed"
        )));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_split_as_a_shell_does() {
        let words = split("--a 1  --b 'x y' \"\" c'd'").unwrap();
        assert_eq!(words, ["--a", "1", "--b", "x y", "", "cd"]);
        assert!(split("--a 'x").is_err());
        assert!(split(" ").unwrap().is_empty());
    }

    #[test]
    fn the_server_is_named_after_its_speculation() {
        assert_eq!(server_name("-np 1"), "llama-server");
        assert_eq!(
            server_name("--spec-type ngram-mod,ngram-simple"),
            "llama-server-ngram-mod+ngram-simple"
        );
        assert_eq!(server_name("-md d.gguf"), "llama-server-draft-model");
    }
}
