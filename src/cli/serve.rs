//! `logitspec serve`: an HTTP server.

#[cfg(feature = "rpc")]
mod keeper;

use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::cli::args::{DraftArgs, NO_LIMIT, session_options, token_limit};
use crate::cli::conversation::TemplateArgs;
use crate::cli::cost::known_cost;
use crate::cli::exit::{Outcome, user_error};
use crate::cli::memory::MemoryArgs;
use crate::cli::model_args::ModelArgs;
use crate::cli::sampling::SamplingArgs;
use crate::cli::stdout::print_json;
use crate::engine::SessionOptions;
use crate::runtime::llama::{ContextOptions, Model};
use crate::server::engine::Setup;
use crate::server::{Config, Keys, Limits, ServeError, serve};

/// Set where the program has started itself again: why.
const AGAIN: &str = "LOGITSPEC_STARTED_AGAIN";

/// Serve a model over HTTP, with the APIs of OpenAI and llama-server
///
/// Clients of either need only the address: http://HOST:PORT/v1. A page to chat is at
/// http://HOST:PORT. Flags for sampling are the defaults of requests that say nothing. Log lines go
/// to standard error. See docs/server.md.
///
/// Examples:
///   logitspec serve -m vicuna-7b-v1.3.Q8_0.gguf
///   logitspec serve -m model.gguf --host 0.0.0.0 --port 9000 --api-key-file keys.txt
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    http: HttpArgs,

    /// Maximum number of new tokens for requests that do not say; -1 for as many as the context
    /// holds
    #[arg(
        short = 'n',
        long,
        alias = "max_new_tokens",
        default_value = "-1",
        value_name = "N",
        value_parser = token_limit
    )]
    max_new_tokens: usize,

    /// Name of the model in answers [default: the file's]
    #[arg(short = 'a', long, value_name = "NAME")]
    alias: Option<String>,

    /// Print one JSON object with the address once requests are taken
    #[arg(long)]
    json: bool,

    /// Log prompts, too. They are what users wrote
    #[arg(long, alias = "log_prompts")]
    log_prompts: bool,

    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    draft: DraftArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Where to listen, and what clients may do.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
struct HttpArgs {
    /// Address to listen on; 0.0.0.0 for all of this machine's
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    host: IpAddr,

    /// Port to listen on; 0 for any that is free
    #[arg(
        long,
        default_value_t = 8080,
        value_name = "PORT",
        overrides_with = "port"
    )]
    port: u16,

    /// Let in only clients with this key; may be given several times [env: LOGITSPEC_API_KEY=]
    #[arg(long, alias = "api_key", value_name = "KEY")]
    api_key: Vec<String>,

    /// Let in only clients with one of the keys in this file, one per line
    #[arg(long, alias = "api_key_file", value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// Number of requests answered at the same time
    #[arg(
        long,
        visible_alias = "np",
        default_value_t = 4,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    parallel: u16,

    /// Maximum number of prompt tokens in one pass
    #[arg(
        long,
        alias = "max_batch_tokens",
        default_value_t = 256,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    max_batch_tokens: u32,

    /// Number of requests that may wait; more are told to come back (429)
    #[arg(long, alias = "queue_size", default_value_t = 64, value_name = "N")]
    queue_size: u16,

    /// Maximum number of connections at the same time
    #[arg(
        long,
        alias = "max_connections",
        default_value_t = 1024,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    max_connections: u16,

    /// Largest body of a request in MiB
    #[arg(
        long,
        alias = "max_body",
        default_value_t = 16,
        value_name = "MIB",
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    max_body: u16,

    /// Seconds that a client may take for its header and for its body, and keep an idle connection
    #[arg(
        long,
        default_value_t = 60,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    timeout: u32,

    /// Seconds that answers may go on after Ctrl-C or SIGTERM, before they are cut
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    grace: u32,
}

impl HttpArgs {
    fn limits(&self) -> Limits {
        Limits {
            parallel: self.parallel.into(),
            queue: self.queue_size.into(),
            body_bytes: usize::from(self.max_body) << 20,
            client_time: Duration::from_secs(self.timeout.into()),
            grace: Duration::from_secs(self.grace.into()),
            connections: self.max_connections.into(),
        }
    }

