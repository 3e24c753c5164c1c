//! Systems without anonymous pipes of the Unix kind: there is nothing to compare yet, and this says so.

use std::process::ExitCode;

pub(crate) fn run() -> ExitCode {
    eprintln!(
        "watertight-bench: on {} there is nothing to compare yet",
        std::env::consts::OS
    );
    ExitCode::FAILURE
}
