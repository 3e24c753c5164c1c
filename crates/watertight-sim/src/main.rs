//! Runs the simulator: seeds, the fault loop, one of either again. `cargo xtask sim` starts it.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(unix),
    allow(
        unused_crate_dependencies,
        reason = "it needs the tables of both systems"
    )
)]

#[cfg(unix)]
mod command;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    command::main()
}

#[cfg(not(unix))]
fn main() -> std::process::ExitCode {
    println!(
        "skipped: the simulator judges by the tables of both systems, and one of them is Unix's own"
    );
    std::process::ExitCode::SUCCESS
}
