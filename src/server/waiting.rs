//! The server's address while there is no model: every request gets the reason.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::server::ServeError;
use crate::server::error::ApiError;

/// How long a client may take for its header.
const CLIENT_TIME: Duration = Duration::from_secs(5);

/// Answers every request with 503 and a reason, until it is dropped.
pub struct Waiting {
    reason: Arc<Mutex<String>>,
    /// Dropped to end the thread.
    open: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Waiting {
    /// Listens on an address.
    ///
    /// # Errors
    /// If it is taken.
    pub fn open(address: SocketAddr, reason: &str) -> Result<Self, ServeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServeError::System)?;
        let listener = runtime.block_on(TcpListener::bind(address));
        let listener = listener.map_err(|error| ServeError::Listen { address, error })?;
        let reason = Arc::new(Mutex::new(reason.to_owned()));
        let shown = reason.clone();
        let (open, closed) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = closed => {}
                    () = answer(listener, shown) => {}
                }
            });
        });
        Ok(Self {
            reason,
            open: Some(open),
            thread: Some(thread),
        })
    }

    /// Says another reason from now on.
    pub fn say(&self, reason: &str) {
        reason.clone_into(&mut self.reason.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.open.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed already.
            let _ = thread.join();
        }
    }
}

async fn answer(listener: TcpListener, reason: Arc<Mutex<String>>) {
    let refuse = move || {
        let reason = reason
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        async { ApiError::lost(reason).into_response() }
    };
    let router: Router = Router::new().fallback(refuse);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(CLIENT_TIME)
            .keep_alive(false)
            .serve_connection(
                TokioIo::new(stream),
                TowerToHyperService::new(router.clone()),
            );
        tokio::spawn(async move {
            // An error is the client's.
            let _ = connection.await;
        });
    }
}
