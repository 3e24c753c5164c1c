//! The driver's turns, one at a time, on a kernel that does nothing by itself.
//!
//! tidy: long because every test is about the turns of the one kernel that stands first.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::left_behind::LeftBehind;
use bytes::Bytes;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use watertight::{Driver, PipeReader, PipeWriter, ReaderOptions, Settle, WriterOptions};
use watertight_core::{
    Backend, Cancelled, Class, Completion, Moment, Moved, Op, OpId, OsCode, Outcome, ReadNow,
    Submitted,
};

/// What it is asked, and what it is to answer.
#[derive(Default)]
struct Still {
    now: AtomicU64,
    /// Writes are answered at once; otherwise when `ready` says so.
    at_once: bool,
    /// It stops nothing at once, and reads only by operations.
    slow: bool,
    /// A thread may block until there is something to read, which is the second time.
    blocks: bool,
    blocked: AtomicU64,
    /// So many waits fail.
    failing: AtomicU64,
    ready: Mutex<Vec<Completion>>,
    submitted: Mutex<Vec<OpId>>,
    waited_until: Mutex<Vec<Option<Moment>>>,
    rested: Mutex<Vec<Duration>>,
    /// How often its wait was to return.
    woken: AtomicU64,
    /// Whether each close was one that ends the stream.
    closed: Mutex<Vec<bool>>,
}

impl Still {
    fn answer(&self, id: OpId, outcome: Outcome) {
        self.ready.lock().unwrap().push(Completion { id, outcome });
    }

    fn last_submitted(&self) -> OpId {
        *self.submitted.lock().unwrap().last().unwrap()
    }

    fn waits(&self) -> Vec<Option<Moment>> {
        std::mem::take(&mut self.waited_until.lock().unwrap())
    }
}

impl Still {
    fn pass(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap();
        self.now.fetch_add(nanos, SeqCst);
    }
}

impl Backend for Still {
    type Handle = u32;

    fn now(&self) -> Moment {
        Moment(self.now.load(SeqCst))
    }

    fn submit(&self, _: &Arc<u32>, id: OpId, op: Op) -> Submitted {
        self.submitted.lock().unwrap().push(id);
        match op {
            Op::Write(chunks) if self.at_once => {
                Submitted::Done(Outcome::Transferred(chunks.bytes()))
            }
            Op::Read { .. } | Op::WaitReadable | Op::UntilRead | Op::Write(_) => {
                Submitted::InFlight
            }
        }
    }

    fn read_now(&self, _: &u32, buf: &mut [u8]) -> ReadNow {
        if self.slow {
            ReadNow::Unavailable
        } else if self.blocks && self.blocked.load(SeqCst) > 1 {
            buf[0] = b'x';
            ReadNow::Data(1)
        } else {
            ReadNow::Wait
        }
    }

    fn block_until_readable(&self, _: &u32, _: Option<Duration>) -> bool {
        self.blocked.fetch_add(u64::from(self.blocks), SeqCst);
        self.blocks
    }

    fn cancel(&self, _: &Arc<u32>, _: OpId) -> Cancelled {
        if self.slow {
            Cancelled::Requested
        } else {
            Cancelled::Done(Outcome::cancelled())
        }
    }

    fn close(&self, _: Arc<u32>, end_of_stream: bool) -> Result<(), OsCode> {
        self.closed.lock().unwrap().push(end_of_stream);
        Ok(())
    }

    fn wait(&self, completions: &mut Vec<Completion>, until: Option<Moment>) -> Result<(), OsCode> {
        self.waited_until.lock().unwrap().push(until);
        let fails = |left: u64| left.checked_sub(1);
        if self.failing.fetch_update(SeqCst, SeqCst, fails).is_ok() {
            return Err(OsCode(9));
        }
        completions.append(&mut self.ready.lock().unwrap());
        Ok(())
    }

    fn rest(&self, duration: Duration) {
        self.rested.lock().unwrap().push(duration);
    }

    fn wake(&self) {
        self.woken.fetch_add(1, SeqCst);
    }
}

/// A waker that can be counted, and counts.
#[derive(Default)]
struct Counted(AtomicU64);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn driver(backend: Still) -> (Ends, impl Fn()) {
    let driver = Arc::new(Driver::new(backend));
    let turned = driver.clone();
    let left_behind = LeftBehind::new(&driver, Still::pass);
    (Ends(driver, left_behind), move || {
        turned.turn(&mut Vec::new())
    })
}

