//! Whoever has got the number of a child, or of a process of its tree, is a stranger: no call signals it.
//!
//! Each test runs once more in a pid namespace of its own, where it says which number the next process gets. A stranger tells by its own end
//! whether a signal came before the one that the test ends it with.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::children::accounted;
use crate::common::itself::assert_passes;
use crate::common::{PATIENCE, take_turn};
use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};
#[cfg(feature = "fault")]
use watertight::OsCode;
#[cfg(feature = "fault")]
use watertight::fault::{self, Fault};
use watertight::{Child, Command, Group, Input, Output, TreeEnd};

/// Makes this test binary one that runs in such a namespace.
const IN_NAMESPACE: &str = "WATERTIGHT_IN_PID_NAMESPACE";

/// What unshare makes such a namespace by: as root, and as anybody else where that is allowed.
const NAMESPACES: [&[&str]; 2] = [
    &["--pid", "--fork", "--mount-proc"],
    &[
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
    ],
];

/// The number that this namespace gave last: the next process gets the one behind it, or the next one that is free.
const LAST_NUMBER: &str = "/proc/sys/kernel/ns_last_pid";

/// Whether the next number can be said there.
const PROBE: &str = "echo 98 >/proc/sys/kernel/ns_last_pid && { sleep 0 & test $! = 99; }";

/// The first process of the namespace: it reaps whoever has lost its parent.
const FIRST_PROCESS: &str = "\"$@\"; exit $?";

/// Starts strangers and ends them. Each leads a session and a group of its own before it says its number, so that a signal to that number or
/// to the group of that number reaches it. The answer to `end` is how it ended.
const STRANGERS: &str = "
    while read -r what number; do
        case $what in
        start) setsid sh -c 'echo $$; exec sleep 1000' & ;;
        end) kill -USR1 \"$number\"; wait \"$number\"; echo $? ;;
        esac
    done";

/// What a shell makes of an end by that signal.
const ENDED_IN_ORDER: u32 = 128 + Signal::USR1.as_raw().cast_unsigned();

fn is_in_namespace() -> bool {
    std::env::var_os(IN_NAMESPACE).is_some()
}

/// Runs a test in a pid namespace of its own, by this program.
fn run_in_namespace(test: &str, by: &[&str]) {
    let Some(namespace) = namespace() else {
        return;
    };
    let mut unshare = std::process::Command::new("unshare");
    unshare
        .args(namespace)
        .args(["sh", "-c", FIRST_PROCESS, "sh"])
        .args(by)
        .arg(std::env::current_exe().unwrap());
    assert_passes(unshare, module_path!(), test, IN_NAMESPACE);
}

/// How unshare makes such a namespace here, if it may.
fn namespace() -> Option<&'static [&'static str]> {
    take_turn();
    let mut reason = String::new();
    for namespace in NAMESPACES {
        let mut unshare = std::process::Command::new("unshare");
        match unshare.args(namespace).args(["sh", "-c", PROBE]).output() {
            Ok(output) if output.status.success() => return Some(namespace),
            Ok(output) => reason = String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => reason = error.to_string(),
        }
    }
    let reason = reason.trim();
    println!("skipped: no pid namespace in which the next number can be said: {reason}");
    None
}

/// The next process gets this number, if it is free.
fn say_next(number: u32) {
    std::fs::write(LAST_NUMBER, (number - 1).to_string()).unwrap();
}

/// Processes that have nothing to do with us: children of a shell.
struct Strangers {
    shell: std::process::Child,
    answers: BufReader<ChildStdout>,
}

impl Strangers {
    fn new() -> Self {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", STRANGERS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answers = BufReader::new(shell.stdout.take().unwrap());
        Self { shell, answers }
    }

