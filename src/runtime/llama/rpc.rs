//! Workers: devices of other machines, through llama.cpp's RPC backend.
//!
//! The backend ends the process where a worker is not as it must be: where it cannot be reached,
//! where it speaks another version, and where it goes away. So workers are asked first, by
//! [`add_workers`]. What goes away later is caught in the abort handler. llama.cpp cannot go on
//! then, but the process can: see [`on_lost`].
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_void};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{BorrowedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use llama_cpp_sys_2 as sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{getpeername, sockopt};

use crate::runtime::llama::devices::{Device, handle};
use crate::runtime::llama::{kernels, model};

/// How long a worker may take to answer the first question.
const PATIENCE: Duration = Duration::from_secs(5);

/// The version of the protocol, major and minor (`ggml-rpc.h`).
const VERSION: (u8, u8) = (7, 0);

/// The workers in use: what the user called each, and where it is.
static WORKERS: Mutex<Vec<(String, SocketAddr)>> = Mutex::new(Vec::new());

/// Why a worker cannot be used, or cannot work.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// This program has no such backend.
    #[error("this build has no RPC backend: build it with the feature rpc")]
    NotBuilt,
    /// No address.
    #[error("{address:?} is no address of a worker: give HOST:PORT, with a name or IPv4 address")]
    Address {
        /// What was given.
        address: String,
    },
    /// Twice the same.
    #[error("the worker {address} is named twice")]
    Twice {
        /// Its address.
        address: String,
    },
    /// Nobody listens there.
    #[error("cannot reach the worker {address}: {error}; start it with logitspec rpc-server")]
    Unreachable {
        /// Its address.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// It accepts the connection, but says nothing.
    #[error(
        "the worker {address} does not answer: it serves one client at a time, and may have another"
    )]
    Busy {
        /// Its address.
        address: String,
    },
    /// Something else listens there.
    #[error("what listens on {address} is no worker of llama.cpp's RPC backend")]
    NoWorker {
        /// Its address.
        address: String,
    },
    /// Another llama.cpp.
    #[error(
        "the worker {address} speaks version {}.{} of the protocol, but this program {}.{}: build \
         both from the same sources", theirs.0, theirs.1, VERSION.0, VERSION.1
    )]
    Version {
        /// Its address.
        address: String,
        /// Its version.
        theirs: (u8, u8),
    },
    /// It has nothing to compute on.
    #[error("the worker {address} has no devices")]
    NoDevices {
        /// Its address.
        address: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// The worker's server ended.
    #[error("llama.cpp's RPC server ended")]
    Ended,
}

/// Makes the devices of the workers at these addresses visible, in this order.
///
/// # Errors
/// If one of them cannot be used.
pub fn add_workers(addresses: &[String]) -> Result<(), RpcError> {
    let add: AddServer = procedure(c"ggml_backend_rpc_add_server")?;
    for (index, address) in addresses.iter().enumerate() {
        if addresses[..index].contains(address) {
            let address = address.clone();
            return Err(RpcError::Twice { address });
        }
        let at = ask(address)?;
        if workers().iter().any(|(_, other)| *other == at) {
            let address = address.clone();
            return Err(RpcError::Twice { address });
        }
        let unusable = || RpcError::Address {
            address: address.clone(),
        };
        let endpoint = CString::new(address.as_str()).map_err(|_| unusable())?;
        workers().push((address.clone(), at));
        // SAFETY: It is the function of that name, and copies the address.
        let registry = unsafe { add(endpoint.as_ptr()) };
        if registry.is_null() {
            let address = address.clone();
            return Err(RpcError::NoDevices { address });
        }
        // SAFETY: The registry stays, as ggml wants it.
        unsafe { sys::ggml_backend_register(registry) };
    }
    Ok(())
}

