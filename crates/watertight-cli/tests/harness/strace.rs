//! strace: makes calls of the program fail, and writes down which ones it made.

use super::EXE;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether there is a strace that may trace and knows what is asked of it here. If not, says that the test is skipped.
pub(crate) fn may_trace() -> bool {
    let mut trial = Command::new("strace");
    trial
        .args(["-f", "-qq", "-y", "-o", "/dev/null"])
        .args(["-e", "trace=?rename,fsync", "-P", "/"])
        .args(["-e", "inject=?rename,fsync:error=EIO:when=1", "true"]);
    let is_there = trial.output().is_ok_and(|output| output.status.success());
    if !is_there {
        println!("skipped: there is no strace that may trace");
    }
    is_there
}

/// `watertight copy --report json` under strace, which writes the calls with these names to `log`; `?NAME`: if there is such a call
/// on this machine. A fault is `CALLS:error=CODE`, or `CALLS:error=CODE:when=N` for the N-th call of a thread only. `about`: nothing
/// but calls about these paths.
pub(crate) fn copy(log: &Path, calls: &str, faults: &[&str], about: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-o"]).arg(log);
    command.args(["-e", &format!("trace={calls}")]);
    for fault in faults {
        command.args(["-e", &format!("inject={fault}")]);
    }
    for path in about {
        command.args(["-P", path]);
    }
    command.args([EXE, "copy", "--report", "json"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// How many calls strace let fail.
pub(crate) fn failed(log: &Path) -> usize {
    let log = std::fs::read_to_string(log).unwrap();
    log.matches("(INJECTED)").count()
}
