//! Starts the simulator. What it simulates, and its arguments, are the simulator's own business.

use crate::machine;
use std::path::Path;

/// Where the simulator is, once there is one.
pub(crate) const FOLDER: &str = "crates/watertight-sim";

/// The command `sim`.
pub(crate) fn run(root: &Path, rest: &[String]) -> Result<bool, String> {
    if !root.join(FOLDER).is_dir() {
        println!("skipped: sim: no simulator in the tree yet");
        return Ok(true);
    }
    let mut arguments = vec!["run", "--release", "-p", "watertight-sim", "--"];
    arguments.extend(rest.iter().map(String::as_str));
    machine::cargo(root, &arguments)
}
