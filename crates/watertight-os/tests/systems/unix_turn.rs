//! The tests' own turns: without them what one test holds is counted by another.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::turn::take_turn;
use rustix::fs::{MemfdFlags, memfd_create};
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

const THREADS: usize = 8;

#[test]
fn one_test_at_a_time_has_the_turn_and_may_ask_again() {
    let (together, within) = (Barrier::new(THREADS), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                together.wait();
                take_turn();
                assert_eq!(within.fetch_add(1, Ordering::SeqCst), 0);
                for _ in 0..100 {
                    take_turn();
                    std::thread::yield_now();
                }
                within.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
}

/// As the library's bell: a descriptor that goes with its thread. This one takes its time.
struct Kept {
    _file: OwnedFd,
}

impl Drop for Kept {
    fn drop(&mut self) {
        for _ in 0..1000 {
            std::thread::yield_now();
        }
    }
}

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// How many files of this name the process has open.
fn open_files(name: &str) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().contains(name))
        .count()
}

/// A thread's own values go in an order that nobody promises. This one is made in front of the turn, so it goes behind it.
#[test]
fn who_has_the_turn_finds_nothing_of_the_thread_before() {
    const NAME: &str = "kept-to-the-end-of-a-thread";
    let together = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                KEPT.set(None);
                together.wait();
                take_turn();
                assert_eq!(open_files(NAME), 0);
                let file = memfd_create(NAME, MemfdFlags::CLOEXEC).unwrap();
                KEPT.set(Some(Kept { _file: file }));
            });
        }
    });
}
