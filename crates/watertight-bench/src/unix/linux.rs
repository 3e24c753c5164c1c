//! What only Linux tells and does: the time that all processes used, what this one holds and how often another was switched,
//! which core a thread stays on, a pipe's capacity and the calls that fill one without copying, file systems in memory, and epoll.

use nix::fcntl::SpliceFFlags;
use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll};
use rustix::pipe::SpliceFlags;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// /proc/stat: what all processors together have worked since the start, whoever for.
pub(super) fn busy_time() -> Option<Duration> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let mut ticks = text.lines().next()?.split_whitespace().skip(1);
    let ticks: Vec<u64> = ticks.by_ref().map_while(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal: all but the fourth and fifth, and the last is others' work too.
    let worked: u64 = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|&column| ticks.get(column))
        .sum();
    Some(Duration::from_secs_f64(
        worked as f64 / rustix::param::clock_ticks_per_second() as f64,
    ))
}

/// Keeps this thread, and those it starts from now on, on one core.
pub(super) fn stay_on_core(core: usize) -> Result<(), String> {
    stay_on_cores(&[core])
}

/// sched_setaffinity: keeps this thread, and those it starts from now on, on these cores.
pub(super) fn stay_on_cores(cores: &[usize]) -> Result<(), String> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).map_err(|code| format!("cores {cores:?}: {code}"))
}

/// F_SETPIPE_SZ: gives a pipe a capacity. What an ordinary user may have is limited.
pub(super) fn set_capacity(pipe: impl AsFd, bytes: usize) -> io::Result<()> {
    rustix::pipe::fcntl_setpipe_size(pipe, bytes)?;
    Ok(())
}

/// F_GETPIPE_SZ: which capacity a pipe has.
pub(super) fn capacity(pipe: impl AsFd) -> io::Result<u64> {
    Ok(rustix::pipe::fcntl_getpipe_size(pipe)? as u64)
}

/// Whether there is a [`splice`].
pub(super) const HAS_SPLICE: bool = true;

/// splice: moves so many bytes at most inside the kernel, where one of the two is a pipe, and waits for some. None: the end.
pub(super) fn splice(from: impl AsFd, into: impl AsFd, bytes_max: usize) -> io::Result<usize> {
    let moved = rustix::pipe::splice(from, None, into, None, bytes_max, SpliceFlags::empty())?;
    Ok(moved)
}

/// splice with SPLICE_F_NONBLOCK: as [`splice`], and waits for no pipe.
pub(super) fn splice_now(from: impl AsFd, into: impl AsFd, bytes_max: usize) -> io::Result<usize> {
    let moved = rustix::pipe::splice(from, None, into, None, bytes_max, SpliceFlags::NONBLOCK)?;
    Ok(moved)
}

/// tee: copies so many of the first bytes of a pipe at most into another one, where they stay, and waits for some and for room.
pub(super) fn tee(from: impl AsFd, into: impl AsFd, bytes_max: usize) -> io::Result<usize> {
    let copied = rustix::pipe::tee(from, into, bytes_max, SpliceFlags::empty())?;
    Ok(copied)
}

/// tee with SPLICE_F_NONBLOCK: as [`tee`], and waits for no pipe.
pub(super) fn tee_now(from: impl AsFd, into: impl AsFd, bytes_max: usize) -> io::Result<usize> {
    let copied = rustix::pipe::tee(from, into, bytes_max, SpliceFlags::NONBLOCK)?;
    Ok(copied)
}

/// vmsplice without SPLICE_F_GIFT: fills a pipe with the pages of this memory, as far as there is room, and waits for some. Whoever
/// reads the pipe reads this memory, so nobody may change it, ever.
pub(super) fn vmsplice(into: impl AsFd, memory: &'static [u8]) -> io::Result<usize> {
    let lent = nix::fcntl::vmsplice(into, &[IoSlice::new(memory)], SpliceFFlags::empty())?;
    Ok(lent)
}

