//! A control group of the child's own: nobody gets out of it, all in it are killed and named, and nothing of it is left.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::PATIENCE;
use crate::common::children::accounted;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use watertight::{
    Child, Command, Direction, EndedBy, ErrorKind, Found, Input, Limits, Output, TreeEnd,
};

/// A daemon: it forks twice, has a session of its own and all its streams elsewhere, and says its number.
const DAEMON: &str =
    r#"sh -c 'setsid sh -c "echo \$\$ >&3; exec sleep 1000 3>&-" </dev/null >/dev/null 2>&1 &'"#;

/// One that is not ended by SIGTERM.
const DEAF_DAEMON: &str = r#"sh -c 'setsid sh -c "trap \"\" TERM; echo \$\$ >&3; exec sleep 1000 3>&-" </dev/null >/dev/null 2>&1 &'"#;

const NO_GROUP: [PathBuf; 0] = [];

/// This process's own control group, in which those of its children are made. None, and the reason is printed: none can be made.
fn own_group() -> Option<PathBuf> {
    let own = try_own_group();
    own.inspect_err(|reason| println!("skipped: {reason}")).ok()
}

fn try_own_group() -> Result<PathBuf, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (groups, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let is_whole = |line: &&str| line.contains(" / /") && line.contains(" - cgroup2 ");
    let mount = mounts.lines().find(is_whole);
    let mount = mount.and_then(|line| line.split(' ').nth(4));
    let (Some(group), Some(mount)) = (group, mount) else {
        return Err("the second version of control groups is not mounted".to_owned());
    };
    let own = PathBuf::from(format!("{mount}{group}"));
    let trial = own.join(format!("trial-{}", std::process::id()));
    std::fs::create_dir(&trial)
        .map_err(|error| format!("no group can be made in {}: {error}", own.display()))?;
    let kind = std::fs::read_to_string(trial.join("cgroup.type")).unwrap();
    let has_kill = trial.join("cgroup.kill").exists();
    std::fs::remove_dir(&trial).unwrap();
    match kind.trim() {
        "domain" if has_kill => Ok(own),
        "domain" => Err("this kernel has no cgroup.kill".to_owned()),
        kind => Err(format!(
            "a group in {} is of the kind {kind}",
            own.display()
        )),
    }
}

/// The groups of this process's children that are there.
fn groups(own: &Path) -> Vec<PathBuf> {
    let ours = format!("-{}-", std::process::id());
    let entries = std::fs::read_dir(own).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("watertight-") && name.contains(&ours)
        })
        .collect()
}

/// A shell that starts the daemon, and then goes on with this.
fn shell(daemon: &str, behind: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{daemon}; exec 3>&-; {behind}")])
        .stdin(Input::null())
        .stdout(Output::null())
        .pipe_at(3, Direction::Write)
        .cgroup(true);
    command
}

/// The child, and the daemon, which is there.
fn start(command: &mut Command) -> (Child, Pid) {
    let mut child = command.spawn().unwrap();
    assert!(child.has_cgroup());
    let told = child.take_reader(3).unwrap();
    let mut lines = told.lines(100);
    let line = lines.receive().within(PATIENCE).wait().unwrap().unwrap();
    let pid = std::str::from_utf8(line.content()).unwrap();
    let daemon = Pid::from_raw(pid.parse().unwrap()).unwrap();
    // Nobody holds it any more: the daemon has all its streams elsewhere.
    assert!(lines.receive().within(PATIENCE).wait().unwrap().is_none());
    (child, daemon)
}

/// One that is over and not reaped is not alive.
fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
    stat.is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

/// Its death takes a moment.
fn assert_over(pid: Pid) {
    let by = Instant::now() + PATIENCE;
    while is_alive(pid) && Instant::now() < by {
        std::thread::yield_now();
    }
    assert!(!is_alive(pid), "it has escaped");
}

/// The child is killed, with its daemon and nobody else.
fn assert_both(found: &[Found], child: u32, daemon: Pid) {
    let pids: Vec<u32> = found.iter().map(|one| one.pid).collect();
    assert_eq!(
        pids,
        [child, daemon.as_raw_pid().unsigned_abs()],
        "{found:?}"
    );
}

fn assert_whole(end: &TreeEnd) {
    assert!(end.left.is_empty() && end.error.is_none(), "{end:?}");
}

#[test]
fn a_daemon_is_killed_with_the_tree_and_named() {
    let _accounted = accounted();
    let Some(own) = own_group() else { return };
    let (child, daemon) = start(&mut shell(DAEMON, "exec sleep 1000"));
    let end = child.kill_tree();
    assert_whole(&end);
    assert_both(&end.signalled, child.id(), daemon);
    assert_over(daemon);
    assert!(!child.wait().within(PATIENCE).wait().unwrap().is_success());
    assert_eq!(groups(&own), NO_GROUP);
}

