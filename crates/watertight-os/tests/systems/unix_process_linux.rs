//! Children on Linux: what needs /proc, pidfds, or a call that fails as planned.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::itself::test_name;
use crate::turn::take_turn;
use crate::unix_children::*;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::Instant;
use watertight_os::{
    EarlierStarts, Found, Grouping, TreeLook, holders_of, is_in_terminals_foreground,
};

/// A process in a session of its own that ignores SIGTERM and says when it is ready.
const FAR_AWAY: &str = "setsid /bin/sh -c 'trap \"\" TERM; echo ready; exec sleep 1000'";

#[test]
fn a_grandchild_in_a_session_of_its_own_is_killed_with_the_tree() {
    let _accounted = Accounted::start();
    for grouping in [Grouping::Own, Grouping::Ours] {
        let mut command = shell(&format!("{FAR_AWAY} & wait"));
        let (process, streams) = start_grouped(command.stdout(Stdio::piped()), grouping);
        let mut stdout = streams.stdout.unwrap();
        assert_eq!(first_line(&mut stdout), "ready\n");
        let end = process.kill_tree();
        assert!(end.error.is_none() && end.left.is_empty(), "{end:?}");
        assert_eq!(end.signalled.len(), 2, "{end:?}");
        assert_ends(stdout);
        assert_eq!(status(&process).signal(), Some(libc::SIGKILL));
    }
}

/// Its parent is gone, the child is reaped, and no group leads to it.
#[test]
fn a_descendant_that_was_seen_is_killed_when_nothing_leads_to_it_any_more() {
    let _accounted = Accounted::start();
    let mut command = shell(&format!("{FAR_AWAY} & wait"));
    let (process, streams) = start_grouped(command.stdout(Stdio::piped()), Grouping::Own);
    let mut stdout = streams.stdout.unwrap();
    assert_eq!(first_line(&mut stdout), "ready\n");
    let end = process.terminate_tree();
    assert!(end.error.is_none() && end.left.is_empty(), "{end:?}");
    assert_eq!(end.signalled.len(), 2, "{end:?}");
    assert_eq!(status(&process).signal(), Some(libc::SIGTERM));
    let end = process.kill_tree();
    assert!(end.error.is_none() && end.left.is_empty(), "{end:?}");
    assert_eq!(end.signalled.len(), 1, "{end:?}");
    assert_ne!(end.signalled[0].pid, process.id());
    assert_ends(stdout);
}

