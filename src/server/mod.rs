//! The HTTP server, with the APIs of OpenAI and of llama-server.
//!
//! | part | where |
//! |---|---|
//! | the engine's thread, and what HTTP tells it | [`engine`] |
//! | from events to text | `answers`, `held` (stop strings), `reply` (reasoning, tools) |
//! | log-probabilities | `logprobs` |
//! | fields of requests | `fields`, `params`, `asks`, `messages` |
//! | one API each | `chat`, `completions`, `responses`, `native`, `texts`, `info` |
//! | whole answers and server-sent events | `respond`, `tally` |
//! | connections, keys, errors | `listen`, `auth`, `error` |
//! | while there is no model yet | `waiting` |

mod answers;
mod app;
mod asks;
mod auth;
mod chat;
mod completions;
pub mod engine;
mod error;
mod fields;
mod held;
mod info;
mod listen;
mod logprobs;
mod messages;
mod metrics;
mod native;
mod params;
mod reply;
mod respond;
mod responses;
mod tally;
mod texts;
mod waiting;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::{Map, Value};
use tokio::net::TcpListener;

use crate::engine::SessionOptions;
use crate::runtime::ChatTemplate;
use crate::runtime::llama::{LoadError, Model};
use crate::verify::SamplingParams;
pub use app::{App, Handle, Limits, Log};
pub use asks::{Asks, Grammar};
pub use auth::Keys;
use engine::Setup;
use error::ApiError;
use metrics::Metrics;
use params::Defaults;
pub use waiting::Waiting;

/// Names this program in answers.
const FINGERPRINT: &str = concat!("logitspec-", env!("CARGO_PKG_VERSION"));

/// How to serve.
pub struct Config {
    /// The name of the model in answers.
    pub name: String,
    /// The chat template; `None` for plain text.
    pub template: Option<ChatTemplate>,
    /// Whether the spelling of a control token in a message becomes that token.
    pub parse_special: bool,
    /// How requests draft that say nothing; no request may draft larger trees.
    pub options: SessionOptions,
    /// How tokens are drawn for requests that say nothing.
    pub sampling: SamplingParams,
    /// Most tokens of an answer to a request that says nothing.
    pub max_new_tokens: usize,
    /// Who is let in.
    pub keys: Keys,
    /// Bounds on what clients may do.
    pub limits: Limits,
    /// Where log lines go.
    pub log: Log,
    /// Whether prompts are logged.
    pub logs_prompts: bool,
    /// The engine.
    pub engine: Setup,
}

/// Why the server cannot start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// There is no context.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The system does not give what a server needs.
    #[error("cannot start the server: {0}")]
    System(std::io::Error),
}

/// Serves `model` on `address` until the process is asked to end. `ready` is told the address that
/// it listens on, and gets a handle.
///
/// # Errors
/// If the address is taken, or there is not enough memory for the context.
pub fn serve(
    model: Model,
    address: SocketAddr,
    config: Config,
    ready: impl FnOnce(SocketAddr, Handle),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // The work is the engine's.
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(ServeError::System)?;
    let listener = runtime.block_on(TcpListener::bind(address));
    let listener = listener.map_err(|error| ServeError::Listen { address, error })?;
    let local = listener.local_addr().map_err(ServeError::System)?;
    let (app, thread) = start(Arc::new(model), config)?;
    runtime.block_on(async {
        let signals = listen::Signals::watch().map_err(ServeError::System)?;
        ready(local, Handle(Arc::downgrade(&app)));
        listen::listen(listener, &app, router(&app), signals).await;
        Ok::<(), ServeError>(())
    })?;
    // Connections that are still open end with it.
    runtime.shutdown_background();
    // It was told to end. A panic in it was printed already.
    let _ = thread.join();
    Ok(())
}

