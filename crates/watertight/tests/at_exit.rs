//! The end of the process: what was accepted is settled first, and what is lost is told.
//!
//! Each test starts this program again as a child that ends in one way. The child says "ending" on standard error just before,
//! and its reader begins to read only then: whatever arrives beyond a pipe's capacity was settled by the end itself.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]
// A harness of its own: the built-in one ends the process itself, and its threads are not the program's main thread.
#![allow(clippy::exit, reason = "how a process ends is what is tested")]

use libtest_mimic::{Arguments, Failed, Trial};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use watertight::{
    Direction, ErrorKind, Ledger, Observer, OnDrop, PipeWriter, ReaderOptions, WriterOptions,
};

const CASE: &str = "WATERTIGHT_EXIT_CASE";
/// More than a pipe holds, less than a queue.
const BYTES: usize = 250_000;
/// Far longer than any of this takes: a child that is still there then hangs.
const WITHIN_LONG: &str = "60";
const CODE: i32 = 7;
/// What fits a pipe.
#[cfg(target_os = "linux")]
const BURST_BYTES: usize = 2_000;
/// How often a millisecond apart it is looked whether a child has ended too early.
const LOOKS: u32 = 100;

type Case = (&'static str, fn());
type Check = (&'static str, fn() -> Result<(), Failed>);

/// How a child may end. All bytes arrive.
const WHOLE: [Case; 8] = [
    ("return_after_a_drop", || {
        drop(accepted(WriterOptions::new()))
    }),
    ("return_with_a_writer_that_is_never_dropped", || {
        Box::leak(Box::new(accepted(WriterOptions::new())));
        ending();
    }),
    ("return_in_the_middle_of_a_burst_of_messages", || {
        let out = watertight::inherited(1, Direction::Write).unwrap();
        let writer = PipeWriter::adopt(out).unwrap();
        for _ in 0..BYTES / 50 {
            writer.send(&[b'x'; 50]).wait().unwrap();
        }
        Box::leak(Box::new(writer));
        ending();
    }),
    ("panic_of_the_main_thread", || {
        let _writer = accepted(WriterOptions::new());
        panic!("on purpose");
    }),
    ("watertight_exit", || {
        let _writer = accepted(WriterOptions::new());
        watertight::exit(CODE);
    }),
    ("watertight_exit_on_another_thread", || {
        let _writer = accepted(WriterOptions::new());
        let _ = std::thread::spawn(|| watertight::exit(CODE)).join();
    }),
    ("settle_on_drop", || {
        let _settled = watertight::settle_on_drop();
        watertight::exit_within(Duration::from_secs(60));
        drop(accepted(WriterOptions::new()));
    }),
    ("a_linger_of_its_own", || {
        drop(accepted(
            WriterOptions::new().linger(Duration::from_secs(60)),
        ));
    }),
];

/// Ends through std's `exit`: on Windows all other threads are dead by then.
const STD_EXIT: [Case; 3] = [
    ("std_exit", || {
        let _writer = accepted(WriterOptions::new());
        std::process::exit(CODE);
    }),
    ("std_exit_on_another_thread", || {
        let _writer = accepted(WriterOptions::new());
        let exit = || {
            // On Windows only a thread that has met the library is told when it ends the process.
            drop(watertight::pipe());
            std::process::exit(CODE);
        };
        let _ = std::thread::spawn(exit).join();
    }),
    ("std_exit_in_an_observer", || {
        let _writer = accepted(WriterOptions::new());
        let exits = WriterOptions::new().observer(Arc::new(Exits));
        let (reader, other) = watertight::pipe_with(ReaderOptions::new(), exits).unwrap();
        // More than the pipe holds, so that the progress is the library's thread's to tell.
        other.send(&[1; BYTES]).wait().unwrap();
        let mut buf = [0; BYTES];
        while reader.receive(&mut buf).wait().is_ok_and(|n| n > 0) {}
    }),
];

struct Exits;

impl Observer for Exits {
    fn progress(&self, ledger: Ledger) {
        if ledger.transferred() > 100_000 {
            std::process::exit(CODE);
        }
    }
}

/// What a child may lose, and what it says then.
const LOSSES: [Case; 6] = [
    ("nobody_reads", || {
        watertight::exit_within(Duration::from_millis(100));
        let writer = accepted(WriterOptions::new());
        drop(writer);
    }),
    ("turned_off", || drop(accepted(WriterOptions::new()))),
    ("both_ends_are_ours", || {
        let (reader, writer) = watertight::pipe().unwrap();
        writer.send(&[1; BYTES]).wait().unwrap();
        Box::leak(Box::new((reader, writer)));
    }),
    ("two_drops_whose_peer_left", || {
        for _ in 0..2 {
            lose();
        }
    }),
    ("a_drop_with_a_hook", || {
        watertight::on_loss(Some(Arc::new(|loss| {
            assert_eq!(loss.cause.kind, ErrorKind::BrokenPipe);
            eprintln!("hook: {} bytes", loss.bytes_discarded);
        })));
        lose();
    }),
    ("asked_for", || {
        let abort = WriterOptions::new().on_drop(OnDrop::Abort);
        let (_reader, writer) = watertight::pipe_with(ReaderOptions::new(), abort).unwrap();
        writer.send(&[1; BYTES]).wait().unwrap();
        drop(writer);
    }),
];

/// What only Unix has: a fork, and a signal of a write.
#[cfg(all(unix, feature = "fault"))]
const OF_UNIX: [Check; 2] = [
    (
        "a_forked_childs_exit_is_quick_and_silent",
        a_forked_childs_exit_is_quick_and_silent,
    ),
    (
        "a_line_that_nobody_hears_raises_no_signal",
        a_line_that_nobody_hears_raises_no_signal,
    ),
];

/// A writer on standard output that has accepted everything.
fn accepted(options: WriterOptions) -> PipeWriter {
    let out = watertight::inherited(1, Direction::Write).unwrap();
    let writer = PipeWriter::adopt_with(out, options).unwrap();
    writer.send(&[b'x'; BYTES]).wait().unwrap();
    ending();
    writer
}

fn ending() {
    let _ = std::io::stderr().write_all(b"ending\n");
}

/// A writer that accepted more than the pipe holds, is dropped, and then its peer leaves.
fn lose() {
    let (reader, writer) = watertight::pipe().unwrap();
    writer.send(&[1; BYTES]).wait().unwrap();
    drop(writer);
    drop(reader);
    watertight::settle()
        .within(Duration::from_secs(60))
        .wait()
        .unwrap();
}

struct Running {
    child: Child,
    stdout: ChildStdout,
    stderr: BufReader<ChildStderr>,
}

fn start(case: &str, within: &str) -> Running {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CASE, case)
        .env(watertight::EXIT_WITHIN_VARIABLE, within)
        // A forked child has none of its parent's other threads: what these had in hand looks leaked to the address sanitizer.
        .envs((case == "fork").then_some(("ASAN_OPTIONS", "detect_leaks=0")))
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    Running {
        child,
        stdout,
        stderr,
    }
}

impl Running {
    /// Says what it said before.
    fn await_ending(&mut self) -> String {
        let (mut line, mut before) = (String::new(), String::new());
        while line != "ending\n" {
            before.push_str(&line);
            line.clear();
            assert_ne!(
                self.stderr.read_line(&mut line).unwrap(),
                0,
                "it ended early"
            );
        }
        before
    }

    /// Gives an end that does not settle the time to happen: the reader begins only then. A right end is still there.
    fn await_a_wrong_end(&mut self) {
        for _ in 0..LOOKS {
            if self.child.try_wait().unwrap().is_some() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Reads everything, and how it ended.
    fn read_all(mut self) -> Output {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        self.stdout.read_to_end(&mut stdout).unwrap();
        self.stderr.read_to_end(&mut stderr).unwrap();
        let status = self.child.wait().unwrap();
        Output {
            status,
            stdout,
            stderr,
        }
    }
}

fn everything_arrives(case: &str) -> Result<(), Failed> {
    let mut running = start(case, WITHIN_LONG);
    running.await_ending();
    running.await_a_wrong_end();
    let output = running.read_all();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = match case {
        _ if case.contains("exit") => CODE,
        _ if case.starts_with("panic") => 101,
        _ => 0,
    };
    check(output.status.code() == Some(expected), &said)?;
    check(
        output.stdout == [b'x'; BYTES],
        &format!("{} bytes; {said}", output.stdout.len()),
    )?;
    check(!said.contains("still held"), &said)
}

/// On Windows all bytes arrive, or it is said how many did not.
fn nothing_is_silent(case: &str) -> Result<(), Failed> {
    if !cfg!(windows) {
        return everything_arrives(case);
    }
    let mut running = start(case, WITHIN_LONG);
    running.await_ending();
    let output = running.read_all();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    check(output.status.code() == Some(CODE), &said)?;
    let told = said.contains("watertight: at exit ");
    check(
        output.stdout.len() == BYTES || told,
        &format!("{} bytes; {said}", output.stdout.len()),
    )
}

fn check(holds: bool, text: &str) -> Result<(), Failed> {
    holds.then_some(()).ok_or_else(|| Failed::from(text))
}

/// The child ends although its reader does not read; then what the pipe holds and what was said.
fn loses(case: &str, within: &str) -> (usize, String, Option<i32>) {
    let mut running = start(case, within);
    let status = running.child.wait().unwrap();
    let output = running.read_all();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.stdout.len(), said, status.code())
}

fn the_bound_passes_and_the_rest_is_told(case: &str, within: &str) -> Result<(), Failed> {
    let (arrived, said, code) = loses(case, within);
    check(code == Some(0), &said)?;
    let line = said.split("watertight: at exit 1 pipe still held ").nth(1);
    let held = line.and_then(|line| line.split(' ').next()?.parse::<usize>().ok());
    // On Windows the operation in flight may have arrived in part, which is what "in doubt" means.
    let is_true = |held: usize| {
        if cfg!(windows) {
            held >= BYTES - arrived && said.contains("in doubt")
        } else {
            held == BYTES - arrived
        }
    };
    let holds = arrived < BYTES && held.is_some_and(is_true);
    check(holds, &format!("{arrived}: {said}"))
}

fn what_we_send_ourselves_is_told_and_not_waited_for() -> Result<(), Failed> {
    let (_, said, code) = loses("both_ends_are_ours", WITHIN_LONG);
    check(
        code == Some(0) && said.contains("watertight: at exit 1 pipe still held "),
        &said,
    )
}

fn a_loss_has_one_line_for_its_cause() -> Result<(), Failed> {
    let (_, said, _) = loses("two_drops_whose_peer_left", WITHIN_LONG);
    let lines = said.matches("watertight: a dropped pipe lost ").count();
    check(
        lines == 1 && said.contains("the peer closed its end"),
        &said,
    )
}

fn a_hook_takes_the_lines_place() -> Result<(), Failed> {
    let (_, said, code) = loses("a_drop_with_a_hook", WITHIN_LONG);
    check(
        code == Some(0) && said.contains("hook: ") && !said.contains("watertight: "),
        &said,
    )
}

fn a_loss_that_was_asked_for_is_quiet() -> Result<(), Failed> {
    let (_, said, code) = loses("asked_for", WITHIN_LONG);
    check(code == Some(0) && said.is_empty(), &said)
}

/// An operator's slip: said once, with the way out; the default holds.
fn a_bound_that_is_no_number_is_told() -> Result<(), Failed> {
    let (_, said, code) = loses("asked_for", "soon");
    let holds = code == Some(0)
        && said.lines().count() == 1
        && said.contains(watertight::EXIT_WITHIN_VARIABLE)
        && said.contains("\"soon\"")
        && said.contains("such as 2.5");
    check(holds, &said)
}

/// Where messages are joined: those that wait for their tick would have been with the kernel: at the end they are given to it, and that is no wait.
#[cfg(target_os = "linux")]
fn a_burst_is_with_the_kernel_though_nobody_waits_for_it() -> Result<(), Failed> {
    let output = start("burst", "0").read_all();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    check(
        said.is_empty() && output.stdout == [b'x'; BURST_BYTES],
        &format!("{} bytes, {said}", output.stdout.len()),
    )
}

#[cfg(target_os = "linux")]
fn end_in_a_burst() {
    let out = watertight::inherited(1, Direction::Write).unwrap();
    let writer = PipeWriter::adopt(out).unwrap();
    for _ in 0..BURST_BYTES / 10 {
        writer.send(&[b'x'; 10]).wait().unwrap();
    }
    Box::leak(Box::new(writer));
}

/// A forked child has the parent's memory and none of its threads: its exit neither waits nor says anything.
#[cfg(all(unix, feature = "fault"))]
fn a_forked_childs_exit_is_quick_and_silent() -> Result<(), Failed> {
    let mut running = start("fork", WITHIN_LONG);
    let before = running.await_ending();
    check(before.is_empty(), &before)?;
    running.await_a_wrong_end();
    let output = running.read_all();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    check(
        said == "child gone\n" && output.stdout == [b'x'; BYTES],
        &said,
    )
}

#[cfg(all(unix, feature = "fault"))]
fn fork() {
    let writer = accepted_quietly();
    let child = watertight_os::fork_for_a_test();
    if child == 0 {
        // What it has a copy of is the parent's to send.
        drop(writer);
        std::process::exit(0);
    }
    let child = rustix::process::Pid::from_raw(child);
    let ended = rustix::process::waitpid(child, rustix::process::WaitOptions::empty());
    assert!(ended.unwrap().is_some());
    ending();
    let _ = std::io::stderr().write_all(b"child gone\n");
    drop(writer);
}

#[cfg(all(unix, feature = "fault"))]
fn accepted_quietly() -> PipeWriter {
    let out = watertight::inherited(1, Direction::Write).unwrap();
    let writer = PipeWriter::adopt(out).unwrap();
    writer.send(&[b'x'; BYTES]).wait().unwrap();
    writer
}

/// The process leaves SIGPIPE at its default, as C programs do, and whoever read its standard error has left.
#[cfg(all(unix, feature = "fault"))]
fn a_line_that_nobody_hears_raises_no_signal() -> Result<(), Failed> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(std::env::current_exe().unwrap())
        .env(CASE, "unheard")
        .env(watertight::EXIT_WITHIN_VARIABLE, WITHIN_LONG)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer)
        .status()
        .unwrap();
    check(status.code() == Some(0), &status.to_string())
}

