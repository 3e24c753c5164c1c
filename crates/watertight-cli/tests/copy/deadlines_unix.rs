//! `--idle` and `--slow` mean the same for three bytes and three million: what its reader has not taken out of a pipe is to go.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, Run, copy, file, folder_with, run, strace};
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use watertight::PipeWriter;

/// They fit into every pipe, or into none.
const AMOUNTS: [usize; 2] = [3, 3_000_000];
/// So often a reader takes a byte, a tenth of a second or more after the one before it: twice the deadlines of those tests.
const BYTES: usize = 30;
const LONG: &str = "1500ms";
const LINES: [&str; 4] = ["--progress", "json", "--progress-every", "100ms"];
/// Longer than anything here takes, and shorter than what hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const SLEEPER: &str = "exec:sh -c 'exec sleep 1000'";

/// A source that brings so many bytes, and then neither more nor its end.
fn silent_after(bytes: usize) -> String {
    format!("exec:sh -c 'head -c {bytes} /dev/zero; exec sleep 1000'")
}

/// A FIFO with a reader that takes nothing, and its address.
fn unread_fifo(folder: &Path) -> (File, String) {
    let path = folder.join("fifo");
    make_fifo(&path);
    let reader = File::options().read(true).write(true).open(&path).unwrap();
    (reader, format!("fifo:{}", path.display()))
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Whether this system tells how much of a local socket is unread: what a command reads from is one.
fn is_told_of_sockets() -> bool {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let writer = PipeWriter::adopt(ours).unwrap();
    writer.send(b"unread").wait().unwrap();
    writer.until_transferred().wait().unwrap();
    let is_told = writer.unread_bytes().is_some();
    if !is_told {
        println!("skipped for local sockets: this system does not tell what is unread in them");
    }
    is_told
}

/// Commands that take nothing and do not end, with both kinds of input.
fn sleepers() -> Vec<String> {
    let plain = format!("{SLEEPER},pipe");
    let armed = is_told_of_sockets().then(|| SLEEPER.to_owned());
    armed.into_iter().chain([plain]).collect()
}

/// Has the deadlines of all these cases pass side by side.
fn side_by_side<A: Sync, B: Sync>(some: &[A], others: &[B], case: impl Fn(&A, &B) + Sync) {
    let case = &case;
    thread::scope(|scope| {
        for one in some {
            for other in others {
                scope.spawn(move || case(one, other));
            }
        }
    });
}

/// How a copy ended, in words.
fn words(run: &Run) -> [Value; 2] {
    let given_up = run.destination(0)["given_up"].clone();
    [run.report["ending"].clone(), given_up]
}

/// The next line on standard error, which must be one of progress: the report comes last.
#[track_caller]
fn expect_progress(stderr: &mut impl BufRead) {
    let mut line = String::new();
    assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["kind"], "progress", "{line}");
}

#[test]
fn idle_means_the_same_for_few_and_for_many_bytes_in_a_fifo() {
    // One is as without an option.
    let options = ["--dead=fail", "--buffer=64k"];
    side_by_side(&AMOUNTS, &options, |bytes, option| {
        let folder = tempfile::tempdir().unwrap();
        let (_reader, fifo) = unread_fifo(folder.path());
        let source = silent_after(*bytes);
        let run = run([*option, "--idle", "200ms", &source, &fifo]).expect(6);
        assert_eq!(words(&run), ["idle_deadline", "idle_deadline"], "{bytes}");
    });
}

#[test]
fn idle_means_the_same_for_few_and_for_many_bytes_for_a_command() {
    side_by_side(&AMOUNTS, &sleepers(), |bytes, sleeper| {
        let (_folder, source, _) = folder_with(*bytes);
        let run = run(["--idle", "200ms", &file(&source), sleeper]).expect(6);
        assert_eq!(words(&run), ["idle_deadline", "idle_deadline"], "{bytes}");
        assert_eq!(run.destination(0)["child"]["stopped"], true);
    });
}

#[test]
fn slow_means_the_same_for_few_and_for_many_bytes_in_a_fifo() {
    let policies = [("drop", "destination_ended"), ("fail", "slow_deadline")];
    side_by_side(&AMOUNTS, &policies, |bytes, &(policy, ending)| {
        let folder = tempfile::tempdir().unwrap();
        let (_reader, fifo) = unread_fifo(folder.path());
        let slow = ["--slow", policy, "--slow-after", "200ms"];
        let source = silent_after(*bytes);
        let run = run(slow.into_iter().chain([source.as_str(), &fifo])).expect(6);
        assert_eq!(words(&run), [ending, "slow_deadline"], "{bytes}, {policy}");
    });
}

