//! `watertight copy` to several destinations where the library moves the bytes on to all of them; and to one or several, what stays in the kernel.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::terminal::until;
use crate::harness::{EXE, Run, copy, partial, pattern};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// More than what flows before pipes are enlarged.
const LARGE: usize = 5_000_001;

/// It commits if and only if it sees a clean end.
const CONSUMER: &str = "exec:sh -c 'cat >part && mv part final'";

/// A copy of these bytes, which are written to its standard input as far as it takes them.
fn fed(folder: &Path, arguments: &[&str], bytes: &[u8]) -> (Child, JoinHandle<()>) {
    let mut child = copy(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let feeder = thread::spawn(move || {
        // A copy that ends early takes no more.
        let _ = stdin.write_all(&bytes);
    });
    (child, feeder)
}

/// The command's input is armed, which is a socket, or a plain pipe.
#[test]
fn each_of_three_gets_every_byte_and_has_the_same_account() {
    let bytes = pattern(LARGE);
    for (option, kind) in [
        ("--keep-capacity", ""),
        ("--keep-capacity", ",pipe"),
        ("--stable", ",pipe"),
        ("--dead=drop", ",pipe"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let consumer = format!("{CONSUMER}{kind}");
        let arguments = [option, "-", "-", "target", &consumer];
        let (child, feeder) = fed(folder.path(), &arguments, &bytes);
        let run = Run::of(child.wait_with_output().unwrap()).expect(0);
        feeder.join().unwrap();
        assert!(run.stdout == bytes, "{option} {kind}");
        for name in ["target", "final"] {
            let got = fs::read(folder.path().join(name)).unwrap();
            assert!(got == bytes, "{option} {kind} {name}");
        }
        assert_eq!(run.bytes_read(), LARGE as u64);
        for index in 0..3 {
            assert_eq!(run.count(index, "accepted"), LARGE as u64);
            assert_eq!(run.count(index, "transferred"), LARGE as u64);
            assert_eq!(run.destination(index)["ending"], "finished");
        }
    }
}

#[test]
fn one_that_dies_in_the_middle_is_dropped_and_the_others_are_whole() {
    let bytes = pattern(LARGE);
    for kind in ["", ",pipe"] {
        let folder = tempfile::tempdir().unwrap();
        let leaver = format!("exec:head -c 100000{kind}");
        let consumer = format!("{CONSUMER}{kind}");
        let arguments = ["--dead", "drop", "-", "target", &leaver, &consumer];
        let (child, feeder) = fed(folder.path(), &arguments, &bytes);
        let run = Run::of(child.wait_with_output().unwrap()).expect(5);
        feeder.join().unwrap();
        assert_eq!(run.report["ending"], "incomplete");
        assert_eq!(run.report["sources"][0]["ended"], true);
        assert!(run.stdout == bytes[..100_000], "{kind}");
        for name in ["target", "final"] {
            let got = fs::read(folder.path().join(name)).unwrap();
            assert!(got == bytes, "{kind} {name}");
        }
        assert_eq!(run.bytes_read(), LARGE as u64);
        assert_eq!(run.destination(1)["ending"], "failed");
        for index in [0, 2] {
            assert_eq!(run.count(index, "transferred"), LARGE as u64);
        }
    }
}

/// Nobody gets a clean end, and what one of them has had the others still get.
#[test]
fn one_that_dies_in_the_middle_ends_it_for_all() {
    let bytes = pattern(LARGE);
    for kind in ["", ",pipe"] {
        let folder = tempfile::tempdir().unwrap();
        let leaver = format!("exec:head -c 100000{kind}");
        let consumer = format!("{CONSUMER}{kind}");
        let arguments = ["--dead", "fail", "-", "target", &leaver, &consumer];
        let (child, feeder) = fed(folder.path(), &arguments, &bytes);
        let run = Run::of(child.wait_with_output().unwrap()).expect(5);
        feeder.join().unwrap();
        assert_eq!(run.report["ending"], "destination_ended");
        assert_eq!(run.report["sources"][0]["ended"], false);
        assert!(run.stdout == bytes[..100_000], "{kind}");
        assert!(!folder.path().join("final").exists());
        assert!(!folder.path().join("target").exists());
        assert_eq!(run.destination(2)["given_up"], "cut_short");
        let arrived = fs::read(folder.path().join("target.partial")).unwrap();
        assert!(bytes.starts_with(&arrived), "{kind}");
        assert_eq!(arrived.len() as u64, run.count(0, "transferred"));
        assert_eq!(arrived.len() as u64, run.bytes_read());
    }
}

#[test]
fn with_no_destination_left_the_report_says_so() {
    for kind in ["", ",pipe"] {
        let (one, two) = (
            format!("exec:head -c 10{kind}"),
            format!("exec:head -c 20{kind}"),
        );
        let run = crate::harness::run(["--dead", "drop", "/dev/zero", &one, &two]).expect(5);
        assert_eq!(run.report["ending"], "destination_ended");
        assert_eq!(run.stdout, [0; 30]);
    }
}

#[test]
fn a_limit_leaves_the_next_byte_to_the_next_reader() {
    for line in [
        "printf 0123456789abcdef | { $W copy --limit 10 - one two three && cat >rest; }",
        "printf 0123456789abcdef >whole; { $W copy --limit 10 - one two three && cat >rest; } <whole",
        // The bytes come one by one.
        "{ for c in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do printf $c; done; } | { $W copy --limit 10 - one two three && cat >rest; }",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("W", EXE);
        command.current_dir(folder.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        for name in ["one", "two", "three"] {
            assert_eq!(read(name), "0123456789", "{line}");
        }
        assert_eq!(read("rest"), "abcdef", "{line}");
    }
}

#[test]
fn an_idle_source_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = copy(["--idle", "100ms", "-", "one", "two", "three"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    let run = Run::of(child.wait_with_output().unwrap()).expect(6);
    drop(stdin);
    assert_eq!(run.report["ending"], "idle_deadline");
    for index in 0..3 {
        assert_eq!(run.destination(index)["given_up"], "idle_deadline");
    }
}

/// A FIFO whose reader takes nothing, with room for one page.
fn nearly_full_fifo(folder: &Path) -> File {
    let path = folder.join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let mut reader = File::options().read(true).write(true).open(&path).unwrap();
    reader.write_all(&[0; 64 * 1024 - 4096]).unwrap();
    reader
}

/// One destination has had more than the other when the copy is stopped: whoever reads the source next goes on behind that. The first
/// amount fits into the source's pipe, the second is more than what may be queued.
#[test]
fn what_is_left_of_a_source_after_a_stop_is_what_was_not_read() {
    // Their bounds pass side by side.
    thread::scope(|scope| {
        for len in [60_000, 1_300_000] {
            for option in ["--dead=fail", "--dead=drop", "--stable"] {
                scope.spawn(move || stop_and_read_on(len, option));
            }
        }
    });
}

fn stop_and_read_on(len: usize, option: &str) {
    let folder = tempfile::tempdir().unwrap();
    let full = nearly_full_fifo(folder.path());
    let bytes = pattern(len);
    let (mut source, mut feed) = std::io::pipe().unwrap();
    let arguments = [option, "--idle", "300ms", "-", "target", "fifo:fifo"];
    let mut command = copy(arguments);
    command.current_dir(folder.path());
    command.stdin(source.try_clone().unwrap());
    let child = command.spawn().unwrap();
    // It has its handle of the source.
    drop(command);
    let all = bytes.as_slice();
    let (run, rest) = thread::scope(|scope| {
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            feed.write_all(all).unwrap();
            // The source is silent, and not at its end.
            let _ = is_done.recv();
        });
        let output = child.wait_with_output().unwrap();
        drop(done);
        let mut rest = Vec::new();
        source.read_to_end(&mut rest).unwrap();
        (Run::of(output).expect(6), rest)
    });
    drop(full);
    let untaken = crate::harness::number(&run.report["sources"][0], "bytes_untaken");
    let gone = len as u64 - rest.len() as u64;
    assert_eq!(run.bytes_read() + untaken, gone, "{option} {len}");
    assert!(rest == bytes[len - rest.len()..], "{option} {len}");
    let arrived = fs::read(folder.path().join("target.partial")).unwrap();
    assert!(bytes.starts_with(&arrived), "{option} {len}");
    assert_eq!(arrived.len() as u64, run.count(0, "transferred"));
}

/// One has had more than the other when a signal ends the copy. What it has had the other gets too, however long that takes, and then both
/// have their end.
#[test]
fn on_request_all_have_the_same_when_a_signal_cuts_the_stream() {
    thread::scope(|scope| {
        for option in ["--dead=fail", "--dead=drop", "--stable"] {
            scope.spawn(move || interrupt_with_one_ahead(option));
        }
    });
}

fn interrupt_with_one_ahead(option: &str) {
    /// The room in the FIFO, and what may be queued for it.
    const BEHIND_MAX: u64 = 4096 + (1 << 20);
    /// The source's thread has looked by then whether it is to stop.
    const LOOKED_WITHIN: Duration = Duration::from_millis(400);
    let folder = tempfile::tempdir().unwrap();
    let full = nearly_full_fifo(folder.path());
    let bytes = pattern(1_300_000);
    let lines = ["--progress", "json", "--progress-every", "100ms"];
    let ends = ["--on-failure", "end", option, "-", "target", "fifo:fifo"];
    let arguments: Vec<&str> = lines.into_iter().chain(ends).collect();
    let (mut child, feeder) = fed(folder.path(), &arguments, &bytes);
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let arrived = folder.path().join("target.partial");
    until("one to be ahead", || {
        fs::metadata(&arrived).is_ok_and(|arrived| arrived.len() > BEHIND_MAX)
    });
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
    let interrupted_at = Instant::now();
    while interrupted_at.elapsed() < LOOKED_WITHIN {
        assert!(
            told.read_line(&mut String::new()).unwrap() > 0,
            "it is over"
        );
    }
    let mut reader = File::open(folder.path().join("fifo")).unwrap();
    drop(full);
    let mut seen = Vec::new();
    reader.read_to_end(&mut seen).unwrap();
    let mut stderr = Vec::new();
    told.read_to_end(&mut stderr).unwrap();
    let status = child.wait().unwrap();
    feeder.join().unwrap();
    let stdout = Vec::new();
    let run = Run::of(Output {
        status,
        stdout,
        stderr,
    });
    let run = run.expect(130);
    assert_eq!(run.report["ending"], "interrupted", "{option}");
    let had = usize::try_from(run.bytes_read()).unwrap();
    assert!(fs::read(&arrived).unwrap() == bytes[..had], "{option}");
    assert!(seen.ends_with(&bytes[..had]), "{option}");
    for index in 0..2 {
        assert_eq!(run.count(index, "transferred"), had as u64, "{option}");
        assert_eq!(run.destination(index)["ending"], "finished", "{option}");
    }
}

/// Where those bytes have no hash that all who count could have seen, the reason is told.
#[test]
fn a_stopped_copy_that_one_had_more_of_has_no_hash_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let full = nearly_full_fifo(folder.path());
    fs::write(folder.path().join("source"), pattern(1_300_000)).unwrap();
    let run = |arguments: &[&str]| {
        let output = copy(arguments).current_dir(folder.path()).output();
        Run::of(output.unwrap())
    };
    let stopped = ["--hash", "--idle", "300ms", "source", "target", "fifo:fifo"];
    let stopped = run(&stopped).expect(6);
    drop(full);
    assert!(stopped.count(0, "accepted") > stopped.count(1, "accepted"));
    // Which of them is given up first is nobody's choice. If that is the FIFO, the file has everything that was read.
    let read = stopped.bytes_read().to_string();
    let whole = run(&["--hash", "--limit", &read, "source", "limited"]).expect(0);
    let hash = &stopped.report["hash"];
    if hash.is_null() {
        assert_eq!(stopped.report["no_hash"], "left_out");
    } else {
        assert_eq!(hash, &whole.report["hash"], "{}", stopped.report);
    }
    // Nothing was read, or everybody has everything, or nobody asked.
    let refused = run(&["--hash", "missing", "other"]).expect(3);
    assert_eq!(refused.report["no_hash"], "not_begun");
    for arguments in [&["--hash", "source", "a", "b"][..], &["source", "c"]] {
        let whole = run(arguments).expect(0);
        assert!(whole.report["no_hash"].is_null(), "{arguments:?}");
        let has_hash = !whole.report["hash"].is_null();
        assert_eq!(has_hash, arguments[0] == "--hash");
    }
}

/// What feeds a copy whose source is a command.
const FEEDING: &str = "exec:cat feed";

/// A copy to so many FIFOs, who feeds its source, and who reads them.
struct UnderWay {
    child: Child,
    feed: File,
    readers: Vec<File>,
}

impl UnderWay {
    /// From standard input, or from `FEEDING`.
    fn start(folder: &Path, options: &[&str], source: &str, count: usize) -> Self {
        let names: Vec<String> = (0..count).map(|index| format!("fifo{index}")).collect();
        let made = Command::new("mkfifo")
            .args(&names)
            .arg("feed")
            .current_dir(folder)
            .status();
        assert!(made.unwrap().success());
        let addresses = names.iter().map(|name| format!("fifo:{name}"));
        let mut command = copy(options);
        command.arg(source).args(addresses).current_dir(folder);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let opened = names.iter().map(|name| File::open(folder.join(name)));
        let readers = opened.map(Result::unwrap).collect();
        let feed = if source == FEEDING {
            let feed = File::options().write(true).open(folder.join("feed"));
            feed.unwrap()
        } else {
            OwnedFd::from(stdin).into()
        };
        Self {
            child,
            feed,
            readers,
        }
    }

    /// Returns when everybody has got these bytes.
    fn pass(&mut self, bytes: &[u8]) {
        thread::scope(|scope| {
            for reader in &mut self.readers {
                scope.spawn(move || {
                    let mut seen = vec![0; bytes.len()];
                    reader.read_exact(&mut seen).unwrap();
                    assert!(seen == bytes);
                });
            }
            self.feed.write_all(bytes).unwrap();
        });
    }

    /// The names of its threads, once the one that hears signals has its own, without those that have opened an end and are leaving.
    fn threads(&self) -> Vec<String> {
        let now = || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
            let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
            names.filter_map(Result::ok).collect::<Vec<_>>()
        };
        until("the last thread to have its name", || {
            now().contains(&"signals\n".to_owned())
        });
        let mut names = now();
        names.retain(|name| name != "open\n");
        names.sort();
        names
    }

    /// A number in one of its files in /proc; none where the kernel does not count that.
    fn number(&self, file: &str, name: &str) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).ok()?;
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name))?;
        let value = value.trim_start_matches(':').split_whitespace().next()?;
        Some(value.parse().unwrap())
    }

    fn end(self) {
        drop(self.feed);
        Run::of(self.child.wait_with_output().unwrap()).expect(0);
    }
}

