//! `watertight run`, run as a program, and what the program says, word for word.

#[cfg(target_os = "linux")]
mod at_terminal_unix;
#[cfg(target_os = "linux")]
mod background_unix;
#[path = "../harness/mod.rs"]
mod harness;
#[cfg(target_os = "linux")]
mod run_cgroup_unix;
mod run_command;
#[cfg(unix)]
mod run_command_unix;
#[cfg(target_os = "linux")]
mod run_ends_unix;
#[cfg(target_os = "linux")]
mod run_inherits_unix;
#[cfg(target_os = "linux")]
mod run_not_started_unix;
#[cfg(target_os = "linux")]
mod run_outputs_unix;
#[cfg(target_os = "linux")]
mod run_signals_unix;
#[cfg(target_os = "linux")]
mod run_tty_unix;
mod snapshots;
