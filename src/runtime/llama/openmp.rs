//! How long OpenMP's threads spin while they wait for each other.
//!
//! llama.cpp's threads wait for each other several hundred times a pass. GCC's OpenMP lets them
//! spin for about a millisecond before they sleep. Beside another busy program, a thread that spins
//! keeps the core from the thread that it waits for, and a pass takes ten times as long or more.
//!
//! OpenMP reads its settings when the library is loaded, before `main`. So the program sets them
//! and starts itself again.

use std::process::Command;

/// The setting that bounds the spinning of GCC's OpenMP.
const SPIN_COUNT: &str = "GOMP_SPINCOUNT";

/// Rounds to spin. Fewer cost speed on an idle machine, more cost it beside other programs (see
/// docs/performance.md).
const ROUNDS: &str = "1000";

/// Bounds the spinning, unless the user has said how threads wait: starts this program again in the
/// same process, with the setting. Returns if there is nothing to do, or if that fails.
///
/// Call it first of all in `main`: what the program has read and opened by then is lost.
pub fn bound_spinning() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::os::unix::process::CommandExt;

        let set = |name| std::env::var_os(name).is_some();
        if set(SPIN_COUNT) || set("OMP_WAIT_POLICY") {
            return;
        }
        let Ok(program) = std::env::current_exe() else {
            return;
        };
        let mut args = std::env::args_os();
        let mut again = Command::new(program);
        if let Some(name) = args.next() {
            again.arg0(name);
        }
        // It does not return unless it fails, and then the program goes on, slower at worst.
        let _ = again.args(args).env(SPIN_COUNT, ROUNDS).exec();
    }
}

/// Starts `command` as the user's shell would: without the setting of [`bound_spinning`].
pub fn leave_spinning_alone(command: &mut Command) {
    if std::env::var_os(SPIN_COUNT).is_some_and(|rounds| rounds == ROUNDS) {
        command.env_remove(SPIN_COUNT);
    }
}