/// The queue holds everything, so that the source is at its end in both cases.
#[test]
fn slow_means_the_same_for_few_and_for_many_bytes_for_a_command() {
    side_by_side(&AMOUNTS, &sleepers(), |bytes, sleeper| {
        let (_folder, source, _) = folder_with(*bytes);
        let source = file(&source);
        let slow = ["--slow", "drop", "--slow-after", "200ms", "--buffer", "8M"];
        let run = run(slow.into_iter().chain([source.as_str(), sleeper])).expect(6);
        assert_eq!(words(&run), ["incomplete", "slow_deadline"], "{bytes}");
    });
}

/// Its input has no reader any more because we have ended it.
#[test]
fn a_command_that_was_slow_is_told_as_slow_and_not_as_one_that_closed() {
    for sleeper in sleepers() {
        let (_folder, source, _) = folder_with(3_000_000);
        let slow = ["-q", "--slow", "fail", "--slow-after", "200ms"];
        let mut command = Command::new(EXE);
        command
            .arg("copy")
            .args(slow)
            .args([&file(&source), &sleeper]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(6));
        let told = String::from_utf8(output.stderr).unwrap();
        let line = format!("{sleeper}: given up: it took nothing for --slow-after; of ");
        assert!(told.contains(&line), "{told}");
        assert!(!told.contains("closed its end"), "{told}");
    }
}

/// A stranger may read later, and its end is given as soon as the system has everything.
#[test]
fn after_the_sources_end_nobody_waits_for_a_stranger() {
    let (folder, source, _) = folder_with(3);
    let (reader, fifo) = unread_fifo(folder.path());
    let deadlines = ["--idle", "50ms", "--slow", "fail", "--slow-after", "50ms"];
    let ends = [file(&source), fifo];
    let run = run(deadlines.into_iter().chain(ends.iter().map(String::as_str))).expect(0);
    assert_eq!(run.destination(0)["read_by_peer"], Value::Null);
    drop(reader);
}

/// The bytes are in its pipe, and the source is silent: nothing moves but what the reader takes.
#[test]
fn a_reader_that_takes_a_byte_now_and_then_is_neither_idle_nor_slow() {
    let deadlines = ["--idle", LONG, "--slow", "fail", "--slow-after", LONG];
    let mut child = copy(deadlines.into_iter().chain(LINES).chain(["-", "-"]))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stdin.write_all(&[b'x'; BYTES]).unwrap();
    for _ in 0..BYTES {
        expect_progress(&mut stderr);
        stdout.read_exact(&mut [0]).unwrap();
    }
    drop(stdin);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
}

/// The source is at its end, and a command takes its time with what lies in its input.
#[test]
fn a_command_that_takes_a_byte_now_and_then_is_not_idle() {
    side_by_side(&["", ",pipe"], &[()], |options, ()| {
        let (folder, _, bytes) = folder_with(BYTES);
        let gate = folder.path().join("gate");
        make_fifo(&gate);
        let script = "while read -r go <&3; do dd bs=1 count=1 2>/dev/null; done 3<gate";
        let command = format!("exec:sh -c '{script}'{options}");
        let arguments = ["--idle", LONG].into_iter().chain(LINES);
        let mut child = copy(arguments.chain(["source", &command]))
            .current_dir(folder.path())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        // It waits until the command is there.
        let mut gate = File::options().write(true).open(&gate).unwrap();
        for byte in &bytes {
            expect_progress(&mut stderr);
            gate.write_all(b"go\n").unwrap();
            let mut taken = [0];
            stdout.read_exact(&mut taken).unwrap();
            assert_eq!(taken, [*byte]);
        }
        drop(gate);
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    });
}

