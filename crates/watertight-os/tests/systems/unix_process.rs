//! Children on Unix: their end is told and taken once, nobody else is ever signalled, and a tree ends as a whole.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::unix_children::*;
use rustix::process::{Pid, WaitOptions, waitpid};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;
use watertight_os::{EarlierStarts, Grouping, Process, Reaped, StartOptions, StartStep};

fn pid_of(process: &Process) -> Pid {
    Pid::from_raw(process.id().cast_signed()).unwrap()
}

#[test]
fn an_end_is_told_once_to_everybody_and_reaps_nothing() {
    let _accounted = Accounted::start();
    let (process, streams) = start(shell("read line; exit 7").stdin(Stdio::piped()));
    let both = [told_of(&process), told_of(&process)];
    assert_eq!(process.try_reap(), Reaped::Running);
    let a_moment = Some(Duration::from_millis(1));
    assert!(!process.wait_for_exit(a_moment).unwrap());
    for told in &both {
        assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
    }
    drop(streams);
    for told in &both {
        told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(
            told.recv_timeout(PATIENCE),
            Err(RecvTimeoutError::Disconnected)
        );
    }
    assert_eq!(status(&process).code(), Some(7));
}

#[test]
fn what_it_has_used_is_told_when_it_is_reaped_and_stays() {
    let _accounted = Accounted::start();
    let (process, streams) = start(&mut waiting());
    assert_eq!(process.usage(), None);
    drop(streams);
    assert!(process.wait_for_exit(Some(PATIENCE)).unwrap());
    assert_eq!(process.usage(), None);
    assert!(status(&process).success());
    let usage = process.usage();
    assert!(usage.is_some());
    assert_ne!(process.try_reap(), Reaped::Running);
    assert_eq!(process.usage(), usage);
}

#[test]
fn an_end_that_was_there_is_told_at_once_on_this_thread() {
    let _accounted = Accounted::start();
    let (process, _streams) = start(&mut shell("exit 0"));
    assert!(process.wait_for_exit(None).unwrap());
    for _ in 0..2 {
        let (tell, told) = channel();
        let tell = move || tell.send(std::thread::current().id()).unwrap();
        process.on_exit(Box::new(tell)).unwrap();
        assert_eq!(told.try_recv(), Ok(std::thread::current().id()));
        // The second time it is reaped.
        assert!(status(&process).success());
    }
}

#[test]
fn a_panic_of_one_that_is_told_hurts_nobody() {
    let _accounted = Accounted::start();
    let (process, streams) = start(&mut waiting());
    let panic = || std::panic::resume_unwind(Box::new("not our trouble"));
    process.on_exit(Box::new(panic)).unwrap();
    let told = told_of(&process);
    drop(streams);
    told.recv_timeout(PATIENCE).unwrap();
    assert!(status(&process).success());
}

#[test]
fn a_killed_child_says_by_which_signal_and_is_not_signalled_again() {
    let _accounted = Accounted::start();
    type Ask = fn(&Process) -> std::io::Result<bool>;
    let asks: [(i32, Ask); 3] = [
        (libc::SIGKILL, Process::kill),
        (libc::SIGTERM, Process::terminate),
        (libc::SIGUSR1, |process| process.signal(libc::SIGUSR1)),
    ];
    for (signal, ask) in asks {
        let (process, _streams) = start(&mut waiting());
        assert!(process.signal(4711).is_err());
        assert!(ask(&process).unwrap());
        assert!(process.wait_for_exit(Some(PATIENCE)).unwrap());
        assert!(!ask(&process).unwrap(), "it is over");
        assert_eq!(status(&process).signal(), Some(signal));
        assert!(!ask(&process).unwrap(), "it is reaped");
    }
}

#[test]
fn a_child_that_somebody_else_reaps_has_an_unknown_end_and_hangs_nobody() {
    let _accounted = Accounted::start();
    let (process, streams) = start(&mut waiting());
    let told = told_of(&process);
    drop(streams);
    let (_, status) = waitpid(Some(pid_of(&process)), WaitOptions::empty())
        .unwrap()
        .unwrap();
    assert_eq!(status.exit_status(), Some(0));
    told.recv_timeout(PATIENCE).unwrap();
    assert!(process.wait_for_exit(None).unwrap());
    assert_eq!(process.try_reap(), Reaped::Unknown);
    assert!(!process.kill().unwrap());
    assert!(process.kill_tree().signalled.is_empty());
    told_of(&process).try_recv().unwrap();
    assert_eq!(process.try_reap(), Reaped::Unknown);
}

