//! `logitspec devices`: what this build can compute on.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::exit::Outcome;
use crate::cli::stdout::{print_json, stdout};
use crate::runtime::llama::{Device, visible_devices};

/// List the devices that this build sees, with their memory
///
/// --device takes their names, and --override-tensor those of their memory.
#[derive(Debug, Args)]
pub(super) struct DevicesArgs {
    /// Workers on other machines, whose devices to list, too
    #[cfg(feature = "rpc")]
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,...")]
    rpc: Vec<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DevicesArgs) -> anyhow::Result<Outcome> {
    #[cfg(feature = "rpc")]
    crate::runtime::llama::rpc::add_workers(&args.rpc)?;
    let devices = visible_devices();
    if args.json {
        let devices: Value = devices.iter().map(object).collect();
        print_json(&json!({ "devices": devices }))?;
        return Ok(Outcome::Done);
    }
    let mut out = stdout();
    writeln!(
        out,
        "{:<10} {:<14} {:>20}  description",
        "name", "kind", "free of all (MiB)"
    )?;
    for it in devices {
        let memory = format!("{} of {}", mib(it.memory_free), mib(it.memory_total));
        writeln!(
            out,
            "{:<10} {:<14} {memory:>20}  {}",
            it.name,
            it.kind.name(),
            it.description
        )?;
    }
    Ok(Outcome::Done)
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

fn object(device: &Device) -> Value {
    json!({
        "name": device.name,
        "kind": device.kind.name(),
        "description": device.description,
        "memory": device.buffer,
        "memory_free": device.memory_free,
        "memory_total": device.memory_total,
    })
}
