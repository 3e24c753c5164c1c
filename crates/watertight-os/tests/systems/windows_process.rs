//! Children on Windows: their end is told once, and a job object ends a tree as a whole. The test starts itself as the children.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests state their expectations this way, in their helpers too"
)]

#[cfg(feature = "fault")]
mod planned;
mod starts;

use crate::itself::test_name;
use crate::turn::take_turn;
use crate::windows_lab::{has_process_to_itself, has_process_with, under_wine};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::windows::io::AsHandle;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};
use watertight_os::{
    EarlierStarts, Found, Grouping, Native, Process, Reaped, StartOptions, StdStreams, TreeLook,
    is_in_terminals_foreground,
};
use windows_sys::Win32::Foundation::STATUS_CONTROL_C_EXIT;
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, SetConsoleCtrlHandler};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, DETACHED_PROCESS,
};
use windows_sys::core::BOOL;

/// How long anything may take before it is a hang. Never waited for when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the child is to do.
const ROLE: &str = "WATERTIGHT_PROCESS_ROLE";
/// Says its last words and ends with [`CODE`] when its standard input does.
const WAITS: &str = "waits";
/// As that, and starts one that waits in the same streams.
const HAS_A_CHILD: &str = "has a child";
/// Says its last words and ends with [`CODE`] when CTRL_BREAK comes.
const HEARS: &str = "hears";
/// Says of each of its standard streams whether calls there wait for their answers, and ends with [`CODE`].
const TELLS: &str = "tells";
const CODE: i32 = 7;
/// What each says that has come so far.
const READY: &str = "ready-and-waiting";
/// What each says that ends by itself.
const LAST: &str = "last-words";

/// No test of its own: what the children of this file do.
#[test]
fn be_a_child() {
    let Some(role) = std::env::var_os(ROLE) else {
        return;
    };
    if role == HEARS {
        await_break();
        println!("{LAST}");
        end();
    }
    if role == TELLS {
        starts::tell_of_streams();
        end();
    }
    let grandchild = (role == HAS_A_CHILD).then(|| {
        let mut command = child(WAITS);
        command.stdin(Stdio::inherit()).stdout(Stdio::inherit());
        command.spawn().unwrap()
    });
    println!("{READY}");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    drop(grandchild);
    // Nobody may hear it any more.
    let _ = writeln!(std::io::stdout(), "{LAST}");
    end()
}

/// Whether CTRL_BREAK has come to this process.
static HAS_HEARD: Mutex<bool> = Mutex::new(false);
static HEARD: Condvar = Condvar::new();

/// The handler, on a thread of the system's: the process is not to be ended for it.
unsafe extern "system" fn hear(event: u32) -> BOOL {
    if event != CTRL_BREAK_EVENT {
        return 0;
    }
    *HAS_HEARD.lock().unwrap() = true;
    HEARD.notify_all();
    1
}

/// Says that it is ready, and waits for CTRL_BREAK.
fn await_break() {
    // SAFETY: the handler is a function of this program's, which is there as long as the process; no memory of ours goes in.
    let is_set = unsafe { SetConsoleCtrlHandler(Some(hear), 1) };
    assert_ne!(is_set, 0);
    println!("{READY}");
    let heard = HAS_HEARD.lock().unwrap();
    let (heard, _) = HEARD
        .wait_timeout_while(heard, PATIENCE, |heard| !*heard)
        .unwrap();
    assert!(*heard, "nothing was heard");
}

#[expect(clippy::exit, reason = "the test harness must not go on in the child")]
fn end() -> ! {
    std::process::exit(CODE)
}

fn child(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            &test_name(module_path!(), "be_a_child"),
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

fn start(role: &str, grouping: Grouping) -> (Process, StdStreams) {
    let options = StartOptions {
        grouping,
        ..StartOptions::default()
    };
    Process::start(&mut child(role), options, &mut EarlierStarts::default()).unwrap()
}

/// In a process group of its own, which can be asked to end.
fn start_in_group(command: &mut Command, further_flags: u32) -> (Process, StdStreams) {
    let options = StartOptions {
        grouping: Grouping::Own,
        creation_flags: CREATE_NEW_PROCESS_GROUP | further_flags,
        ..StartOptions::default()
    };
    Process::start(command, options, &mut EarlierStarts::default()).unwrap()
}

fn status(process: &Process) -> ExitStatus {
    assert!(process.wait_for_exit(Some(PATIENCE)).unwrap());
    let reaped = process.try_reap();
    let Reaped::Ended(status) = reaped else {
        panic!("{reaped:?}");
    };
    assert_eq!(process.try_reap(), reaped);
    status
}

/// Receives once when the child has ended; hung up after that.
fn told_of(process: &Process) -> Receiver<()> {
    let (tell, told) = channel();
    let tell = move || tell.send(()).unwrap();
    process.on_exit(Box::new(tell)).unwrap();
    told
}

/// Reads until so many have said that they are ready.
fn await_ready(stdout: &mut BufReader<ChildStdout>, count: usize) {
    let mut seen = 0;
    while seen < count {
        let mut line = String::new();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "it ended early");
        seen += line.matches(READY).count();
    }
}

