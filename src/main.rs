//! The command `logitspec`.

use std::process::ExitCode;

fn main() -> ExitCode {
    logitspec::cli::main()
}