/// Asks a worker for its version. Returns where it is.
///
/// # Errors
/// If it does not answer, or cannot be used.
pub fn ask(address: &str) -> Result<SocketAddr, RpcError> {
    /// `RPC_CMD_HELLO`, the length of what follows, and no capabilities.
    const HELLO: [u8; 33] = {
        let mut hello = [0; 33];
        hello[0] = 14;
        hello[1] = 24;
        hello
    };
    /// The length of what follows, the version in three numbers, and capabilities.
    const ANSWER: usize = 8 + 4 + 24;

    let at = resolve(address)?;
    let address = address.to_owned();
    let mut stream = match TcpStream::connect_timeout(&at, PATIENCE) {
        Ok(stream) => stream,
        Err(error) => return Err(RpcError::Unreachable { address, error }),
    };
    let mut answer = [0; ANSWER];
    let asked = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.write_all(&HELLO))
        .and_then(|()| stream.read_exact(&mut answer));
    match asked {
        Ok(()) if answer[..8] == 28_u64.to_le_bytes() => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ) =>
        {
            return Err(RpcError::Busy { address });
        }
        _ => return Err(RpcError::NoWorker { address }),
    }
    match (answer[8], answer[9]) {
        theirs if theirs.0 == VERSION.0 && theirs.1 <= VERSION.1 => Ok(at),
        theirs => Err(RpcError::Version { address, theirs }),
    }
}

/// As llama.cpp does: IPv4 only.
fn resolve(address: &str) -> Result<SocketAddr, RpcError> {
    let wrong = || RpcError::Address {
        address: address.into(),
    };
    let (host, port) = address.split_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let mut found = (host, port).to_socket_addrs().map_err(|_| wrong())?;
    found.find(SocketAddr::is_ipv4).ok_or_else(wrong)
}

type AddServer = unsafe extern "C" fn(*const c_char) -> sys::ggml_backend_reg_t;
type StartServer =
    unsafe extern "C" fn(*const c_char, *const c_char, usize, usize, *mut sys::ggml_backend_dev_t);

/// A function of the RPC backend. `F` is the type of the function of that name.
fn procedure<F>(name: &std::ffi::CStr) -> Result<F, RpcError> {
    model::backend();
    // SAFETY: Both take C strings. Without the backend, the first one returns null.
    let found = unsafe {
        let registry = sys::ggml_backend_reg_by_name(c"RPC".as_ptr());
        match registry.is_null() {
            true => std::ptr::null_mut(),
            false => sys::ggml_backend_reg_get_proc_address(registry, name.as_ptr()),
        }
    };
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    match found.is_null() {
        true => Err(RpcError::NotBuilt),
        // SAFETY: The caller names the type of the function.
        false => Ok(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&found) }),
    }
}

/// Works for clients that connect to an address, one at a time, on these devices. Returns only if
/// it fails. Prints to standard output.
pub fn work(
    host: Ipv4Addr,
    port: u16,
    devices: &[Device],
    threads: Option<u32>,
    cache: Option<&Path>,
) -> RpcError {
    let address = format!("{host}:{port}");
    if let Err(error) = std::net::TcpListener::bind((host, port)) {
        return RpcError::Listen { address, error };
    }
    let start: StartServer = match procedure(c"ggml_backend_rpc_start_server") {
        Ok(start) => start,
        Err(error) => return error,
    };
    // As in a process of its own: the answers of a model are then the same.
    kernels::llama_only_or_init(false);
    kernels::batch_invariant_or_init(true);
    let endpoint = CString::new(address).unwrap_or_default();
    let cache = cache.and_then(|path| CString::new(path.as_os_str().as_encoded_bytes()).ok());
    let cache = cache
        .as_ref()
        .map_or(std::ptr::null(), |path| path.as_ptr());
    let mut devices: Vec<_> = devices.iter().map(|device| handle(device.index)).collect();
    let threads = threads.unwrap_or_else(model::cores) as usize;
    // SAFETY: All pointers are valid for the call, which ends when the server does.
    unsafe {
        start(
            endpoint.as_ptr(),
            cache,
            threads,
            devices.len(),
            devices.as_mut_ptr(),
        )
    };
    RpcError::Ended
}

/// What is told of a worker that went away.
type Told = Box<dyn Fn(&str) + Send + Sync>;
static TOLD: OnceLock<Told> = OnceLock::new();
static IS_LOST: AtomicBool = AtomicBool::new(false);

