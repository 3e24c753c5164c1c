//! Whether somebody else may move the position of a file.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::turn::take_turn;
use crate::unix_children::{Accounted, Folder, PATIENCE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use watertight_os::{has_position, may_share_position};

fn holder(file: &File) -> Child {
    let mut command = Command::new("sleep");
    command.arg("1000").stdin(file.try_clone().unwrap());
    command.stdout(Stdio::null()).spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Whether nobody near hides what it has. Nobody has this file yet.
fn is_all_shown(file: &File) -> bool {
    let has_parent = std::os::unix::process::parent_id() != 0;
    let sees_all = has_parent && rustix::process::geteuid().is_root();
    let is_shown = sees_all || !may_share_position(file.as_fd());
    if !is_shown {
        println!("skipped: another user's process is in our group, or has started us");
    }
    is_shown
}

/// Whether the kernel compares descriptions here (kcmp), so that the file's name is not needed.
fn is_compared() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines().map(str::split_whitespace);
    let is_compared = lines.any(|words| words.eq(["Seccomp:", "0"]));
    if !is_compared {
        println!("skipped: a filter of system calls may keep the kernel from comparing");
    }
    is_compared
}

#[test]
fn a_position_is_shared_with_whoever_has_the_description() {
    take_turn();
    let memory = rustix::fs::memfd_create("positions", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    File::from(memory.try_clone().unwrap())
        .write_all(b"some bytes")
        .unwrap();
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let mut file = File::open(&path).unwrap();
    if !is_all_shown(&file) {
        return;
    }
    assert!(!may_share_position(file.as_fd()));
    let child = holder(&file);
    assert!(may_share_position(file.as_fd()));
    // Of both it moves on.
    file.read_exact(&mut [0; 4]).unwrap();
    assert!(may_share_position(file.as_fd()));
    end(child);
    assert!(!may_share_position(file.as_fd()));

    let elsewhere = holder(&File::open(&path).unwrap());
    let again = File::open(&path).unwrap();
    if is_compared() {
        assert!(!may_share_position(again.as_fd()), "it is another position");
    }
    let writes = File::options().write(true).open(&path).unwrap();
    assert!(!may_share_position(writes.as_fd()), "it only reads");
    end(elsewhere);

    let appends = File::options().append(true).open(&path).unwrap();
    let child = holder(&appends);
    assert!(!has_position(appends.as_fd()) && !may_share_position(appends.as_fd()));
    end(child);
    let both = File::options().read(true).append(true).open(&path).unwrap();
    assert!(has_position(both.as_fd()), "it is read somewhere");
    let (from, _into) = std::io::pipe().unwrap();
    assert!(!has_position(from.as_fd()));
}

/// As a log is that is put aside.
#[test]
fn a_file_is_the_same_under_whatever_name() {
    let _accounted = Accounted::start();
    if !is_compared() {
        return;
    }
    let folder = Folder::new("renamed");
    let [one, other] = ["one", "other"].map(|name| folder.0.join(name));
    let file = File::create(&one).unwrap();
    let child = holder(&file);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                std::fs::rename(&one, &other).unwrap();
                std::fs::rename(&other, &one).unwrap();
            }
        });
        let shared = (0..100).filter(|_| may_share_position(file.as_fd()));
        let shared = shared.count();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(shared, 100);
    });
    end(child);
}

/// Each of them is over when it is its turn, and the next one is not on the list.
#[test]
fn who_forks_and_ends_again_and_again_shares_what_it_passes_on() {
    const HOLDS: &str = "use POSIX; for (1 .. 3000) { POSIX::_exit(0) if fork }";
    let _accounted = Accounted::start();
    let folder = Folder::new("passed-on");
    let file = File::create(folder.0.join("file")).unwrap();
    let (mut ends, end) = std::io::pipe().unwrap();
    let mut command = Command::new("perl");
    command.args(["-e", HOLDS]).stdout(end);
    let started = command.stdin(file.try_clone().unwrap()).spawn();
    drop(command);
    let Ok(mut first) = started else {
        println!("skipped: there is no perl");
        return;
    };
    let mut looks = 0;
    loop {
        let is_shared = may_share_position(file.as_fd());
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut polled = [PollFd::new(&ends, PollFlags::IN)];
        poll(&mut polled, Some(&now)).unwrap();
        // One had it during the whole look if one has it behind that.
        if polled[0].revents().contains(PollFlags::HUP) {
            break;
        }
        assert!(is_shared, "look {looks}");
        looks += 1;
    }
    first.wait().unwrap();
    ends.read_to_end(&mut Vec::new()).unwrap();
    assert!(looks > 0);
}

/// What its first thread had its other threads have, and /proc shows it of those alone.
#[test]
fn whose_first_thread_has_ended_has_the_description_still() {
    const ENDS: &str = "threads->create(sub { sleep }); syscall($ARGV[0] + 0, 0)";
    let _accounted = Accounted::start();
    let folder = Folder::new("first-thread");
    let file = File::create(folder.0.join("file")).unwrap();
    let mut command = Command::new("perl");
    // The system call ends a thread, and exit a process.
    command.args(["-Mthreads", "-e", ENDS, &libc::SYS_exit.to_string()]);
    command.stdin(file.try_clone().unwrap());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let started = command.spawn();
    drop(command);
    let Ok(child) = started else {
        println!("skipped: there is no perl");
        return;
    };
    let process = format!("/proc/{}", child.id());
    // Not reaped yet, it has its folder also when all of it is over.
    let is_over = || {
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        status.lines().any(|line| line.starts_with("State:\tZ"))
    };
    let by = Instant::now() + PATIENCE;
    while !is_over() && Instant::now() < by {
        std::thread::yield_now();
    }
    let is_first_over = is_over();
    let threads = std::fs::read_dir(format!("{process}/task")).unwrap();
    let threads = threads.count();
    let is_shared = may_share_position(file.as_fd());
    end(child);
    assert!(is_first_over, "it hangs");
    if threads < 2 {
        println!("skipped: perl has no threads here");
        return;
    }
    assert!(is_shared);
}

/// Out of descriptors nobody can be looked at, and so nobody is taken for not having it.
#[test]
fn what_cannot_be_looked_at_may_share_the_position() {
    let _accounted = Accounted::start();
    let folder = Folder::new("not-looked-at");
    let file = File::create(folder.0.join("file")).unwrap();
    if !is_all_shown(&file) {
        return;
    }
    assert!(!may_share_position(file.as_fd()));
    let before = getrlimit(Resource::Nofile);
    let next = File::open("/dev/null").unwrap().as_raw_fd();
    // The list of processes can be had, and nothing besides.
    let bound = Rlimit {
        current: Some(u64::try_from(next).unwrap() + 1),
        ..before
    };
    setrlimit(Resource::Nofile, bound).unwrap();
    let is_shared = may_share_position(file.as_fd());
    setrlimit(Resource::Nofile, before).unwrap();
    assert!(is_shared);
}