/// Starts the engine, and puts together what all requests share.
fn start(model: Arc<Model>, config: Config) -> Result<(Arc<App>, JoinHandle<()>), LoadError> {
    let engine = engine::start(model.clone(), config.engine)?;
    let n_vocab = model.vocabulary().len();
    let app = App {
        token_bytes: OnceLock::new(),
        metrics: Metrics::new(&config.name),
        defaults: Defaults {
            asks: Asks::with_sampling(config.sampling),
            options: config.options,
            max_new_tokens: config.max_new_tokens,
            n_vocab,
        },
        model,
        name: config.name,
        template: config.template,
        parse_special: config.parse_special,
        limits: config.limits,
        keys: config.keys,
        n_ctx: engine.n_ctx,
        status: engine.status,
        log: config.log,
        logs_prompts: config.logs_prompts,
        started: app::now(),
        stopping: AtomicBool::new(false),
        commands: Mutex::new(engine.commands),
        next_id: AtomicU64::new(1),
        admitted: AtomicUsize::new(0),
        lost: OnceLock::new(),
        listeners: Mutex::new(Vec::new()),
    };
    Ok((Arc::new(app), engine.thread))
}

/// An address that takes a JSON object.
fn takes<F, R>(answer: F) -> MethodRouter<Arc<App>>
where
    F: Fn(Arc<App>, Map<String, Value>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Response, ApiError>> + Send,
{
    post(
        async move |State(app): State<Arc<App>>, request: Request| -> Result<Response, ApiError> {
            let object = read_object(&app, request).await?;
            answer(app, object).await
        },
    )
}

/// Does what may take a while without holding up other connections.
fn heavy<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// The JSON object in a request's body.
async fn read_object(app: &App, request: Request) -> Result<Map<String, Value>, ApiError> {
    /// Bytes beyond the limit that are read all the same: a client that is still writing when the
    /// connection is closed does not see the answer.
    const BEYOND: usize = 4 << 20;
    let limit = app.limits.body_bytes;
    let body = to_bytes(request.into_body(), limit + BEYOND);
    let Ok(body) = tokio::time::timeout(app.limits.client_time, body).await else {
        return Err(ApiError::too_slow());
    };
    // The client went away, or even more came.
    let body = body.ok().filter(|body| body.len() <= limit);
    let body = body.ok_or_else(|| ApiError::too_large(limit))?;
    match heavy(|| serde_json::from_slice(&body)) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::invalid("the body is not a JSON object")),
        Err(error) => Err(ApiError::invalid(format!("the body is not JSON: {error}"))),
    }
}

fn router(app: &Arc<App>) -> Router {
    let open = Router::new()
        .route("/", get(info::page))
        .route("/health", get(info::health))
        .route("/v1/health", get(info::health));
    let mut locked = Router::new()
        .route("/metrics", get(info::metrics))
        .route("/props", get(info::props))
        .route("/slots", get(info::slots))
        .route("/infill", takes(native::infill))
        .route("/tokenize", takes(texts::tokenize))
        .route("/detokenize", takes(texts::detokenize))
        .route("/apply-template", takes(texts::apply_template));
    for path in ["/v1/models", "/models"] {
        locked = locked.route(path, get(info::models));
    }
    for path in ["/v1/chat/completions", "/chat/completions"] {
        locked = locked.route(path, takes(chat::chat));
    }
    locked = locked.route("/v1/completions", takes(completions::complete));
    for path in ["/completion", "/completions"] {
        locked = locked.route(path, takes(native::completion));
    }
    for path in ["/v1/responses", "/responses"] {
        locked = locked.route(path, takes(responses::responses));
    }
    let locked = locked.route_layer(from_fn_with_state(app.clone(), check_key));
    open.merge(locked)
        .fallback(async |request: Request| ApiError::not_found(request.uri().path()))
        .method_not_allowed_fallback(async || ApiError::wrong_method())
        .layer(from_fn_with_state(app.clone(), log_errors))
        .with_state(app.clone())
}

/// Lets in only those who have a key.
async fn check_key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.keys.let_in(request.headers()) {
        true => next.run(request).await,
        false => ApiError::unauthorized().into_response(),
    }
}

/// Logs requests that are refused.
async fn log_errors(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        app.log(&format!("{method} {path:?}: {status}"));
    }
    response
}
