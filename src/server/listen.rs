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

/// Serves until `stop` is ready, and then for the grace time at most.
pub(super) async fn listen(
    listener: TcpListener,
    app: &Arc<App>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(app.limits.connections));
    tokio::pin!(stop);
    loop {
        let place = tokio::select! {
            biased;
            () = &mut stop => break,
            place = places.clone().acquire_owned() => place.expect("it is never closed"),
        };
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
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
    shut_down(app, graceful).await;
}

async fn shut_down(app: &App, graceful: GracefulShutdown) {
    app.stopping.store(true, Relaxed);
    let grace = app.limits.grace;
    app.log(&format!(
        "stopping: answers may go on for {} s",
        grace.as_secs_f64()
    ));
    let mut ended = std::pin::pin!(graceful.shutdown());
    let in_time = tokio::time::timeout(grace, &mut ended).await.is_ok();
    // The engine drops what is left, and clients get an error.
    let _ = app.send(Command::Shutdown);
    if !in_time {
        app.log("stopping: answers were cut");
        let _ = tokio::time::timeout(LAST_WORDS, ended).await;
    }
}

/// Ready once the process is asked to end: by Ctrl-C, or on Unix by SIGTERM.
pub(super) async fn signal() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
