//! Ctrl-C asks a command to stop; a second Ctrl-C ends the process at once.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::terminal;

/// Exit code of a command that Ctrl-C stopped.
pub(super) const INTERRUPTED: u8 = 130;

/// A flag that Ctrl-C raises.
pub(super) fn watch_for_ctrl_c() -> &'static AtomicBool {
    static RAISED: AtomicBool = AtomicBool::new(false);
    // Fails only if the handler is already installed.
    let _ = ctrlc::set_handler(|| {
        if RAISED.swap(true, Ordering::Relaxed) {
            terminal::restore();
            std::process::exit(INTERRUPTED.into());
        }
    });
    &RAISED
}

/// Whether Ctrl-C has raised `interrupted`.
pub(super) fn is_raised(interrupted: &AtomicBool) -> bool {
    interrupted.load(Ordering::Relaxed)
}

/// Breaks once Ctrl-C has raised `interrupted`.
pub(super) fn flow(interrupted: &AtomicBool) -> ControlFlow<()> {
    match is_raised(interrupted) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}
