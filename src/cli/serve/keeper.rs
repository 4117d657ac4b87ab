//! Keeps the server up when a worker goes away.
//!
//! llama.cpp cannot go on without a worker, nor let go of it. So all requests end with an error,
//! and the program starts itself again in the same process. It answers every request with the
//! reason until the worker is back and the model is loaded again (docs/decisions/027-workers.md).

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cli::exit::user_error;
use crate::cli::hints;
use crate::cli::serve::AGAIN;
use crate::runtime::llama::rpc;
use crate::server::{Handle, Waiting};
use crate::store::TokenFileError;

/// How often the workers are looked after.
const PAUSE: Duration = Duration::from_secs(1);

/// What is done before the program starts again. Told the reason, it says whether to.
type Farewell = Box<dyn FnOnce(&str) -> bool + Send>;

/// Starts the program again when a worker is lost.
pub(super) struct Keeper {
    address: Arc<Mutex<SocketAddr>>,
    farewell: Arc<Mutex<Option<Farewell>>>,
}

/// Looks after the workers, if there are any, from now on. If the program was started again, waits
/// until all are back; until the second value is dropped, requests get the reason.
pub(super) fn keep(
    workers: &[String],
    address: SocketAddr,
) -> anyhow::Result<(Keeper, Option<Waiting>)> {
    let keeper = Keeper {
        address: Arc::new(Mutex::new(address)),
        farewell: Arc::default(),
    };
    if workers.is_empty() {
        return Ok((keeper, None));
    }
    let mut waiting = None;
    if let Ok(reason) = std::env::var(AGAIN) {
        let open = Waiting::open(address, &format!("{reason}; waiting for it"))?;
        wait_for(workers);
        open.say("all workers are back; the model is being loaded");
        tell_line!("all workers are back");
        waiting = Some(open);
    }
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    rpc::on_lost(move |reason| {
        let tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
        // The keeper ends with the process only.
        let _ = tell.send(reason.to_owned());
    });
    let (address, farewell) = (keeper.address.clone(), keeper.farewell.clone());
    std::thread::spawn(move || {
        let reason = next_loss(&told);
        tell_line!("error: {reason}; waiting for it");
        let farewell = farewell
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if farewell.is_some_and(|farewell| !farewell(&reason)) {
            // It was to end, and cannot end as usual: nobody frees the model.
            std::process::exit(0);
        }
        let address = *address.lock().unwrap_or_else(PoisonError::into_inner);
        let error = start_again(address, &reason);
        tell_line!("error: cannot start again: {error}");
        std::process::exit(1);
    });
    Ok((keeper, waiting))
}

/// Waits until a worker is lost.
fn next_loss(told: &Receiver<String>) -> String {
    loop {
        match told.recv_timeout(PAUSE) {
            Ok(reason) => return reason,
            Err(RecvTimeoutError::Timeout) => rpc::look_after_workers(),
            Err(RecvTimeoutError::Disconnected) => std::thread::park(),
        }
    }
}

/// Waits until every worker answers.
fn wait_for(workers: &[String]) {
    while workers.iter().any(|worker| rpc::ask(worker).is_err()) {
        std::thread::sleep(PAUSE);
    }
}

/// Starts this program again in its process, on the same port. Returns only if that fails.
fn start_again(address: SocketAddr, reason: &str) -> anyhow::Error {
    use std::os::unix::process::CommandExt;

    rpc::let_go();
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error.into(),
    };
    let mut args = std::env::args_os();
    let mut again = std::process::Command::new(program);
    if let Some(name) = args.next() {
        again.arg0(name);
    }
    again.args(args).arg(format!("--port={}", address.port()));
    user_error(again.env(AGAIN, reason).exec().to_string())
}

impl Keeper {
    /// The server takes requests. They are ended, and the texts of earlier ones saved, before the
    /// program starts again.
    pub(super) fn served(
        &self,
        address: SocketAddr,
        handle: Handle,
        save: impl FnOnce() -> Result<(), TokenFileError> + Send + 'static,
    ) {
        rpc::keep_alive();
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
        let farewell: Farewell = Box::new(move |reason| {
            let goes_on = handle.lose_engine(reason);
            if let Err(error) = save() {
                tell_line!("note: {}", hints::describe(&error));
            }
            goes_on
        });
        *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) = Some(farewell);
    }
}
