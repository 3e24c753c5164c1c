//! Builds the core where there is no operating system: `#![no_std]` alone does not prove that nothing of std is used.

use crate::machine::{self, Machine, NIGHTLY};
use std::path::Path;

/// Any one of them proves it.
pub(crate) const TARGETS: [&str; 2] = ["x86_64-unknown-none", "thumbv7em-none-eabi"];

/// The arguments to cargo, or why it cannot be done here.
pub(crate) fn plan(machine: &Machine) -> Result<Vec<String>, String> {
    let installed = TARGETS
        .into_iter()
        .find_map(|target| Some((machine.toolchain_for(target)?, target)));
    let (toolchain, target, extra) = match installed {
        Some((toolchain, target)) => (toolchain, target, None),
        None if machine.has_library_source => (NIGHTLY, TARGETS[0], Some("-Zbuild-std=core,alloc")),
        None => {
            return Err(format!(
                "no target of {} installed, and no nightly with library sources to build one",
                TARGETS.join(", ")
            ));
        }
    };
    let arguments = [
        toolchain,
        "build",
        "-p",
        "watertight-core",
        // The feature `std` is what a bare machine cannot have.
        "--no-default-features",
        "--target",
        target,
        "--target-dir",
        "target/bare-metal",
    ];
    let arguments = arguments.into_iter().chain(extra);
    Ok(arguments
        .filter(|a| !a.is_empty())
        .map(str::to_owned)
        .collect())
}

/// The command `bare-metal`.
pub(crate) fn run(root: &Path) -> Result<bool, String> {
    match plan(&Machine::new(root)?) {
        Ok(arguments) => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            machine::cargo(root, &arguments)
        }
        Err(reason) => {
            println!("skipped: bare-metal: {reason}");
            Ok(true)
        }
    }
}
