//! From one source to several destinations inside the kernel wherever that is possible: from pipes that others made, and to files.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::files::Folder;
use crate::common::{Accounted, PATIENCE, noise, read_exactly, read_to_end};
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
#[cfg(feature = "fault")]
use watertight::TeeEnd;
use watertight::{
    ErrorKind, Ledger, Observer, PipeReader, PipeWriter, ReaderOptions, Tee, WriterOptions, pipe,
};

/// More than a pipe holds.
const LARGE: usize = 300_000;

fn finish(writer: &PipeWriter) {
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete(), "{receipt:?}");
}

/// So many destinations, and who reads from each.
fn destinations(count: usize) -> (Vec<PipeReader>, Vec<PipeWriter>) {
    (0..count).map(|_| pipe().unwrap()).unzip()
}

fn in_kernel(tee: &Tee<'_>) -> Vec<u64> {
    let accounts = tee.destinations();
    accounts.iter().map(|one| one.in_kernel).collect()
}

#[test]
fn a_pipe_that_others_made_stays_in_the_kernel_only_where_that_is_asked_for() {
    let _accounted = Accounted::start();
    for (is_everywhere, as_a_task) in [(false, false), (true, false), (true, true)] {
        let (theirs, mut feed) = std::io::pipe().unwrap();
        let from = PipeReader::adopt(theirs).unwrap();
        let (sinks, to) = destinations(3);
        let data = noise(LARGE, 71);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                feed.write_all(&data).unwrap();
                drop(feed);
            });
            let read = |sink| scope.spawn(move || read_to_end(sink));
            let collectors: Vec<_> = sinks.iter().map(read).collect();
            let mut tee = Tee::new(&from, &to).unwrap();
            if is_everywhere {
                tee.in_kernel_everywhere();
            }
            let moving = tee.transfer().within(PATIENCE);
            let done = if as_a_task {
                futures_lite::future::block_on(moving).unwrap()
            } else {
                moving.wait().unwrap()
            };
            assert_eq!((done.bytes, done.has_ended), (LARGE as u64, true));
            for one in &done.destinations {
                assert_eq!(one.bytes, LARGE as u64);
                assert_eq!(one.in_kernel > 0, is_everywhere);
            }
            assert_eq!(from.ledger().transferred(), LARGE as u64);
            to.iter().for_each(finish);
            for collector in collectors {
                assert!(collector.join().unwrap() == data);
            }
        });
    }
}

#[test]
fn files_among_the_destinations_get_every_byte_inside_the_kernel() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-files");
    let (theirs, mut feed) = std::io::pipe().unwrap();
    let from = PipeReader::adopt(theirs).unwrap();
    let (sinks, mut to) = destinations(1);
    let paths = ["one", "two"].map(|name| folder.0.join(name));
    for (place, path) in [0, 2].into_iter().zip(&paths) {
        let file = File::create(path).unwrap();
        to.insert(place, PipeWriter::adopt(file).unwrap());
    }
    let data = noise(LARGE, 72);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            feed.write_all(&data).unwrap();
            drop(feed);
        });
        let collector = scope.spawn(|| read_to_end(&sinks[0]));
        let mut tee = Tee::new(&from, &to).unwrap();
        let moving = tee.in_kernel_everywhere().transfer();
        let done = moving.within(PATIENCE).wait().unwrap();
        assert_eq!((done.bytes, done.has_ended), (LARGE as u64, true));
        let moved = in_kernel(&tee);
        assert!(moved[0] > 0 && moved[2] > 0, "{moved:?}");
        to.iter().for_each(finish);
        assert!(collector.join().unwrap() == data);
    });
    for path in &paths {
        assert!(std::fs::read(path).unwrap() == data);
    }
}

/// Whether there is a thread for a handle that can only block. The system keeps 15 letters of a name.
fn has_helper() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
    names.any(|name| name.is_ok_and(|name| name.starts_with("watertight-help")))
}

