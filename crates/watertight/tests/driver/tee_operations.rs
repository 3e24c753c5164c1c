//! Transfers to two destinations where operations read and write (Windows, helper threads), on a kernel that answers when the test says so:
//! one half of the buffer is read into while the destinations write the other half.
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
    DeadDestination, Driver, ErrorKind, PipeReader, PipeWriter, ReaderOptions, SlowDestination,
    Tee, TeeEnd, TeeError, TeeOutcome, TeeTransfer, Wait, WriterOptions,
};
use watertight_core::{
    Backend, Cancelled, Class, Completion, Moment, Op, OpId, OsCode, Outcome, ReadNow, Submitted,
};

/// One half of the buffer, and what a write carries at most.
const HALF: u64 = 64 * 1024;
/// Four of them.
const QUEUE: u64 = WriterOptions::QUEUE_BYTES_MAX;
/// How long a destination may make no progress.
const BOUND: Duration = Duration::from_secs(5);
/// The source's handle. Behind it come those of the destinations.
const SOURCE: usize = 0;

/// What the kernel is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Read(u64),
    /// At that destination.
    Write(usize, u64),
}

/// A read of one half.
const READ: Asked = Asked::Read(HALF);

/// A write of one half at each destination.
const WRITES: [Asked; 2] = [Asked::Write(0, HALF), Asked::Write(1, HALF)];

/// A kernel that reads and writes by operations only. Its clock stands still until the test says otherwise.
#[derive(Default)]
struct Puppet {
    now: AtomicU64,
    in_flight: Mutex<Vec<(usize, OpId, Op)>>,
    /// Since somebody looked last.
    asked: Mutex<Vec<Asked>>,
    ready: Mutex<Vec<Completion>>,
    /// What each destination has written.
    written: Mutex<[Vec<u8>; 2]>,
}

impl Puppet {
    /// Answers the operation in flight at that handle.
    fn answer(&self, handle: usize, outcome: impl FnOnce(Op) -> Outcome) {
        let mut in_flight = self.in_flight.lock().unwrap();
        let at = in_flight.iter().position(|(own, ..)| *own == handle);
        let (_, id, op) = in_flight.remove(at.expect("it is in flight"));
        drop(in_flight);
        let outcome = outcome(op);
        self.ready.lock().unwrap().push(Completion { id, outcome });
    }

    /// Whether an operation is in flight at that handle.
    fn is_busy(&self, handle: usize) -> bool {
        let in_flight = self.in_flight.lock().unwrap();
        in_flight.iter().any(|(own, ..)| *own == handle)
    }

    /// How much the read in flight asks for.
    fn reading(&self) -> Option<u64> {
        let in_flight = self.in_flight.lock().unwrap();
        in_flight.iter().find_map(|(_, _, op)| match op {
            Op::Read { bytes_max } => Some(*bytes_max as u64),
            Op::UntilRead | Op::WaitReadable | Op::Write(_) => None,
        })
    }
}

impl Backend for Puppet {
    type Handle = usize;

    fn now(&self) -> Moment {
        Moment(self.now.load(SeqCst))
    }

    fn submit(&self, handle: &Arc<usize>, id: OpId, op: Op) -> Submitted {
        let asked = match &op {
            Op::Read { bytes_max } => Asked::Read(*bytes_max as u64),
            Op::Write(chunks) => Asked::Write(**handle - 1, chunks.bytes()),
            Op::UntilRead | Op::WaitReadable => {
                return Submitted::Done(Outcome::failed(Class::Unsupported, None));
            }
        };
        self.asked.lock().unwrap().push(asked);
        self.in_flight.lock().unwrap().push((**handle, id, op));
        Submitted::InFlight
    }

    fn read_now(&self, _: &usize, _: &mut [u8]) -> ReadNow {
        ReadNow::Unavailable
    }

    fn cancel(&self, _: &Arc<usize>, id: OpId) -> Cancelled {
        let mut in_flight = self.in_flight.lock().unwrap();
        in_flight.retain(|(_, own, _)| *own != id);
        Cancelled::Done(Outcome::cancelled())
    }