/// One that the signal to the child's group reached at the first time, and would not reach at the second.
#[test]
fn who_has_left_the_group_since_the_last_look_is_asked_by_itself() {
    let _accounted = Accounted::start();
    // It hears SIGTERM and stays, and leaves the group when it is told to: from then on SIGTERM ends it.
    let far = "exec setsid sh -c \"echo moved; exec sleep 1000\"";
    let member = format!("trap : TERM; echo ready; until read line; do :; done; {far}");
    let leader = "trap '' TERM; echo ready; exec sleep 1000";
    let mut command = shell(&format!("exec 3<&0; sh -c '{member}' <&3 & {leader}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let (process, streams) = start_grouped(&mut command, Grouping::Own);
    let (mut stdin, mut stdout) = (streams.stdin.unwrap(), streams.stdout.unwrap());
    for _ in 0..2 {
        assert_eq!(first_line(&mut stdout), "ready\n");
    }
    let asked = process.terminate_tree();
    assert_eq!(asked.signalled.len(), 2, "{asked:?}");
    stdin.write_all(b"go\n").unwrap();
    assert_eq!(first_line(&mut stdout), "moved\n");
    assert!(!process.is_tree_over());
    let asked = process.terminate_tree();
    assert_eq!(asked.signalled.len(), 2, "{asked:?}");
    let by = Instant::now() + PATIENCE;
    while !process.is_tree_over() && Instant::now() < by {
        std::thread::yield_now();
    }
    assert!(process.is_tree_over(), "it was not asked");
    assert!(process.kill().unwrap());
    assert_ends(stdout);
    assert_eq!(status(&process).signal(), Some(libc::SIGKILL));
}

/// The request has looked at the tree for itself. Nothing leads to the one who came later once the child is over.
#[test]
fn who_is_started_behind_a_request_to_end_is_noted_for_whoever_waits() {
    let _accounted = Accounted::start();
    let script = format!("trap '' TERM; echo ready; read line; {FAR_AWAY} & wait");
    let mut command = shell(&script);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let (process, streams) = start_grouped(&mut command, Grouping::Own);
    let (mut stdin, mut stdout) = (streams.stdin.unwrap(), streams.stdout.unwrap());
    assert_eq!(first_line(&mut stdout), "ready\n");
    let asked = process.terminate_tree();
    assert_eq!(asked.signalled.len(), 1, "{asked:?}");
    stdin.write_all(b"go\n").unwrap();
    assert_eq!(first_line(&mut stdout), "ready\n");
    process.note_tree().unwrap();
    assert!(process.kill().unwrap());
    assert!(process.wait_for_exit(Some(PATIENCE)).unwrap());
    let look = process.look_at_tree().unwrap();
    assert!(matches!(look, TreeLook::Held(_)), "{look:?}");
    let killed = process.kill_tree();
    assert_eq!(killed.signalled.len(), 1, "{killed:?}");
    assert_ends(stdout);
    assert_eq!(status(&process).signal(), Some(libc::SIGKILL));
}

/// Whether a process is stopped.
fn is_stopped(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().starts_with('T')
}

/// In the child's group and far from it. The child itself does not mind.
#[test]
fn whoever_of_a_tree_is_stopped_is_asked_too() {
    let _accounted = Accounted::start();
    let stops = "trap \"echo bye; exit 0\" TERM; echo $$; kill -STOP $$; echo missed";
    let both = format!("sh -c '{stops}' & setsid sh -c '{stops}' &");
    let mut command = shell(&format!("trap : TERM; {both} until read line; do :; done"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let (process, streams) = start_grouped(&mut command, Grouping::Own);
    let (_stdin, mut stdout) = (streams.stdin.unwrap(), streams.stdout.unwrap());
    let by = Instant::now() + PATIENCE;
    for _ in 0..2 {
        let pid = first_line(&mut stdout);
        while !is_stopped(pid.trim()) && Instant::now() < by {
            std::thread::yield_now();
        }
    }
    let asked = process.terminate_tree();
    assert!(asked.error.is_none() && asked.left.is_empty(), "{asked:?}");
    assert_eq!(asked.signalled.len(), 3, "{asked:?}");
    while !process.is_tree_over() && Instant::now() < by {
        std::thread::yield_now();
    }
    assert!(process.is_tree_over(), "somebody is still stopped");
    for _ in 0..2 {
        assert_eq!(first_line(&mut stdout), "bye\n");
    }
    assert!(process.kill().unwrap());
    assert_ends(stdout);
    assert_eq!(status(&process).signal(), Some(libc::SIGKILL));
}

/// A tree that grows while it is killed.
#[test]
fn nobody_runs_from_a_kill() {
    let _accounted = Accounted::start();
    // Each level starts a sleep and the next level, and stays; there are 40 of them if nobody ends it.
    let grow = "grow() { sleep 1000 & [ $1 -gt 0 ] && (grow $(($1 - 1))) & wait; }";
    let mut command = shell(&format!("{grow}; echo ready; grow 40"));
    let (process, streams) = start_grouped(command.stdout(Stdio::piped()), Grouping::Own);
    let mut stdout = streams.stdout.unwrap();
    assert_eq!(first_line(&mut stdout), "ready\n");
    let end = process.kill_tree();
    assert!(end.error.is_none() && end.left.is_empty(), "{end:?}");
    assert_ends(stdout);
    assert_eq!(status(&process).signal(), Some(libc::SIGKILL));
}

#[test]
fn whoever_holds_the_other_end_is_named() {
    let _accounted = Accounted::start();
    let (process, streams) = start(&mut waiting());
    let (stdin, stdout) = (streams.stdin.unwrap(), streams.stdout.unwrap());
    let cat = Found {
        pid: process.id(),
        name: Some("cat".into()),
    };
    assert_eq!(holders_of(stdin.as_fd()), std::slice::from_ref(&cat));
    assert_eq!(holders_of(stdout.as_fd()), [cat]);
    // A second child that reads the same pipe is no holder of the other end of the reading end.
    let twin = stdout.as_fd().try_clone_to_owned().unwrap();
    let mut second = Command::new("cat");
    second.stdin(Stdio::from(twin)).stdout(Stdio::null());
    let (reader, _none) = start(&mut second);
    assert_eq!(holders_of(stdout.as_fd()).len(), 1);
    drop(second);
    drop(stdin);
    assert!(status(&process).success());
    assert!(status(&reader).success());
    assert!(holders_of(stdout.as_fd()).is_empty());
    let (one, other) = UnixStream::pair().unwrap();
    assert!(holders_of(one.as_fd()).is_empty());
    drop(other);
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(holders_of(file.as_fd()).is_empty());
}

/// Whether SIGUSR2 is among the signals that a process blocks, and which they are, by its status in /proc.
fn blocked(status: &str) -> (bool, u64) {
    let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    let blocked = u64::from_str_radix(line.unwrap().trim(), 16).unwrap();
    (blocked & (1_u64 << (libc::SIGUSR2 - 1)) != 0, blocked)
}

/// What a child that this thread starts blocks.
fn blocked_in_a_child() -> (bool, u64) {
    let mut command = Command::new("cat");
    command.arg("/proc/self/status").stdout(Stdio::piped());
    let (process, streams) = start(&mut command);
    let mut text = String::new();
    streams.stdout.unwrap().read_to_string(&mut text).unwrap();
    assert!(status(&process).success());
    blocked(&text)
}

/// sigaddset, pthread_sigmask.
fn block_sigusr2() -> std::io::Result<()> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the set is ours and lives on this stack; the call fills it and keeps no reference.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set is ours, was filled by the call above, and nobody else has it.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGUSR2) };
    // SAFETY: the set is ours and filled; it is only read until the call returns, and nothing is asked for in return.
    let code =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
    if code == 0 {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(code))
    }
}