    fn ask(&mut self, what: &str) -> u32 {
        writeln!(self.shell.stdin.as_mut().unwrap(), "{what}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().parse().unwrap()
    }

    /// Starts a stranger of this number as soon as that is free.
    fn take(&mut self, number: u32) {
        let by = Instant::now() + PATIENCE;
        loop {
            say_next(number);
            let got = self.ask("start");
            if got == number {
                return;
            }
            self.end(got);
            assert!(Instant::now() < by, "the number {number} stays taken");
        }
    }

    /// Ends the stranger of this number, whom nobody has signalled.
    fn end(&mut self, number: u32) {
        assert!(is_running(number), "{number} was killed or stopped");
        let ended = self.ask(&format!("end {number}"));
        assert_eq!(ended, ENDED_IN_ORDER, "{number} was signalled");
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Where ends of children are ignored there is no status.
        let _ = self.shell.wait();
    }
}

/// Whether there is such a process, and it is neither over nor stopped.
fn is_running(number: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    state.starts_with(['R', 'S', 'D'])
}

/// A child of this process that the library does not know, of this number, which leads a group of its own.
fn sibling(number: u32) -> std::process::Child {
    let by = Instant::now() + PATIENCE;
    loop {
        say_next(number);
        let mut sleep = std::process::Command::new("sleep");
        let mut child = sleep.arg("1000").process_group(0).spawn().unwrap();
        if child.id() == number {
            return child;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Instant::now() < by, "the number {number} stays taken");
    }
}

/// Ends such a child, whom nobody has signalled.
fn end_sibling(mut child: std::process::Child) {
    assert!(is_running(child.id()), "it was killed or stopped");
    kill_process(Pid::from_child(&child), Signal::USR1).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::USR1.as_raw()));
}

/// By what the library holds a child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Held {
    /// Its number alone, as where there are no pidfds.
    #[cfg(feature = "fault")]
    ByNumber,
    ByPidfd,
}

const HELD: &[Held] = &[
    #[cfg(feature = "fault")]
    Held::ByNumber,
    Held::ByPidfd,
];

impl Held {
    #[cfg(feature = "fault")]
    fn is_by_number(self) -> bool {
        self == Self::ByNumber
    }

    #[cfg(not(feature = "fault"))]
    fn is_by_number(self) -> bool {
        self != Self::ByPidfd
    }

    #[cfg(feature = "fault")]
    fn start(self, command: &mut Command) -> Child {
        /// What a kernel without pidfds says (ENOSYS).
        const NO_SUCH_CALL: OsCode = OsCode(38);
        if self == Self::ByPidfd {
            return command.spawn().unwrap();
        }
        fault::plan(&[Fault {
            at: 1,
            only: Some("pidfd_open (child)"),
            code: NO_SUCH_CALL,
            times: 1,
        }]);
        let child = command.spawn().unwrap();
        assert_eq!(fault::stop().begun.len(), 1);
        child
    }

    #[cfg(not(feature = "fault"))]
    fn start(self, command: &mut Command) -> Child {
        command.spawn().unwrap()
    }
}

/// Each call that signals, and at last none: the drop behind it kills.
fn ways_to_signal() -> [fn(&Child); 5] {
    [
        |child| assert!(!child.kill().unwrap()),
        |child| assert_nobody(&child.kill_tree()),
        |child| {
            let ended = child.terminate(Duration::ZERO).within(PATIENCE);
            assert!(ended.wait().is_ok());
        },
        |child| {
            let ended = child.terminate_tree(Duration::ZERO).within(PATIENCE);
            assert!(ended.wait().is_ok());
        },
        |_| {},
    ]
}

/// Nobody was there to be signalled.
fn assert_nobody(end: &TreeEnd) {
    let is_nobody = end.signalled.is_empty() && end.left.is_empty() && end.error.is_none();
    assert!(is_nobody, "{end:?}");
}

/// A child that is killed with its tree when it is dropped.
fn sleeping() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000").group(Group::Own).kill_on_drop(true);
    command
}

/// Waits for the child's end as code does that waits for just any child.
fn reap_behind_the_library(child: &Child) {
    let (pid, _) = rustix::process::wait(WaitOptions::empty())
        .unwrap()
        .unwrap();
    assert_eq!(pid.as_raw_pid(), child.id().cast_signed());
}