/// An eventfd by which a loop is stopped that waits for a pipe. Here nobody stops one: it costs what it would if somebody did.
pub(super) struct Stop {
    eventfd: OwnedFd,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self { eventfd })
    }

    /// ppoll: waits until there is something to read, or the end. The stop is an error.
    pub(super) fn until_readable(&self, from: impl AsFd) -> io::Result<()> {
        self.until(from, PollFlags::IN)
    }

    /// ppoll: waits until there is room. The stop is an error.
    pub(super) fn until_writable(&self, into: impl AsFd) -> io::Result<()> {
        self.until(into, PollFlags::OUT)
    }

    fn until(&self, end: impl AsFd, wanted: PollFlags) -> io::Result<()> {
        let mut both = [
            PollFd::new(&end, wanted),
            PollFd::new(&self.eventfd, PollFlags::IN),
        ];
        rustix::event::poll(&mut both, None)?;
        if both[1].revents().is_empty() {
            Ok(())
        } else {
            Err(io::Error::other("stopped"))
        }
    }
}

/// statfs: how many bytes there is room for, if that folder is on a tmpfs.
pub(super) fn memory_room(folder: &Path) -> Option<u64> {
    const TMPFS_MAGIC: u64 = 0x0102_1994;

    // Of another width on other processors.
    let kind = rustix::fs::statfs(folder).ok()?.f_type as u64;
    let room = rustix::fs::statvfs(folder).ok()?;
    (kind == TMPFS_MAGIC).then(|| room.f_bavail.saturating_mul(room.f_frsize))
}

/// Anonymous in /proc/self/smaps_rollup: what this process has in memory that no file has, its heap and its stacks, to the page.
pub(super) fn anonymous_bytes() -> io::Result<u64> {
    let kib = number_in(&fs::read_to_string("/proc/self/smaps_rollup")?, "Anonymous");
    let kib = kib.ok_or_else(|| io::Error::other("/proc/self/smaps_rollup has no Anonymous"))?;
    Ok(kib * 1024)
}

/// VmHWM in /proc/self/status: the most that this process ever had in memory.
pub(super) fn resident_bytes_max() -> io::Result<u64> {
    resident_bytes_max_of(std::process::id())
}

/// VmHWM in /proc/PID/status: the most that a process has had in memory until now.
pub(super) fn resident_bytes_max_of(process: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = number_in(&status, "VmHWM");
    let kib = kib.ok_or_else(|| io::Error::other("/proc/PID/status has no VmHWM"))?;
    Ok(kib * 1024)
}

/// Threads in /proc/PID/status: how many threads a process has now.
pub(super) fn threads_of(process: u32) -> io::Result<u64> {
    let threads = number_in(
        &fs::read_to_string(format!("/proc/{process}/status"))?,
        "Threads",
    );
    threads.ok_or_else(|| io::Error::other("/proc/PID/status has no Threads"))
}

/// The number in a line like `VmHWM:     5400 kB`.
fn number_in(status: &str, name: &str) -> Option<u64> {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, rest) = lines.find(|(found, _)| *found == name)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// /proc/PID/task/N/status: how often threads of a process were switched, by themselves or not. Of those that have ended it is
/// not known.
pub(super) fn switches_of(process: u32) -> io::Result<u64> {
    let mut switches = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        switches += switches_in(&fs::read_to_string(task?.path().join("status"))?);
    }
    Ok(switches)
}

/// The lines `voluntary_ctxt_switches: 7` and `nonvoluntary_ctxt_switches: 1`.
fn switches_in(status: &str) -> u64 {
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let counts = lines.filter(|(name, _)| name.ends_with("voluntary_ctxt_switches"));
    counts
        .filter_map(|(_, count)| count.trim().parse::<u64>().ok())
        .sum()
}

/// An epoll of its own, level-triggered, for reading ends that have numbers.
pub(super) struct Watch {
    epoll: OwnedFd,
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    pub(super) fn add(&self, from: impl AsFd, number: usize) -> io::Result<()> {
        let number = epoll::EventData::new_u64(number as u64);
        epoll::add(&self.epoll, from, number, epoll::EventFlags::IN)?;
        Ok(())
    }