    fn close(&self, _: Arc<usize>, _: bool) -> Result<(), OsCode> {
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

/// So many bytes of the source's stream, from this one on.
fn stream(from: u64, bytes: u64) -> Vec<u8> {
    (from..from + bytes).map(|at| (at % 251) as u8).collect()
}

/// The ends of a transfer, and the driver, whose turns the test makes.
struct Stage {
    driver: Arc<Driver<Puppet>>,
    from: PipeReader<Puppet>,
    to: [PipeWriter<Puppet>; 2],
    woken: Arc<Counted>,
}

impl Stage {
    /// With queues of so many bytes.
    fn new(queue_bytes_max: [u64; 2]) -> Self {
        let driver = Arc::new(Driver::new(Puppet::default()));
        let [first, second] =
            queue_bytes_max.map(|bytes| WriterOptions::new().queue_bytes_max(bytes));
        Self {
            from: PipeReader::on(&driver, SOURCE, ReaderOptions::new()),
            to: [
                PipeWriter::on(&driver, SOURCE + 1, first),
                PipeWriter::on(&driver, SOURCE + 2, second),
            ],
            driver,
            woken: Arc::default(),
        }
    }

    fn tee(&self) -> Tee<'_, Puppet> {
        Tee::new(&self.from, &self.to).unwrap()
    }

    fn kernel(&self) -> &Puppet {
        self.driver.backend()
    }

    fn turn(&self) {
        self.driver.turn(&mut Vec::new());
    }

    /// So much time passes.
    fn pass(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap();
        self.kernel().now.fetch_add(nanos, SeqCst);
        self.turn();
    }

    /// What the kernel was asked for since the last time.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.kernel().asked.lock().unwrap())
    }

    /// The read in flight brings so many bytes, the next of the stream.
    fn bring(&self, bytes: u64) {
        let reading = self.kernel().reading().unwrap();
        assert!(reading >= bytes, "more than it asks for");
        let data = stream(self.from.ledger().accepted(), bytes);
        let answer = |_| Outcome::Data(Bytes::from(data));
        self.kernel().answer(SOURCE, answer);
        self.turn();
    }

    /// The write in flight at that destination is done, all of it.
    fn take(&self, place: usize) {
        let kernel = self.kernel();
        kernel.answer(SOURCE + 1 + place, |op| {
            let Op::Write(chunks) = op else {
                panic!("a write writes");
            };
            let mut written = kernel.written.lock().unwrap();
            for chunk in chunks.iter() {
                written[place].extend_from_slice(chunk);
            }
            Outcome::Transferred(chunks.bytes())
        });
        self.turn();
    }

    /// One operation is done, whatever is moved: a read, which brings half of what it asks for, or a write only if nothing is read. Whether
    /// both were in flight.
    fn go_on(&self) -> bool {
        let kernel = self.kernel();
        let reading = kernel.reading();
        let writing = [0, 1]
            .into_iter()
            .find(|place| kernel.is_busy(SOURCE + 1 + *place));
        match (reading, writing) {
            (Some(bytes), _) => self.bring(bytes.div_ceil(2)),
            (None, Some(place)) => self.take(place),
            (None, None) => panic!("nothing will ever happen"),
        }
        reading.is_some() && writing.is_some()
    }

    fn poll(
        &self,
        moving: &mut Wait<TeeTransfer<'_, '_, Puppet>>,
    ) -> Poll<Result<TeeOutcome, TeeError>> {
        let waker = Waker::from(self.woken.clone());
        Pin::new(moving).poll(&mut Context::from_waker(&waker))
    }

    /// It goes as far as it can, and is not done.
    fn waits(&self, moving: &mut Wait<TeeTransfer<'_, '_, Puppet>>) {
        let polled = self.poll(moving);
        assert!(polled.is_pending(), "{polled:?}");
    }

    /// The task was woken since the last time; it goes as far as it can, and is not done.
    fn goes_on(&self, moving: &mut Wait<TeeTransfer<'_, '_, Puppet>>) {
        self.assert_woken();
        self.waits(moving);
    }