/// As `both_ends_are_ours`, which is told in one line.
#[cfg(all(unix, feature = "fault"))]
fn lose_unheard() {
    let was_default = watertight_os::sigpipe_to_default();
    assert!(!was_default, "Rust's runtime ignores it");
    let (reader, writer) = watertight::pipe().unwrap();
    writer.send(&[1; BYTES]).wait().unwrap();
    Box::leak(Box::new((reader, writer)));
}

/// The same bytes through others, each the way its documentation begins: std and `BufWriter` wait, tokio's file does not.
fn beside_others() -> Result<(), Failed> {
    let arrived = |case| {
        let output = start(case, WITHIN_LONG).read_all();
        output.stdout.len()
    };
    let (std, buffered, tokio, ours) = (
        arrived("std"),
        arrived("buffered"),
        arrived("tokio"),
        arrived(WHOLE[0].0),
    );
    println!(
        "of {BYTES} bytes: std {std}, BufWriter {buffered}, tokio::fs::File {tokio}, watertight {ours}"
    );
    check(
        (std, buffered, ours) == (BYTES, BYTES, BYTES),
        "somebody lost bytes",
    )
}

/// Standard output as a file, whatever the system calls it.
fn standard_output() -> std::fs::File {
    let handle = watertight::inherited(1, Direction::Write).unwrap();
    std::fs::File::from(handle)
}