    /// epoll_wait: the number of one that has something to read, or nothing when the time is over.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> io::Result<Option<usize>> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as _,
            tv_nsec: timeout.subsec_nanos() as _,
        });
        let mut events: Vec<epoll::Event> = Vec::with_capacity(1);
        epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref())?;
        let number = events.first().map(|event| {
            let data = event.data;
            data.u64() as usize
        });
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn what_proc_says_is_understood() {
        let status = "Name:\tbench\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(switches_in(status), 9);
        let status = "VmPeak:\t    9000 kB\nVmHWM:\t    5400 kB\nThreads:\t3\n";
        assert_eq!(number_in(status, "VmHWM"), Some(5400));
        assert_eq!(number_in(status, "Threads"), Some(3));
        assert_eq!(number_in(status, "VmRSS"), None);
        assert_eq!(number_in("Threads:\tmany\n", "Threads"), None);
        let rollup = "55b6e5-7fff09 ---p 00000000 00:00 0   [rollup]\nAnonymous:   112 kB\n";
        assert_eq!(number_in(rollup, "Anonymous"), Some(112));
    }

    #[test]
    fn this_process_holds_memory() {
        assert!(anonymous_bytes().unwrap() > 0);
        assert!(switches_of(std::process::id()).is_ok());
        assert!(resident_bytes_max().unwrap() >= 1 << 16);
        assert!(threads_of(std::process::id()).unwrap() > 0);
    }

    #[test]
    fn a_watch_names_the_pipe_that_can_be_read() {
        let watch = Watch::new().unwrap();
        let pipes = [std::io::pipe().unwrap(), std::io::pipe().unwrap()];
        for (number, (from, _)) in pipes.iter().enumerate() {
            watch.add(from, number).unwrap();
        }
        assert_eq!(watch.wait(Some(Duration::ZERO)).unwrap(), None);
        (&pipes[1].1).write_all(b"x").unwrap();
        assert_eq!(watch.wait(None).unwrap(), Some(1));
    }

    #[test]
    fn a_splice_moves_what_is_there_and_tells_the_end() {
        let ((from, mut fed), (mut read, into)) =
            (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        set_capacity(&into, 1 << 16).unwrap();
        assert_eq!(capacity(&into).unwrap(), 1 << 16);
        fed.write_all(b"passed on").unwrap();
        drop(fed);
        assert_eq!(splice(&from, &into, 1 << 20).unwrap(), 9);
        assert_eq!(splice(&from, &into, 1 << 20).unwrap(), 0);
        drop(into);
        let mut all = Vec::new();
        read.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"passed on");
    }

    #[test]
    fn what_is_not_to_wait_does_not() {
        let ((from, mut fed), (_read, into)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        let calls = [splice_now(&from, &into, 1), tee_now(&from, &into, 1)];
        for error in calls.map(Result::unwrap_err) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
        fed.write_all(b"twice").unwrap();
        assert_eq!(tee_now(&from, &into, 1 << 20).unwrap(), 5);
        assert_eq!(splice_now(&from, &into, 1 << 20).unwrap(), 5);
    }

    #[test]
    fn a_pipe_is_filled_with_memory() {
        const LENT: &[u8] = b"lent";
        let (mut read, into) = std::io::pipe().unwrap();
        assert_eq!(vmsplice(&into, LENT).unwrap(), LENT.len());
        drop(into);
        let mut all = Vec::new();
        read.read_to_end(&mut all).unwrap();
        assert_eq!(all, LENT);
    }

    #[test]
    fn who_waits_for_an_end_hears_a_stop() {
        let stop = Stop::new().unwrap();
        let (from, mut into) = std::io::pipe().unwrap();
        stop.until_writable(&into).unwrap();
        into.write_all(b"x").unwrap();
        stop.until_readable(&from).unwrap();
        rustix::io::write(&stop.eventfd, &1_u64.to_ne_bytes()).unwrap();
        assert!(stop.until_readable(&from).is_err());
        assert!(stop.until_writable(&into).is_err());
    }

    #[test]
    fn proc_is_not_in_memory() {
        assert_eq!(memory_room(Path::new("/proc")), None);
        assert_eq!(memory_room(Path::new("/proc/nothing")), None);
    }
}
