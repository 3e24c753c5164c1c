//! How often the program asks the kernel about its ends. The source has everything and has ended before the copy begins, and the destination
//! has room for it: so nobody is waited for, and the counts do not depend on time.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{Run, pattern, strace};
use rustix::pipe::fcntl_setpipe_size;
use std::fs;
use std::io::{Read, Write, pipe};
use std::os::fd::AsRawFd;

/// As much as a pipe holds that nobody has enlarged: a plain loop makes a call for each, or a read and a write.
const PIECE_BYTES: usize = 64 * 1024;
/// What the pipes here hold.
const ROOM: usize = 1 << 20;
/// Nearly that, so that the last piece does not find a full pipe.
const PIECES: usize = 15;
/// So many calls may come besides: to look for an end, or where a kernel does not know the first call that is tried.
const MORE: usize = 2;

const MOVING: &str =
    "splice,tee,vmsplice,?sendfile,read,readv,?preadv,?preadv2,write,writev,?pwritev,?pwritev2";
const WAITING: &str = "?poll,ppoll,?select,?pselect6,epoll_ctl";

/// The calls about the two pipes.
struct Calls {
    lines: Vec<String>,
}

impl Calls {
    /// Those of a copy of so many pieces from one pipe to another. None: the pipes cannot be had.
    fn of_a_copy(option: &str, pieces: usize) -> Option<Self> {
        let (from, mut feed) = pipe().unwrap();
        let (mut sink, to) = pipe().unwrap();
        if fcntl_setpipe_size(&feed, ROOM).is_err() || fcntl_setpipe_size(&to, ROOM).is_err() {
            println!("skipped: no pipe of {ROOM} bytes is to be had");
            return None;
        }
        let ends = [name(&from), name(&to)];
        let bytes = pattern(pieces * PIECE_BYTES);
        feed.write_all(&bytes).unwrap();
        drop(feed);
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("calls");
        let mut command = strace::copy(&log, &format!("{MOVING},{WAITING}"), &[], &[]);
        command.args([option, "-", "-"]).stdin(from).stdout(to);
        Run::of(command.output().unwrap()).expect(0);
        // It has our copy of the writing end.
        drop(command);
        let mut arrived = Vec::new();
        sink.read_to_end(&mut arrived).unwrap();
        assert!(arrived == bytes, "{option}");
        let log = fs::read_to_string(log).unwrap();
        let lines = log
            .lines()
            .filter(|line| ends.iter().any(|end| line.contains(end)));
        let lines = lines.map(str::to_owned).collect();
        Some(Self { lines })
    }

    /// How many of these calls there are.
    fn count(&self, calls: &str) -> usize {
        let names: Vec<&str> = calls
            .split(',')
            .map(|name| name.trim_start_matches('?'))
            .collect();
        let is_one = |line: &&String| {
            let call = line.split_whitespace().nth(1).unwrap_or_default();
            let (name, _) = call.split_once('(').unwrap_or_default();
            names.contains(&name)
        };
        self.lines.iter().filter(is_one).count()
    }

    /// Now and then somebody looks how far the reader is. A piece is no reason to.
    #[track_caller]
    fn expect_no_wait_for_each(&self) {
        assert!(self.count(WAITING) < PIECES, "{:#?}", self.lines);
    }

    #[track_caller]
    fn expect_at_most(&self, calls: &str, count: usize) {
        let found = self.count(calls);
        assert!(found > 0, "{:#?}", self.lines);
        assert!(found <= count + MORE, "{count}, {:#?}", self.lines);
    }
}

/// A pipe as strace names it.
fn name(end: &impl AsRawFd) -> String {
    let link = fs::read_link(format!("/proc/self/fd/{}", end.as_raw_fd()));
    link.unwrap().to_str().unwrap().to_owned()
}

/// All that the source has goes at once, and the next call finds the end. A piece costs nothing of its own.
#[test]
fn what_stays_in_the_kernel_is_moved_by_one_call() {
    if !strace::may_trace() {
        return;
    }
    let copies = [1, PIECES].map(|pieces| Calls::of_a_copy("--dead=fail", pieces));
    let [Some(one), Some(many)] = copies else {
        return;
    };
    one.expect_at_most(MOVING, 2);
    many.expect_at_most(MOVING, 2);
    many.expect_no_wait_for_each();
}

/// A piece is one read and one write, and the last read finds the end.
#[test]
fn what_the_program_has_to_see_is_one_read_and_one_write_a_piece() {
    if !strace::may_trace() {
        return;
    }
    for option in ["--stable", "--hash"] {
        let copies = [1, PIECES].map(|pieces| Calls::of_a_copy(option, pieces));
        let [Some(one), Some(many)] = copies else {
            return;
        };
        one.expect_at_most(MOVING, 3);
        many.expect_at_most(MOVING, 2 * PIECES + 1);
        many.expect_no_wait_for_each();
    }
}

/// Its input is a socket that nobody else writes to.
#[test]
fn what_goes_into_a_command_stays_in_the_kernel() {
    if !strace::may_trace() {
        return;
    }
    let bytes = pattern(PIECE_BYTES);
    for (source, call) in [("source", "sendfile"), ("-", "splice")] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("source"), &bytes).unwrap();
        let (from, mut feed) = pipe().unwrap();
        feed.write_all(&bytes).unwrap();
        drop(feed);
        let log = folder.path().join("calls");
        let mut command = strace::copy(&log, &format!("?{call}"), &[], &[]);
        // It reads and writes, and nothing else.
        command.args([source, "exec:dd status=none"]).stdin(from);
        command.current_dir(folder.path());
        let run = Run::of(command.output().unwrap()).expect(0);
        assert!(run.stdout == bytes, "{source}");
        assert_eq!(run.count(0, "transferred"), bytes.len() as u64);
        assert_eq!(run.destination(0)["read_by_peer"], true);
        let log = fs::read_to_string(log).unwrap();
        let answers = log.lines().filter_map(|line| line.rsplit_once(" = "));
        let moved = answers.filter_map(|(_, answer)| answer.parse::<usize>().ok());
        assert_eq!(moved.sum::<usize>(), bytes.len(), "{log}");
    }
}
