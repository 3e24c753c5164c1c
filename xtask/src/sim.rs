//! Starts the simulator. What it simulates, and its arguments, are the simulator's own business; the seed of a run without
//! one is the commit.

use crate::machine;
use std::path::Path;

/// The command `sim`.
pub(crate) fn run(root: &Path, rest: &[String]) -> Result<bool, String> {
    let commit = machine::answer("git", &["rev-parse", "HEAD"]).unwrap_or_default();
    let commit = commit.trim();
    let mut arguments = vec!["run", "--release", "-p", "watertight-sim", "--"];
    if !commit.is_empty() {
        arguments.extend(["--commit", commit]);
    }
    arguments.extend(rest.iter().map(String::as_str));
    machine::cargo(root, &arguments)
}
