//! Transfers where operations read and write (Windows, helper threads), on a kernel that answers when the test says so: one half of
//! the buffer is read into while the other half is written.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use watertight::{
    Driver, ErrorKind, PipeReader, PipeWriter, ReaderOptions, Transfer, TransferEnd, TransferError,
    Transferred, Wait, WriterOptions, transfer,
};
use watertight_core::{
    Backend, Cancelled, Class, Completion, Moment, Op, OpId, OpKind, OsCode, Outcome, ReadNow,
    Submitted,
};

/// One half of the buffer, and what a write carries at most.
const HALF: usize = 64 * 1024;

/// What the kernel is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Read(usize),
    Write(u64),
}

/// A write of one half.
const WRITE: Asked = Asked::Write(HALF as u64);

/// A kernel that reads and writes by operations only.
#[derive(Default)]
struct Puppet {
    in_flight: Mutex<Vec<(OpId, Asked)>>,
    /// Since somebody looked last.
    asked: Mutex<Vec<Asked>>,
    ready: Mutex<Vec<Completion>>,
}

impl Puppet {
    fn answer(&self, kind: OpKind, outcome: impl FnOnce(Asked) -> Outcome) {
        let mut in_flight = self.in_flight.lock().unwrap();
        let at = in_flight.iter().position(|(id, _)| id.kind == kind);
        let (id, asked) = in_flight.remove(at.expect("it is in flight"));
        drop(in_flight);
        let outcome = outcome(asked);
        self.ready.lock().unwrap().push(Completion { id, outcome });
    }

    fn in_flight(&self, kind: OpKind) -> Option<Asked> {
        let in_flight = self.in_flight.lock().unwrap();
        let found = in_flight.iter().find(|(id, _)| id.kind == kind);
        found.map(|(_, asked)| *asked)
    }
}

impl Backend for Puppet {
    type Handle = ();

    fn now(&self) -> Moment {
        Moment::default()
    }

    fn submit(&self, _: &Arc<()>, id: OpId, op: Op) -> Submitted {
        let asked = match op {
            Op::Read { bytes_max } => Asked::Read(bytes_max),
            Op::Write(chunks) => Asked::Write(chunks.bytes()),
            Op::UntilRead | Op::WaitReadable => {
                return Submitted::Done(Outcome::failed(Class::Unsupported, None));
            }
        };
        self.asked.lock().unwrap().push(asked);
        self.in_flight.lock().unwrap().push((id, asked));
        Submitted::InFlight
    }

    fn read_now(&self, (): &(), _: &mut [u8]) -> ReadNow {
        ReadNow::Unavailable
    }

    fn cancel(&self, _: &Arc<()>, id: OpId) -> Cancelled {
        self.in_flight.lock().unwrap().retain(|(own, _)| *own != id);
        Cancelled::Done(Outcome::cancelled())
    }

    fn close(&self, _: Arc<()>, _: bool) -> Result<(), OsCode> {
        Ok(())
    }

    fn wait(&self, completions: &mut Vec<Completion>, _: Option<Moment>) -> Result<(), OsCode> {
        completions.append(&mut self.ready.lock().unwrap());
        Ok(())
    }

    fn rest(&self, _: Duration) {}

    fn wake(&self) {}
}

/// A waker that counts.
#[derive(Default)]
struct Counted(AtomicU64);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// The two ends of a transfer, and the driver, whose turns the test makes.
struct Stage {
    driver: Arc<Driver<Puppet>>,
    from: PipeReader<Puppet>,
    to: PipeWriter<Puppet>,
    woken: Arc<Counted>,
}

impl Stage {
    fn new(options: WriterOptions) -> Self {
        let driver = Arc::new(Driver::new(Puppet::default()));
        Self {
            from: PipeReader::on(&driver, (), ReaderOptions::new()),
            to: PipeWriter::on(&driver, (), options),
            driver,
            woken: Arc::default(),
        }
    }