/// Whoever has something to do before it ends has the time for it, at this deadline as at every other.
#[test]
fn a_command_is_asked_to_end_when_drain_within_passes() {
    const TRAP: &str = "trap \"echo asked >asked; exit\" TERM";
    // The deadline counts from the end of the source, and the trap is set by then.
    let producer = format!("exec:sh -c '{TRAP}; echo x; exec >&-; sleep 1000 & wait'");
    let consumer = format!("exec:sh -c '{TRAP}; echo go >gate; cat >/dev/null; sleep 1000 & wait'");
    let waiting = "exec:sh -c 'read -r go <gate; echo x'";
    for (source, destination, whose) in [
        (producer.as_str(), "/dev/null", "/sources/0/child"),
        (waiting, consumer.as_str(), "/destinations/0/child"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        make_fifo(&folder.path().join("gate"));
        let mut command = copy(["--drain-within", "300ms", source, destination]);
        let run = Run::of(command.current_dir(folder.path()).output().unwrap()).expect(6);
        let child = run.report.pointer(whose).unwrap();
        assert_eq!(child["ended_by"], "asked", "{whose}: {child}");
        assert!(folder.path().join("asked").exists(), "{whose}: {child}");
    }
}

/// Who has taken everything has nothing to take.
#[test]
fn a_reader_that_has_taken_everything_is_not_slow() {
    let slow = ["--slow", "fail", "--slow-after", LONG];
    let mut child = copy(slow.into_iter().chain(LINES).chain(["-", "-"]))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stdin.write_all(b"all").unwrap();
    stdout.read_exact(&mut [0; 3]).unwrap();
    for _ in 0..BYTES {
        expect_progress(&mut stderr);
    }
    drop(stdin);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
}

/// A byte comes a second, whoever holds the others back: the library, to one or to several, or this program in front of its own queue. Where a
/// machine is too slow for that the deadline passes, but no sooner than it is due.
#[test]
fn a_rate_that_holds_back_is_no_idleness() {
    const IDLE: Duration = Duration::from_millis(600);
    let copies: [&[&str]; 3] = [
        &["source", "-"],
        &["source", "-", "target"],
        &["--buffer", "1M", "source", "-"],
    ];
    let (folder, _, bytes) = folder_with(2);
    let (path, bytes) = (folder.path(), &bytes);
    thread::scope(|scope| {
        for arguments in copies {
            scope.spawn(move || {
                let options = ["--rate", "1", "--idle", "600ms"];
                let mut command = copy(options.iter().chain(arguments));
                let begun = Instant::now();
                let run = Run::of(command.current_dir(path).output().unwrap());
                let elapsed = begun.elapsed();
                if run.code == 0 {
                    assert_eq!(run.stdout, *bytes, "{arguments:?}");
                    return;
                }
                assert_eq!(run.report["ending"], "idle_deadline", "{arguments:?}");
                // The first one may come at once; each has kept the next one back for a second.
                let seconds = run.stdout.len().max(1) as u64;
                let due = Duration::from_secs(seconds) + IDLE;
                assert!(elapsed >= due, "{arguments:?}: {elapsed:?}");
            });
        }
    });
}

/// The source's command runs on behind its end, so that there is no verdict yet.
#[test]
fn a_stranger_is_not_waited_for_while_the_sources_command_runs_on() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    make_fifo(&gate);
    let source = "exec:sh -c 'echo hi; exec >&-; read -r go <gate'";
    let deadlines = ["--idle", LONG, "--slow", "fail", "--slow-after", LONG];
    let mut child = copy(deadlines.into_iter().chain(LINES).chain([source, "-"]))
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    // It waits until the command is behind its output's end.
    let mut gate = File::options().write(true).open(&gate).unwrap();
    for _ in 0..BYTES {
        expect_progress(&mut stderr);
    }
    gate.write_all(b"go\n").unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    let mut taken = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut taken).unwrap();
    assert_eq!(taken, "hi\n");
}

/// Everything is in its pipe, and the source is at its end; another one has not got everything yet.
#[test]
fn a_stranger_is_not_waited_for_while_another_destination_is_behind() {
    const PIECE: usize = 8192;
    let (folder, source, bytes) = folder_with(800_000);
    let (large, unread) = unread_fifo(folder.path());
    // It has room for all of it, and the other one has not.
    fcntl_setpipe_size(&large, 1 << 20).unwrap();
    let path = folder.path().join("steady");
    make_fifo(&path);
    let mut steady = File::options().read(true).write(true).open(&path).unwrap();
    let slow = ["--slow", "drop", "--slow-after", LONG, "--buffer", "8M"];
    let ends = [file(&source), unread, format!("fifo:{}", path.display())];
    let ends = ends.iter().map(String::as_str);
    let mut child = copy(slow.into_iter().chain(LINES).chain(ends))
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut taken = vec![0; bytes.len()];
    let (first, rest) = taken.split_at_mut(BYTES * PIECE);
    for piece in first.chunks_mut(PIECE) {
        expect_progress(&mut stderr);
        steady.read_exact(piece).unwrap();
    }
    steady.read_exact(rest).unwrap();
    assert!(taken == bytes);
    let mut told = String::new();
    stderr.read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{told}");
    drop(large);
}

