//! Ctrl-C: once for an orderly end, twice for a quick one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bench::server::{LlamaServer, ServerHandle};

/// The server that a second Ctrl-C has to stop before it ends the process.
static SERVER: Mutex<Option<ServerHandle>> = Mutex::new(None);

pub(super) fn remember_server(server: &LlamaServer) {
    *SERVER
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(server.handle());
}

/// A flag that Ctrl-C raises; a second Ctrl-C ends everything at once.
pub(super) fn watch_for_ctrl_c() -> &'static AtomicBool {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    // Fails only if a handler is there already, and there is none.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            // Waiting for it could take as long as the start of a server.
            if let Ok(server) = SERVER.try_lock()
                && let Some(server) = &*server
            {
                server.stop();
            }
            std::process::exit(130);
        }
        tell_line!(
            "stopping after the answers in progress; Ctrl-C again ends at once, and then loses those"
        );
    });
    &INTERRUPTED
}