    /// What the kernel was asked for since the last time.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.driver.backend().asked.lock().unwrap())
    }

    /// How many bytes the read in flight may bring.
    fn reading(&self) -> Option<usize> {
        match self.driver.backend().in_flight(OpKind::Read)? {
            Asked::Read(bytes_max) => Some(bytes_max),
            Asked::Write(_) => panic!("a read reads"),
        }
    }

    /// The read in flight brings so many bytes.
    fn bring(&self, bytes: usize) {
        assert!(self.reading().unwrap() >= bytes, "more than it asks for");
        let data = Bytes::from(vec![7; bytes]);
        let answer = |_| Outcome::Data(data);
        self.driver.backend().answer(OpKind::Read, answer);
        self.driver.turn(&mut Vec::new());
    }

    /// The write in flight is done, all of it.
    fn take(&self) {
        let answer = |asked| match asked {
            Asked::Write(bytes) => Outcome::Transferred(bytes),
            Asked::Read(_) => panic!("a write writes"),
        };
        self.driver.backend().answer(OpKind::Write, answer);
        self.driver.turn(&mut Vec::new());
    }

    fn poll(
        &self,
        moving: &mut Wait<Transfer<'_, Puppet>>,
    ) -> Poll<Result<Transferred, TransferError>> {
        let waker = Waker::from(self.woken.clone());
        Pin::new(moving).poll(&mut Context::from_waker(&waker))
    }

    /// The task was woken since the last time; it goes as far as it can, and is not done.
    fn goes_on(&self, moving: &mut Wait<Transfer<'_, Puppet>>) {
        assert!(self.woken.0.swap(0, SeqCst) > 0, "nobody woke it");
        assert!(self.poll(moving).is_pending());
    }

    fn end(self) {
        let _ = self.to.abort().wait().unwrap();
        let _ = self.from.abort().wait().unwrap();
        let census = self.driver.census();
        assert_eq!((census.pipes, census.operations_in_flight), (0, 0));
    }
}

#[test]
fn the_next_half_is_read_while_the_last_one_is_written_and_no_third_one() {
    // The destination has room for one half, or for several: it makes no difference.
    for queue_bytes_max in [HALF as u64, WriterOptions::QUEUE_BYTES_MAX] {
        let stage = Stage::new(WriterOptions::new().queue_bytes_max(queue_bytes_max));
        let mut moving = transfer(&stage.from, &stage.to);
        assert!(stage.poll(&mut moving).is_pending());
        assert_eq!(stage.asked(), [Asked::Read(HALF)]);
        stage.bring(HALF);
        stage.goes_on(&mut moving);
        for _ in 0..3 {
            assert_eq!(stage.asked(), [WRITE, Asked::Read(HALF)]);
            stage.bring(HALF);
            stage.goes_on(&mut moving);
            assert!(stage.asked().is_empty(), "a third half");
            let (read, accepted) = (stage.from.ledger(), stage.to.ledger());
            assert_eq!(read.queued() + accepted.unsettled(), 2 * HALF as u64);
            stage.take();
            stage.goes_on(&mut moving);
        }
        drop(moving);
        stage.end();
    }
}

#[test]
fn no_more_is_asked_for_than_is_left_while_a_write_is_in_flight_too() {
    const BYTES_MAX: u64 = 300_001;
    let stage = Stage::new(WriterOptions::new());
    let mut moving = transfer(&stage.from, &stage.to).bytes_max(BYTES_MAX);
    let mut at_once = 0;
    let done = loop {
        if let Poll::Ready(done) = stage.poll(&mut moving) {
            break done.unwrap();
        }
        let reading = stage.reading();
        let asked = reading.unwrap_or_default() as u64;
        let taken = stage.from.ledger().accepted();
        assert!(taken + asked <= BYTES_MAX, "{asked} bytes behind {taken}");
        let is_writing = stage.driver.backend().in_flight(OpKind::Write).is_some();
        at_once += u32::from(reading.is_some() && is_writing);
        match reading {
            // Each read brings less than it asks for, and so there are many; each write is as slow as can be.
            Some(bytes_max) => stage.bring(bytes_max.div_ceil(2)),
            None => stage.take(),
        }
    };
    assert_eq!((done.bytes, done.has_ended), (BYTES_MAX, false));
    assert_eq!(stage.from.ledger().accepted(), BYTES_MAX);
    assert!(at_once > 0, "a read waits for each write");
    drop(moving);
    stage.end();
}

