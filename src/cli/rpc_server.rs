//! `logitspec rpc-server`: lends this machine's devices to other machines.

use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::cli::cost;
use crate::cli::exit::{Outcome, user_error};
use crate::runtime::llama::rpc::work;
use crate::runtime::llama::{Device, DeviceKind, visible_devices};

/// Lend this machine's devices to logitspec or llama.cpp on another one
///
/// There, --rpc HOST:PORT puts layers on them. It serves one client at a time. The protocol knows
/// no password and no encryption: let only machines you trust reach the port. See docs/scaling.md.
///
/// Examples:
///   logitspec rpc-server --host 10.0.0.2
///   logitspec serve -m model.gguf --rpc 10.0.0.2:50052,10.0.0.3:50052
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct RpcServerArgs {
    /// IPv4 address to listen on
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST, value_name = "ADDRESS")]
    host: Ipv4Addr,

    /// Port to listen on
    #[arg(
        long,
        default_value_t = 50052,
        value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    port: u16,

    /// Devices to lend [default: all GPUs, or else the CPU]
    #[arg(
        long,
        visible_alias = "dev",
        value_delimiter = ',',
        value_name = "DEVICE,..."
    )]
    device: Vec<String>,

    /// Number of threads of the CPU [default: one per core]
    #[arg(
        short = 't',
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=512)
    )]
    threads: Option<u32>,

    /// Keep large tensors on disk, so that they are sent only once
    #[arg(short = 'c', long)]
    cache: bool,

    /// Print llama.cpp's log to standard error
    #[arg(short = 'v', long)]
    verbose: bool,

    /// Print one JSON object with the address once clients can connect
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &RpcServerArgs) -> anyhow::Result<Outcome> {
    crate::runtime::llama::set_verbose(args.verbose);
    let devices = args.devices()?;
    let cache = args.cache.then(cache_folder).transpose()?;
    if !args.host.is_loopback() {
        tell_line!(
            "warning: whoever reaches {}:{} may read and write this process's memory: the protocol \
             has no authentication",
            args.host,
            args.port
        );
    }
    let address = (args.host, args.port);
    let asked_for_json = args.json;
    // llama.cpp prints to standard output what belongs on the other.
    let json = rustix::io::dup(std::io::stdout());
    rustix::stdio::dup2_stdout(std::io::stderr())?;
    std::thread::spawn(move || tell_ready(address, json.ok().filter(|_| asked_for_json)));
    Err(work(
        args.host,
        args.port,
        &devices,
        args.threads,
        cache.as_deref(),
    )
    .into())
}

/// Says so once the worker takes clients.
fn tell_ready((host, port): (Ipv4Addr, u16), json: Option<std::os::fd::OwnedFd>) {
    while TcpStream::connect((host, port)).is_err() {
        std::thread::sleep(Duration::from_millis(50));
    }
    if let Some(stdout) = json {
        use std::io::Write;
        let line = json!({"address": format!("{host}:{port}")});
        // Whoever closed the pipe does not want to know.
        let _ = writeln!(std::fs::File::from(stdout), "{line}");
    }
    tell_line!("listening on {host}:{port}");
}

/// Where tensors are kept.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let folder = cost::folder().map(|folder| folder.join("rpc"));
    let folder = folder.ok_or_else(|| {
        user_error("--cache: there is no cache folder: set LOGITSPEC_CACHE to one")
    })?;
    std::fs::create_dir_all(&folder).map_err(|error| {
        let shown = folder.display();
        user_error(format!(
            "--cache: cannot make {shown}: {error}; set LOGITSPEC_CACHE"
        ))
    })?;
    Ok(folder)
}

impl RpcServerArgs {
    fn devices(&self) -> anyhow::Result<Vec<Device>> {
        let all = visible_devices();
        if self.device.is_empty() {
            let (cpu, others): (Vec<_>, Vec<_>) = all
                .into_iter()
                .filter(|it| it.kind != DeviceKind::Accelerator)
                .partition(|it| it.kind == DeviceKind::Cpu);
            return Ok(if others.is_empty() { cpu } else { others });
        }
        let named = |name: &String| {
            let found = all.iter().find(|it| it.name.eq_ignore_ascii_case(name));
            found.cloned().ok_or_else(|| {
                let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
                let names = names.join(", ");
                user_error(format!(
                    "--device {name:?} is not here: choose from {names}"
                ))
            })
        };
        self.device.iter().map(named).collect()
    }
}
