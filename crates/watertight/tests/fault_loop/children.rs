//! What the scenarios of children share: a child that is started, what it says of itself at its end, and who is left of it.

use super::peer::Peer;
use super::stage::{PATIENCE, Stage};
use crate::common::held;
use std::io;
use std::time::Instant;
use watertight::fault::{self, Made};
use watertight::{
    Child, Command, EndedBy, Ending, Error, ErrorKind, Exit, Group, Input, Limits, OnDrop, OsCode,
    Outcome, Output, Receipt, StartError, StartStep, WriterOptions,
};

/// Starts it in a group of its own. Whoever is left of it when the scenario is over is killed.
pub(crate) fn start(s: &mut Stage<'_>, mut command: Command) -> Option<Child> {
    prepare(&mut command);
    match command.spawn() {
        Ok(child) => Some(child),
        Err(failed) => {
            refused(s, &failed);
            None
        }
    }
}

/// What every command of a scenario has.
pub(crate) fn prepare(command: &mut Command) {
    command
        // A write that the kernel never takes would be sent for ever.
        .stdin_options(WriterOptions::new().on_drop(OnDrop::Abort))
        .group(Group::Own)
        .kill_on_drop(true);
}

/// A start that failed says why, and at which step.
pub(crate) fn refused(s: &mut Stage<'_>, failed: &StartError) {
    hear(s, &failed.error);
    // What was made to fail last has stopped it.
    if let Some(steps) = fault::begun().iter().rev().find_map(steps_of) {
        assert!(steps.contains(&failed.step), "the step is told: {failed:?}");
    }
}

/// The steps of a start in which this call is made. `None`: in none, or what failed depends on the code.
fn steps_of(made: &Made) -> Option<&'static [StartStep]> {
    let steps: &[StartStep] = match made.name {
        // Taking over our end of a terminal is one of the last ones.
        "F_DUPFD_CLOEXEC (stream)" => &[StartStep::Hold, StartStep::Resources],
        "FIONBIO (pair)"
        | "F_DUPFD_CLOEXEC (child)"
        | "pipe2 (child)"
        | "send (byte)"
        | "shutdown (pair)"
        | "socketpair" => &[StartStep::Resources],
        "TIOCGPTPEER (make)" | "TIOCSWINSZ" | "open (terminal)" | "openpt" | "unlockpt" => {
            &[StartStep::Terminal]
        }
        "F_GETFD" | "F_GETFL" | "F_SETFD" | "F_SETFL" | "SO_TYPE" | "fstat" | "getpeername"
        | "getsockname" | "pidfd_open (child)" | "pipe2" | "waitid (life)" => &[StartStep::Hold],
        _ => return None,
    };
    Some(steps)
}

/// `cat`, which ends when its input does.
pub(crate) fn cat(s: &mut Stage<'_>, input: Input) -> Option<Child> {
    let mut cat = Command::new("cat");
    cat.stdin(input).stdout(Output::piped());
    start(s, cat)
}

/// The code of an error of std's: its own, or that of ours inside.
pub(crate) fn hear(s: &mut Stage<'_>, error: &io::Error) {
    let inside = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let code = error.raw_os_error().map(OsCode);
    s.hear(code.or_else(|| inside.and_then(|inside| inside.os)));
}

/// Nobody plays the other end: the child does.
pub(crate) fn nobody() -> Peer {
    Peer::content(Vec::new())
}

/// It is fed with this, read and waited for at once.
pub(crate) fn communicate(s: &mut Stage<'_>, child: Child, fed: &[u8]) {
    match s.drive(child.communicate(Limits::new()), &mut nobody()) {
        None => {}
        Some(outcome) => check(s, &outcome.expect("no forked child"), fed),
    }
}

/// Whatever failed: what came is what was sent, and what is missing is not called whole.
fn check(s: &mut Stage<'_>, outcome: &Outcome, fed: &[u8]) {
    let out = &outcome.stdout;
    hear_streams(s, outcome);
    assert!(
        fed.starts_with(&out.bytes),
        "not what was sent: {} bytes",
        out.bytes.len()
    );
    if let Some(failure) = outcome.failure {
        // It was killed, with what it had read.
        s.hear(failure.os);
        assert_eq!(outcome.ended, EndedBy::Failure);
        return;
    }
    let is_fed = outcome.stdin.as_ref().is_some_and(Receipt::is_complete);
    let is_lost = is_fed && out.is_whole() && out.bytes.len() < fed.len();
    assert!(!is_lost, "lost: {} bytes are called whole", out.bytes.len());
    assert_eq!(outcome.ended, EndedBy::Itself);
    s.expect(
        outcome.is_success(),
        "the child is fed and read and ends well",
    );
}

/// What failed of its streams.
pub(crate) fn hear_streams(s: &mut Stage<'_>, outcome: &Outcome) {
    for failure in [outcome.stdout.failure, outcome.stderr.failure] {
        s.hear(failure.and_then(|failure| failure.os));
    }
    if let Some(stdin) = &outcome.stdin
        && let Ending::Failed(cause) = stdin.ending()
    {
        s.hear(cause.os);
    }
}

/// Its end was waited for.
pub(crate) fn told(s: &mut Stage<'_>, waited: Result<Exit, Error>) {
    match waited {
        Ok(exit) => s.expect(exit.status().is_some(), "its status is told"),
        Err(error) => {
            assert_ne!(error.kind, ErrorKind::TimedOut, "hang: no end is told");
            s.hear(error.os);
        }
    }
}

/// One look was made while somebody was alive.
pub(crate) fn somebody_lives(s: &mut Stage<'_>, looked: Option<Result<Exit, Error>>) {
    let is_waited_for = match looked {
        // Held up for ever.
        None => return,
        Some(Ok(_)) => false,
        Some(Err(error)) => {
            s.hear(error.os);
            error.kind == ErrorKind::TimedOut
        }
    };
    s.expect(is_waited_for, "who is alive is waited for");
}

/// Has the thread started that hears of children's ends: only for a child that has not ended yet. And what the first armed input finds
/// out stays known.
pub(crate) fn wait_for_one_that_lives() {
    let mut cat = Command::new("cat");
    cat.stdin(Input::armed()).stdout(Output::null());
    let mut child = cat.spawn().expect("a child");
    let first = futures_lite::future::poll_once(child.wait());
    assert!(futures_lite::future::block_on(first).is_none());
    drop(child.stdin.take());
    let exit = child.wait().within(PATIENCE).wait();
    assert!(exit.expect("an end").is_success());
}

/// Starts others and waits for them, until nobody is left: whoever is left over, and could not be reaped under the plan, is reaped by a
/// start once it is over. So is a control group that could not be removed, by a start with one.
pub(crate) fn start_others(has_cgroup: bool) {
    let patience = Instant::now() + PATIENCE;
    let is_child = |one: &String| one.starts_with("child ");
    loop {
        let mut another = Command::new("true");
        let another = another.cgroup(has_cgroup).output(Limits::new());
        let outcome = another.expect("a child").within(PATIENCE).wait();
        assert!(outcome.expect("an end").is_success());
        if !held().iter().any(is_child) || Instant::now() > patience {
            return;
        }
    }
}