/// It is asked as the child is, has its grace, and is killed then.
#[test]
fn a_deadline_asks_a_daemon_and_kills_it() {
    let _accounted = accounted();
    let Some(own) = own_group() else { return };
    for (daemon, grace) in [
        (DAEMON, Duration::ZERO),
        (DAEMON, PATIENCE),
        (DEAF_DAEMON, Duration::from_millis(50)),
    ] {
        let (child, pid) = start(&mut shell(daemon, "exec sleep 1000"));
        let number = child.id();
        let limits = Limits::new().within(Duration::ZERO).grace(grace);
        let outcome = child.communicate(limits).wait().unwrap();
        assert_eq!(outcome.ended, EndedBy::Deadline);
        let tree = outcome.tree.unwrap();
        assert!(tree.left.is_empty() && tree.error.is_none(), "{tree:?}");
        if grace.is_zero() {
            assert!(tree.asked.is_empty(), "{tree:?}");
            assert_both(&tree.killed, number, pid);
        } else {
            assert_both(&tree.asked, number, pid);
            let killed: Vec<u32> = tree.killed.iter().map(|one| one.pid).collect();
            let deaf = (daemon == DEAF_DAEMON).then(|| pid.as_raw_pid().unsigned_abs());
            assert_eq!(killed, deaf.as_slice(), "{tree:?}");
        }
        assert_over(pid);
        assert_eq!(groups(&own), NO_GROUP);
    }
}

/// Also when the drop of the child kills: its end was told. And the group is removed by the next start, when nobody lives in it any more.
#[test]
fn after_a_good_end_nobody_is_killed_and_the_group_stays_as_long_as_one_lives() {
    let _accounted = accounted();
    let Some(own) = own_group() else { return };
    for is_communicated in [false, true] {
        let mut command = shell(DAEMON, "exit 0");
        let (child, daemon) = start(command.kill_on_drop(true));
        if is_communicated {
            let outcome = child.communicate(Limits::new()).within(PATIENCE).wait();
            let outcome = outcome.unwrap();
            assert!(outcome.is_success() && outcome.tree.is_none());
        } else {
            assert!(child.wait().within(PATIENCE).wait().unwrap().is_success());
            drop(child);
        }
        assert!(is_alive(daemon));
        let [group]: [PathBuf; 1] = groups(&own).try_into().unwrap();
        let members = std::fs::read_to_string(group.join("cgroup.procs"));
        assert_eq!(members.unwrap(), format!("{}\n", daemon.as_raw_pid()));
        kill_process(daemon, Signal::KILL).unwrap();
        assert_over(daemon);
        let next = Command::new("true").cgroup(true).spawn().unwrap();
        assert!(!group.exists());
        assert!(next.wait().within(PATIENCE).wait().unwrap().is_success());
        assert_eq!(groups(&own), NO_GROUP);
    }
}

#[test]
fn a_child_that_is_dropped_has_its_group_removed_when_it_ends() {
    let _accounted = accounted();
    let Some(own) = own_group() else { return };
    let mut cat = Command::new("cat");
    cat.stdin(Input::piped())
        .stdout(Output::null())
        .cgroup(true);
    let mut child = cat.spawn().unwrap();
    let input = child.stdin.take();
    drop(child);
    assert_eq!(groups(&own).len(), 1);
    drop(input);
    let by = Instant::now() + PATIENCE;
    while !groups(&own).is_empty() && Instant::now() < by {
        std::thread::yield_now();
    }
    assert_eq!(groups(&own), NO_GROUP);
}

/// No look has seen it before, and nothing else leads to it.
#[test]
fn a_daemon_is_waited_for_and_killed_although_the_child_is_reaped() {
    let _accounted = accounted();
    if own_group().is_none() {
        return;
    }
    let (child, daemon) = start(&mut shell(DAEMON, "exit 3"));
    let reaped = child.wait().within(PATIENCE).wait().unwrap();
    assert_eq!(reaped.status().unwrap().code(), Some(3));
    let early = child.wait_tree().within(Duration::ZERO).wait();
    assert_eq!(early.unwrap_err().kind, ErrorKind::TimedOut);
    let end = child.kill_tree();
    assert_whole(&end);
    let [killed] = end.signalled.as_slice() else {
        panic!("{end:?}");
    };
    assert_eq!(killed.pid, daemon.as_raw_pid().unsigned_abs());
    let over = child.wait_tree().within(PATIENCE).wait().unwrap();
    assert_eq!(over, reaped);
}

/// It goes into a group that it makes within the child's.
#[test]
fn groups_within_the_childs_are_its_own_too() {
    let _accounted = accounted();
    let Some(own) = own_group() else { return };
    let moves = r#"group=$OWN/$(sed -n 's,^0::.*/,,p' /proc/self/cgroup); mkdir "$group/below"
        export group; sh -c 'setsid sh -c "echo \$\$ >\$group/below/cgroup.procs; echo \$\$ >&3; exec sleep 1000 3>&-" </dev/null >/dev/null 2>&1 &'"#;
    let mut command = shell(moves, "exec sleep 1000");
    let (child, daemon) = start(command.env("OWN", &own));
    let [group]: [PathBuf; 1] = groups(&own).try_into().unwrap();
    let members = std::fs::read_to_string(group.join("below/cgroup.procs"));
    assert_eq!(members.unwrap(), format!("{}\n", daemon.as_raw_pid()));
    let end = child.kill_tree();
    assert_whole(&end);
    assert_both(&end.signalled, child.id(), daemon);
    assert_over(daemon);
    assert!(!child.wait().within(PATIENCE).wait().unwrap().is_success());
    assert_eq!(groups(&own), NO_GROUP);
}