/// Lets the process live when a worker goes away, and tells `told` once. The thread that computes
/// then never returns, and nor does its model's memory: start the program again. The first call
/// counts.
pub fn on_lost(told: impl Fn(&str) + Send + Sync + 'static) {
    _ = TOLD.set(Box::new(told));
}

/// Whether llama.cpp gives up because of a worker.
pub(super) fn is_of_worker(message: &str) -> bool {
    const OF_WORKERS: [&str; 3] = ["Remote RPC server", "Failed to connect to", "RPC handshake"];
    OF_WORKERS.iter().any(|words| message.contains(words))
}

/// A worker went away. Returns what to say before the process ends, if it is to end.
pub(super) fn lost() -> String {
    if IS_LOST.swap(true, Ordering::SeqCst) {
        // Another thread says it.
        park();
    }
    let message = message_of_loss();
    let Some(told) = TOLD.get() else {
        return message;
    };
    told(&message);
    park()
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}

/// Which of the workers is gone, as far as one can tell.
fn message_of_loss() -> String {
    const MOMENT: Duration = Duration::from_millis(500);
    let all = workers().clone();
    let gone = |(_, at): &&(String, SocketAddr)| TcpStream::connect_timeout(at, MOMENT).is_err();
    let names = |them: Vec<&(String, SocketAddr)>| {
        let names: Vec<&str> = them.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    };
    match all.iter().filter(gone).collect::<Vec<_>>() {
        none if none.is_empty() => format!(
            "a worker closed the connection, one of {}; its own output may say why",
            names(all.iter().collect())
        ),
        gone => format!("the worker {} is gone", names(gone)),
    }
}

fn workers() -> std::sync::MutexGuard<'static, Vec<(String, SocketAddr)>> {
    WORKERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks whether a worker went away while nothing is computed, and if so, tells who is to be told
/// ([`on_lost`]).
pub fn look_after_workers() {
    let hung_up = connections(|socket| {
        #[cfg(target_os = "linux")]
        let closed = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        #[cfg(not(target_os = "linux"))]
        let closed = PollFlags::HUP | PollFlags::ERR;
        let mut sockets = [PollFd::from_borrowed_fd(socket, closed)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let polled = poll(&mut sockets, Some(&at_once));
        polled.is_ok() && sockets[0].revents().intersects(closed)
    });
    if hung_up.contains(&true)
        && !IS_LOST.swap(true, Ordering::SeqCst)
        && let Some(told) = TOLD.get()
    {
        told(&message_of_loss());
    }
}

/// Lets the system notice a worker's machine that is gone without a word, within half a minute.
pub fn keep_alive() {
    const IDLE: Duration = Duration::from_secs(10);
    connections(|socket| {
        // Where the system cannot do it, such a machine is waited for.
        let _ = sockopt::set_socket_keepalive(socket, true);
        #[cfg(not(target_os = "openbsd"))]
        let _ = sockopt::set_tcp_keepidle(socket, IDLE)
            .and_then(|()| sockopt::set_tcp_keepintvl(socket, IDLE / 2))
            .and_then(|()| sockopt::set_tcp_keepcnt(socket, 3));
        #[cfg(target_os = "linux")]
        let _ = sockopt::set_tcp_user_timeout(socket, 30_000);
    });
}

/// Lets go of all workers when this program is started again in its process.
pub fn let_go() {
    connections(|socket| fcntl_setfd(socket, FdFlags::CLOEXEC).is_ok());
}

/// Does something with each connection to a worker.
fn connections<T>(mut with: impl FnMut(BorrowedFd<'_>) -> T) -> Vec<T> {
    let all = workers().clone();
    let open = std::fs::read_dir("/dev/fd").into_iter().flatten();
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<RawFd> = numbers.collect();
    let mut results = Vec::new();
    for number in numbers {
        // SAFETY: It was open a moment ago. If another thread closed it since, the calls on it
        // fail, or, if it was opened again, it is no connection to a worker.
        let socket = unsafe { BorrowedFd::borrow_raw(number) };
        let peer = getpeername(socket).ok().flatten();
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        if peer.is_some_and(|peer| all.iter().any(|(_, at)| *at == peer)) {
            results.push(with(socket));
        }
    }
    results
}