/// Reads to the end: everybody who had the other end is gone.
fn assert_ends(mut stdout: impl Read) {
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
}

/// Its memory is not asked for: Wine may not know it of a process that is over.
#[test]
fn what_it_has_used_is_told_at_its_end_and_not_before() {
    take_turn();
    let (process, streams) = start(WAITS, Grouping::Own);
    assert_eq!(process.usage(), None);
    drop(streams.stdin);
    assert_ends(streams.stdout.unwrap());
    assert_eq!(status(&process).code(), Some(CODE));
    assert!(process.usage().is_some());
}

#[test]
fn an_end_is_told_once_to_everybody() {
    take_turn();
    for grouping in [Grouping::Ours, Grouping::Own] {
        let (process, streams) = start(WAITS, grouping);
        let both = [told_of(&process), told_of(&process)];
        assert_eq!(process.try_reap(), Reaped::Running);
        let a_moment = Some(Duration::from_millis(1));
        assert!(!process.wait_for_exit(a_moment).unwrap());
        for told in &both {
            assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
        }
        drop(streams.stdin);
        for told in &both {
            told.recv_timeout(PATIENCE).unwrap();
            assert_eq!(
                told.recv_timeout(PATIENCE),
                Err(RecvTimeoutError::Disconnected)
            );
        }
        assert_ends(streams.stdout.unwrap());
        assert_eq!(status(&process).code(), Some(CODE));
        // Now it is told at once.
        told_of(&process).try_recv().unwrap();
    }
}

#[test]
fn an_end_is_told_although_the_process_was_dropped() {
    take_turn();
    let (process, streams) = start(WAITS, Grouping::Ours);
    let told = told_of(&process);
    drop(process);
    assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
    drop(streams.stdin);
    assert_ends(streams.stdout.unwrap());
    told.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_killed_child_is_killed_once() {
    take_turn();
    let (process, _streams) = start(WAITS, Grouping::Ours);
    assert!(process.kill().unwrap());
    assert_eq!(status(&process).code(), Some(1));
    assert!(!process.kill().unwrap());
    let end = process.kill_tree();
    assert!(end.signalled.is_empty() && end.left.is_empty() && end.error.is_none());
}

#[test]
fn only_a_group_of_its_own_can_be_asked_to_end() {
    take_turn();
    let (process, _streams) = start(WAITS, Grouping::Ours);
    let refused = process.terminate().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::Unsupported);
    let end = process.terminate_tree();
    assert_eq!(end.left.len(), 1);
    assert!(end.error.is_some());
    assert!(process.kill().unwrap());
}

/// A child without a handler. Under Wine the event ends one thread of it, so it has no more there: with the harness of this file it
/// would go on.
#[test]
fn a_child_that_is_asked_ends_and_nobody_kills_it() {
    take_turn();
    let name = "a_child_that_is_asked_ends_and_nobody_kills_it";
    if !has_process_with(module_path!(), name, CREATE_NO_WINDOW) {
        return;
    }
    if !is_in_terminals_foreground() {
        println!("skipped: a process without a window has no console here");
        return;
    }
    let mut command = child(WAITS);
    if under_wine() {
        command = Command::new("cmd.exe");
        command
            .args(["/d", "/k", "echo", READY])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
    }
    let (process, streams) = start_in_group(&mut command, 0);
    let mut stdout = BufReader::new(streams.stdout.unwrap());
    await_ready(&mut stdout, 1);
    assert!(process.terminate().unwrap());
    // Its input is open: only the event ended it.
    let code = status(&process).code();
    if under_wine() {
        println!("skipped: what it ends with is {code:?} under Wine, and its own on Windows");
    } else {
        assert_eq!(code, Some(STATUS_CONTROL_C_EXIT));
    }
    assert_ends(stdout);
    assert!(!process.terminate().unwrap());
    let end = process.terminate_tree();
    assert!(end.signalled.is_empty() && end.left.is_empty() && end.error.is_none());
    drop(streams.stdin);
}