#[test]
fn memory_and_threads_do_not_grow_with_the_number_of_destinations() {
    let bytes = pattern(LARGE);
    for option in ["--keep-capacity", "--stable"] {
        let held = [2, 8].map(|count| {
            let folder = tempfile::tempdir().unwrap();
            let mut copy = UnderWay::start(folder.path(), &[option], "-", count);
            copy.pass(&bytes);
            let (threads, memory) = (copy.threads(), copy.number("status", "VmHWM"));
            copy.end();
            (threads, memory.unwrap())
        });
        let [(few_threads, few_kib), (many_threads, many_kib)] = held;
        assert_eq!(few_threads, many_threads, "{option}");
        assert!(few_threads.contains(&"source\n".to_owned()));
        assert!(
            many_kib <= few_kib + 2048,
            "{option}: {few_kib}, {many_kib}"
        );
    }
}

/// From a pipe, inside the kernel.
#[test]
fn memory_and_threads_do_not_grow_with_the_number_of_files() {
    // It comes in one piece.
    let bytes = pattern(4000);
    let held = [2, 20].map(|count| {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..count).map(|index| format!("file{index}")).collect();
        let mut command = copy(["-"]);
        command.args(&names).current_dir(folder.path());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let feed = OwnedFd::from(child.stdin.take().unwrap());
        let mut copy = UnderWay {
            child,
            feed: feed.into(),
            readers: Vec::new(),
        };
        copy.pass(&bytes);
        let is_there = |name: &String| {
            let written = fs::read(partial(&folder.path().join(name)));
            written.is_ok_and(|written| written == bytes)
        };
        until("all files to have it", || names.iter().all(is_there));
        let (threads, memory) = (copy.threads(), copy.number("status", "VmHWM"));
        copy.end();
        (threads, memory.unwrap())
    });
    let [(few_threads, few_kib), (many_threads, many_kib)] = held;
    assert_eq!(few_threads, many_threads);
    assert!(few_threads.contains(&"source\n".to_owned()));
    assert!(many_kib <= few_kib + 2048, "{few_kib}, {many_kib}");
}