    fn fails(&self, moving: &mut Wait<TeeTransfer<'_, '_, Puppet>>) -> TeeError {
        match self.poll(moving) {
            Poll::Ready(Err(failed)) => failed,
            Poll::Ready(Ok(done)) => panic!("it is done: {done:?}"),
            Poll::Pending => panic!("it waits"),
        }
    }

    fn assert_woken(&self) {
        assert!(self.woken.0.swap(0, SeqCst) > 0, "nobody woke it");
    }

    /// Each has accepted so much. What left the source is what both have, and what is behind it was read ahead.
    fn assert_accepted(&self, bytes: [u64; 2], ahead: u64) {
        let accepted = [&self.to[0], &self.to[1]].map(|to| to.ledger().accepted());
        assert_eq!(accepted, bytes);
        let source = self.from.ledger();
        let both = bytes[0].min(bytes[1]);
        assert_eq!((source.transferred(), source.queued()), (both, ahead));
    }

    fn end(self) {
        for to in &self.to {
            let _ = to.abort().wait().unwrap();
        }
        let _ = self.from.abort().wait().unwrap();
        let census = self.driver.census();
        assert_eq!((census.pipes, census.operations_in_flight), (0, 0));
    }
}

#[test]
fn the_next_half_is_read_while_both_write_the_last_one_and_no_third_one() {
    // The destinations have room for one half, or for several: it makes no difference.
    for queue_bytes_max in [HALF, QUEUE] {
        let stage = Stage::new([queue_bytes_max; 2]);
        let mut tee = stage.tee();
        let mut moving = tee.transfer();
        stage.waits(&mut moving);
        assert_eq!(stage.asked(), [READ]);
        stage.bring(HALF);
        stage.goes_on(&mut moving);
        for _ in 0..3 {
            assert_eq!(stage.asked(), [WRITES[0], WRITES[1], READ]);
            stage.bring(HALF);
            stage.goes_on(&mut moving);
            assert!(stage.asked().is_empty(), "a third half");
            for to in &stage.to {
                let unwritten = stage.from.ledger().accepted() - to.ledger().transferred();
                assert_eq!(unwritten, 2 * HALF);
            }
            stage.take(0);
            stage.take(1);
            stage.goes_on(&mut moving);
        }
        drop(moving);
        drop(tee);
        stage.end();
    }
}

/// How far it lags is its queue's business, as long as it accepts. What it has no room for stays in the source, whoever has it.
#[test]
fn the_other_one_goes_on_until_the_queue_of_one_that_writes_nothing_is_full() {
    let stage = Stage::new([QUEUE; 2]);
    let mut tee = stage.tee();
    let mut moving = tee.transfer();
    stage.waits(&mut moving);
    for halves in 1..=4 {
        stage.bring(HALF);
        stage.goes_on(&mut moving);
        stage.assert_accepted([halves * HALF; 2], 0);
        assert_eq!(stage.kernel().reading(), Some(HALF));
        stage.take(0);
    }
    stage.bring(HALF);
    stage.goes_on(&mut moving);
    stage.assert_accepted([5 * HALF, 4 * HALF], HALF);
    stage.take(0);
    stage.waits(&mut moving);
    assert_eq!(stage.kernel().reading(), None, "one is a half ahead");
    // What one of them has is not lost with the wait, and is not for that one again.
    drop(moving);
    stage.assert_accepted([5 * HALF, 4 * HALF], HALF);
    let mut moving = tee.transfer();
    stage.waits(&mut moving);
    stage.assert_accepted([5 * HALF, 4 * HALF], HALF);
    // Half of its queue is free.
    stage.take(1);
    stage.take(1);
    stage.goes_on(&mut moving);
    stage.assert_accepted([5 * HALF; 2], 0);
    assert_eq!(stage.kernel().reading(), Some(HALF));
    drop(moving);
    drop(tee);
    let written = stage.kernel().written.lock().unwrap().clone();
    assert!(written == [stream(0, 5 * HALF), stream(0, 2 * HALF)]);
    stage.end();
}

