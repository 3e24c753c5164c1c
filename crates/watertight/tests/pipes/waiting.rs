//! One way to wait: futures without a runtime, under tokio, under deadlines; and the standard traits.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, fill_up, noise, read_to_end};
use futures_lite::future::{block_on, or, poll_once};
use std::future::Future;
use std::io::{Read, Write};
use std::pin::pin;
use std::time::Duration;
use watertight::{ErrorKind, ReaderOptions, WriterOptions, pipe, pipe_with};

#[test]
fn every_wait_is_a_future_without_a_runtime() {
    let _accounted = Accounted::start();
    block_on(async {
        let (reader, writer) = pipe().unwrap();
        let data = noise(700_000, 1);
        let write = async {
            writer.send(&data).await.unwrap();
            writer.until_transferred().within(PATIENCE).await.unwrap();
            writer.until_read().within(PATIENCE).await.unwrap();
            writer.finish().within(PATIENCE).await.unwrap()
        };
        let read = async {
            let mut all = Vec::new();
            let mut buf = [0; 10_000];
            loop {
                match reader.receive(&mut buf).await.unwrap() {
                    0 => return all,
                    n => all.extend_from_slice(&buf[..n]),
                }
            }
        };
        let (receipt, all) = futures_lite::future::zip(write, read).await;
        assert!(receipt.is_complete() && all == data);
    });
}

#[test]
fn a_deadline_wakes_a_future() {
    let _accounted = Accounted::start();
    block_on(async {
        let (reader, writer) = pipe().unwrap();
        let mut buf = [0; 4];
        let late = reader
            .receive(&mut buf)
            .within(Duration::from_millis(10))
            .await;
        assert_eq!(late.unwrap_err().kind, ErrorKind::TimedOut);
        writer.send(&[0; 200_000]).await.unwrap();
        let late = writer
            .until_transferred()
            .within(Duration::from_millis(10))
            .await;
        assert_eq!(late.unwrap_err().kind, ErrorKind::TimedOut);
        let _ = writer.abort().await.unwrap();
    });
}

#[test]
fn a_dropped_future_takes_nothing_with_it() {
    let _accounted = Accounted::start();
    block_on(async {
        let options = WriterOptions::new().queue_bytes_max(1_000);
        let (reader, writer) = pipe_with(ReaderOptions::new(), options).unwrap();
        let mut buf = [0; 16];
        assert!(poll_once(reader.receive(&mut buf)).await.is_none());
        writer.send(b"still here").await.unwrap();
        assert_eq!(reader.receive(&mut buf).await.unwrap(), 10);
        assert_eq!(&buf[..10], b"still here");

        fill_up(&writer, &[0; 1_000]);
        let accepted = writer.ledger().accepted();
        assert!(poll_once(writer.send(&[1; 900])).await.is_none());
        assert_eq!(writer.ledger().accepted(), accepted);

        // A finish that was polled goes on; abort can follow.
        {
            let mut finishing = pin!(writer.finish());
            assert!(poll_once(finishing.as_mut()).await.is_none());
        }
        let refused = writer.try_send(b"x").unwrap_err();
        assert_eq!(refused.error.kind, ErrorKind::Closed);
        let receipt = writer.abort().await.unwrap();
        assert_eq!(receipt.ledger().accepted(), accepted);
    });
}

#[test]
fn a_moved_waker_is_woken() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let mut buf = [0; 4];
    let mut read = Box::pin(reader.receive(&mut buf));
    // Polled first by one executor, then by another: the last waker counts.
    assert!(block_on(poll_once(read.as_mut())).is_none());
    std::thread::scope(|scope| {
        let other = scope.spawn(move || block_on(read));
        writer.send(b"ping").wait().unwrap();
        assert_eq!(other.join().unwrap().unwrap(), 4);
    });
}

#[test]
fn blocking_traits_mean_what_std_says() {
    let _accounted = Accounted::start();
    let (mut reader, mut writer) = pipe().unwrap();
    let data = noise(600_000, 2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.send(&data).wait().unwrap();
            Write::write_all(&mut writer, b"tail").unwrap();
            Write::flush(&mut writer).unwrap();
            drop(writer);
        });
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert!(all.strip_suffix(b"tail").unwrap() == data);
    });
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let error = (&writer)
        .write(b"x")
        .and_then(|_| Write::flush(&mut &writer))
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    let ours = error.downcast::<watertight::Error>().unwrap();
    assert_eq!(ours.kind, ErrorKind::BrokenPipe);
}

#[test]
fn futures_traits_mean_what_futures_says() {
    use futures_lite::{AsyncReadExt, AsyncWriteExt};
    let _accounted = Accounted::start();
    block_on(async {
        let (mut reader, mut writer) = pipe().unwrap();
        let data = noise(600_000, 3);
        let write = async {
            AsyncWriteExt::write_all(&mut writer, &data).await.unwrap();
            AsyncWriteExt::flush(&mut writer).await.unwrap();
            AsyncWriteExt::close(&mut writer).await.unwrap();
        };
        let read = async {
            let mut all = Vec::new();
            AsyncReadExt::read_to_end(&mut reader, &mut all)
                .await
                .unwrap();
            all
        };
        let ((), all) = futures_lite::future::zip(write, read).await;
        assert!(all == data);
    });
}