/// A thread that blocks signals does not make its children deaf to them; and what this process was started with is handed on, blocked
/// signals too. So the same is looked at once more in a process that was started with one.
#[test]
fn a_child_has_the_signal_mask_of_the_start() {
    const IS_STARTED_WITH_ONE: &str = "WATERTIGHT_TEST_STARTED_WITH_A_BLOCKED_SIGNAL";
    let _accounted = Accounted::start();
    let main = format!("/proc/self/task/{}/status", std::process::id());
    let main = blocked(&std::fs::read_to_string(main).unwrap());
    assert_eq!(blocked_in_a_child(), main);
    let quiet = std::thread::spawn(|| {
        watertight_os::quiet_thread();
        blocked_in_a_child()
    });
    assert_eq!(quiet.join().unwrap(), main);
    if std::env::var_os(IS_STARTED_WITH_ONE).is_some() {
        assert!(main.0, "{main:?}");
        return;
    }
    let test = "a_child_has_the_signal_mask_of_the_start";
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args(["--exact", &test_name(module_path!(), test)])
        .env(IS_STARTED_WITH_ONE, "1");
    // SAFETY: the closure runs in the child between fork and exec. Its three calls are async-signal-safe, and it touches nothing but a
    // set on its own stack.
    unsafe { again.pre_exec(block_sigusr2) };
    let output = again.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
fn without_a_terminal_nobody_is_in_its_foreground() {
    const IN_A_SESSION: &str = "WATERTIGHT_TEST_IN_A_SESSION";
    if std::env::var_os(IN_A_SESSION).is_some() {
        assert!(!is_in_terminals_foreground());
        return;
    }
    take_turn();
    let test = "without_a_terminal_nobody_is_in_its_foreground";
    let output = Command::new("setsid")
        .arg("--wait")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &test_name(module_path!(), test)])
        .env(IN_A_SESSION, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[cfg(feature = "fault")]
mod planned {
    use super::*;
    use watertight_core::OsCode;
    use watertight_os::fault::{self, Fault};
    use watertight_os::{
        Descriptors, Process, Reaped, StartError, StartOptions, StartStep, StdStreams,
        end_of_a_test, fork_for_a_test,
    };

    fn plan(name: &'static str, code: i32, times: u64) {
        fault::plan(&[Fault {
            at: 1,
            only: Some(name),
            code: OsCode(code),
            times,
        }]);
    }

    fn failed(command: &mut Command) -> StartStep {
        let error = Process::start(
            command,
            StartOptions::default(),
            &mut EarlierStarts::default(),
        )
        .unwrap_err();
        error.step
    }

    #[test]
    fn a_busy_program_is_tried_again_and_not_for_ever() {
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        plan("spawn", libc::ETXTBSY, 3);
        let (process, _streams) = start(&mut shell("exit 0"));
        let tried = |trace: fault::Trace| trace.calls.iter().filter(|c| c.name == "spawn").count();
        assert_eq!(tried(fault::stop()), 4);
        assert!(status(&process).success());
        plan("spawn", libc::ETXTBSY, Fault::FOR_EVER);
        assert_eq!(failed(&mut shell("exit 0")), StartStep::Busy);
        assert_eq!(tried(fault::stop()), 8);
    }

    #[test]
    fn what_the_system_lacks_and_what_it_says_otherwise() {
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        for (code, step) in [
            (libc::EAGAIN, StartStep::Resources),
            (libc::ENOMEM, StartStep::Resources),
            (libc::EMFILE, StartStep::Resources),
            (libc::EPERM, StartStep::Permission),
            (libc::ENOEXEC, StartStep::Format),
            (libc::EIO, StartStep::Other),
        ] {
            plan("spawn", code, 1);
            assert_eq!(failed(&mut shell("exit 0")), step);
            let _ = fault::stop();
        }
    }

    /// Starts a child that is to inherit nothing but its standard streams, while these calls fail. Why that failed.
    fn alone(calls: &[&'static str], code: i32) -> StartError {
        let (mut command, mut earlier) = (shell("exit 0"), EarlierStarts::default());
        let mut descriptors = Descriptors::default();
        let prepared = descriptors.prepare(&mut command, &mut earlier, Vec::new(), Some(&[]), None);
        let _prepared = prepared.unwrap();
        let planned = calls.iter().map(|name| Fault {
            at: 1,
            only: Some(*name),
            code: OsCode(code),
            times: 1,
        });
        fault::plan(&planned.collect::<Vec<_>>());
        let started = Process::start(&mut command, StartOptions::default(), &mut earlier);
        assert_eq!(fault::stop().begun.len(), calls.len());
        started.unwrap_err()
    }

    /// As on a kernel without close_range, or without its flag, or where a filter forbids it: the child says the same as its parent hears
    /// when it asks.
    #[test]
    fn a_system_that_cannot_keep_descriptors_from_a_child_says_so() {
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        for code in [libc::ENOSYS, libc::EINVAL, libc::EPERM] {
            let error = alone(&["spawn", "close_range"], code);
            assert_eq!(error.step, StartStep::Descriptors);
            let text = error.to_string();
            assert!(text.contains("inherit_only"), "{text}");
        }
        // It can: something else was refused.
        for (code, step) in [
            (libc::ENOSYS, StartStep::Other),
            (libc::EPERM, StartStep::Permission),
        ] {
            assert_eq!(alone(&["spawn"], code).step, step);
        }
    }

    fn pids(found: &[Found]) -> Vec<u32> {
        found.iter().map(|one| one.pid).collect()
    }

    /// As it is with one that runs as somebody else. The child has the signal of its group, which does not reach who left it.
    #[test]
    fn who_cannot_be_signalled_is_named() {
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        let mut command = shell(&format!("{FAR_AWAY} & wait"));
        let (process, streams) = start_grouped(command.stdout(Stdio::piped()), Grouping::Own);
        let mut stdout = streams.stdout.unwrap();
        assert_eq!(first_line(&mut stdout), "ready\n");
        plan("pidfd_send_signal", libc::EPERM, Fault::FOR_EVER);
        let asked = process.terminate_tree();
        assert!(process.wait_for_exit(Some(PATIENCE)).unwrap());
        let killed = process.kill_tree_at_once();
        let _ = fault::stop();
        assert_eq!(pids(&asked.signalled), [process.id()]);
        assert!(killed.signalled.is_empty(), "{killed:?}");
        assert_eq!(asked.left.len(), 1, "{asked:?}");
        assert_eq!(pids(&asked.left), pids(&killed.left));
        let end = process.kill_tree();
        assert_eq!(pids(&end.signalled), pids(&asked.left));
        for refused in [asked, killed] {
            let code = refused.error.unwrap().raw_os_error();
            assert_eq!(code, Some(libc::EPERM));
        }
        assert_ends(stdout);
        assert_eq!(status(&process).signal(), Some(libc::SIGTERM));

        // In our group: nobody but itself is signalled.
        let (process, streams) = start(&mut waiting());
        plan("pidfd_send_signal", libc::EPERM, 1);
        let asked = process.terminate_tree();
        let _ = fault::stop();
        assert!(asked.signalled.is_empty(), "{asked:?}");
        assert_eq!(pids(&asked.left), [process.id()]);
        assert_eq!(asked.error.unwrap().raw_os_error(), Some(libc::EPERM));
        drop(streams);
        assert!(status(&process).success());
    }

    /// The second signal that goes this way, which is SIGCONT, is refused.
    fn refuse_continuing(name: &'static str) {
        fault::plan(&[Fault {
            at: 2,
            only: Some(name),
            code: OsCode(libc::EPERM),
            times: 1,
        }]);
    }

    #[test]
    fn who_cannot_be_continued_is_told() {
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        for (grouping, name) in [
            (Grouping::Own, "killpg"),
            (Grouping::Ours, "pidfd_send_signal"),
        ] {
            // It hears SIGTERM and stays: else nobody would be there to go on.
            let mut command = shell("trap '' TERM; echo ready; exec sleep 1000");
            let (process, streams) = start_grouped(command.stdout(Stdio::piped()), grouping);
            let mut stdout = streams.stdout.unwrap();
            assert_eq!(first_line(&mut stdout), "ready\n");
            refuse_continuing(name);
            let asked = process.terminate_tree();
            assert_eq!(fault::stop().begun.len(), 1, "{name}");
            assert_eq!(pids(&asked.signalled), [process.id()]);
            assert_eq!(asked.error.unwrap().raw_os_error(), Some(libc::EPERM));
            // Where the group was refused, the child itself was not.
            let left = match grouping {
                Grouping::Own => Vec::new(),
                Grouping::Ours => vec![process.id()],
            };
            assert_eq!(pids(&asked.left), left);
            refuse_continuing("pidfd_send_signal");
            // It was asked, and has its grace.
            assert!(process.terminate().unwrap());
            assert_eq!(fault::stop().begun.len(), 1);
            assert!(process.kill().unwrap());
            assert_ends(stdout);
            assert_eq!(status(&process).signal(), Some(libc::SIGKILL));
        }
    }

    #[test]
    fn a_child_that_cannot_be_held_is_killed_and_reaped() {
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        plan("pidfd_open (child)", libc::EMFILE, 1);
        assert_eq!(failed(&mut waiting()), StartStep::Hold);
    }

    /// Starts a child as on a kernel that has no pidfds.
    fn start_by_number(command: &mut Command) -> (Process, StdStreams) {
        plan("pidfd_open (child)", libc::ENOSYS, 1);
        let started = start_grouped(command, Grouping::Own);
        let _ = fault::stop();
        started
    }

    #[test]
    fn without_pidfds_the_number_does() {
        let _accounted = Accounted::start();
        let _guard = fault::guard();
        let (process, streams) = start_by_number(&mut waiting());
        let told = told_of(&process);
        let a_moment = Some(std::time::Duration::from_millis(1));
        assert!(!process.wait_for_exit(a_moment).unwrap());
        assert_eq!(process.try_reap(), Reaped::Running);
        drop(streams);
        told.recv_timeout(PATIENCE).unwrap();
        assert!(status(&process).success());
        assert!(process.usage().unwrap().memory_bytes_max.is_some());
        told_of(&process).try_recv().unwrap();
        assert!(!process.kill().unwrap());

        let (process, _streams) = start_by_number(&mut waiting());
        assert!(process.kill().unwrap());
        assert_eq!(status(&process).signal(), Some(libc::SIGKILL));

        let (process, streams) = start_by_number(&mut waiting());
        let end = process.kill_tree();
        assert_eq!(end.signalled.len(), 1, "{end:?}");
        assert_ends(streams.stdout.unwrap());
        assert_eq!(status(&process).signal(), Some(libc::SIGKILL));

        // A dropped one is reaped: the account would find it.
        let (process, streams) = start_by_number(&mut waiting());
        drop((process, streams));
    }

    #[test]
    fn a_forked_child_of_the_parent_touches_neither_the_child_nor_the_thread() {
        let _accounted = Accounted::start();
        let (process, streams) = start(&mut waiting());
        let told = told_of(&process);
        let forked = fork_for_a_test();
        if forked == 0 {
            let is_refused = process.on_exit(Box::new(|| {})).is_err()
                && process.kill().is_err()
                && process.wait_for_exit(None).is_err()
                && process.kill_tree().error.is_some()
                && process.terminate_tree().error.is_some()
                && process.note_tree().is_err()
                && process.look_at_tree().is_err()
                && process.try_reap() == Reaped::Unknown
                && process.usage().is_none();
            drop(process);
            end_of_a_test(i32::from(!is_refused));
        }
        let forked = rustix::process::Pid::from_raw(forked).unwrap();
        let options = rustix::process::WaitOptions::empty();
        let (_, said) = rustix::process::waitpid(Some(forked), options)
            .unwrap()
            .unwrap();
        assert_eq!(said.exit_status(), Some(0));
        assert_eq!(process.try_reap(), Reaped::Running);
        drop(streams);
        told.recv_timeout(PATIENCE).unwrap();
        assert!(status(&process).success());
    }
}