/// It accepts little at a time, and has all that the other one has still to write.
#[test]
fn a_small_queue_of_the_fastest_one_makes_no_small_reads() {
    let stage = Stage::new([1_000, QUEUE]);
    let mut tee = stage.tee();
    let mut moving = tee.transfer();
    stage.waits(&mut moving);
    for _ in 0..2 {
        assert_eq!(stage.kernel().reading(), Some(HALF));
        stage.bring(HALF);
        stage.goes_on(&mut moving);
        while stage.kernel().reading().is_none() {
            stage.take(0);
            // Not before half of its queue is free.
            if stage.woken.0.swap(0, SeqCst) > 0 {
                stage.waits(&mut moving);
            }
        }
    }
    assert_eq!(stage.kernel().reading(), Some(HALF));
    assert_eq!(stage.to[1].ledger().unsettled(), 2 * HALF);
    drop(moving);
    drop(tee);
    stage.end();
}

#[test]
fn no_more_is_asked_for_than_is_left_and_a_wait_that_is_given_up_at_any_point_loses_nothing() {
    const BYTES_MAX: u64 = 300_001;
    for polls in [1, u32::MAX] {
        let stage = Stage::new([HALF, 10_000]);
        let mut tee = stage.tee();
        tee.bytes_max(BYTES_MAX);
        let mut at_once = 0;
        let mut done = None;
        while done.is_none() {
            let mut moving = tee.transfer();
            for _ in 0..polls {
                if let Poll::Ready(answer) = stage.poll(&mut moving) {
                    done = Some(answer.unwrap());
                    break;
                }
                let asked = stage.kernel().reading().unwrap_or_default();
                let taken = stage.from.ledger().accepted();
                assert!(taken + asked <= BYTES_MAX, "{asked} bytes behind {taken}");
                at_once += u32::from(stage.go_on());
            }
            drop(moving);
            assert_eq!(tee.bytes(), stage.from.ledger().transferred());
        }
        let done = done.unwrap();
        assert_eq!((done.bytes, done.has_ended), (BYTES_MAX, false));
        assert!(done.destinations.iter().all(|one| one.bytes == BYTES_MAX));
        stage.assert_accepted([BYTES_MAX; 2], 0);
        assert!(at_once > 0, "each read waits for the writes");
        drop(tee);
        let written = stage.kernel().written.lock().unwrap().clone();
        assert!(written.iter().all(|one| *one == stream(0, BYTES_MAX)));
        stage.end();
    }
}

#[test]
fn what_is_read_after_the_wait_is_dropped_is_for_the_next_one_or_the_next_reader() {
    let stage = Stage::new([QUEUE; 2]);
    let mut tee = stage.tee();
    let mut moving = tee.transfer();
    stage.waits(&mut moving);
    stage.bring(1_000);
    stage.goes_on(&mut moving);
    assert_eq!(stage.kernel().reading(), Some(HALF));
    drop(moving);
    stage.bring(5);
    stage.assert_accepted([1_000; 2], 5);
    let mut moving = tee.transfer();
    stage.waits(&mut moving);
    stage.assert_accepted([1_005; 2], 0);
    assert_eq!(stage.kernel().reading(), Some(HALF));
    drop(moving);
    drop(tee);
    stage.bring(7);
    let mut buf = [0; 16];
    assert_eq!(stage.from.receive(&mut buf).wait().unwrap(), 7);
    assert_eq!(buf[..7], stream(1_005, 7));
    stage.end();
}

/// Nobody waits for what it has not written, nor for what it has not accepted.
#[test]
fn the_next_half_is_read_when_one_that_lacked_the_last_one_is_dropped() {
    let stage = Stage::new([QUEUE, HALF]);
    let mut tee = stage.tee();
    tee.dead_destination(DeadDestination::Drop);
    let mut moving = tee.transfer();
    stage.waits(&mut moving);
    for _ in 0..2 {
        stage.bring(HALF);
        stage.goes_on(&mut moving);
    }
    stage.take(0);
    stage.waits(&mut moving);
    stage.assert_accepted([2 * HALF, HALF], HALF);
    assert_eq!(stage.kernel().reading(), None);
    let _ = stage.to[1].abort().wait().unwrap();
    stage.goes_on(&mut moving);
    assert_eq!(stage.from.ledger().transferred(), 2 * HALF);
    assert_eq!(stage.kernel().reading(), Some(HALF));
    drop(moving);
    let errors = tee.destinations().into_iter().map(|one| one.error);
    let kinds: Vec<_> = errors.map(|error| error.map(|error| error.kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Aborted)]);
    drop(tee);
    stage.end();
}