#[test]
fn files_that_get_every_byte_inside_the_kernel_have_no_threads() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-threads");
    let (theirs, mut feed) = std::io::pipe().unwrap();
    let from = PipeReader::adopt(theirs).unwrap();
    let paths: Vec<_> = (0..20)
        .map(|index| folder.0.join(format!("file{index}")))
        .collect();
    let open = |path| PipeWriter::adopt(File::create(path).unwrap()).unwrap();
    let to: Vec<PipeWriter> = paths.iter().map(open).collect();
    feed.write_all(b"to all").unwrap();
    drop(feed);
    let mut tee = Tee::new(&from, &to).unwrap();
    let moving = tee.in_kernel_everywhere().transfer();
    let done = moving.within(PATIENCE).wait().unwrap();
    assert_eq!((done.bytes, done.has_ended), (6, true));
    assert!(!has_helper());
    // This is how it would be seen.
    to[0].send(b", and more to one").wait().unwrap();
    to[0].until_transferred().within(PATIENCE).wait().unwrap();
    assert!(has_helper());
    to.iter().for_each(finish);
    for (index, path) in paths.iter().enumerate() {
        let expected = if index == 0 {
            "to all, and more to one"
        } else {
            "to all"
        };
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
    }
}

/// Feeds the source whenever its destination has got something: there is more for the next one than there was for this one.
struct Feeding(Mutex<Option<std::io::PipeWriter>>);

impl Feeding {
    fn feed(&self) {
        if let Some(feed) = &mut *self.0.lock().unwrap() {
            feed.write_all(&[7; 100]).unwrap();
        }
    }
}

impl Observer for Feeding {
    fn progress(&self, _: Ledger) {
        self.feed();
    }
}

/// Some of them have what others have not between any two steps. At the end of a wait all have the same: nothing is read ahead for some of
/// them, and no thread has to write it.
#[test]
fn at_a_deadline_the_kernel_moves_on_what_only_some_have() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-deadline");
    let (theirs, feed) = std::io::pipe().unwrap();
    let from = PipeReader::adopt(theirs).unwrap();
    let feeding = Arc::new(Feeding(Mutex::new(Some(feed))));
    let paths = ["one", "two", "three"].map(|name| folder.0.join(name));
    let to = paths.each_ref().map(|path| {
        let options = WriterOptions::new().observer(feeding.clone());
        PipeWriter::adopt_with(File::create(path).unwrap(), options).unwrap()
    });
    feeding.feed();
    let mut tee = Tee::new(&from, &to).unwrap();
    tee.in_kernel_everywhere();
    let mut before = 0;
    for _ in 0..5 {
        let late = tee.transfer().within(Duration::ZERO).wait().unwrap_err();
        assert_eq!(late.error.kind, ErrorKind::TimedOut);
        assert!(late.bytes > before, "{late:?}");
        for one in &late.destinations {
            assert_eq!((one.bytes, one.in_kernel), (late.bytes, late.bytes));
        }
        before = late.bytes;
    }
    assert!(!has_helper());
    drop(feeding.0.lock().unwrap().take());
    let done = tee.transfer().within(PATIENCE).wait().unwrap();
    assert!(done.has_ended);
    to.iter().for_each(finish);
    for path in &paths {
        let written = std::fs::metadata(path).unwrap();
        assert_eq!(written.len(), done.bytes);
    }
}

/// The kernel refuses to splice into it, and a write does it.
#[test]
fn a_file_in_append_mode_has_all_go_through_the_buffer() {
    let _accounted = Accounted::start();
    let folder = Folder::new("tee-append");
    let path = folder.0.join("file");
    std::fs::write(&path, "there ").unwrap();
    let (theirs, mut feed) = std::io::pipe().unwrap();
    let from = PipeReader::adopt(theirs).unwrap();
    let (sinks, mut to) = destinations(1);
    let file = File::options().append(true).open(&path).unwrap();
    to.push(PipeWriter::adopt(file).unwrap());
    feed.write_all(b"and more").unwrap();
    drop(feed);
    let mut tee = Tee::new(&from, &to).unwrap();
    let moving = tee.in_kernel_everywhere().transfer();
    let done = moving.within(PATIENCE).wait().unwrap();
    assert_eq!((done.bytes, done.has_ended), (8, true));
    assert_eq!(done.destinations[1].in_kernel, 0);
    to.iter().for_each(finish);
    assert_eq!(read_to_end(&sinks[0]), b"and more");
    assert_eq!(std::fs::read(&path).unwrap(), b"there and more");
}

#[test]
fn it_can_be_asked_for_between_two_waits() {
    let _accounted = Accounted::start();
    let (theirs, mut feed) = std::io::pipe().unwrap();
    let from = PipeReader::adopt(theirs).unwrap();
    let (sinks, to) = destinations(2);
    feed.write_all(b"first and the rest").unwrap();
    drop(feed);
    let mut tee = Tee::new(&from, &to).unwrap();
    let first = tee.bytes_max(5).transfer().within(PATIENCE).wait().unwrap();
    assert_eq!((first.bytes, first.has_ended), (5, false));
    assert_eq!(in_kernel(&tee), [0, 0]);
    tee.bytes_max(u64::MAX).in_kernel_everywhere();
    let rest = tee.transfer().within(PATIENCE).wait().unwrap();
    assert_eq!((rest.bytes, rest.has_ended), (18, true));
    assert_eq!(in_kernel(&tee), [13, 13]);
    to.iter().for_each(finish);
    for sink in &sinks {
        assert_eq!(read_to_end(sink), b"first and the rest");
    }
}

