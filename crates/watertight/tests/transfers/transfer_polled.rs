//! Transfers by a task that are asked for inside the kernel everywhere: no file has a part in what is moved there, for its disk would be
//! waited for in the thread that polls. Nor has one where queues are filled, so that nobody is held up.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::files::Folder;
use crate::common::{Accounted, PATIENCE, noise};
use futures_lite::future::block_on;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use watertight::{PipeReader, PipeWriter, Tee, WriterOptions, transfer};

/// Less than a pipe or a socket holds.
const BYTES: u64 = 40_000;
const HALF: u64 = BYTES / 2;

/// The calls that wait for a disk.
#[cfg(feature = "fault")]
const OF_DISKS: &[&str] = &["copy_file_range", "sendfile", "splice (file)"];

/// What a destination is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    File,
    Null,
    Pipe,
    /// One that is ours alone, in non-blocking mode.
    Socket,
}

/// Where the bytes of a destination come out.
enum Outlet {
    File(PathBuf),
    Nowhere,
    Stream(Box<dyn Read>),
}

impl Outlet {
    /// All of them, once the destination is finished; nothing where they are gone.
    fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::File(path) => Some(std::fs::read(path).unwrap()),
            Self::Nowhere => None,
            Self::Stream(mut stream) => {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                Some(all)
            }
        }
    }
}

/// A file, or a pipe that others made.
fn source(folder: &Folder, is_file: bool, data: &[u8]) -> PipeReader {
    if is_file {
        let path = folder.0.join("source");
        std::fs::write(&path, data).unwrap();
        return PipeReader::adopt(File::open(&path).unwrap()).unwrap();
    }
    let (from, mut feed) = std::io::pipe().unwrap();
    feed.write_all(data).unwrap();
    PipeReader::adopt(from).unwrap()
}

fn destination(folder: &Folder, end: End) -> (PipeWriter, Outlet) {
    match end {
        End::File => {
            let mut paths = (0..).map(|index| folder.0.join(format!("copy{index}")));
            let path = paths.find(|path| !path.exists()).unwrap();
            let to = PipeWriter::adopt(File::create(&path).unwrap()).unwrap();
            (to, Outlet::File(path))
        }
        End::Null => {
            let null = File::options().write(true).open("/dev/null").unwrap();
            (PipeWriter::adopt(null).unwrap(), Outlet::Nowhere)
        }
        End::Pipe => {
            let (sink, into) = std::io::pipe().unwrap();
            let to = PipeWriter::adopt(into).unwrap();
            (to, Outlet::Stream(Box::new(sink)))
        }
        End::Socket => {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            let to = PipeWriter::adopt_unshared(ours, WriterOptions::new()).unwrap();
            (to, Outlet::Stream(Box::new(theirs)))
        }
    }
}

fn finish(to: &PipeWriter) {
    let receipt = to.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete(), "{receipt:?}");
}

/// What `run` yields, and whether any thread made a call meanwhile that waits for a disk, if that can be told.
#[cfg(feature = "fault")]
fn watched<T>(run: impl FnOnce() -> T) -> (T, Option<bool>) {
    use watertight::fault;
    let _guard = fault::guard();
    fault::plan(&[]);
    let yielded = run();
    let calls = fault::stop().calls;
    let of_disks = calls.iter().any(|made| OF_DISKS.contains(&made.name));
    (yielded, Some(of_disks))
}

#[cfg(not(feature = "fault"))]
fn watched<T>(run: impl FnOnce() -> T) -> (T, Option<bool>) {
    (run(), None)
}