/// The account finds a zombie: it is a child.
#[test]
fn a_child_whose_process_was_dropped_goes_on_and_is_reaped() {
    let _accounted = Accounted::start();
    let (process, streams) = start(&mut waiting());
    let told = told_of(&process);
    drop(process);
    let (mut stdin, mut stdout) = (streams.stdin.unwrap(), streams.stdout.unwrap());
    stdin.write_all(b"still there\n").unwrap();
    assert_eq!(first_line(&mut stdout), "still there\n");
    drop(stdin);
    assert_ends(stdout);
    told.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_tree_is_killed_with_everybody_in_it() {
    let _accounted = Accounted::start();
    for grouping in [Grouping::Own, Grouping::Ours] {
        if grouping == Grouping::Ours && !cfg!(target_os = "linux") {
            continue;
        }
        let mut command = shell("sleep 1000 & sleep 1000 & echo ready; wait");
        let (process, streams) = start_grouped(command.stdout(Stdio::piped()), grouping);
        let mut stdout = streams.stdout.unwrap();
        first_line(&mut stdout);
        let end = process.kill_tree();
        assert!(end.error.is_none() && end.left.is_empty(), "{end:?}");
        assert_eq!(end.signalled[0].pid, process.id());
        if cfg!(target_os = "linux") {
            assert_eq!(end.signalled.len(), 3, "{end:?}");
            assert_eq!(end.signalled[0].name.as_deref().unwrap(), "sh");
        }
        assert_ends(stdout);
        assert_eq!(status(&process).signal(), Some(libc::SIGKILL));
        let again = process.kill_tree();
        assert!(again.signalled.is_empty() && again.left.is_empty());
    }
}

/// Two shells that say a word for each signal they get. They never wait for anything, so that they act on it at once; the
/// limit ends them if nobody else does.
#[test]
fn a_tree_is_asked_to_end_and_nobody_is_asked_twice() {
    let _accounted = Accounted::start();
    let shells = "trap 'echo asked' TERM; echo ready; while :; do :; done";
    let mut command = shell(&format!("ulimit -t 20; ({shells}) & {shells}"));
    let (process, streams) = start_grouped(command.stdout(Stdio::piped()), Grouping::Own);
    let mut stdout = streams.stdout.unwrap();
    for _ in 0..2 {
        assert_eq!(first_line(&mut stdout), "ready\n");
    }
    let end = process.terminate_tree();
    assert!(end.error.is_none() && end.left.is_empty(), "{end:?}");
    assert_eq!(end.signalled[0].pid, process.id());
    for _ in 0..2 {
        assert_eq!(first_line(&mut stdout), "asked\n");
    }
    let end = process.kill_tree();
    assert!(end.error.is_none() && end.left.is_empty(), "{end:?}");
    assert_eq!(first_line(&mut stdout), "");
    assert_eq!(status(&process).signal(), Some(libc::SIGKILL));
}

#[test]
fn eight_threads_start_children_at_once_and_each_gets_its_own() {
    let _accounted = Accounted::start();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..10 {
                    let code = thread * 10 + round;
                    let (process, _streams) = start(&mut shell(&format!("exit {code}")));
                    told_of(&process).recv_timeout(PATIENCE).unwrap();
                    assert_eq!(status(&process).code(), Some(code));
                }
            });
        }
    });
}

#[test]
fn a_start_that_fails_says_at_which_step() {
    let _accounted = Accounted::start();
    let folder = Folder::new("steps");
    let script = folder.file("script", "#!/no/such/interpreter -x\n", 0o755);
    let of_windows = folder.file("of-windows", "#!/bin/sh\r\nexit\r\n", 0o755);
    let plain = folder.file("plain", "#!/bin/sh\n", 0o644);
    let long = "x".repeat(8 << 20);
    let failed = |command: &mut Command| {
        let error = Process::start(
            command,
            StartOptions::default(),
            &mut EarlierStarts::default(),
        )
        .unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&error.error.to_string()) && !text.contains(['\n', '\r']));
        (error.step, error.path)
    };
    let step = |command: &mut Command| failed(command).0;
    assert_eq!(step(&mut Command::new("/no/such")), StartStep::Program);
    assert_eq!(
        step(&mut Command::new("no-such-program")),
        StartStep::Program
    );
    let mut nowhere = Command::new("no-such-program");
    nowhere.env("PATH", "/no/such/folder");
    assert_eq!(step(&mut nowhere), StartStep::Program);
    let (at, path) = failed(shell("exit 0").current_dir("/no/such/folder"));
    assert_eq!(at, StartStep::Directory);
    assert_eq!(path.unwrap().to_str(), Some("/no/such/folder"));
    let at = step(shell("exit 0").current_dir(&plain));
    assert_eq!(at, StartStep::Directory);
    let (at, path) = failed(&mut Command::new(&script));
    assert_eq!(at, StartStep::Interpreter);
    assert_eq!(path.unwrap().to_str(), Some("/no/such/interpreter"));
    let (at, path) = failed(&mut Command::new(&of_windows));
    assert_eq!(at, StartStep::Interpreter);
    assert_eq!(path.unwrap().to_str(), Some("/bin/sh\r"));
    // Through the child's PATH, and relative to its directory.
    let mut by_name = Command::new("script");
    by_name.env("PATH", &folder.0);
    assert_eq!(step(&mut by_name), StartStep::Interpreter);
    let mut relative = Command::new("./script");
    relative.current_dir(&folder.0);
    assert_eq!(step(&mut relative), StartStep::Interpreter);
    assert_eq!(step(&mut Command::new(&plain)), StartStep::Permission);
    assert_eq!(step(shell("exit 0").arg(long)), StartStep::Arguments);
    assert_eq!(step(shell("exit 0").arg("a\0b")), StartStep::Arguments);
}