/// A driver that a test leaves with no pipe on it.
struct Ends(
    Arc<Driver<Still>>,
    #[expect(dead_code, reason = "its drop looks")] LeftBehind<Still>,
);

impl std::ops::Deref for Ends {
    type Target = Arc<Driver<Still>>;

    fn deref(&self) -> &Arc<Driver<Still>> {
        &self.0
    }
}

fn writer(driver: &Arc<Driver<Still>>, options: WriterOptions) -> PipeWriter<Still> {
    PipeWriter::on(driver, 7, options.linger(Duration::from_secs(5)))
}

/// A blocking wait needs no operation and no turn of the driver's; a task's does.
#[test]
fn a_thread_that_may_block_waits_by_itself() {
    let (driver, _) = driver(Still {
        blocks: true,
        ..Still::default()
    });
    let reader = PipeReader::on(&driver, 7, ReaderOptions::new());
    let mut buf = [0; 8];
    let mut nobody = Context::from_waker(Waker::noop());
    {
        let task = pin!(reader.receive(&mut buf));
        assert!(task.poll(&mut nobody).is_pending());
    }
    let submitted = || driver.backend().submitted.lock().unwrap().len();
    assert_eq!((submitted(), driver.backend().blocked.load(SeqCst)), (1, 0));
    let reader = PipeReader::on(&driver, 8, ReaderOptions::new());
    assert_eq!(reader.receive(&mut buf).wait().unwrap(), 1);
    assert_eq!((submitted(), driver.backend().blocked.load(SeqCst)), (1, 2));
}

#[test]
fn with_nothing_to_do_it_waits_without_end() {
    let (driver, turn) = driver(Still::default());
    turn();
    assert_eq!(driver.backend().waits(), [None]);
    let writer = writer(&driver, WriterOptions::new());
    writer.try_send(b"in flight").unwrap();
    turn();
    assert_eq!(driver.backend().waits(), [None], "it would spin");
}

/// Nobody calls the driver's thread when a read begins to wait; its wait has no bound while all of them do; and what the kernel
/// says then is about one pipe, and wakes nobody else's task.
#[test]
fn a_thousand_idle_pipes_wake_nobody() {
    let (driver, turn) = driver(Still::default());
    let make = |_| {
        let reader = PipeReader::on(&driver, 8, ReaderOptions::new());
        (reader, writer(&driver, WriterOptions::new()))
    };
    let pipes: Vec<_> = (0..1_000).map(make).collect();
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(counted.clone());
    let mut context = Context::from_waker(&waker);
    let mut bufs = vec![[0; 8]; pipes.len()];
    let mut reads = Vec::new();
    for ((reader, _writer), buf) in pipes.iter().zip(&mut bufs) {
        let mut read = Box::pin(reader.receive(buf));
        assert!(read.as_mut().poll(&mut context).is_pending());
        reads.push(read);
    }
    turn();
    assert_eq!(driver.backend().waits(), [None], "a turn for nothing");
    let last = driver.backend().last_submitted();
    driver.backend().answer(last, Outcome::Ready);
    turn();
    assert_eq!(driver.backend().waits(), [None]);
    assert_eq!(counted.0.load(SeqCst), 1, "all tasks for one");
    assert_eq!(driver.backend().woken.load(SeqCst), 0, "the thread");
}

#[test]
fn it_waits_until_the_first_deadline_and_no_longer_when_that_is_given_up() {
    let (driver, turn) = driver(Still::default());
    let writer = writer(&driver, WriterOptions::new());
    writer.try_send(b"in flight").unwrap();
    driver.backend().now.store(1_000, SeqCst);
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut late = pin!(writer.until_transferred().within(Duration::from_nanos(500)));
        let mut early = pin!(writer.until_transferred().within(Duration::from_nanos(200)));
        assert!(late.as_mut().poll(&mut context).is_pending());
        assert!(early.as_mut().poll(&mut context).is_pending());
        turn();
        assert_eq!(driver.backend().waits(), [Some(Moment(1_200))]);
        driver.backend().now.store(1_200, SeqCst);
        turn();
        assert!(early.as_mut().poll(&mut context).is_ready());
        let _ = driver.backend().waits();
        turn();
        assert_eq!(driver.backend().waits(), [Some(Moment(1_500))]);
        assert!(late.as_mut().poll(&mut context).is_pending());
    }
    turn();
    assert_eq!(driver.backend().waits(), [None], "the timer of nobody");
}