#[test]
fn a_child_that_hears_of_it_ends_in_its_own_way() {
    take_turn();
    if under_wine() {
        println!("skipped: at CTRL_BREAK Wine ends a thread of the child and calls no handler");
        return;
    }
    let name = "a_child_that_hears_of_it_ends_in_its_own_way";
    if !has_process_with(module_path!(), name, CREATE_NO_WINDOW) {
        return;
    }
    let (process, streams) = start_in_group(&mut child(HEARS), 0);
    let mut stdout = BufReader::new(streams.stdout.unwrap());
    await_ready(&mut stdout, 1);
    let asked = process.terminate_tree();
    assert!(asked.left.is_empty() && asked.error.is_none(), "{asked:?}");
    assert_eq!(asked.signalled.len(), 1);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(rest.contains(LAST), "{rest}");
    assert_eq!(status(&process).code(), Some(CODE));
    drop(streams.stdin);
}

/// Its console is its own, and we have none.
#[test]
fn a_child_in_another_console_cannot_be_asked_and_that_is_told() {
    take_turn();
    let name = "a_child_in_another_console_cannot_be_asked_and_that_is_told";
    if !has_process_with(module_path!(), name, DETACHED_PROCESS) {
        return;
    }
    let (process, streams) = start_in_group(&mut child(WAITS), CREATE_NO_WINDOW);
    let refused = process.terminate().unwrap_err();
    assert_ne!(refused.kind(), std::io::ErrorKind::Unsupported);
    assert!(refused.raw_os_error().is_some(), "{refused}");
    let end = process.terminate_tree();
    assert!(end.signalled.is_empty() && end.error.is_some(), "{end:?}");
    assert_eq!(end.left.len(), 1);
    assert_eq!(end.left[0].pid, process.id());
    drop(streams.stdin);
    assert_ends(streams.stdout.unwrap());
    assert_eq!(status(&process).code(), Some(CODE));
}

#[test]
fn a_tree_is_killed_with_everybody_in_it() {
    take_turn();
    let (process, streams) = start(HAS_A_CHILD, Grouping::Own);
    let mut stdout = BufReader::new(streams.stdout.unwrap());
    await_ready(&mut stdout, 2);
    let end = process.kill_tree();
    assert!(end.error.is_none() && end.left.is_empty(), "{end:?}");
    assert!(end.signalled.len() >= 2, "{end:?}");
    assert_eq!(end.signalled[0].pid, process.id());
    assert_ends(stdout);
    assert_eq!(status(&process).code(), Some(1));
    drop(streams.stdin);
}

/// The child is killed, and what it has started lives on in the job.
#[test]
fn a_tree_is_over_when_nobody_in_its_job_is_alive() {
    take_turn();
    let (process, streams) = start(HAS_A_CHILD, Grouping::Own);
    let mut stdout = BufReader::new(streams.stdout.unwrap());
    await_ready(&mut stdout, 2);
    assert!(!process.is_tree_over());
    assert!(process.kill().unwrap());
    assert_eq!(status(&process).code(), Some(1));
    let look = process.look_at_tree().unwrap();
    assert!(matches!(look, TreeLook::Unheld), "{look:?}");
    assert!(!process.is_tree_over());
    drop(streams.stdin);
    assert_ends(stdout);
    // It has closed its output, and is about to end.
    let by = Instant::now() + PATIENCE;
    while !matches!(process.look_at_tree().unwrap(), TreeLook::Over) {
        assert!(Instant::now() < by, "somebody is left");
        std::thread::yield_now();
    }
    assert!(process.is_tree_over());
}

#[test]
fn a_child_that_has_started_nobody_leaves_no_tree() {
    take_turn();
    let (process, streams) = start(WAITS, Grouping::Own);
    assert!(process.is_tree_over(), "the child aside, nobody is there");
    assert!(process.kill().unwrap());
    assert_eq!(status(&process).code(), Some(1));
    let by = Instant::now() + PATIENCE;
    while !process.is_tree_over() {
        assert!(Instant::now() < by, "somebody is left");
        std::thread::yield_now();
    }
    assert_ends(streams.stdout.unwrap());
    drop(streams.stdin);
}