#[test]
fn tokio_traits_mean_what_tokio_says() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let _accounted = Accounted::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut reader, mut writer) = pipe().unwrap();
        let data = noise(600_000, 4);
        let expected = data.clone();
        let write = tokio::spawn(async move {
            AsyncWriteExt::write_all(&mut writer, &data).await.unwrap();
            AsyncWriteExt::flush(&mut writer).await.unwrap();
            AsyncWriteExt::shutdown(&mut writer).await.unwrap();
            assert_eq!(writer.ledger().transferred(), data.len() as u64);
        });
        let mut all = Vec::new();
        AsyncReadExt::read_to_end(&mut reader, &mut all)
            .await
            .unwrap();
        write.await.unwrap();
        assert!(all == expected);
    });
    drop(runtime);
}

#[test]
fn a_flush_that_gave_up_does_not_answer_for_later_bytes() {
    use futures_lite::AsyncWriteExt;
    let _accounted = Accounted::start();
    block_on(async {
        let (reader, mut writer) = pipe().unwrap();
        AsyncWriteExt::write_all(&mut writer, &[1; 100_000])
            .await
            .unwrap();
        assert!(poll_once(AsyncWriteExt::flush(&mut writer)).await.is_none());
        AsyncWriteExt::write_all(&mut writer, &[2; 200_000])
            .await
            .unwrap();
        let reading = std::thread::spawn(move || crate::common::read_exactly(&reader, 300_000));
        AsyncWriteExt::flush(&mut writer).await.unwrap();
        assert_eq!(writer.ledger().transferred(), 300_000);
        reading.join().unwrap();
    });
}

#[test]
fn a_close_after_an_abort_is_no_success() {
    use futures_lite::AsyncWriteExt;
    let _accounted = Accounted::start();
    block_on(async {
        let (_reader, mut writer) = pipe().unwrap();
        writer.send(&[1; 250_000]).await.unwrap();
        let receipt = writer.abort().await.unwrap();
        assert!(receipt.ledger().discarded() > 0);
        let error = AsyncWriteExt::close(&mut writer).await.unwrap_err();
        let ours = error.downcast::<watertight::Error>().unwrap();
        assert_eq!(ours.kind, ErrorKind::Aborted);
    });
}

/// A waker whose every use panics.
struct Bomb;

impl std::task::Wake for Bomb {
    fn wake(self: std::sync::Arc<Self>) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

#[test]
fn a_waker_that_panics_harms_no_other_pipe() {
    let _accounted = Accounted::start();
    let panics = watertight::census().foreign_panics;
    let (reader, writer) = pipe().unwrap();
    let (other_reader, other_writer) = pipe().unwrap();
    let bomb = std::task::Waker::from(std::sync::Arc::new(Bomb));
    let mut buf = [0; 4];
    let mut read = pin!(reader.receive(&mut buf));
    let mut context = std::task::Context::from_waker(&bomb);
    assert!(read.as_mut().poll(&mut context).is_pending());
    writer.send(b"boom").wait().unwrap();
    while watertight::census().foreign_panics == panics {
        std::thread::yield_now();
    }
    // The driver's thread is needed for this one.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| crate::common::read_exactly(&other_reader, 5));
        other_writer.send(b"alive").wait().unwrap();
        assert_eq!(waiting.join().unwrap(), b"alive");
    });
    assert_eq!(block_on(read).unwrap(), 4);
}

/// Memory whose destructor asks the pipe that carried it.
struct Curious(std::sync::Arc<watertight::PipeWriter>);

impl AsRef<[u8]> for Curious {
    fn as_ref(&self) -> &[u8] {
        &[7; 150_000]
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        let _ = self.0.ledger();
    }
}

#[test]
fn a_chunks_destructor_may_ask_its_pipe() {
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let writer = std::sync::Arc::new(writer);
    let chunk = bytes::Bytes::from_owner(Curious(writer.clone()));
    writer.send_bytes(chunk).wait().unwrap();
    assert_eq!(crate::common::read_exactly(&reader, 150_000), [7; 150_000]);
    writer.until_transferred().within(PATIENCE).wait().unwrap();
    let _ = writer.finish().within(PATIENCE).wait().unwrap();
}