/// Beneath ours, until that is given up for the next start; also with other things that are done between fork and exec.
#[test]
fn a_child_is_in_a_group_of_its_own_before_it_runs() {
    let _accounted = accounted();
    if own_group().is_none() {
        return;
    }
    let group = |text: &str| {
        let group = text.lines().find_map(|line| line.strip_prefix("0::"));
        group.unwrap().to_owned()
    };
    let ours = group(&std::fs::read_to_string("/proc/self/cgroup").unwrap());
    let mut command = Command::new("cat");
    command.arg("/proc/self/cgroup").stdout(Output::piped());
    for (is_apart, has_pipe) in [(true, false), (false, false), (true, true)] {
        if has_pipe {
            command.pipe_at(3, Direction::Write).inherit_only([]);
        }
        let run = command.cgroup(is_apart).output(Limits::new()).unwrap();
        let theirs = group(&run.within(PATIENCE).wait().unwrap().stdout.text());
        let below = theirs.strip_prefix(&ours).unwrap();
        let name = below.trim_start_matches('/');
        assert_eq!(name.starts_with("watertight-"), is_apart, "{theirs}");
        assert_eq!(name.is_empty(), !is_apart, "{theirs}");
    }
}

#[cfg(feature = "fault")]
mod planned {
    use super::*;
    use watertight::OsCode;
    use watertight::fault::{self, Fault};

    const EACCES: OsCode = OsCode(13);
    const EMFILE: OsCode = OsCode(24);

    fn plan(calls: &[&'static str], code: OsCode) {
        let planned = calls.iter().map(|call| Fault {
            at: 1,
            only: Some(*call),
            code,
            times: Fault::FOR_EVER,
        });
        fault::plan(&planned.collect::<Vec<_>>());
    }

    /// Whatever is missing: no second version, no right, too few descriptors.
    #[test]
    fn a_child_starts_without_a_group_where_none_can_be_had() {
        let _accounted = accounted();
        let Some(own) = own_group() else { return };
        let _guard = fault::guard();
        for call in [
            "stat (pid namespace)",
            "read (own cgroup)",
            "read (mountinfo)",
            "mkdir (cgroup)",
            "open (cgroup.kill)",
            "open (cgroup.procs)",
            "eventfd (cgroup)",
        ] {
            plan(&[call], EACCES);
            let child = Command::new("true").cgroup(true).spawn().unwrap();
            assert_eq!(fault::stop().begun.len(), 1, "{call}");
            assert!(!child.has_cgroup(), "{call}");
            assert!(child.wait().within(PATIENCE).wait().unwrap().is_success());
            assert_eq!(groups(&own), NO_GROUP, "{call}");
        }
    }

    /// As it is with those who run as somebody else, and where there are too few descriptors to hold anybody.
    #[test]
    fn whom_no_signal_reaches_is_killed_with_the_group_and_named() {
        let _accounted = accounted();
        if own_group().is_none() {
            return;
        }
        let _guard = fault::guard();
        for calls in [&["pidfd_send_signal", "killpg"][..], &["pidfd_open (tree)"]] {
            let (child, daemon) = start(&mut shell(DAEMON, "exec sleep 1000"));
            plan(calls, EMFILE);
            let end = child.kill_tree();
            assert_eq!(fault::stop().begun.len(), calls.len());
            assert_whole(&end);
            let mut pids: Vec<u32> = end.signalled.iter().map(|one| one.pid).collect();
            pids.sort_unstable();
            let mut both = [child.id(), daemon.as_raw_pid().unsigned_abs()];
            both.sort_unstable();
            assert_eq!(pids, both, "{end:?}");
            assert_over(daemon);
            assert!(!child.wait().within(PATIENCE).wait().unwrap().is_success());
        }
    }

    #[test]
    fn a_group_that_cannot_be_killed_is_told_and_whoever_is_seen_is_killed() {
        let _accounted = accounted();
        if own_group().is_none() {
            return;
        }
        let _guard = fault::guard();
        let (child, daemon) = start(&mut shell(DAEMON, "exec sleep 1000"));
        plan(&["write (cgroup.kill)"], EACCES);
        let end = child.kill_tree();
        assert_eq!(fault::stop().begun.len(), 1);
        let code = end.error.as_ref().unwrap().raw_os_error();
        assert_eq!(code, Some(EACCES.0));
        assert!(end.left.is_empty(), "{end:?}");
        assert_both(&end.signalled, child.id(), daemon);
        assert_over(daemon);
        assert!(!child.wait().within(PATIENCE).wait().unwrap().is_success());
    }
}
