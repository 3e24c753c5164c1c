//! What every test shares: accounting for whatever the process holds, before and after.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test file uses its own part of it"
)]

pub mod bytes;
pub mod children;
#[cfg(unix)]
pub mod files;
pub mod itself;
#[path = "../../../watertight-os/tests/systems/turn.rs"]
mod turn;

pub use bytes::{PATIENCE, fill_up, joined, noise, read_exactly, read_to_end};
pub use itself::{is_alone, run_again, test_name};
pub(crate) use turn::take_turn;

use peak_alloc::PeakAlloc;
use std::time::{Duration, Instant};
use watertight::{Census, census};

/// Counts what this test's process has allocated.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Memory that may be more after a test than before: tables of the library's keep the room of the most pipes that ever were
/// there at once (some 50 bytes each), and so do the test harness's own. One pointer lost in each of the endurance test's
/// cycles is three times as much.
const HEAP_SLACK_BYTES: usize = 256 * 1024;

/// What `run` yields, and how many bytes more than before it were allocated at one time.
pub fn with_heap_peak<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let yielded = run();
    (yielded, HEAP.peak_usage().saturating_sub(before))
}

/// A test's account of descriptors, threads, children and pipes, in its turn.
pub struct Accounted {
    held: Vec<String>,
    heap_bytes: usize,
    census: Census,
}

impl Accounted {
    pub fn start() -> Self {
        Self::start_behind(|| {})
    }

    /// Behind what a test does first and what stays for the life of the process. Nobody else counts meanwhile.
    pub fn start_behind(first: impl FnOnce()) -> Self {
        take_turn();
        warm_up();
        first();
        watertight::settle().within(PATIENCE).wait().unwrap();
        await_driver();
        Self {
            held: held(),
            heap_bytes: HEAP.current_usage(),
            census: census(),
        }
    }
}

/// The driver's own thread and descriptors, and what a system opens for a process's first thread and its first wait, stay
/// for the life of the process: have them before counting.
fn warm_up() {
    let (reader, writer) = watertight::pipe().expect("a first pipe");
    // What this thread is called back with when it blocks in a read.
    let mut buf = [0; 8];
    // A thread that was held up for a millisecond before it blocks has no bell yet, and would have one later.
    for _ in 0..3 {
        let nothing = reader.receive(&mut buf).within(Duration::from_millis(1));
        assert!(nothing.wait().is_err());
    }
    let collector = std::thread::spawn(move || read_to_end(&reader));
    writer.send(b"warm").wait().expect("a first write");
    let _ = writer
        .finish()
        .within(PATIENCE)
        .wait()
        .expect("a first end");
    collector.join().expect("a first read");
}

impl Drop for Accounted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        watertight::settle().within(PATIENCE).wait().unwrap();
        let now = census();
        assert_eq!(now.pipes, self.census.pipes, "ends of pipes left behind");
        assert_eq!(now.operations_in_flight, 0, "operations left in flight");
        assert_eq!(now.quarantined, 0, "operations left in quarantine");
        assert_eq!(now.wait_failures, 0, "the driver could not wait");
        // The thread that has just woken us may still have the waker, and with it a runtime.
        let begin = Instant::now();
        while held() != self.held && begin.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        assert_eq!(
            held(),
            self.held,
            "descriptors, threads or children left behind"
        );
        let heap_bytes = HEAP.current_usage();
        assert!(
            heap_bytes <= self.heap_bytes + HEAP_SLACK_BYTES,
            "memory left behind: {} bytes before, {heap_bytes} after",
            self.heap_bytes
        );
    }
}

/// Everything the process holds that a pipe could leak, by name.
#[cfg(target_os = "linux")]
pub fn held() -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        // The listing's own descriptor points at the listing.
        if let Ok(target) = std::fs::read_link(entry.path())
            && !target.starts_with("/proc")
        {
            let number = entry.file_name().into_string().unwrap();
            all.push(format!("{number} -> {}", target.display()));
        }
    }
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        if name.starts_with("watertight") && !is_exiting(&task) {
            all.push(format!("thread {name}"));
        }
        let children = std::fs::read_to_string(task.join("children")).unwrap_or_default();
        all.extend(
            children
                .split_whitespace()
                .map(|pid| format!("child {pid}")),
        );
    }
    all.sort();
    all
}

/// Whether a thread is on its way out: a join returns before the system has taken it off this list. Its flags have
/// `PF_EXITING` then (include/linux/sched.h).
#[cfg(target_os = "linux")]
pub fn is_exiting(task: &std::path::Path) -> bool {
    const PF_EXITING: u64 = 0x4;
    let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
    // Behind the name: state, parent, group, session, terminal, its group, flags.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let flags = behind.split_whitespace().nth(6);
    flags.is_none_or(|flags| {
        flags
            .parse()
            .is_ok_and(|flags: u64| flags & PF_EXITING != 0)
    })
}

/// A new thread takes its name itself: see it before counting. And the thread that hears of children's ends may be at the end of one
/// that was reaped already.
#[cfg(target_os = "linux")]
fn await_driver() {
    let is_ready = |held: Vec<String>| {
        let has_driver = held.iter().any(|one| one.starts_with("thread"));
        has_driver && !held.iter().any(|one| one.ends_with("anon_inode:[pidfd]"))
    };
    while !is_ready(held()) {
        std::thread::yield_now();
    }
}

#[cfg(not(target_os = "linux"))]
fn await_driver() {}

/// The number of this process's handles. NtQuerySystemInformation, for Wine's GetProcessHandleCount always says 0. Nothing while the harness
/// may start other tests: it has a handle of each test's thread.
#[cfg(windows)]
pub fn held() -> Vec<String> {
    if !is_one_at_a_time() {
        return Vec::new();
    }
    vec![format!(
        "{} handles",
        watertight::Native::open_handles().expect("the handles can be counted")
    )]
}

/// Whether the harness starts a test only when the one before is over.
#[cfg(windows)]
fn is_one_at_a_time() -> bool {
    let is_set = std::env::var_os("RUST_TEST_THREADS").is_some_and(|threads| threads == "1");
    is_set || std::env::args().any(|argument| argument == "--test-threads=1")
}

#[cfg(not(any(target_os = "linux", windows)))]
pub fn held() -> Vec<String> {
    Vec::new()
}

/// Whether this runs under Wine: to skip what it answers differently, never to take another path in the product.
pub fn under_wine() -> bool {
    std::env::var_os("WINLAB_RUN").is_some()
}
