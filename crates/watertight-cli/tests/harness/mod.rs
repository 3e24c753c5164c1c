//! Runs the real program and looks at its report. Every report that passes here balances.
#![allow(clippy::unwrap_used, reason = "it is only called by tests")]
#![allow(dead_code, reason = "each test file uses its part")]

#[cfg(target_os = "linux")]
pub(crate) mod strace;
#[cfg(target_os = "linux")]
pub(crate) mod terminal;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program under test.
pub(crate) const EXE: &str = env!("CARGO_BIN_EXE_watertight");

/// `watertight copy --report json` with further arguments and no input.
pub(crate) fn copy<I: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(EXE);
    command.args(["copy", "--report", "json"]).args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) fn run<I: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = I>) -> Run {
    Run::of(copy(arguments).output().unwrap())
}

/// What a run left.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) report: Value,
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{stderr}");
        let json = stderr.lines().rfind(|line| line.starts_with('{'));
        let report = json.map_or(Value::Null, |json| serde_json::from_str(json).unwrap());
        let run = Self {
            code: output
                .status
                .code()
                .unwrap_or_else(|| panic!("{:?}: {stderr}", output.status)),
            stdout: output.stdout,
            stderr,
            report,
        };
        if !run.report.is_null() {
            check(&run.report);
            assert_eq!(run.report["exit_code"], run.code, "{}", run.report);
        }
        run
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.stderr);
        self
    }

    pub(crate) fn destination(&self, index: usize) -> &Value {
        &self.report["destinations"][index]
    }

    /// A destination's counter.
    pub(crate) fn count(&self, index: usize, counter: &str) -> u64 {
        number(self.destination(index), counter)
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        number(&self.report["sources"][0], "bytes_read")
    }
}

/// Every account balances, and what was read is accounted for at every destination.
#[track_caller]
pub(crate) fn check(report: &Value) {
    let read = number(&report["sources"][0], "bytes_read");
    for one in report["destinations"].as_array().unwrap() {
        let parts = [
            "queued",
            "in_flight",
            "transferred",
            "discarded",
            "in_doubt",
        ];
        let sum: u64 = parts.iter().map(|part| number(one, part)).sum();
        assert_eq!(number(one, "accepted"), sum, "{report}");
        // What a seal adds is accepted and was never read. What a partial had was read, and compared instead of written.
        let seal_bytes = number(one, "seal_bytes");
        let verified = number(one, "verified_bytes");
        assert_eq!(
            number(one, "accepted") + number(one, "not_accepted") + verified,
            read + seal_bytes,
            "{report}"
        );
        let resumed_at = one["resumed_at"].as_u64().unwrap_or(0);
        assert!(verified <= resumed_at, "{report}");
        if report["exit_code"] == 0 {
            assert_eq!(verified, resumed_at, "{report}");
            assert_eq!(number(one, "not_accepted"), 0, "{report}");
        }
        let is_begun = one["sealed"] == true && number(one, "accepted") > 0;
        assert_eq!(seal_bytes > 0, is_begun, "{report}");
        if one["sealed"] == true && one["ending"] == "finished" {
            // The beginning, a head for each frame, and an end mark or the word that the stream is cut.
            assert!(seal_bytes >= 8 + 5, "{report}");
        }
    }
}

