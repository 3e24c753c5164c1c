//! The command's own control group: whoever left its session and lost its parent is ended with it, and only then.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::harness::terminal::Session;
use crate::harness::{EXE, is_running};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A daemon that is not ended by SIGTERM. It forks twice, has a session of its own and all its streams elsewhere. The command says its number.
const DAEMON: &str = r#"rm -f said; mkfifo said
sh -c 'setsid sh -c "trap \"\" TERM; echo \$\$ >said; exec sleep 1000" </dev/null >/dev/null 2>&1 &'
read -r daemon <said; echo "$daemon""#;

/// Its death takes no longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of a run.
struct Run {
    output: Output,
    report: Value,
    /// The daemon's number.
    daemon: String,
    /// The folders of control groups that it has left.
    groups: Vec<PathBuf>,
}

/// Runs a shell that starts the daemon and goes on with this. In a session of its own: no terminal has a say in the command's group.
fn run(options: &[&str], behind: &str, own: &Path) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("setsid");
    command
        .args([EXE, "run", "--report", "json"])
        .args(options)
        .args(["--", "sh", "-c", &format!("{DAEMON}; {behind}")])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // As long as it leads no group, setsid runs the program in its own place.
    let ours = format!("-{}-", child.id());
    let output = child.wait_with_output().unwrap();
    let entries = fs::read_dir(own).unwrap();
    let mut groups: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    groups.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("watertight-") && name.contains(&ours)
    });
    let report = String::from_utf8(output.stderr.clone()).unwrap();
    let daemon = String::from_utf8(output.stdout.clone()).unwrap();
    Run {
        report: serde_json::from_str(report.trim()).unwrap(),
        daemon: daemon.trim().to_owned(),
        output,
        groups,
    }
}

/// Our control group. None, and the reason is printed: none can be made in it.
fn own_group() -> Option<PathBuf> {
    let own = try_own_group();
    own.inspect_err(|reason| println!("skipped: {reason}")).ok()
}

fn try_own_group() -> Result<PathBuf, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (groups, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let is_whole = |line: &&str| line.contains(" / /") && line.contains(" - cgroup2 ");
    let mount = mounts.lines().find(is_whole);
    let mount = mount.and_then(|line| line.split(' ').nth(4));
    let (Some(group), Some(mount)) = (group, mount) else {
        return Err("the second version of control groups is not mounted".to_owned());
    };
    let own = PathBuf::from(format!("{mount}{group}"));
    // Several tests ask at once.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let trial = own.join(format!("trial-{process}-{number}"));
    fs::create_dir(&trial)
        .map_err(|error| format!("no group can be made in {}: {error}", own.display()))?;
    let is_domain = fs::read_to_string(trial.join("cgroup.type")).unwrap() == "domain\n";
    let has_kill = trial.join("cgroup.kill").exists();
    fs::remove_dir(&trial).unwrap();
    if is_domain && has_kill {
        Ok(own)
    } else {
        Err(format!("a group in {} cannot be killed", own.display()))
    }
}

fn kill(pid: &str) {
    let sent = Command::new("kill").args(["-KILL", pid]).status().unwrap();
    assert!(sent.success());
    let by = Instant::now() + PATIENCE;
    while is_running(pid) && Instant::now() < by {
        std::thread::yield_now();
    }
    assert!(!is_running(pid));
}

fn is_in(report: &Value, list: &str, pid: &str) -> bool {
    let mut list = report[list].as_array().unwrap().iter();
    list.any(|one| {
        one["pid"]
            .as_u64()
            .is_some_and(|number| number.to_string() == pid)
    })
}

/// Without a group of the command's own nothing leads to it.
#[test]
fn a_daemon_is_asked_at_the_deadline_and_killed_after_the_grace() {
    let Some(own) = own_group() else { return };
    for is_apart in [true, false] {
        let mut options = vec!["--within", "5s", "--grace", "100ms"];
        if !is_apart {
            options.push("--no-cgroup");
        }
        let ended = run(&options, "exec sleep 1000", &own);
        let (report, daemon) = (&ended.report, &ended.daemon);
        assert_eq!(ended.output.status.code(), Some(124), "{report}");
        assert_eq!(report["has_cgroup"], is_apart, "{report}");
        for list in ["asked", "killed"] {
            assert_eq!(is_in(report, list, daemon), is_apart, "{daemon}: {report}");
        }
        for list in ["left", "errors"] {
            assert_eq!(report[list].as_array().unwrap().len(), 0, "{report}");
        }
        assert_eq!(is_running(daemon), !is_apart);
        if !is_apart {
            kill(daemon);
        }
        assert!(ended.groups.is_empty(), "{:?}", ended.groups);
    }
}

/// In a terminal's foreground it is in our process group, where others may be as well: the control group tells whose it is.
#[test]
fn an_orphan_in_our_group_is_ended_at_the_deadline_whatever_it_holds() {
    if own_group().is_none() {
        return;
    }
    let command = r#"(sleep 1000 & echo "orphan $!"); sleep 1000"#;
    let script = r#"watertight run --within 5s --grace 100ms --report text -- sh -c "$C"
        echo "code $?"; read -r line"#;
    let session = Session::start("sh", Path::new("."), script, command);
    session.shows("orphan ");
    let pid = session.shows("\r\n").trim().to_owned();
    let told = session.shows("code 124\r\n");
    let are_missed = told.contains("not ended") || told.contains("not seen");
    assert!(!are_missed && !is_running(&pid), "{told}");
    session.types(b"\n");
    assert_eq!(session.code(), Some(0));
}

/// Its group stays as long, and the next run removes it.
#[test]
fn a_daemon_outlives_a_command_that_ends_by_itself() {
    let Some(own) = own_group() else { return };
    let ended = run(&["--within", "1000s"], "exit 3", &own);
    assert_eq!(ended.output.status.code(), Some(3), "{}", ended.report);
    assert_eq!(ended.report["has_cgroup"], true);
    assert!(is_running(&ended.daemon));
    assert_eq!(ended.groups.len(), 1);
    kill(&ended.daemon);
    let next = Command::new(EXE)
        .args(["run", "--within", "1h", "--", "true"])
        .status();
    assert!(next.unwrap().success());
    assert!(!ended.groups[0].exists());
}