/// The program may be as it should be, and not what is to run it, or what is to run that.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_refused_is_told_apart_from_the_others() {
    use std::path::{Path, PathBuf};
    let _accounted = Accounted::start();
    let folder = Folder::new("refused");
    let text = |interpreter: &Path| format!("#!{} -x\n", interpreter.display());
    let failed = |program: &Path| {
        let mut command = Command::new(program);
        let mut earlier = EarlierStarts::default();
        Process::start(&mut command, StartOptions::default(), &mut earlier).unwrap_err()
    };
    let (missing, circle) = (folder.0.join("missing"), folder.0.join("circle"));
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    let plain = folder.file("plain", "", 0o644);
    let below = plain.join("below");
    let inner = folder.file("inner", &text(&missing), 0o755);
    for (interpreter, refused) in [
        (&missing, &missing),
        (&plain, &plain),
        (&folder.0, &folder.0),
        (&below, &below),
        (&circle, &circle),
        (&inner, &missing),
    ] {
        let script = folder.file("script", &text(interpreter), 0o755);
        let error = failed(&script);
        assert_eq!(error.step, StartStep::Interpreter, "{error}");
        assert_eq!(error.path.as_ref(), Some(refused), "{error}");
    }
    let long = PathBuf::from("x".repeat(5000));
    for (program, step) in [
        (&missing, StartStep::Program),
        (&plain, StartStep::Permission),
        (&folder.0, StartStep::Permission),
        (&below, StartStep::Name),
        (&circle, StartStep::Name),
        (&long, StartStep::Name),
        (&folder.0.join(&long), StartStep::Name),
    ] {
        let error = failed(program);
        assert_eq!((error.step, &error.path), (step, &None), "{error}");
    }
}

/// The kernel knows no way to run it (ENOEXEC). glibc's `execvp` has a shell run it then, which std calls only where something is to be
/// done in the child first; its `posix_spawn` has not.
#[cfg(target_os = "linux")]
#[test]
fn a_file_of_no_format_is_told_as_such() {
    use std::os::unix::process::CommandExt;
    let _accounted = Accounted::start();
    let folder = Folder::new("format");
    let script = folder.file("script", "exit 3\n", 0o755);
    let mut command = Command::new(&script);
    let refused = Process::start(
        &mut command,
        StartOptions::default(),
        &mut EarlierStarts::default(),
    );
    assert_eq!(refused.unwrap_err().step, StartStep::Format);
    if cfg!(target_env = "gnu") {
        // SAFETY: the closure does nothing at all, so that between fork and exec no memory is touched, ours or anybody else's.
        unsafe { command.pre_exec(|| Ok(())) };
        let (process, _streams) = start(&mut command);
        assert_eq!(status(&process).code(), Some(3));
    }
}

/// Where the system refuses to run a file that is open for writing at all.
#[test]
fn a_program_that_is_open_for_writing_is_busy_and_then_is_not() {
    let _accounted = Accounted::start();
    let folder = Folder::new("busy");
    let program = folder.0.join("program");
    std::fs::copy("/bin/sh", &program).unwrap();
    let writing = std::fs::OpenOptions::new()
        .write(true)
        .open(&program)
        .unwrap();
    let mut command = Command::new(&program);
    command.args(["-c", "exit 0"]);
    match Process::start(
        &mut command,
        StartOptions::default(),
        &mut EarlierStarts::default(),
    ) {
        Ok((process, _streams)) => assert!(status(&process).success()),
        Err(error) => assert_eq!(error.step, StartStep::Busy),
    }
    drop(writing);
    let (process, _streams) = start(&mut command);
    assert!(status(&process).success());
}