#[test]
fn two_who_until_read_do_not_take_each_others_question_back() {
    let _accounted = Accounted::start();
    for _ in 0..100 {
        let (reader, writer) = pipe().unwrap();
        writer.send(b"question").wait().unwrap();
        writer.until_transferred().within(PATIENCE).wait().unwrap();
        std::thread::scope(|scope| {
            let impatient = Duration::from_micros(300);
            let writer = &writer;
            scope.spawn(move || writer.until_read().within(impatient).wait());
            let patient = scope.spawn(|| writer.until_read().within(PATIENCE).wait());
            assert!(writer.until_read().within(impatient).wait().is_err());
            assert_eq!(crate::common::read_exactly(&reader, 8), b"question");
            patient.join().unwrap().unwrap();
        });
    }
}

#[test]
fn a_select_loop_neither_loses_nor_doubles() {
    let _accounted = Accounted::start();
    block_on(async {
        let (reader, writer) = pipe().unwrap();
        let mut total = 0u32;
        for round in 0..200u32 {
            let mut buf = [0; 64];
            let given_up = async {
                futures_lite::future::yield_now().await;
                None
            };
            let got = or(
                async { Some(reader.receive(&mut buf).await.unwrap()) },
                given_up,
            )
            .await;
            total += u32::try_from(got.unwrap_or(0)).unwrap();
            writer
                .send(&[u8::try_from(round % 251).unwrap(); 3])
                .await
                .unwrap();
        }
        let _ = writer.finish().await.unwrap();
        let mut buf = [0; 64];
        loop {
            match reader.receive(&mut buf).await.unwrap() {
                0 => break,
                n => total += u32::try_from(n).unwrap(),
            }
        }
        assert_eq!(total, 600);
    });
}

/// Of three that wait for different bytes, whoever waits for fewer is woken first, whoever began first.
#[test]
fn who_waits_for_bytes_is_woken_in_the_order_of_the_bytes() {
    struct Names(u32, std::sync::mpsc::Sender<u32>);
    impl std::task::Wake for Names {
        fn wake(self: std::sync::Arc<Self>) {
            let _ = self.1.send(self.0);
        }
    }
    let _accounted = Accounted::start();
    let (reader, writer) = pipe().unwrap();
    let (woken, wakes) = std::sync::mpsc::channel();
    let mut waits = Vec::new();
    for _ in 0..3 {
        writer.send(&[7; 70_000]).wait().unwrap();
        waits.push(Box::pin(writer.until_transferred()));
    }
    // The last ones begin to wait first.
    for (number, wait) in waits.iter_mut().enumerate().rev() {
        let names = Names(u32::try_from(number).unwrap(), woken.clone());
        let waker = std::task::Waker::from(std::sync::Arc::new(names));
        let answer = wait
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker));
        assert!(answer.is_pending());
    }
    let receipt = {
        let finishing = writer.finish();
        let reading = std::thread::spawn(move || read_to_end(&reader));
        let receipt = finishing.within(PATIENCE).wait().unwrap();
        reading.join().unwrap();
        receipt
    };
    assert!(receipt.is_complete());
    let order: Vec<u32> = (0..3)
        .map(|_| wakes.recv_timeout(PATIENCE).unwrap())
        .collect();
    assert_eq!(order, [0, 1, 2]);
}

/// A task whose pipe is always ready lets others run, natively and through the traits.
#[cfg(not(windows))]
#[test]
fn a_task_that_is_always_ready_lets_others_run() {
    let _accounted = Accounted::start();
    be_always_ready();
}

/// The system opens a handle for a process's first contended lock, at whatever moment that is: one more handle is none of
/// ours, one for each time would be.
#[cfg(windows)]
#[test]
fn a_task_that_is_always_ready_lets_others_run() {
    let test = "a_task_that_is_always_ready_lets_others_run";
    if !crate::common::is_alone(module_path!(), test) {
        return;
    }
    be_always_ready();
    let before = watertight::Native::open_handles().unwrap();
    for _ in 0..20 {
        be_always_ready();
    }
    let after = watertight::Native::open_handles().unwrap();
    assert!(
        after <= before + 1,
        "{before} handles before, {after} after"
    );
}

fn be_always_ready() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (mut reader, writer) = pipe().unwrap();
    writer.send(&[7; 30_000]).wait().unwrap();
    let others = std::sync::Arc::new(AtomicU32::new(0));
    let counted = others.clone();
    runtime.block_on(async move {
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let mut rounds = Vec::new();
        for _ in 0..1_000 {
            reader.receive(&mut [0; 1]).await.unwrap();
        }
        rounds.push(others.load(Ordering::Relaxed));
        for _ in 0..1_000 {
            tokio::io::AsyncReadExt::read(&mut reader, &mut [0; 1])
                .await
                .unwrap();
        }
        rounds.push(others.load(Ordering::Relaxed));
        for _ in 0..1_000 {
            writer.send(b"x").await.unwrap();
        }
        rounds.push(others.load(Ordering::Relaxed));
        // Once in 128 ready answers at least, each time.
        assert!(
            rounds[0] >= 7 && rounds[1] >= 14 && rounds[2] >= 21,
            "{rounds:?}"
        );
        other.abort();
        drop((reader, writer));
    });
}