/// A child that was killed and reaped.
fn over(held: Held, is_reaped_by_us: bool) -> Child {
    let child = held.start(&mut sleeping());
    assert!(child.kill().unwrap());
    if is_reaped_by_us {
        assert!(child.wait().within(PATIENCE).wait().is_ok());
    } else {
        reap_behind_the_library(&child);
    }
    child
}

#[test]
fn who_has_got_a_childs_number_is_not_signalled() {
    if !is_in_namespace() {
        return run_in_namespace("who_has_got_a_childs_number_is_not_signalled", &[]);
    }
    let _accounted = accounted();
    let mut strangers = Strangers::new();
    for held in HELD {
        for is_reaped_by_us in [true, false] {
            for signal in ways_to_signal() {
                let child = over(*held, is_reaped_by_us);
                let number = child.id();
                strangers.take(number);
                signal(&child);
                drop(child);
                strangers.end(number);
            }
        }
    }
}

#[test]
fn another_child_that_has_got_a_childs_number_is_not_signalled() {
    if !is_in_namespace() {
        let test = "another_child_that_has_got_a_childs_number_is_not_signalled";
        return run_in_namespace(test, &[]);
    }
    let _accounted = accounted();
    for held in HELD {
        for is_reaped_by_us in [true, false] {
            // Other code has reaped it and has another child of that number: with the number alone nobody can tell.
            if held.is_by_number() && !is_reaped_by_us {
                continue;
            }
            for signal in ways_to_signal() {
                let child = over(*held, is_reaped_by_us);
                let sibling = sibling(child.id());
                signal(&child);
                drop(child);
                end_sibling(sibling);
            }
        }
    }
}

/// Then the system reaps every child at its end, by itself.
#[test]
fn who_has_got_a_childs_number_is_not_signalled_where_ends_are_ignored() {
    const IGNORING: [&str; 2] = ["env", "--ignore-signal=CHLD"];
    if !is_in_namespace() {
        take_turn();
        let [env, ignoring] = IGNORING;
        let probe = std::process::Command::new(env)
            .args([ignoring, "true"])
            .stderr(Stdio::null())
            .status();
        if !probe.is_ok_and(|status| status.success()) {
            println!("skipped: no env that has a signal ignored");
            return;
        }
        let test = "who_has_got_a_childs_number_is_not_signalled_where_ends_are_ignored";
        return run_in_namespace(test, &IGNORING);
    }
    assert!(watertight::is_signal_ignored(Signal::CHILD.as_raw()));
    let _accounted = accounted();
    let mut strangers = Strangers::new();
    for held in HELD {
        for signal in ways_to_signal() {
            let child = held.start(&mut sleeping());
            assert!(child.kill().unwrap());
            let number = child.id();
            strangers.take(number);
            signal(&child);
            drop(child);
            strangers.end(number);
        }
    }
}

/// A process of the tree says its number and ends at the end of a line; the child lives on. Neither minds SIGTERM.
const WITH_A_MEMBER: &str = "trap '' TERM; sh -c 'echo $$; read -r line; exit 0'; exec sleep 1000";

#[test]
fn who_has_got_the_number_of_one_that_was_seen_in_the_tree_is_not_signalled() {
    if !is_in_namespace() {
        let test = "who_has_got_the_number_of_one_that_was_seen_in_the_tree_is_not_signalled";
        return run_in_namespace(test, &[]);
    }
    let _accounted = accounted();
    let mut strangers = Strangers::new();
    for held in HELD {
        for is_child_reaped in [false, true] {
            let mut command = Command::new("sh");
            command
                .args(["-c", WITH_A_MEMBER])
                .stdin(Input::piped())
                .stdout(Output::piped())
                .group(Group::Own)
                .kill_on_drop(true);
            let mut child = held.start(&mut command);
            let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            let mut lines = output.lines(100);
            let said = lines.receive().within(PATIENCE).wait().unwrap().unwrap();
            let said = String::from_utf8(said.content().to_vec()).unwrap();
            let number: u32 = said.parse().unwrap();
            // Whoever is asked is remembered.
            let asked = child.terminate_tree(PATIENCE);
            assert!(asked.within(Duration::from_millis(1)).wait().is_err());
            if is_child_reaped {
                assert!(child.kill().unwrap());
                assert!(child.wait().within(PATIENCE).wait().is_ok());
            }
            input.send(b"\n").wait().unwrap();
            strangers.take(number);
            let end = child.kill_tree();
            if is_child_reaped {
                assert_nobody(&end);
            } else {
                let signalled: Vec<u32> = end.signalled.iter().map(|one| one.pid).collect();
                assert_eq!(signalled, [child.id()], "{end:?}");
            }
            drop(child);
            strangers.end(number);
        }
    }
}