#[test]
fn what_is_past_the_bound_stays_in_a_pipe_that_others_made() {
    let _accounted = Accounted::start();
    let (theirs, mut feed) = std::io::pipe().unwrap();
    let mut others = theirs.try_clone().unwrap();
    let from = PipeReader::adopt(theirs).unwrap();
    let (sinks, to) = destinations(3);
    feed.write_all(b"header and body").unwrap();
    let mut tee = Tee::new(&from, &to).unwrap();
    tee.in_kernel_everywhere();
    let done = tee.bytes_max(6).transfer().within(PATIENCE).wait().unwrap();
    assert_eq!((done.bytes, done.has_ended), (6, false));
    assert_eq!(in_kernel(&tee), [6, 6, 6]);
    for sink in &sinks {
        assert_eq!(read_exactly(sink, 6), b"header");
    }
    let mut rest = [0; 9];
    std::io::Read::read_exact(&mut others, &mut rest).unwrap();
    assert_eq!(&rest, b" and body");
}

/// A move would hand them on as packets, and a read of a part of one would lose the rest.
#[test]
fn packets_that_are_known_go_through_the_buffer() {
    let _accounted = Accounted::start();
    let (packets, feed) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::DIRECT).unwrap();
    rustix::io::write(&feed, b"one packet").unwrap();
    rustix::io::write(&feed, b" and another").unwrap();
    drop(feed);
    let options = ReaderOptions::new().packets(true);
    let from = PipeReader::adopt_with(packets, options).unwrap();
    let (sinks, to) = destinations(2);
    let mut tee = Tee::new(&from, &to).unwrap();
    tee.in_kernel_everywhere();
    let part = tee.bytes_max(3).transfer().within(PATIENCE).wait().unwrap();
    assert_eq!((part.bytes, part.has_ended), (3, false));
    tee.bytes_max(u64::MAX);
    let rest = tee.transfer().within(PATIENCE).wait().unwrap();
    assert_eq!((rest.bytes, rest.has_ended), (22, true));
    assert_eq!(in_kernel(&tee), [0, 0]);
    to.iter().for_each(finish);
    for sink in &sinks {
        assert_eq!(read_exactly(sink, 3), b"one");
        assert_eq!(read_to_end(sink), b" packet and another");
    }
}

/// Neither where copies are made, nor where the bytes themselves are moved. In a process of its own, which the signal would kill.
#[cfg(feature = "fault")]
#[test]
fn a_tee_raises_no_signal() {
    if std::env::var_os("WATERTIGHT_SIGPIPE").is_some() {
        return move_to_some_and_to_nobody();
    }
    let _accounted = Accounted::start();
    let test = "a_tee_raises_no_signal";
    crate::common::run_again(module_path!(), test, "WATERTIGHT_SIGPIPE");
}

/// As a task each call sees to it, and a thread that waits does so once for all calls.
#[cfg(feature = "fault")]
fn move_to_some_and_to_nobody() {
    use watertight::fault;
    let was_default = watertight_os::sigpipe_to_default();
    assert!(!was_default, "Rust's runtime ignores it");
    for (nobody, as_a_task) in [(0, true), (0, false), (1, true), (1, false)] {
        let (from, feed) = pipe().unwrap();
        let (mut sinks, to) = destinations(2);
        drop(sinks.remove(nobody));
        feed.send(b"nobody's").wait().unwrap();
        let mut tee = Tee::new(&from, &to).unwrap();
        fault::plan(&[]);
        let moving = tee.transfer().within(PATIENCE);
        let moved = if as_a_task {
            futures_lite::future::block_on(moving)
        } else {
            moving.wait()
        };
        let calls = fault::stop().calls;
        let name = ["tee", "splice"][nobody];
        assert!(calls.iter().any(|one| one.name == name), "{calls:?}");
        let failed = moved.unwrap_err();
        assert_eq!(failed.end, TeeEnd::Destination(nobody));
        assert_eq!(failed.error.kind, ErrorKind::BrokenPipe);
    }
    let still_default = watertight_os::sigpipe_to_default();
    assert!(still_default, "the disposition was changed");
}