/// Its pipe has room for more than ever comes: what comes is no doing of the reader's.
#[test]
fn a_reader_that_takes_nothing_is_slow_also_while_bytes_come_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, fifo) = unread_fifo(folder.path());
    let slow = ["--slow", "drop", "--slow-after", "500ms"];
    let mut child = copy(slow.into_iter().chain(LINES).chain(["-", &fifo]))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let lines = stderr.lines().map(Result::unwrap);
    let lines = lines.filter(|line| line.starts_with('{'));
    let mut last = Value::Null;
    for line in lines.take(10 * BYTES) {
        last = serde_json::from_str(&line).unwrap();
        // When the copy is over there is nobody to write to.
        let _ = stdin.write_all(b"x");
    }
    drop(stdin);
    assert_eq!(
        last["destinations"][0]["given_up"], "slow_deadline",
        "{last}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(6), "{last}");
    drop(reader);
}

/// It splices out of the pipe into a socket without room, and nobody can be told what is in the pipe as long as it waits there.
#[test]
fn a_reader_that_holds_up_the_question_is_idle_and_slow() {
    let idle: &[&str] = &["--idle", LONG];
    let slow: &[&str] = &["--slow", "drop", "--slow-after", LONG];
    let deadlines = [
        (idle, "/ending", "idle_deadline"),
        (slow, "/destinations/0/given_up", "slow_deadline"),
    ];
    side_by_side(&deadlines, &[()], |&(options, place, word), ()| {
        let report = report_of_a_splicing_reader(options);
        assert_eq!(report.pointer(place).unwrap(), word, "{report}");
    });
}

fn report_of_a_splicing_reader(options: &[&str]) -> Value {
    let (from, into) = std::io::pipe().unwrap();
    let (mut full, peer) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[0; 65536]).is_ok() {}
    full.set_nonblocking(false).unwrap();
    let mut child = copy(options.iter().chain(&["-", "-"]))
        .stdin(Stdio::piped())
        .stdout(into)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one").unwrap();
    let stderr = child.stderr.take().unwrap();
    let (tell, told) = channel();
    let line = thread::scope(|scope| {
        // It fails when the peer goes.
        scope.spawn(move || splice(&from, None, &full, None, 3, SpliceFlags::empty()));
        scope.spawn(move || {
            let mut lines = BufReader::new(stderr).lines().map(Result::unwrap);
            let line = lines.find(|line| line.starts_with('{'));
            // Too late, nobody is left to hear it.
            let _ = tell.send(line);
        });
        let line = told.recv_timeout(PATIENCE);
        drop((peer, stdin));
        line
    });
    let report: Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6), "{report}");
    report
}

/// Every call that gives it bytes comes back two seconds later, as from a disk that hangs. The others wait for none of them, whether the bytes come
/// from a file or from a pipe.
#[test]
fn a_file_whose_disk_hangs_is_slow_and_the_others_get_everything() {
    const CALLS: &str = "?copy_file_range,?splice,?ftruncate,write,writev,?pwritev,?pwritev2";
    if !strace::may_trace() {
        return;
    }
    // A pipe has room for them.
    let (folder, source, bytes) = folder_with(60_000);
    // As strace names it.
    let path = folder.path().canonicalize().unwrap();
    let (hanging, other) = (path.join("hanging"), path.join("other"));
    let log = path.join("calls");
    let held_up = format!("{CALLS}:delay_enter=2000000");
    let to = [file(&hanging) + ",inplace", file(&other) + ",inplace"];
    let source = file(&source);
    for from in [source.as_str(), "-"] {
        fs::write(&hanging, b"").unwrap();
        let (input, mut feed) = std::io::pipe().unwrap();
        feed.write_all(&bytes).unwrap();
        drop(feed);
        let about = hanging.to_str().unwrap();
        let mut command = strace::copy(&log, CALLS, &[held_up.as_str()], &[about]);
        command.args(["--slow", "drop", "--slow-after", "200ms", from]);
        let run = Run::of(command.args(&to).stdin(input).output().unwrap()).expect(6);
        assert_eq!(words(&run), ["incomplete", "slow_deadline"], "{from}");
        assert_eq!(run.count(1, "transferred"), 60_000, "{from}");
        assert!(fs::read(&other).unwrap() == bytes, "{from}");
    }
}