const CHILDREN: u32 = 10_000;

/// From here on numbers are given, and again from here after every so many children.
const FIRST_NUMBER: u32 = 1_000;
const CHILDREN_IN_A_ROUND: u32 = 32;

/// How many children are kept behind their ends before they are signalled once more, and how many strangers there are at the same time. Of
/// eight children one is dropped and seven are kept; two of these have their number taken by a stranger, who is still there then.
const KEPT: usize = 8;
const STRANGERS_MAX: usize = 4;

/// `WATERTIGHT_CYCLES` sets another number of children (the sanitizers' runs do).
fn children() -> u32 {
    let number = std::env::var("WATERTIGHT_CYCLES").ok();
    let number = number.map(|number| number.parse::<u32>().expect("a number of cycles"));
    number.map_or(CHILDREN, |number| number.min(CHILDREN))
}

/// A command that was started in a group of its own before, where our own group has no number: its leader is outside the namespace.
#[test]
fn our_group_may_have_no_number() {
    if !is_in_namespace() {
        return run_in_namespace("our_group_may_have_no_number", &[]);
    }
    assert!(watertight::own_group().is_none());
    let _accounted = accounted();
    let mut command = Command::new("true");
    for group in [Group::Own, Group::Shared] {
        let child = command.group(group).spawn().unwrap();
        assert!(child.wait().within(PATIENCE).wait().unwrap().is_success());
    }
}

/// Where numbers are few, and each is soon somebody else's.
#[test]
fn ten_thousand_killed_trees_take_nobody_else_with_them() {
    if !is_in_namespace() {
        return run_in_namespace("ten_thousand_killed_trees_take_nobody_else_with_them", &[]);
    }
    let _accounted = accounted();
    let mut strangers = Strangers::new();
    let (mut kept, mut taken) = (VecDeque::<Child>::new(), VecDeque::<u32>::new());
    // In a group of its own and in ours: from there its tree is found in /proc alone.
    let [mut own, mut shared] = [Group::Own, Group::Shared].map(|group| {
        let mut tree = Command::new("sh");
        tree.args(["-c", "sleep 1000 & exec sleep 1000"]);
        tree.group(group).kill_on_drop(true);
        tree
    });
    let mut single = sleeping();
    for round in 0..children() {
        if round % CHILDREN_IN_A_ROUND == 0 {
            say_next(FIRST_NUMBER);
        }
        let command = match round % 4 {
            0 => &mut own,
            1 => &mut shared,
            _ => &mut single,
        };
        let child = command.spawn().unwrap();
        if round % 8 == 3 {
            // With its tree.
            drop(child);
            continue;
        }
        let end = child.kill_tree();
        assert!(end.error.is_none(), "{end:?}");
        assert!(child.wait().within(PATIENCE).wait().is_ok());
        if kept.len() == KEPT {
            let old = kept.pop_front().unwrap();
            assert!(!old.kill().unwrap());
            assert!(old.kill_tree().signalled.is_empty());
            // And this kills once more.
            drop(old);
        }
        if round % 4 == 2 {
            if taken.len() == STRANGERS_MAX {
                strangers.end(taken.pop_front().unwrap());
            }
            strangers.take(child.id());
            taken.push_back(child.id());
        }
        kept.push_back(child);
    }
    drop(kept);
    for number in taken {
        strangers.end(number);
    }
}