/// The peers do not read, so that no half gets free.
#[test]
fn one_destination_that_is_finished_meanwhile_ends_the_wait_for_a_half_of_any() {
    let stage = Stage::new([QUEUE; 2]);
    let mut tee = stage.tee();
    let mut moving = tee.transfer();
    stage.waits(&mut moving);
    for _ in 0..2 {
        stage.bring(HALF);
        stage.goes_on(&mut moving);
    }
    assert_eq!(stage.kernel().reading(), None, "a third half");
    let mut finishing = stage.to[1].finish();
    let polled = Pin::new(&mut finishing).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    stage.assert_woken();
    let failed = stage.fails(&mut moving);
    assert_eq!(
        (failed.end, failed.error.kind, failed.bytes),
        (TeeEnd::Destination(1), ErrorKind::Closed, 2 * HALF)
    );
    drop((moving, finishing));
    drop(tee);
    stage.end();
}

/// They have room, and yet nothing is read for anybody: a look at them gives them no time again.
#[test]
fn those_that_all_wait_for_are_slow_whatever_room_they_have() {
    let stage = Stage::new([QUEUE; 2]);
    let mut tee = stage.tee();
    tee.slow_destination(SlowDestination::FailAfter(BOUND));
    let mut moving = tee.transfer();
    stage.waits(&mut moving);
    for _ in 0..2 {
        stage.bring(HALF);
        stage.goes_on(&mut moving);
    }
    stage.pass(BOUND - Duration::from_nanos(1));
    stage.waits(&mut moving);
    stage.pass(Duration::from_nanos(1));
    stage.assert_woken();
    let failed = stage.fails(&mut moving);
    assert_eq!(
        (failed.end, failed.error.kind, failed.bytes),
        (TeeEnd::Destination(0), ErrorKind::Busy, 2 * HALF)
    );
    drop(moving);
    drop(tee);
    stage.end();
}

/// The source is waited for, and not what is still to be written.
#[test]
fn one_that_has_room_is_not_slow_while_the_next_half_is_read() {
    let stage = Stage::new([QUEUE; 2]);
    let mut tee = stage.tee();
    tee.slow_destination(SlowDestination::DropAfter(BOUND));
    let mut moving = tee.transfer();
    stage.waits(&mut moving);
    for _ in 0..2 {
        stage.bring(HALF);
        stage.goes_on(&mut moving);
        stage.take(0);
    }
    assert_eq!(stage.kernel().reading(), Some(HALF));
    assert_eq!(stage.to[1].ledger().unsettled(), 2 * HALF);
    stage.waits(&mut moving);
    stage.pass(2 * BOUND);
    stage.waits(&mut moving);
    drop(moving);
    assert!(tee.destinations().iter().all(|one| one.error.is_none()));
    drop(tee);
    stage.end();
}

/// What is accepted is the destinations' to send.
#[test]
fn a_wait_until_accepted_waits_for_no_write() {
    const BYTES: u64 = 1_000;
    let stage = Stage::new([QUEUE; 2]);
    let mut tee = stage.tee();
    tee.bytes_max(BYTES).until_accepted();
    let mut moving = tee.transfer();
    stage.waits(&mut moving);
    stage.bring(BYTES);
    let Poll::Ready(done) = stage.poll(&mut moving) else {
        panic!("it waits");
    };
    let done = done.unwrap();
    assert_eq!((done.bytes, done.has_ended), (BYTES, false));
    for to in &stage.to {
        assert_eq!(to.ledger().in_flight(), BYTES);
    }
    drop(moving);
    drop(tee);
    stage.end();
}