/// Its name is that of the program, which is this one.
#[test]
fn who_of_the_tree_is_alive_may_hold_what_the_child_wrote_to() {
    take_turn();
    let (process, streams) = start(HAS_A_CHILD, Grouping::Own);
    let mut stdout = BufReader::new(streams.stdout.unwrap());
    await_ready(&mut stdout, 2);
    assert!(process.kill().unwrap());
    assert_eq!(status(&process).code(), Some(1));
    let holders = process.holders_of(stdout.get_ref().as_handle());
    assert!(holders.iter().all(|one| one.pid != process.id()));
    let program = std::env::current_exe().unwrap();
    let is_this = |name: &std::ffi::OsStr| program.file_name().unwrap().eq_ignore_ascii_case(name);
    let is_named = |one: &Found| one.name.as_deref().is_some_and(is_this);
    assert!(holders.iter().any(is_named), "{holders:?}");
    drop(streams.stdin);
    assert_ends(stdout);
}

#[test]
fn a_tree_that_ends_with_us_ends_with_its_process() {
    take_turn();
    let options = StartOptions {
        grouping: Grouping::Own,
        ends_with_us: true,
        ..StartOptions::default()
    };
    let (process, streams) = Process::start(
        &mut child(HAS_A_CHILD),
        options,
        &mut EarlierStarts::default(),
    )
    .unwrap();
    let mut stdout = BufReader::new(streams.stdout.unwrap());
    await_ready(&mut stdout, 2);
    let told = told_of(&process);
    drop(process);
    assert_ends(stdout);
    told.recv_timeout(PATIENCE).unwrap();
    drop(streams.stdin);
}

#[test]
fn whoever_was_let_go_outlives_the_process() {
    take_turn();
    let options = StartOptions {
        grouping: Grouping::Own,
        ends_with_us: true,
        ..StartOptions::default()
    };
    let (process, streams) = Process::start(
        &mut child(HAS_A_CHILD),
        options,
        &mut EarlierStarts::default(),
    )
    .unwrap();
    let mut stdout = BufReader::new(streams.stdout.unwrap());
    await_ready(&mut stdout, 2);
    process.let_go().unwrap();
    let told = told_of(&process);
    drop(process);
    // Only then does either of them say its last words.
    drop(streams.stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.matches(LAST).count(), 2, "{rest}");
    told.recv_timeout(PATIENCE).unwrap();
}

/// Handles that the system's pool of threads opens as it grows. One that each child leaves is more.
const POOL_HANDLES_MAX: usize = 24;

/// How many children are started one after the other. `WATERTIGHT_CYCLES` sets another number (docs/testing.md has the command for ten
/// thousand).
fn cycles() -> usize {
    match std::env::var("WATERTIGHT_CYCLES") {
        Ok(number) => number.parse().expect("a number of cycles"),
        Err(_) => 300,
    }
}

/// One that is killed, alone or with its tree. Its input is open: only the kill ends it.
fn kill_one(is_tree: bool) {
    let (process, streams) = start(WAITS, Grouping::Own);
    let told = told_of(&process);
    if is_tree {
        let end = process.kill_tree();
        assert!(end.error.is_none(), "{end:?}");
    } else {
        assert!(process.kill().unwrap());
    }
    told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(status(&process).code(), Some(1));
    assert_ends(streams.stdout.unwrap());
    drop(streams.stdin);
}

/// One that ends with its input.
fn end_one() {
    let (process, streams) = start(WAITS, Grouping::Own);
    let told = told_of(&process);
    drop(streams.stdin);
    assert_ends(streams.stdout.unwrap());
    told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(status(&process).code(), Some(CODE));
}

/// One that is dropped, and goes on to the end of its input.
fn drop_one() {
    let (process, streams) = start(WAITS, Grouping::Own);
    let told = told_of(&process);
    drop(process);
    drop(streams.stdin);
    assert_ends(streams.stdout.unwrap());
    told.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn hundreds_of_children_leave_no_handle() {
    take_turn();
    if !has_process_to_itself(module_path!(), "hundreds_of_children_leave_no_handle") {
        return;
    }
    let round = |number: usize| match number % 4 {
        0 => kill_one(false),
        1 => kill_one(true),
        2 => drop_one(),
        _ => end_one(),
    };
    (0..4).for_each(round);
    let before = Native::open_handles().unwrap();
    (0..cycles()).for_each(round);
    assert_no_more_handles_than(before);
}

/// But for those of the system's pool.
fn assert_no_more_handles_than(before: usize) {
    // The pool's thread lets go of the last child's a moment after it has told.
    let by = Instant::now() + PATIENCE;
    let is_more = || Native::open_handles().unwrap() > before + POOL_HANDLES_MAX;
    while is_more() && Instant::now() < by {
        std::thread::yield_now();
    }
    assert!(!is_more(), "handles left behind");
}

#[test]
fn whether_there_is_a_console_is_the_same_twice() {
    take_turn();
    let here = is_in_terminals_foreground();
    assert_eq!(is_in_terminals_foreground(), here);
}