fn be_another(case: &str) -> bool {
    match case {
        "std" => standard_output().write_all(&[b'x'; BYTES]).unwrap(),
        "buffered" => {
            let mut writer = std::io::BufWriter::new(standard_output());
            writer.write_all(&[b'x'; BYTES]).unwrap();
        }
        "tokio" => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut file = tokio::fs::File::from_std(standard_output());
                let bytes = vec![b'x'; BYTES];
                tokio::io::AsyncWriteExt::write_all(&mut file, &bytes)
                    .await
                    .unwrap();
            });
        }
        _ => return false,
    }
    true
}

fn main() {
    if let Some(case) = std::env::var_os(CASE) {
        let case = case.to_str().unwrap();
        #[cfg(all(unix, feature = "fault"))]
        match case {
            "fork" => return fork(),
            "unheard" => return lose_unheard(),
            _ => {}
        }
        if be_another(case) {
            return;
        }
        #[cfg(target_os = "linux")]
        if case == "burst" {
            return end_in_a_burst();
        }
        let all = WHOLE.iter().chain(&STD_EXIT).chain(&LOSSES);
        let (_, run) = all.into_iter().find(|(name, _)| *name == case).unwrap();
        return run();
    }
    let mut trials = Vec::new();
    for (name, _) in WHOLE {
        trials.push(Trial::test(name, move || everything_arrives(name)));
    }
    for (name, _) in STD_EXIT {
        trials.push(Trial::test(name, move || nothing_is_silent(name)));
    }
    trials.push(Trial::test("the_bound_passes_and_the_rest_is_told", || {
        the_bound_passes_and_the_rest_is_told("nobody_reads", WITHIN_LONG)
    }));
    trials.push(Trial::test(
        "zero_turns_the_waiting_off_and_not_the_line",
        || the_bound_passes_and_the_rest_is_told("turned_off", "0"),
    ));
    let more: [Check; 6] = [
        (
            "what_we_send_ourselves_is_told_and_not_waited_for",
            what_we_send_ourselves_is_told_and_not_waited_for,
        ),
        (
            "a_loss_has_one_line_for_its_cause",
            a_loss_has_one_line_for_its_cause,
        ),
        ("a_hook_takes_the_lines_place", a_hook_takes_the_lines_place),
        (
            "a_loss_that_was_asked_for_is_quiet",
            a_loss_that_was_asked_for_is_quiet,
        ),
        (
            "a_bound_that_is_no_number_is_told",
            a_bound_that_is_no_number_is_told,
        ),
        ("beside_others", beside_others),
    ];
    trials.extend(more.map(|(name, run)| Trial::test(name, run)));
    #[cfg(target_os = "linux")]
    trials.push(Trial::test(
        "a_burst_is_with_the_kernel_though_nobody_waits_for_it",
        a_burst_is_with_the_kernel_though_nobody_waits_for_it,
    ));
    #[cfg(all(unix, feature = "fault"))]
    trials.extend(OF_UNIX.map(|(name, run)| Trial::test(name, run)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
