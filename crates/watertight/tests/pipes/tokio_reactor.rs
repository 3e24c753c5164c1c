//! Readers whose tasks wait in tokio's reactor: they read the same bytes as all others, also when the runtime does not run any
//! more, and no thread of the library's takes part.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE};
use std::future::Future;
use std::io::{PipeWriter as Into, Write};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use watertight::{ErrorKind, PipeReader, ReaderOptions};

/// Begins the account behind a first runtime: tokio keeps what it waits for signals with.
fn accounted() -> Accounted {
    Accounted::start_behind(|| {
        drop(Builder::new_current_thread().enable_io().build().unwrap());
    })
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_io().build().unwrap()
}

/// A reader that waits in the runtime's reactor, and std's end of the same pipe.
fn ends(runtime: &Runtime) -> (PipeReader, Into) {
    let _inside = runtime.enter();
    let (from, into) = std::io::pipe().unwrap();
    let options = ReaderOptions::new().tokio_reactor(true);
    (PipeReader::adopt_unshared(from, options).unwrap(), into)
}

/// Polls a read once, in the runtime, and gives it up.
fn begin_and_give_up(runtime: &Runtime, reader: &PipeReader) {
    runtime.block_on(async {
        let mut buf = [0; 8];
        let mut read = pin!(reader.receive(&mut buf));
        let polled = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    });
}

/// Reads on a thread of its own, outside of every runtime.
fn read_outside(reader: &PipeReader) -> Vec<u8> {
    let mut buf = [0; 8];
    let n = reader.receive(&mut buf).within(PATIENCE).wait().unwrap();
    buf[..n].to_vec()
}

/// Reads what is written only when the read waits.
async fn read_late(reader: &PipeReader, into: &mut Into) {
    let mut buf = [0; 8];
    let mut read = pin!(reader.receive(&mut buf));
    let first = futures_lite::future::poll_once(read.as_mut()).await;
    assert!(first.is_none());
    into.write_all(b"late").unwrap();
    assert_eq!(read.await.unwrap(), 4);
}

/// The reactor's copy of the handle is only waited on: nobody reads there.
#[cfg(target_os = "linux")]
#[test]
fn a_transfer_to_several_stays_inside_the_kernel() {
    let _accounted = accounted();
    let runtime = runtime();
    let (from, mut into) = ends(&runtime);
    let (sink, to) = watertight::pipe().unwrap();
    let (copy, also_to) = watertight::pipe().unwrap();
    into.write_all(b"to both").unwrap();
    drop(into);
    let mut tee = watertight::Tee::new(&from, [&to, &also_to]).unwrap();
    let moving = tee.transfer().within(PATIENCE);
    let done = runtime.block_on(moving).unwrap();
    assert_eq!((done.bytes, done.has_ended), (7, true));
    for (one, sink) in done.destinations.iter().zip([&sink, &copy]) {
        assert_eq!((one.bytes, one.in_kernel), (7, 7));
        assert_eq!(crate::common::read_exactly(sink, 7), b"to both");
    }
}

/// A transfer waits there too, inside the kernel or not, and does not spin on what the reactor knew before.
#[test]
fn a_transfer_waits_in_the_reactor() {
    let _accounted = accounted();
    let runtime = runtime();
    let (from, mut into) = ends(&runtime);
    let (sink, to) = watertight::pipe().unwrap();
    runtime.block_on(async {
        let mut moving = pin!(watertight::transfer(&from, &to));
        for _ in 0..3 {
            let polled = futures_lite::future::poll_once(moving.as_mut()).await;
            assert!(polled.is_none());
            into.write_all(b"on ").unwrap();
            let mut buf = [0; 3];
            let reading = sink.receive(&mut buf);
            let first = futures_lite::future::or(async { moving.as_mut().await.is_ok() }, async {
                assert_eq!(reading.await.unwrap(), 3);
                false
            });
            assert!(!first.await, "the stream goes on");
            assert_eq!(&buf, b"on ");
        }
        drop(into);
        let done = moving.await.unwrap();
        assert_eq!((done.bytes, done.has_ended), (9, true));
    });
    drop((from, to, sink));
}