#[test]
fn what_is_read_after_the_wait_is_dropped_is_the_next_readers() {
    let stage = Stage::new(WriterOptions::new());
    let mut moving = transfer(&stage.from, &stage.to);
    assert!(stage.poll(&mut moving).is_pending());
    stage.bring(1_000);
    stage.goes_on(&mut moving);
    assert_eq!(stage.reading(), Some(HALF));
    drop(moving);
    stage.bring(5);
    let (read, accepted) = (stage.from.ledger(), stage.to.ledger());
    assert_eq!((read.transferred(), read.queued()), (1_000, 5));
    assert_eq!((accepted.accepted(), accepted.in_flight()), (1_000, 1_000));
    let mut buf = [0; 16];
    assert_eq!(stage.from.receive(&mut buf).wait().unwrap(), 5);
    stage.end();
}

/// The next half waits for what was accepted when it began to wait, and for nothing behind that.
#[test]
fn others_who_send_meanwhile_do_not_put_the_next_read_off() {
    let stage = Stage::new(WriterOptions::new());
    let mut moving = transfer(&stage.from, &stage.to);
    assert!(stage.poll(&mut moving).is_pending());
    stage.to.try_send(&[1; 100_000]).unwrap();
    assert_eq!(stage.asked(), [Asked::Read(HALF), WRITE]);
    stage.bring(10);
    stage.goes_on(&mut moving);
    assert_eq!(stage.to.ledger().accepted(), 100_010);
    assert!(stage.asked().is_empty(), "more than a half is not written");
    stage.to.try_send(&[2; 100_000]).unwrap();
    stage.take();
    stage.goes_on(&mut moving);
    assert_eq!(stage.asked(), [WRITE, Asked::Read(HALF)]);
    drop(moving);
    stage.end();
}

/// The peer does not read, so that no half gets free.
#[test]
fn a_destination_that_is_finished_meanwhile_ends_the_wait_for_a_half() {
    let stage = Stage::new(WriterOptions::new());
    let mut moving = transfer(&stage.from, &stage.to);
    assert!(stage.poll(&mut moving).is_pending());
    for _ in 0..2 {
        stage.bring(HALF);
        stage.goes_on(&mut moving);
    }
    assert!(stage.reading().is_none(), "a third half");
    let mut finishing = stage.to.finish();
    let polled = Pin::new(&mut finishing).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    assert!(stage.woken.0.swap(0, SeqCst) > 0, "nobody woke it");
    let Poll::Ready(failed) = stage.poll(&mut moving) else {
        panic!("it waits");
    };
    let failed = failed.unwrap_err();
    assert_eq!(
        (failed.end, failed.error.kind, failed.bytes),
        (TransferEnd::Destination, ErrorKind::Closed, 2 * HALF as u64)
    );
    drop((moving, finishing));
    stage.end();
}

/// What is accepted is the destination's to send.
#[test]
fn a_transfer_until_accepted_waits_for_no_write() {
    let stage = Stage::new(WriterOptions::new());
    let moving = transfer(&stage.from, &stage.to).bytes_max(1_000);
    let mut moving = moving.until_accepted();
    assert!(stage.poll(&mut moving).is_pending());
    stage.bring(1_000);
    let Poll::Ready(done) = stage.poll(&mut moving) else {
        panic!("it waits");
    };
    let done = done.unwrap();
    assert_eq!((done.bytes, done.has_ended), (1_000, false));
    assert_eq!(stage.to.ledger().in_flight(), 1_000);
    drop(moving);
    stage.take();
    assert_eq!(stage.to.ledger().transferred(), 1_000);
    stage.end();
}