#[track_caller]
pub(crate) fn number(value: &Value, name: &str) -> u64 {
    value[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// Bytes with a pattern that shows whatever is lost, doubled or swapped.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).to_le_bytes()[0])
        .collect()
}

/// An address of a path: its commas are doubled.
pub(crate) fn file(path: &Path) -> String {
    format!("file:{}", path.to_str().unwrap().replace(',', ",,"))
}

/// Where a destination's file is written until it is whole.
pub(crate) fn partial(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// An `exec:` address of the program itself.
pub(crate) fn itself(arguments: &str) -> String {
    format!("exec:\"{EXE}\" {arguments}").replace(',', ",,")
}

/// A folder that goes away with everything in it, and a file of `len` bytes in it.
pub(crate) fn folder_with(len: usize) -> (tempfile::TempDir, std::path::PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let bytes = pattern(len);
    std::fs::write(&source, &bytes).unwrap();
    (folder, source, bytes)
}

/// Whether a shell finds this program.
#[cfg(unix)]
pub(crate) fn is_installed(tool: &str) -> bool {
    let line = format!("command -v {tool}");
    let asked = Command::new("sh").args(["-c", &line]).output().unwrap();
    asked.status.success()
}

/// Whether there is such a process, and it is not dead already.
#[cfg(target_os = "linux")]
pub(crate) fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}

/// Every signal that ends a process which has set nothing for it (signal(7); most machines have these numbers), but for SIGKILL, for what tells
/// a fault, and for what a failed write raises. Those that are ignored here, as under nohup, are left out: the program ignores them, too.
#[cfg(target_os = "linux")]
pub(crate) fn ending_signals() -> Vec<i32> {
    // The C library has the first ones for itself.
    let first_real_time = if cfg!(target_env = "musl") { 35 } else { 34 };
    let named = [1, 2, 3, 10, 12, 14, 15, 16, 24, 26, 27, 29, 30];
    let mut all: Vec<i32> = named.into_iter().chain(first_real_time..=64).collect();
    all.retain(|signal| !watertight::is_signal_ignored(*signal));
    all
}

/// A mask of these signals, as /proc shows it: the first signal's bit is the lowest.
#[cfg(target_os = "linux")]
pub(crate) fn mask(signals: &[i32]) -> u64 {
    signals
        .iter()
        .fold(0, |mask, signal| mask | (1_u64 << (signal - 1)))
}

/// The signals that the process with this status in /proc blocks.
#[cfg(target_os = "linux")]
pub(crate) fn blocked(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
}

/// Has a shell say which signals it blocks. (Some shells block none any more once they have started somebody.)
#[cfg(target_os = "linux")]
pub(crate) const SAY_BLOCKED: &str =
    "while read -r line; do case $line in SigBlk*) echo $line;; esac; done </proc/self/status";

/// Starts it with these signals blocked.
#[cfg(target_os = "linux")]
pub(crate) fn spawn_with_blocked(command: &mut Command, signals: &[i32]) -> std::process::Child {
    // Whoever is started has the mask of the thread that starts it.
    std::thread::scope(|scope| {
        let started = scope.spawn(|| {
            watertight::block_signals(signals);
            command.spawn().unwrap()
        });
        started.join().unwrap()
    })
}

/// How it ended. One that hangs is killed, and the test fails.
#[cfg(target_os = "linux")]
pub(crate) fn wait_with_patience(child: &mut std::process::Child) -> std::process::ExitStatus {
    let begun = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() >= terminal::PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it hangs");
        }
        std::thread::yield_now();
    }
}

/// Sends it these signals, and lets it hear none of them before all are there.
#[cfg(target_os = "linux")]
pub(crate) fn send_at_once(child: &std::process::Child, signals: &[&str]) {
    let pid = child.id().to_string();
    let send = |signal: &str| {
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    };
    send("-STOP");
    let stat = format!("/proc/{pid}/stat");
    terminal::until("the stop", || {
        std::fs::read_to_string(&stat).unwrap().contains(") T ")
    });
    signals.iter().for_each(|signal| send(signal));
    send("-CONT");
}

/// Asks it to end again and again, until it has ended. What comes at once with a request is a part of it: another one is heard later.
#[cfg(unix)]
pub(crate) fn insist(child: &mut std::process::Child) -> std::process::ExitStatus {
    let begun = std::time::Instant::now();
    let pid = child.id().to_string();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() >= std::time::Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it hangs");
        }
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
    }
}

/// `watertight copy --report json` in this folder, as a user who may do there what everybody may. None: that cannot be had, and the reason
/// is told.
#[cfg(target_os = "linux")]
pub(crate) fn copy_as_nobody(folder: &Path) -> Option<Command> {
    let nobody = || {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(EXE)
            .current_dir(folder)
            .stdin(Stdio::null());
        command
    };
    let asked = nobody().arg("--version").output();
    if !asked.is_ok_and(|asked| asked.status.success()) {
        println!("skipped: the program cannot be run as another user by us");
        return None;
    }
    let mut command = nobody();
    command.args(["copy", "--report", "json"]);
    Some(command)
}