/// Nor does one to several, whose copies go through private pipes: what finds nothing there tells the reactor.
#[cfg(target_os = "linux")]
#[test]
fn a_tee_does_not_spin_while_nothing_comes() {
    /// A task that spins is polled thousands of times meanwhile.
    const POLLS_MAX: u32 = 20;
    let _accounted = accounted();
    let runtime = runtime();
    let (from, mut into) = ends(&runtime);
    let null = || {
        let file = std::fs::File::options().write(true).open("/dev/null");
        watertight::PipeWriter::adopt(file.unwrap()).unwrap()
    };
    let to = [null(), null()];
    runtime.block_on(async {
        let mut tee = watertight::Tee::new(&from, &to).unwrap();
        tee.in_kernel_everywhere();
        into.write_all(b"first").unwrap();
        let mut polls = 0;
        {
            let mut moving = pin!(tee.transfer().within(Duration::from_millis(50)));
            let counted = std::future::poll_fn(|cx| {
                polls += 1;
                moving.as_mut().poll(cx)
            });
            let late = counted.await.unwrap_err();
            assert_eq!(late.error.kind, ErrorKind::TimedOut);
        }
        assert!(polls <= POLLS_MAX, "{polls} polls");
        drop(into);
        let done = tee.transfer().await.unwrap();
        assert_eq!((tee.bytes(), done.has_ended), (5, true));
    });
    drop((from, to));
}

#[cfg(feature = "fault")]
#[test]
fn the_library_s_thread_has_no_part_in_it() {
    use watertight_os::fault;
    let _accounted = accounted();
    let guard = fault::guard();
    let runtime = runtime();
    let (reader, mut into) = ends(&runtime);
    fault::plan(&[]);
    runtime.block_on(async {
        for round in 0..3 {
            let writing = async { into.write_all(&[round; 8]).unwrap() };
            let mut buf = [0; 8];
            // The read begins first, and finds nothing.
            let (read, ()) = tokio::join!(reader.receive(&mut buf), writing);
            assert_eq!((read.unwrap(), buf), (8, [round; 8]));
        }
    });
    let calls = fault::stop().calls;
    let names: Vec<_> = calls.iter().map(|made| made.name).collect();
    assert!(names.iter().any(|name| name.contains("read")), "{names:?}");
    assert!(
        !names.iter().any(|name| name.starts_with("EPOLL_CTL")),
        "waited with the library's own thread: {names:?}"
    );
    drop(guard);
}

#[test]
fn a_reader_goes_on_when_its_runtime_stands_still_and_when_it_is_gone() {
    let _accounted = accounted();
    let runtime = runtime();
    let (reader, mut into) = ends(&runtime);
    // A wait that only the reactor could end, which nobody runs any more.
    begin_and_give_up(&runtime, &reader);
    into.write_all(b"still").unwrap();
    assert_eq!(read_outside(&reader), b"still");
    begin_and_give_up(&runtime, &reader);
    drop(runtime);
    into.write_all(b"gone").unwrap();
    assert_eq!(read_outside(&reader), b"gone");
    // As a task, without a runtime and in another one.
    into.write_all(b"none").unwrap();
    let mut buf = [0; 8];
    assert_eq!(
        futures_lite::future::block_on(reader.receive(&mut buf)).unwrap(),
        4
    );
    let another = self::runtime();
    another.block_on(read_late(&reader, &mut into));
    // In another one while the first is there and stands still.
    let first = self::runtime();
    let (in_first, mut to_first) = ends(&first);
    begin_and_give_up(&first, &in_first);
    another.block_on(read_late(&in_first, &mut to_first));
    drop(first);
    drop(another);
    // The library's thread, which woke that runtime, has let go of it by the time it has woken somebody else.
    futures_lite::future::block_on(read_late(&reader, &mut into));
}

#[test]
fn a_task_outside_of_every_runtime_takes_over_a_wait_in_one_that_stands_still() {
    let _accounted = accounted();
    let runtime = runtime();
    let (reader, mut into) = ends(&runtime);
    begin_and_give_up(&runtime, &reader);
    let outside = std::thread::spawn(move || {
        let mut buf = [0; 8];
        let n = futures_lite::future::block_on(reader.receive(&mut buf)).unwrap();
        buf[..n].to_vec()
    });
    into.write_all(b"taken").unwrap();
    assert_eq!(outside.join().unwrap(), b"taken");
}

