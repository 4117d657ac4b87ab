//! What the terminal shows of Ctrl-C.

/// Until it is dropped, the terminal does not write `^C` into the answer.
pub(super) struct Quiet(());

impl Quiet {
    pub(super) fn begin() -> Self {
        imp::hide();
        Self(())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was; also before the process ends half-way.
pub(super) fn restore() {
    imp::restore();
}

#[cfg(unix)]
mod imp {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// The terminal as it was.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    fn before() -> MutexGuard<'static, Option<Termios>> {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hide() {
        let stdin = std::io::stdin();
        // Standard input may be no terminal.
        if let Ok(now) = tcgetattr(&stdin) {
            let mut quiet = now.clone();
            quiet.local_modes.remove(LocalModes::ECHOCTL);
            // What is not echoed as ^C would be echoed as it is: nothing that shows.
            if tcsetattr(&stdin, OptionalActions::Now, &quiet).is_ok() {
                *before() = Some(now);
            }
        }
    }

    pub(super) fn restore() {
        if let Some(now) = before().take() {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &now);
        }
    }
}

#[cfg(not(unix))]
mod imp {
    pub(super) fn hide() {}

    pub(super) fn restore() {}
}