#[test]
fn a_wait_that_fails_is_counted_and_is_followed_by_a_rest() {
    let (driver, turn) = driver(Still::default());
    driver.backend().failing.store(2, SeqCst);
    for _ in 0..4 {
        turn();
    }
    assert_eq!(driver.census().wait_failures, 2);
    let rested = driver.backend().rested.lock().unwrap();
    assert_eq!(rested.len(), 2);
    assert!(rested.iter().all(|pause| !pause.is_zero()));
}

#[test]
fn a_late_answer_reaches_no_newer_pipe() {
    let (driver, turn) = driver(Still::default());
    let mut late: Vec<OpId> = Vec::new();
    for round in 0..4 {
        let writer = writer(&driver, WriterOptions::new());
        writer.try_send(b"abc").unwrap();
        let id = driver.backend().last_submitted();
        assert!(!late.contains(&id), "round {round}: the same name again");
        assert!(late.iter().all(|old| old.pipe.slot == id.pipe.slot));
        for old in &late {
            driver.backend().answer(*old, Outcome::Transferred(1));
        }
        turn();
        assert_eq!(writer.ledger().in_flight(), 3, "round {round}");
        driver.backend().answer(id, Outcome::Transferred(3));
        turn();
        assert_eq!(writer.ledger().transferred(), 3, "round {round}");
        assert!(writer.finish().wait().unwrap().is_complete());
        late.push(id);
    }
    assert_eq!(driver.census().pipes_ended, 4);
}

/// Owned bytes whose owner panics when they are given up.
struct Owner([u8; 600]);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("this owner panics"));
    }
}

#[test]
fn an_owner_of_bytes_that_panics_is_counted_and_stops_no_other_pipe() {
    let (driver, turn) = driver(Still::default());
    let (one, other) = (
        writer(&driver, WriterOptions::new()),
        writer(&driver, WriterOptions::new()),
    );
    for round in 1..3 {
        let bytes = Bytes::from_owner(Owner([7; 600]));
        one.try_send_bytes(bytes).unwrap();
        let first = driver.backend().last_submitted();
        other.try_send(b"abc").unwrap();
        let second = driver.backend().last_submitted();
        driver.backend().answer(first, Outcome::Transferred(600));
        driver.backend().answer(second, Outcome::Transferred(3));
        turn();
        assert_eq!(driver.census().foreign_panics, round);
        assert_eq!(one.ledger().transferred(), 600 * round);
        assert_eq!(other.ledger().transferred(), 3 * round);
    }
    assert!(one.finish().wait().unwrap().is_complete());
    assert!(other.finish().wait().unwrap().is_complete());
}

#[test]
fn what_comes_after_an_ending_was_told_is_counted() {
    let (driver, turn) = driver(Still {
        slow: true,
        ..Still::default()
    });
    let bound = Duration::from_nanos(100);
    let mut context = Context::from_waker(Waker::noop());
    for round in 1..4 {
        let writer = writer(&driver, WriterOptions::new().stop_within(bound));
        let reader = PipeReader::on(&driver, 8, ReaderOptions::new().stop_within(bound));
        writer.try_send(b"abc").unwrap();
        let write = driver.backend().last_submitted();
        let mut buf = [0; 8];
        assert!(
            pin!(reader.receive(&mut buf))
                .poll(&mut context)
                .is_pending()
        );
        let read = driver.backend().last_submitted();
        let mut aborted = pin!(writer.abort());
        let mut given_up = pin!(reader.abort());
        assert!(aborted.as_mut().poll(&mut context).is_pending());
        assert!(given_up.as_mut().poll(&mut context).is_pending());
        driver.backend().now.fetch_add(100, SeqCst);
        turn();
        assert!(aborted.as_mut().poll(&mut context).is_ready());
        assert!(given_up.as_mut().poll(&mut context).is_ready());
        assert_eq!(driver.census().quarantined, 2);
        let failed = Outcome::failed(Class::Io, Some(OsCode(5)));
        driver.backend().answer(write, failed);
        let data = Outcome::Data(Bytes::from_static(b"late"));
        driver.backend().answer(read, data);
        turn();
        let census = driver.census();
        assert_eq!((census.quarantined, census.bytes_late), (0, 4 * round));
        assert_eq!(census.failures_late, round);
        assert_eq!(census.bytes_in_doubt, 3 * round);
    }
}