#[test]
fn two_tasks_read_one_pipe() {
    let _accounted = accounted();
    let runtime = runtime();
    let (reader, mut into) = ends(&runtime);
    let reader = Arc::new(reader);
    let tasks = [(); 2].map(|()| {
        let reader = reader.clone();
        runtime.spawn(async move {
            let mut buf = [0; 1];
            reader.receive(&mut buf).await.unwrap();
            buf[0]
        })
    });
    let mut bytes = runtime.block_on(async {
        // Both have begun to wait by the time a third task runs.
        tokio::spawn(async move { into.write_all(b"ab").unwrap() })
            .await
            .unwrap();
        let [one, other] = tasks;
        [one.await.unwrap(), other.await.unwrap()]
    });
    bytes.sort_unstable();
    assert_eq!(&bytes, b"ab");
}

#[test]
fn an_abort_ends_a_wait_in_the_reactor_and_closes_both_descriptors() {
    let _accounted = accounted();
    let runtime = runtime();
    let (reader, mut into) = ends(&runtime);
    runtime.block_on(async {
        let mut buf = [0; 8];
        let (read, receipt) = tokio::join!(reader.receive(&mut buf), reader.abort());
        assert_eq!(read.unwrap_err().kind, ErrorKind::Aborted);
        assert_eq!(receipt.unwrap().ledger().accepted(), 0);
    });
    let broken = into.write_all(b"nobody").unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_dropped_reader_leaves_the_reactor_at_once() {
    let _accounted = accounted();
    let runtime = runtime();
    let (reader, mut into) = ends(&runtime);
    begin_and_give_up(&runtime, &reader);
    drop(reader);
    let broken = into.write_all(b"nobody").unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_handle_is_given_back_out_of_the_reactor() {
    let _accounted = accounted();
    let runtime = runtime();
    let (reader, into) = ends(&runtime);
    begin_and_give_up(&runtime, &reader);
    drop(reader.into_handle().unwrap());
    // Nobody holds the reading end any more, so its copy is gone too.
    let mut into = into;
    assert!(into.write_all(b"nobody").is_err());
}

#[test]
fn the_end_of_the_stream_comes_through_the_reactor() {
    let _accounted = accounted();
    let runtime = runtime();
    let (reader, into) = ends(&runtime);
    runtime.block_on(async {
        let ending = async { drop(into) };
        let mut buf = [0; 8];
        let (read, ()) = tokio::join!(reader.receive(&mut buf), ending);
        assert_eq!(read.unwrap(), 0);
    });
}

#[test]
fn outside_of_a_runtime_nothing_is_registered() {
    let _accounted = accounted();
    let (from, mut into) = std::io::pipe().unwrap();
    let options = ReaderOptions::new().tokio_reactor(true);
    let reader = PipeReader::adopt_unshared(from, options).unwrap();
    into.write_all(b"plain").unwrap();
    assert_eq!(read_outside(&reader), b"plain");
    // A file is nothing for a reactor.
    let runtime = runtime();
    let _inside = runtime.enter();
    let path = std::env::current_exe().unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let options = ReaderOptions::new().tokio_reactor(true);
    let reader = PipeReader::adopt_with(file, options).unwrap();
    assert_eq!(read_outside(&reader), std::fs::read(&path).unwrap()[..8]);
}

/// A poll that finds nothing says so without an answer of somebody else's.
#[test]
fn a_second_look_waits_again() {
    let _accounted = accounted();
    let runtime = runtime();
    let (reader, mut into) = ends(&runtime);
    runtime.block_on(async {
        for _ in 0..3 {
            let mut buf = [0; 8];
            let mut read = pin!(reader.receive(&mut buf));
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(read.as_mut().poll(cx).is_pending());
            assert!(read.as_mut().poll(cx).is_pending());
            tokio::task::yield_now().await;
            assert!(read.as_mut().poll(cx).is_pending());
        }
        into.write_all(b"x").unwrap();
        let mut buf = [0; 8];
        assert!(matches!(reader.receive(&mut buf).await, Ok(1)));
    });
}