    fn keys(&self) -> anyhow::Result<Keys> {
        let mut keys = self.api_key.clone();
        keys.extend(std::env::var("LOGITSPEC_API_KEY"));
        if let Some(path) = &self.api_key_file {
            keys.extend(keys_in(path)?);
        }
        let asked = !self.api_key.is_empty() || self.api_key_file.is_some();
        let keys = Keys::new(keys);
        if asked && keys.is_empty() {
            return Err(user_error(
                "--api-key is empty: give a key, or leave the flag out to let everybody in",
            ));
        }
        Ok(keys)
    }
}

fn keys_in(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        user_error(format!(
            "cannot read --api-key-file {}: {error}",
            path.display()
        ))
    })?;
    let keys: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    match keys.iter().all(String::is_empty) {
        true => Err(user_error(format!(
            "--api-key-file {} has no key: write one per line",
            path.display()
        ))),
        false => Ok(keys),
    }
}

pub(super) fn run(args: &ServeArgs) -> anyhow::Result<Outcome> {
    let options = session_options(&args.draft)?;
    let sampling = args.sampling.params()?;
    let keys = args.http.keys()?;
    let everybody = keys.is_empty() && !args.http.host.is_loopback();
    let address = SocketAddr::new(args.http.host, args.http.port);
    #[cfg(feature = "rpc")]
    let (keeper, waiting) = keeper::keep(args.model.devices.workers(), address)?;
    // The server has a handler of its own for Ctrl-C. Until it runs, Ctrl-C ends the process.
    let model = args.model.load(&AtomicBool::new(false))?;
    let template = args.template.choose(&model)?;
    args.template.warn_of_system(template.as_ref());
    let context = ContextOptions {
        draft_tree_capacity: options.draft_tree_capacity,
        slots: args.http.parallel.into(),
        ..args.model.context(&model, NO_LIMIT)
    };
    if let Some(reason) = model.cannot_draft(&context) {
        tell_line!("note: decoding without drafts: {reason}");
    }
    if everybody {
        tell_line!(
            "warning: anybody who reaches {} may ask: see --api-key",
            args.http.host
        );
    }
    let memory = args.memory.open(&model, args.draft.method)?;
    let fingerprint = args
        .memory
        .pool_file()
        .map(|_| model.vocabulary().fingerprint());
    let config = Config {
        name: args.name(&model),
        template,
        parse_special: args.template.parse_special,
        options,
        sampling,
        max_new_tokens: args.max_new_tokens,
        keys,
        limits: args.http.limits(),
        log: Box::new(|line| tell_line!("{line}")),
        logs_prompts: args.log_prompts,
        engine: args.engine(&model, context, &options, memory.clone()),
    };
    let save = {
        let path = args.memory.pool_file().map(Path::to_owned);
        move || match (&path, &memory.history, &fingerprint) {
            (Some(path), Some(history), Some(fingerprint)) => history.save(path, fingerprint),
            _ => Ok(()),
        }
    };
    #[cfg(feature = "rpc")]
    drop(waiting);
    let served = serve(model, address, config, |address, _handle| {
        #[cfg(feature = "rpc")]
        keeper.served(address, _handle, save.clone());
        args.tell_ready(address);
    });
    let saved = save();
    served?;
    saved?;
    Ok(Outcome::Done)
}

impl ServeArgs {
    fn name(&self, model: &Model) -> String {
        let stem = model
            .path()
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        self.alias
            .clone()
            .or(stem)
            .unwrap_or_else(|| "model".to_owned())
    }

    fn engine(
        &self,
        model: &Model,
        context: ContextOptions,
        options: &SessionOptions,
        memory: crate::draft::Memory,
    ) -> Setup {
        let known = known_cost(model, &context, options, false);
        Setup {
            context,
            cost: known.start(),
            keep_cost: Arc::new(move |cost| known.keep(cost)),
            memory,
            parallel: self.http.parallel.into(),
            max_batch_tokens: self.http.max_batch_tokens as usize,
        }
    }

    fn tell_ready(&self, address: SocketAddr) {
        let again = std::env::var_os(AGAIN).is_some();
        if self.json && !again {
            // Whoever closed the pipe does not want to know.
            let _ = print_json(&json!({"url": format!("http://{address}")}));
        }
        tell_line!("listening on http://{address}");
        if std::io::stderr().is_terminal() {
            tell_line!("Ctrl-C stops it.");
        }
    }
}

/// Whether another flag would have helped.
pub(super) fn is_input_error(error: &ServeError) -> bool {
    matches!(error, ServeError::Listen { .. } | ServeError::Load(_))
}