#[test]
fn every_ended_pipe_adds_to_the_census() {
    let (driver, turn) = driver(Still::default());
    for round in 1..4 {
        let writer = writer(&driver, WriterOptions::new().op_bytes_max(3));
        writer.try_send(b"abc and more").unwrap();
        let id = driver.backend().last_submitted();
        driver.backend().answer(id, Outcome::Transferred(2));
        turn();
        // What is in flight now cannot say how much of it went.
        let id = driver.backend().last_submitted();
        let moved = Moved::Unknown;
        let (class, os) = (Class::Gone, Some(OsCode(109)));
        driver
            .backend()
            .answer(id, Outcome::Failed { class, os, moved });
        turn();
        let census = driver.census();
        assert_eq!((census.pipes, census.pipes_ended), (0, round));
        assert_eq!(census.bytes_transferred, 2 * round);
        assert_eq!(census.bytes_in_doubt, 3 * round);
        assert_eq!(census.bytes_discarded, 7 * round);
        assert_eq!(census.pipes_incomplete, round);
    }
}

#[test]
fn who_waits_for_room_is_woken_when_there_is_enough_of_it() {
    let (driver, turn) = driver(Still::default());
    let options = WriterOptions::new().queue_bytes_max(8).op_bytes_max(4);
    let writer = writer(&driver, options);
    writer.try_send(b"in queue").unwrap();
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(counted.clone());
    let mut context = Context::from_waker(&waker);
    let mut room = pin!(writer.send(b"whole!"));
    assert!(room.as_mut().poll(&mut context).is_pending());
    let id = driver.backend().last_submitted();
    driver.backend().answer(id, Outcome::Transferred(4));
    turn();
    assert_eq!(
        counted.0.load(SeqCst),
        0,
        "there is room for a part of it only"
    );
    assert!(room.as_mut().poll(&mut context).is_pending());
    assert_eq!(writer.ledger().accepted(), 8);
    driver.backend().answer(id, Outcome::Transferred(4));
    turn();
    assert_eq!(counted.0.load(SeqCst), 1);
    assert!(room.as_mut().poll(&mut context).is_ready());
    assert_eq!(writer.ledger().accepted(), 14);
}

#[test]
fn who_waits_with_a_rest_is_woken_when_there_is_room_for_the_rest() {
    let (driver, turn) = driver(Still::default());
    let options = WriterOptions::new().queue_bytes_max(8).op_bytes_max(2);
    let writer = writer(&driver, options);
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(counted.clone());
    let mut context = Context::from_waker(&waker);
    let mut message = pin!(writer.send(b"twelve bytes"));
    assert!(message.as_mut().poll(&mut context).is_pending());
    assert_eq!(writer.ledger().accepted(), 8);
    for woken in [0, 1] {
        let id = driver.backend().last_submitted();
        driver.backend().answer(id, Outcome::Transferred(2));
        turn();
        assert_eq!(counted.0.load(SeqCst), woken);
    }
    assert!(message.as_mut().poll(&mut context).is_ready());
    assert_eq!(writer.ledger().accepted(), 12);
}

#[test]
fn who_waits_with_much_is_woken_when_half_of_the_queue_is_free() {
    let (driver, turn) = driver(Still::default());
    let options = WriterOptions::new().queue_bytes_max(8).op_bytes_max(1);
    let writer = writer(&driver, options);
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(counted.clone());
    let mut context = Context::from_waker(&waker);
    let mut message = pin!(writer.send(b"a message of twenty-six"));
    assert!(message.as_mut().poll(&mut context).is_pending());
    for woken in [0, 0, 0, 1] {
        let id = driver.backend().last_submitted();
        driver.backend().answer(id, Outcome::Transferred(1));
        turn();
        assert_eq!(counted.0.load(SeqCst), woken, "half of the queue");
    }
}

/// Nobody is woken for every bit of room, and room that is there is used by whoever looks (a deadline does, before it passes).
#[test]
fn who_waits_with_little_is_woken_when_half_of_the_queue_is_free_and_served_before() {
    let (driver, turn) = driver(Still::default());
    let options = WriterOptions::new().queue_bytes_max(8).op_bytes_max(1);
    let writer = writer(&driver, options);
    writer.try_send(b"all full").unwrap();
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(counted.clone());
    let mut context = Context::from_waker(&waker);
    let mut message = pin!(writer.send(b"x"));
    assert!(message.as_mut().poll(&mut context).is_pending());
    for _ in 0..3 {
        let id = driver.backend().last_submitted();
        driver.backend().answer(id, Outcome::Transferred(1));
        turn();
    }
    assert_eq!(counted.0.load(SeqCst), 0);
    assert!(message.as_mut().poll(&mut context).is_ready());
}

