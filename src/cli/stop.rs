//! Ctrl-C while speeds are measured. The first one ends the run after the answers in progress, the
//! second one at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bench::server::{LlamaServer, ServerHandle};
use crate::cli::interrupt::INTERRUPTED;

/// The server that a second Ctrl-C stops before it ends the process.
static SERVER: Mutex<Option<ServerHandle>> = Mutex::new(None);

pub(super) fn remember_server(server: &LlamaServer) {
    *SERVER
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(server.handle());
}

/// A flag that Ctrl-C raises. A second Ctrl-C stops the server and ends the process at once.
pub(super) fn watch_for_ctrl_c() -> &'static AtomicBool {
    static RAISED: AtomicBool = AtomicBool::new(false);
    // Fails only if a handler is already installed, and there is none.
    let _ = ctrlc::set_handler(|| {
        if RAISED.swap(true, Ordering::Relaxed) {
            // Do not wait for the lock: that could take as long as the start of a server.
            if let Ok(server) = SERVER.try_lock()
                && let Some(server) = &*server
            {
                server.stop();
            }
            std::process::exit(INTERRUPTED.into());
        }
        tell_line!(
            "stopping after the answers in progress; press Ctrl-C again to stop now and lose them"
        );
    });
    &RAISED
}
