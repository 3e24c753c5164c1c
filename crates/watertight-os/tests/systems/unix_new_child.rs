//! A signal to a new child that has not run its program yet: it has this process's handlers until then, and none of them runs.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::itself::test_name;
use crate::turn::take_turn;
use crate::unix_children::{Accounted, status};
use rustix::process::getuid;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use watertight_os::{Descriptors, EarlierStarts, Process, RunAs, StartOptions, quiet_thread};

/// Makes this test binary one whose process may have handlers: it has nothing else to do.
const WITH_HANDLERS: &str = "WATERTIGHT_TEST_WITH_HANDLERS";

fn run_with_handlers(test: &str) {
    take_turn();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test_name(module_path!(), test)])
        .env(WITH_HANDLERS, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

/// Why something of ours runs in a child before its program does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// The thread that starts it blocks signals.
    Mask,
    /// It has a descriptor of ours.
    Placed,
    /// It runs as a user who was named. std sees to that, and forks for it.
    User,
    /// Its program is looked for along a `PATH` of its own, or along none. std forks for that.
    Path,
    NoPath,
}

/// A handler that takes a signal and does nothing.
extern "C" fn swallow(_: libc::c_int) {}

/// signal: what this process does with it from now on.
fn dispose(signal: libc::c_int, disposition: libc::sighandler_t) {
    // SAFETY: two numbers go in; the second is a disposition's, or the address of a function that takes a number and touches nothing.
    let before = unsafe { libc::signal(signal, disposition) };
    assert_ne!(before, libc::SIG_ERR);
}

/// The child is sent this signal before it runs its program.
fn raise_before_exec(command: &mut Command, signal: libc::c_int) {
    let raise = move || {
        // SAFETY: a number goes in and no memory is involved; the call is async-signal-safe.
        let code = unsafe { libc::raise(signal) };
        if code == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    };
    // SAFETY: the closure runs in the child between fork and exec. It makes one call that is async-signal-safe, allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(raise) };
}

/// How a child ended that was sent the signal in front of our step, or behind it.
fn end_of_one_that_is_sent(signal: libc::c_int, step: Step, is_in_front: bool) -> ExitStatus {
    if step == Step::Mask {
        quiet_thread();
    }
    let (mut descriptors, mut earlier) = (Descriptors::default(), EarlierStarts::default());
    if step == Step::NoPath {
        earlier.note_empty_environment();
    }
    let mut end = |command: &mut Command| {
        let options = StartOptions {
            run_as: RunAs {
                user: (step == Step::User).then(|| getuid().as_raw()),
                group: None,
            },
            ..StartOptions::default()
        };
        let _prepared = (step == Step::Placed).then(|| {
            let null = std::fs::File::open("/dev/null").unwrap();
            let placed = vec![(null.into(), 3)];
            let prepared = descriptors.prepare(command, &mut earlier, placed, None, None);
            prepared.unwrap()
        });
        let (process, _streams) = Process::start(command, options, &mut earlier).unwrap();
        status(&process)
    };
    let mut command = Command::new("true");
    match step {
        Step::Path => {
            command.env("PATH", std::env::var_os("PATH").unwrap());
        }
        Step::NoPath => {
            command.env_clear();
        }
        Step::Mask | Step::Placed | Step::User => {}
    }
    if !is_in_front {
        // What is added to a command behind its first start runs behind our step.
        assert!(end(&mut command).success());
    }
    raise_before_exec(&mut command, signal);
    end(&mut command)
}

/// Ctrl-C in the moment of a start: the new process still has our handlers, and its program would never hear of it.
#[test]
fn no_handler_of_ours_takes_a_signal_from_a_new_child() {
    if std::env::var_os(WITH_HANDLERS).is_none() {
        return run_with_handlers("no_handler_of_ours_takes_a_signal_from_a_new_child");
    }
    let _accounted = Accounted::start();
    dispose(libc::SIGUSR1, swallow as *const () as libc::sighandler_t);
    dispose(libc::SIGUSR2, libc::SIG_IGN);
    let mut alone = Command::new("true");
    raise_before_exec(&mut alone, libc::SIGUSR1);
    assert!(alone.status().unwrap().success(), "std lets it be taken");
    for step in [
        Step::Mask,
        Step::Placed,
        Step::User,
        Step::Path,
        Step::NoPath,
    ] {
        for is_in_front in [true, false] {
            let end = move |signal| {
                let ended =
                    std::thread::spawn(move || end_of_one_that_is_sent(signal, step, is_in_front));
                ended.join().unwrap()
            };
            let status = end(libc::SIGUSR1);
            let told = format!("{step:?}, in front: {is_in_front}: {status}");
            assert_eq!(status.signal(), Some(libc::SIGUSR1), "{told}");
            // What is ignored stays so.
            assert!(end(libc::SIGUSR2).success(), "{step:?}");
        }
    }
}
