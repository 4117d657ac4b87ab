//! Connections: accepted, bounded in time, and closed in an orderly way.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::server::app::App;
use crate::server::engine::Command;

/// How long clients have to read what is left once their answers were cut.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Serves until a signal comes, and then for the grace time at most.
pub(super) async fn listen(
    listener: TcpListener,
    app: &Arc<App>,
    router: Router,
    mut signals: Signals,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(app.limits.connections));
    loop {
        let place = tokio::select! {
            biased;
            () = signals.next() => break,
            place = places.clone().acquire_owned() => place.expect("it is never closed"),
        };
        let accepted = tokio::select! {
            biased;
            () = signals.next() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most of these pass: too many open files, or a client that is gone already.
                app.log(&format!("cannot accept a connection: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Tokens are small, and each is to arrive at once.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(app.limits.client_time)
            .serve_connection(
                TokioIo::new(stream),
                TowerToHyperService::new(router.clone()),
            );
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // An error is the client's: it went away, or does not speak HTTP.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    shut_down(app, graceful, signals).await;
}

async fn shut_down(app: &App, graceful: GracefulShutdown, mut signals: Signals) {
    app.stopping.store(true, Relaxed);
    let grace = app.limits.grace;
    app.log(&format!(
        "stopping: answers may go on for {} s",
        grace.as_secs_f64()
    ));
    let mut ended = std::pin::pin!(graceful.shutdown());
    let in_time = tokio::select! {
        () = &mut ended => true,
        () = tokio::time::sleep(grace) => false,
        // Asked again, it waits no longer.
        () = signals.next() => false,
    };
    // The engine drops what is left, and clients get an error.
    let _ = app.send(Command::Shutdown);
    if !in_time {
        app.log("stopping: answers were cut");
        let _ = tokio::time::timeout(LAST_WORDS, ended).await;
    }
}

/// Requests to end the process: Ctrl-C, and on Unix SIGTERM.
pub(super) struct Signals {
    #[cfg(unix)]
    kinds: [tokio::signal::unix::Signal; 2],
}

impl Signals {
    /// Watches for them, instead of ending at once.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub(super) fn watch() -> std::io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let kinds = [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            ];
            Ok(Self { kinds })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next.
    async fn next(&mut self) {
        #[cfg(unix)]
        {
            let [term, interrupt] = &mut self.kinds;
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