/// What the program reads by itself is counted by the system.
#[test]
fn bytes_that_nobody_has_to_see_stay_in_the_kernel() {
    const PASSES: usize = 50;
    let piece = pattern(4000);
    let copies: [(&[&str], &str, bool); 9] = [
        (&["--keep-capacity"], "-", false),
        (&["--stable"], "-", true),
        (&["--buffer=1M"], "-", true),
        (&["--slow=drop"], "-", false),
        (&["--drain-within=1h"], "-", false),
        // More than this test passes on, and faster.
        (&["--rate=1G"], "-", false),
        (&["--limit=1G"], FEEDING, false),
        (&["--limit=1G", "--rate=1G"], FEEDING, false),
        (&["--stable"], FEEDING, true),
    ];
    for (options, source, is_seen) in copies {
        for count in [1, 3] {
            let folder = tempfile::tempdir().unwrap();
            let mut copy = UnderWay::start(folder.path(), options, source, count);
            copy.pass(&piece);
            let before = copy.number("io", "rchar");
            for _ in 0..PASSES {
                copy.pass(&piece);
            }
            let after = copy.number("io", "rchar");
            copy.end();
            let Some((before, after)) = before.zip(after) else {
                println!("skipped: this kernel does not count what is read");
                return;
            };
            let read = after - before;
            let is_counted = read >= (PASSES * piece.len()) as u64;
            assert_eq!(is_counted, is_seen, "{options:?} {source} {count}: {read}");
        }
    }
}