#[test]
fn a_task_moves_no_file_inside_the_kernel() {
    let _accounted = Accounted::start();
    let folder = Folder::new("transfer-polled");
    let data = noise(usize::try_from(BYTES).unwrap(), 81);
    for (is_file, end) in [
        (true, End::File),
        (true, End::Null),
        (true, End::Pipe),
        (true, End::Socket),
        (false, End::File),
        (false, End::Null),
        (false, End::Pipe),
        (false, End::Socket),
    ] {
        for as_a_task in [true, false] {
            let from = source(&folder, is_file, &data);
            let (to, outlet) = destination(&folder, end);
            let moving = transfer(&from, &to).in_kernel_everywhere();
            let moving = moving.within(PATIENCE);
            let (done, has_waited) = watched(|| {
                if as_a_task {
                    block_on(moving)
                } else {
                    moving.wait()
                }
            });
            let done = done.unwrap();
            let has_file = is_file || end == End::File;
            let in_kernel = if has_file && as_a_task { 0 } else { BYTES };
            let case = format!("of a file: {is_file}, to: {end:?}, by a task: {as_a_task}");
            assert_eq!((done.bytes, done.has_ended), (BYTES, true), "{case}");
            assert_eq!(done.in_kernel, in_kernel, "{case}");
            if let Some(has_waited) = has_waited {
                assert_eq!(has_waited, has_file && !as_a_task, "{case}");
            }
            assert_eq!(from.ledger().transferred(), BYTES, "{case}");
            finish(&to);
            assert!(outlet.bytes().is_none_or(|came| came == data), "{case}");
        }
    }
}

/// To files among others, from a file to one, and from a file to files.
#[test]
fn a_tee_that_was_awaited_moves_files_in_the_next_wait_of_a_thread() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-polled");
    let data = noise(usize::try_from(BYTES).unwrap(), 82);
    for (is_file, ends) in [
        (false, &[End::File, End::Pipe][..]),
        (false, &[End::Pipe, End::File][..]),
        (true, &[End::Pipe][..]),
        (true, &[End::File, End::File][..]),
    ] {
        let from = source(&folder, is_file, &data);
        let all = ends.iter().map(|end| destination(&folder, *end));
        let (to, outlets): (Vec<_>, Vec<_>) = all.unzip();
        let mut tee = Tee::new(&from, &to).unwrap();
        tee.in_kernel_everywhere().bytes_max(HALF);
        let (polled, has_waited) = watched(|| block_on(tee.transfer().within(PATIENCE)));
        let polled = polled.unwrap();
        assert_eq!((polled.bytes, polled.has_ended), (HALF, false));
        assert_ne!(has_waited, Some(true), "{ends:?}");
        for (one, end) in polled.destinations.iter().zip(ends) {
            let has_file = is_file || *end == End::File;
            assert!(!has_file || one.in_kernel == 0, "{ends:?}");
        }
        let rest = tee.bytes_max(u64::MAX).transfer().within(PATIENCE);
        let rest = rest.wait().unwrap();
        assert_eq!((rest.bytes, rest.has_ended), (BYTES, true));
        for (one, before) in rest.destinations.iter().zip(&polled.destinations) {
            assert_eq!(one.in_kernel - before.in_kernel, HALF, "{ends:?}");
        }
        to.iter().for_each(finish);
        for outlet in outlets {
            assert!(outlet.bytes() == Some(data.clone()), "{ends:?}");
        }
    }
}

/// Also by a thread: while it waited for one's disk, the others would get nothing. Between pipes the kernel moves all the same.
#[test]
fn where_queues_are_filled_nobody_waits_for_a_disk() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-no-disk");
    let data = noise(usize::try_from(BYTES).unwrap(), 83);
    for (is_file, ends) in [
        (false, &[End::File, End::Pipe][..]),
        (false, &[End::Pipe, End::File][..]),
        (false, &[End::Pipe, End::Pipe][..]),
        (true, &[End::Pipe][..]),
        (true, &[End::File, End::File][..]),
    ] {
        let from = source(&folder, is_file, &data);
        let all = ends.iter().map(|end| destination(&folder, *end));
        let (to, outlets): (Vec<_>, Vec<_>) = all.unzip();
        let mut tee = Tee::new(&from, &to).unwrap();
        tee.in_kernel_everywhere().fill_queues();
        let (done, has_waited) = watched(|| tee.transfer().within(PATIENCE).wait());
        let done = done.unwrap();
        assert_eq!((done.bytes, done.has_ended), (BYTES, true));
        assert_ne!(has_waited, Some(true), "{ends:?}");
        let is_moved = !is_file && !ends.contains(&End::File);
        for (one, end) in done.destinations.iter().zip(ends) {
            let has_file = is_file || *end == End::File;
            assert!(!has_file || one.in_kernel == 0, "{ends:?}");
            assert!(!is_moved || one.in_kernel == BYTES, "{ends:?}");
        }
        to.iter().for_each(finish);
        for outlet in outlets {
            assert!(outlet.bytes() == Some(data.clone()), "{ends:?}");
        }
    }
}