/// A peer that reads no further may wait for what the caller does next: room that is there is told after a millisecond.
#[test]
fn who_waits_with_little_is_woken_soon_though_the_peer_reads_no_further() {
    let (driver, turn) = driver(Still::default());
    let options = WriterOptions::new().queue_bytes_max(8).op_bytes_max(1);
    let writer = writer(&driver, options);
    writer.try_send(b"all full").unwrap();
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(counted.clone());
    let mut context = Context::from_waker(&waker);
    let mut message = pin!(writer.send(b"x"));
    assert!(message.as_mut().poll(&mut context).is_pending());
    let id = driver.backend().last_submitted();
    driver.backend().answer(id, Outcome::Transferred(1));
    turn();
    driver.backend().now.store(999_999, SeqCst);
    turn();
    assert_eq!(counted.0.load(SeqCst), 0);
    driver.backend().now.store(1_000_000, SeqCst);
    turn();
    assert_eq!(counted.0.load(SeqCst), 1);
    assert!(message.as_mut().poll(&mut context).is_ready());
}

/// Whoever was held up by the line alone goes on when the one before leaves it.
#[test]
fn who_is_first_after_another_left_is_woken_at_once() {
    let (driver, turn) = driver(Still::default());
    let options = WriterOptions::new().queue_bytes_max(8).op_bytes_max(1);
    let writer = writer(&driver, options);
    writer.try_send(b"sixsix").unwrap();
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(counted.clone());
    let mut context = Context::from_waker(&waker);
    let mut nobody = Context::from_waker(Waker::noop());
    let mut second = pin!(writer.send(b"x"));
    {
        let mut first = pin!(writer.send(b"much"));
        assert!(first.as_mut().poll(&mut nobody).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        turn();
        assert_eq!(counted.0.load(SeqCst), 0);
    }
    assert_eq!(counted.0.load(SeqCst), 1);
    assert!(second.as_mut().poll(&mut context).is_ready());
}

#[test]
fn who_leaves_the_line_leaves_his_own_place() {
    let (driver, turn) = driver(Still::default());
    let options = WriterOptions::new().queue_bytes_max(4);
    let writer = writer(&driver, options);
    writer.try_send(b"full").unwrap();
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(counted.clone());
    let mut context = Context::from_waker(&waker);
    let mut first = pin!(writer.send(b"one"));
    assert!(first.as_mut().poll(&mut context).is_pending());
    {
        let mut second = pin!(writer.send(b"two"));
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(second.as_mut().poll(&mut nobody).is_pending());
    }
    let id = driver.backend().last_submitted();
    driver.backend().answer(id, Outcome::Transferred(4));
    turn();
    assert_eq!(counted.0.load(SeqCst), 1);
    assert!(first.as_mut().poll(&mut context).is_ready());
}

#[test]
fn only_a_stream_that_went_through_is_ended() {
    let (driver, turn) = driver(Still::default());
    let closed = |end: &dyn Fn(&PipeWriter<Still>)| {
        let writer = writer(&driver, WriterOptions::new());
        writer.try_send(b"abc").unwrap();
        end(&writer);
        drop(writer);
        driver.backend().closed.lock().unwrap().pop()
    };
    let answer = |outcome| {
        let id = driver.backend().last_submitted();
        driver.backend().answer(id, outcome);
        turn();
    };
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(closed(&|_| answer(Outcome::Transferred(3))), Some(true));
    let aborted = |writer: &PipeWriter<Still>| {
        assert!(
            pin!(writer.abort())
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
        );
    };
    assert_eq!(closed(&aborted), Some(false));
    let failed = |_: &PipeWriter<Still>| answer(Outcome::failed(Class::Gone, Some(OsCode(32))));
    assert_eq!(closed(&failed), Some(false));
    let unwanted = writer(&driver, WriterOptions::new().half_close(false));
    assert!(pin!(unwanted.finish()).poll(&mut context).is_ready());
    let last = driver.backend().closed.lock().unwrap().pop();
    assert_eq!(last, Some(false));
}

#[test]
fn who_flushes_is_woken_by_a_failure_and_by_a_stop() {
    for is_failure in [true, false] {
        let (driver, turn) = driver(Still::default());
        let writer = writer(&driver, WriterOptions::new());
        writer.try_send(b"abc").unwrap();
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(counted.clone());
        let mut context = Context::from_waker(&waker);
        let mut flush = pin!(writer.until_transferred());
        assert!(flush.as_mut().poll(&mut context).is_pending());
        if is_failure {
            let id = driver.backend().last_submitted();
            let failed = Outcome::failed(Class::Gone, Some(OsCode(32)));
            driver.backend().answer(id, failed);
            turn();
        } else {
            let mut nobody = Context::from_waker(Waker::noop());
            assert!(pin!(writer.abort()).poll(&mut nobody).is_ready());
        }
        assert_eq!(counted.0.load(SeqCst), 1);
        assert!(flush.as_mut().poll(&mut context).is_ready());
    }
}

/// The asynchronous traits wait for any room. They are woken when half of the queue is free, and only if nobody is in the line.
#[cfg(feature = "futures")]
#[test]
fn who_waits_for_any_room_is_woken_when_half_of_the_queue_is_free_behind_the_line() {
    use futures_io::AsyncWrite;
    for is_behind in [false, true] {
        let (driver, turn) = driver(Still::default());
        let options = WriterOptions::new().queue_bytes_max(4).op_bytes_max(1);
        let mut writer = writer(&driver, options);
        writer.try_send(b"full").unwrap();
        let counted = Arc::new(Counted::default());
        let waker = Waker::from(counted.clone());
        let mut context = Context::from_waker(&waker);
        let mut nobody = Context::from_waker(Waker::noop());
        let any = std::pin::Pin::new(&mut writer).poll_write(&mut context, b"x");
        assert!(any.is_pending());
        // It needs all of the queue.
        let mut first = pin!(writer.send(b"four"));
        if is_behind {
            assert!(first.as_mut().poll(&mut nobody).is_pending());
        }
        for half_free in [0, 1] {
            let id = driver.backend().last_submitted();
            driver.backend().answer(id, Outcome::Transferred(1));
            turn();
            let woken = half_free * u64::from(!is_behind);
            assert_eq!(counted.0.load(SeqCst), woken, "{is_behind}");
        }
        assert!(pin!(writer.abort()).poll(&mut nobody).is_ready());
        assert_eq!(counted.0.load(SeqCst), 1, "there will be none");
    }
}

#[test]
fn what_one_pump_may_not_do_the_next_turn_does() {
    let (driver, turn) = driver(Still {
        at_once: true,
        ..Still::default()
    });
    let writer = writer(&driver, WriterOptions::new().op_bytes_max(1));
    writer.try_send(&[7; 200]).unwrap();
    let first = writer.ledger().transferred();
    assert!((1..200).contains(&first), "{first} in one pump");
    let mut turns = 0;
    while writer.ledger().transferred() < 200 {
        turn();
        turns += 1;
        assert!(turns < 200, "it never gets there");
    }
    let waits = driver.backend().waits();
    assert!(waits.iter().all(|until| *until == Some(Moment(0))));
    turn();
    assert_eq!(driver.backend().waits(), [None], "it would spin");
}

#[test]
fn who_gives_up_waiting_leaves_no_waker() {
    let (driver, turn) = driver(Still::default());
    let writer = writer(&driver, WriterOptions::new().queue_bytes_max(8));
    let reader = PipeReader::on(&driver, 8, ReaderOptions::new());
    writer.try_send(b"in queue").unwrap();
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(counted.clone());
    let mut context = Context::from_waker(&waker);
    let alone = Arc::strong_count(&counted);
    let mut buf = [0; 4];
    {
        let mut flush = pin!(writer.until_transferred());
        let mut room = pin!(writer.send(b"more"));
        let mut until_read = pin!(writer.until_read());
        let mut read = pin!(reader.receive(&mut buf));
        assert!(flush.as_mut().poll(&mut context).is_pending());
        assert!(room.as_mut().poll(&mut context).is_pending());
        assert!(until_read.as_mut().poll(&mut context).is_pending());
        assert!(read.as_mut().poll(&mut context).is_pending());
        assert!(Arc::strong_count(&counted) >= alone + 4);
    }
    assert_eq!(Arc::strong_count(&counted), alone);
    drop(writer);
    {
        let mut settle = pin!(Settle::on(&driver));
        assert!(settle.as_mut().poll(&mut context).is_pending());
        assert!(Arc::strong_count(&counted) > alone);
    }
    assert_eq!(Arc::strong_count(&counted), alone, "settle keeps one");
    let id = driver.backend().submitted.lock().unwrap()[0];
    driver.backend().answer(id, Outcome::Transferred(8));
    turn();
    Settle::on(&driver).wait().unwrap();
}
