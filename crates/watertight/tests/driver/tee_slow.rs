//! Destinations that are slow, on a kernel whose clock stands still until the test says otherwise.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use watertight::{
    Driver, ErrorKind, PipeReader, PipeWriter, ReaderOptions, SlowDestination, Tee, TeeDestination,
    TeeEnd, TeeError, TeeOutcome, TeeTransfer, Wait, WriterOptions,
};
use watertight_core::{
    Backend, Cancelled, Completion, Moment, MoveNow, MoveScope, Op, OpId, OsCode, Outcome, ReadNow,
    Submitted, WriteNow,
};

/// How long a destination may make no progress.
const BOUND: Duration = Duration::from_secs(5);
/// How far one destination may be ahead of another.
const WINDOW: u64 = 64 * 1024;
/// How much the slow one takes into its queue.
const QUEUE: u64 = 1000;
/// The reading end of the first private pipe. Its writing end is the next handle, and behind that come those of the next pipe.
const PRIVATE: usize = 100;

/// A destination's pipe: what came, and how much more it takes.
#[derive(Default)]
struct Sink {
    data: Vec<u8>,
    room: usize,
}

/// What happens in a call.
type Deed = Box<dyn FnOnce(&Ports) + Send>;

/// A kernel with a source, whose handle is 0, and the destinations behind it.
struct Ports {
    now: AtomicU64,
    /// It copies bytes into private pipes, and moves them.
    copies: bool,
    /// What is in those.
    private: Mutex<Vec<VecDeque<u8>>>,
    /// What happens while the source is read the next time.
    on_read: Mutex<Option<Deed>>,
    source: Mutex<VecDeque<u8>>,
    sinks: Mutex<Vec<Sink>>,
    in_flight: Mutex<Vec<(usize, OpId, Op)>>,
    answers: Mutex<Vec<Completion>>,
}

/// Takes what fits; says how much.
fn take_out(from: &mut VecDeque<u8>, buf: &mut [u8]) -> usize {
    let taken = from.len().min(buf.len());
    for (place, byte) in buf.iter_mut().zip(from.drain(..taken)) {
        *place = byte;
    }
    taken
}

impl Ports {
    fn pass(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap();
        self.now.fetch_add(nanos, SeqCst);
    }

    /// What is in the source, or in the private pipe that has this end, is changed or looked at.
    fn with_pipe<T>(&self, handle: usize, change: impl FnOnce(&mut VecDeque<u8>) -> T) -> T {
        match handle.checked_sub(PRIVATE) {
            Some(end) => change(&mut self.private.lock().unwrap()[end / 2]),
            None => change(&mut self.source.lock().unwrap()),
        }
    }

    fn write(&self, handle: usize, data: &[u8]) -> WriteNow {
        let mut sinks = self.sinks.lock().unwrap();
        let sink = &mut sinks[handle - 1];
        let taken = sink.room.min(data.len());
        if taken == 0 {
            return WriteNow::Wait;
        }
        sink.room -= taken;
        sink.data.extend_from_slice(&data[..taken]);
        WriteNow::Transferred(taken as u64)
    }

    fn write_op(&self, handle: usize, op: &Op) -> WriteNow {
        let Op::Write(chunks) = op else {
            return WriteNow::Wait;
        };
        let data: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.to_vec()).collect();
        self.write(handle, &data)
    }
}

impl Backend for Ports {
    type Handle = usize;

    fn now(&self) -> Moment {
        Moment(self.now.load(SeqCst))
    }

    fn submit(&self, handle: &Arc<usize>, id: OpId, op: Op) -> Submitted {
        let is_readable = !self.source.lock().unwrap().is_empty();
        if matches!(op, Op::WaitReadable) && is_readable {
            return Submitted::Done(Outcome::Ready);
        }
        if let WriteNow::Transferred(bytes) = self.write_op(**handle, &op) {
            return Submitted::Done(Outcome::Transferred(bytes));
        }
        self.in_flight.lock().unwrap().push((**handle, id, op));
        Submitted::InFlight
    }

    /// Empty is the end here.
    fn read_now(&self, handle: &usize, buf: &mut [u8]) -> ReadNow {
        if *handle == 0 {
            let deed = self.on_read.lock().unwrap().take();
            deed.into_iter().for_each(|deed| deed(self));
        }
        match self.with_pipe(*handle, |pipe| take_out(pipe, buf)) {
            0 => ReadNow::EndOfStream,
            taken => ReadNow::Data(taken),
        }
    }

    fn move_now(&self, from: &usize, to: &usize, bytes_max: usize, _: MoveScope) -> MoveNow {
        let held = self.with_pipe(*from, |pipe| pipe.len());
        let room = self.sinks.lock().unwrap()[*to - 1].room;
        if !self.copies {
            return MoveNow::Unavailable;
        }
        if held == 0 {
            return MoveNow::EndOfStream;
        }
        if room == 0 {
            return MoveNow::DestinationWait;
        }
        let mut data = vec![0; held.min(room).min(bytes_max)];
        let moved = self.with_pipe(*from, |pipe| take_out(pipe, &mut data));
        let written = self.write(*to, &data);
        assert_eq!(written, WriteNow::Transferred(moved as u64));
        MoveNow::Moved(moved)
    }

    fn private_pipe(&self, _: &usize, _: bool) -> Option<(usize, usize)> {
        let mut private = self.private.lock().unwrap();
        let out = PRIVATE + 2 * private.len();
        self.copies.then(|| {
            private.push(VecDeque::new());
            (out, out + 1)
        })
    }

    /// Only into a pipe of a destination's own.
    fn duplicate_now(&self, from: &usize, into: &usize, bytes_max: usize, _: MoveScope) -> MoveNow {
        let take = |pipe: &mut VecDeque<u8>| pipe.iter().copied().take(bytes_max).collect();
        let copies: VecDeque<u8> = self.with_pipe(*from, take);
        let copied = copies.len();
        match copied {
            _ if *into < PRIVATE => return MoveNow::Unavailable,
            0 => return MoveNow::EndOfStream,
            _ => {}
        }
        self.with_pipe(*into, |pipe| *pipe = copies);
        MoveNow::Moved(copied)
    }

    fn write_now(&self, handle: &usize, data: &[u8]) -> WriteNow {
        self.write(*handle, data)
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
        completions.append(&mut self.answers.lock().unwrap());
        Ok(())
    }

    fn rest(&self, _: Duration) {}

    fn wake(&self) {}
}

/// Counts how often it is called.
#[derive(Default)]
struct Counts(AtomicU64);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A source with so many bytes, a destination that takes everything unless something else is said, and one that takes nothing or little.
struct Stage {
    driver: Arc<Driver<Ports>>,
    data: Vec<u8>,
    from: PipeReader<Ports>,
    fast: Arc<PipeWriter<Ports>>,
    slow: PipeWriter<Ports>,
    counts: Arc<Counts>,
}

impl Stage {
    fn new(bytes: usize) -> Self {
        Self::with(bytes, false, [usize::MAX, 0])
    }

    /// With a kernel that copies. The fast one's pipe is full for now, and the slow one's takes half of the 60,000 bytes.
    fn copying() -> Self {
        Self::with(60_000, true, [0, 30_000])
    }

    fn with(bytes: usize, copies: bool, room: [usize; 2]) -> Self {
        let data: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
        let sink = |room| Sink {
            room,
            ..Sink::default()
        };
        let driver = Arc::new(Driver::new(Ports {
            now: AtomicU64::new(0),
            copies,
            private: Mutex::default(),
            on_read: Mutex::default(),
            source: Mutex::new(data.iter().copied().collect()),
            sinks: Mutex::new(room.map(sink).into()),
            in_flight: Mutex::default(),
            answers: Mutex::default(),
        }));
        let small = WriterOptions::new().queue_bytes_max(QUEUE);
        Self {
            from: PipeReader::on(&driver, 0, ReaderOptions::new()),
            fast: Arc::new(PipeWriter::on(&driver, 1, WriterOptions::new())),
            slow: PipeWriter::on(&driver, 2, small),
            driver,
            data,
            counts: Arc::default(),
        }
    }

    fn tee(&self, slow: SlowDestination) -> Tee<'_, Ports> {
        let mut tee = Tee::new(&self.from, [&*self.fast, &self.slow]).unwrap();
        tee.slow_destination(slow);
        tee
    }

    /// With the fast one as the last: it gets the bytes themselves, as far as the slow one has them.
    fn tee_with_the_fast_one_last(&self) -> Tee<'_, Ports> {
        let mut tee = Tee::new(&self.from, [&self.slow, &*self.fast]).unwrap();
        tee.slow_destination(SlowDestination::FailAfter(BOUND));
        tee
    }

    /// Has something happen while the source is read the next time.
    fn on_read(&self, deed: impl FnOnce(&Ports) + Send + 'static) {
        *self.driver.backend().on_read.lock().unwrap() = Some(Box::new(deed));
    }

    fn woken(&self) -> u64 {
        self.counts.0.load(SeqCst)
    }

    /// Polls until nothing more can happen.
    fn poll(
        &self,
        waiting: &mut Wait<TeeTransfer<'_, '_, Ports>>,
    ) -> Poll<Result<TeeOutcome, TeeError>> {
        let waker = Waker::from(self.counts.clone());
        loop {
            let before = self.woken();
            let polled = Pin::new(&mut *waiting).poll(&mut Context::from_waker(&waker));
            if polled.is_ready() || self.woken() == before {
                return polled;
            }
        }
    }

    /// As [`Stage::poll`], for one that is done.
    fn done(&self, waiting: &mut Wait<TeeTransfer<'_, '_, Ports>>) -> Result<TeeOutcome, TeeError> {
        match self.poll(waiting) {
            Poll::Ready(done) => done,
            Poll::Pending => panic!("it waits"),
        }
    }

    /// So much time passes, and timers fire.
    fn pass(&self, duration: Duration) {
        self.driver.backend().pass(duration);
        self.turn();
    }

    fn turn(&self) {
        self.driver.turn(&mut Vec::new());
    }

    /// The slow one takes so many bytes more.
    fn take(&self, bytes: usize) {
        self.take_at(1, bytes);
    }

    /// The fast one does.
    fn take_fast(&self, bytes: usize) {
        self.take_at(0, bytes);
    }

    fn take_at(&self, place: usize, bytes: usize) {
        let ports = self.driver.backend();
        ports.sinks.lock().unwrap()[place].room = bytes;
        let waiting = std::mem::take(&mut *ports.in_flight.lock().unwrap());
        for (handle, id, op) in waiting {
            match ports.write_op(handle, &op) {
                WriteNow::Transferred(bytes) => ports.answers.lock().unwrap().push(Completion {
                    id,
                    outcome: Outcome::Transferred(bytes),
                }),
                WriteNow::Failed(..) | WriteNow::Unavailable | WriteNow::Wait => {
                    ports.in_flight.lock().unwrap().push((handle, id, op))
                }
            }
        }
        self.turn();
    }

    /// What came at the fast one and at the slow one.
    fn came(&self) -> [Vec<u8>; 2] {
        let sinks = self.driver.backend().sinks.lock().unwrap();
        [sinks[0].data.clone(), sinks[1].data.clone()]
    }
}

#[test]
fn one_destination_goes_on_until_it_is_a_window_ahead_and_no_further() {
    let stage = Stage::new(200_000);
    let mut tee = stage.tee(SlowDestination::Wait);
    assert!(stage.poll(&mut tee.transfer()).is_pending());
    let bytes: Vec<u64> = tee.destinations().iter().map(|one| one.bytes).collect();
    assert_eq!(bytes, [WINDOW, QUEUE]);
    assert_eq!(
        (tee.bytes(), stage.from.ledger().transferred()),
        (QUEUE, QUEUE)
    );
    assert_eq!(
        stage.driver.backend().source.lock().unwrap().len(),
        200_000 - 65_536
    );
    stage.take(usize::MAX);
    let done = stage.done(&mut tee.transfer()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (200_000, true));
    assert!(stage.came().iter().all(|came| *came == stage.data));
}

#[test]
fn all_wait_for_a_slow_one_unless_something_else_is_said() {
    let stage = Stage::new(100_000);
    let mut tee = stage.tee(SlowDestination::default());
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    let woken = stage.woken();
    stage.pass(Duration::from_secs(1_000_000));
    assert!(stage.poll(&mut waiting).is_pending());
    // No timer of ours: only the room that is there after a millisecond has one, and there is none.
    assert_eq!(stage.woken(), woken);
}

#[test]
fn a_slow_destination_is_dropped_after_its_time_and_the_others_go_on() {
    let stage = Stage::new(200_000);
    let mut tee = stage.tee(SlowDestination::DropAfter(BOUND));
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    stage.pass(BOUND - Duration::from_nanos(1));
    assert!(stage.poll(&mut waiting).is_pending());
    let woken = stage.woken();
    stage.pass(Duration::from_nanos(1));
    assert!(stage.woken() > woken, "nobody else calls the waiting value");
    let done = stage.done(&mut waiting).unwrap();
    assert_eq!((done.bytes, done.has_ended), (200_000, true));
    assert_eq!(
        (done.destinations[0].bytes, done.destinations[0].error),
        (200_000, None)
    );
    let error = done.destinations[1].error.unwrap();
    assert_eq!(
        (error.kind, done.destinations[1].bytes),
        (ErrorKind::Busy, QUEUE)
    );
    assert!(stage.came()[0] == stage.data);
    // Its writer is the caller's: what it accepted still goes out.
    stage.take(usize::MAX);
    assert!(stage.came()[1] == stage.data[..1000]);
}

#[test]
fn a_slow_destination_ends_the_transfer_after_its_time_and_each_wait_counts_anew() {
    let stage = Stage::new(100_000);
    let mut tee = stage.tee(SlowDestination::FailAfter(BOUND));
    for _ in 0..2 {
        let mut waiting = tee.transfer();
        assert!(stage.poll(&mut waiting).is_pending());
        stage.pass(BOUND);
        let failed = stage.done(&mut waiting).unwrap_err();
        assert_eq!(failed.end, TeeEnd::Destination(1));
        assert_eq!((failed.error.kind, failed.bytes), (ErrorKind::Busy, QUEUE));
        drop(waiting);
        assert!(tee.destinations().iter().all(|one| one.error.is_none()));
    }
    stage.take(usize::MAX);
    let done = stage.done(&mut tee.transfer()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (100_000, true));
    assert!(stage.came().iter().all(|came| *came == stage.data));
}

#[test]
fn progress_gives_a_slow_destination_its_time_again() {
    let stage = Stage::new(100_000);
    let mut tee = stage.tee(SlowDestination::FailAfter(BOUND));
    let mut waiting = tee.transfer();
    for _ in 0..10 {
        assert!(stage.poll(&mut waiting).is_pending());
        stage.pass(BOUND - Duration::from_nanos(1));
        // A byte: too little room for anybody to be told of it at once.
        stage.take(1);
    }
    assert!(stage.poll(&mut waiting).is_pending());
    stage.pass(BOUND);
    let failed = stage.done(&mut waiting).unwrap_err();
    assert_eq!(
        (failed.end, failed.error.kind),
        (TeeEnd::Destination(1), ErrorKind::Busy)
    );
}

/// All is accepted, and the kernel of one takes nothing.
#[test]
fn a_destination_may_be_slow_at_the_end_too() {
    let stage = Stage::new(500);
    let mut tee = stage.tee(SlowDestination::DropAfter(BOUND));
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    assert_eq!(stage.slow.ledger().accepted(), 500);
    stage.pass(BOUND);
    let done = stage.done(&mut waiting).unwrap();
    assert_eq!((done.bytes, done.has_ended), (500, true));
    let error = done.destinations[1].error.unwrap();
    assert_eq!(
        (error.kind, error.ledger.unsettled()),
        (ErrorKind::Busy, 500)
    );
}

#[test]
fn what_a_destination_transfers_at_the_end_is_progress() {
    let stage = Stage::new(500);
    let mut tee = stage.tee(SlowDestination::FailAfter(BOUND));
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    stage.take(100);
    stage.pass(BOUND);
    assert!(stage.poll(&mut waiting).is_pending());
    stage.pass(BOUND);
    let failed = stage.done(&mut waiting).unwrap_err();
    assert_eq!(failed.error.kind, ErrorKind::Busy);
    assert_eq!(failed.error.ledger.transferred(), 100);
}

/// The time of who has caught up is not counted while another one, which gets a byte in time, is waited for.
#[test]
fn who_has_everything_is_slow_no_more() {
    let stage = Stage::with(500, false, [0, 0]);
    let mut tee = stage.tee_with_the_fast_one_last();
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    stage.take(usize::MAX);
    for _ in 0..2 {
        assert!(stage.poll(&mut waiting).is_pending());
        stage.pass(BOUND - Duration::from_nanos(1));
        stage.take_fast(1);
    }
    assert!(stage.poll(&mut waiting).is_pending());
    stage.take_fast(usize::MAX);
    assert_eq!(stage.done(&mut waiting).unwrap().bytes, 500);
}

/// What somebody else takes is gone for whoever had not got it, and nobody gets anything twice.
#[test]
fn others_may_read_the_source_between_two_waits() {
    let stage = Stage::new(200_000);
    let mut tee = stage.tee(SlowDestination::Wait);
    assert!(stage.poll(&mut tee.transfer()).is_pending());
    let mut buf = [0; 500];
    let polled =
        Pin::new(&mut stage.from.receive(&mut buf)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(500))), "{polled:?}");
    assert!(buf == stage.data[1000..1500]);
    stage.take(usize::MAX);
    let done = stage.done(&mut tee.transfer()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (199_500, true));
    let [fast, slow] = stage.came();
    assert!(fast == stage.data);
    assert!(slow == [&stage.data[..1000], &stage.data[1500..]].concat());
}

/// How many bytes each destination has.
fn accepted(tee: &[TeeDestination]) -> Vec<u64> {
    tee.iter().map(|one| one.bytes).collect()
}

/// The copies of bytes that it does not take wait for it, whatever another one gets meanwhile.
#[test]
fn a_page_for_another_one_gives_a_slow_destination_no_time_again() {
    let stage = Stage::copying();
    let mut tee = stage.tee_with_the_fast_one_last();
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    stage.pass(BOUND - Duration::from_nanos(1));
    stage.take_fast(4096);
    assert!(stage.poll(&mut waiting).is_pending());
    stage.pass(Duration::from_nanos(1));
    let failed = stage.done(&mut waiting).unwrap_err();
    assert_eq!(
        (failed.end, failed.error.kind),
        (TeeEnd::Destination(0), ErrorKind::Busy)
    );
    assert_eq!(accepted(&failed.destinations), [30_000 + QUEUE, 2 * 4096]);
}

/// The last one got copies too, since the slow one had nothing yet: so no move takes the bytes out of the source.
#[test]
fn what_all_have_as_copies_leaves_the_source() {
    let stage = Stage::with(60_000, true, [usize::MAX, 0]);
    let before = [7; 1000];
    stage.slow.try_send(&before).unwrap();
    let mut tee = stage.tee_with_the_fast_one_last();
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    assert_eq!(stage.fast.ledger().transferred(), 60_000);
    assert_eq!(stage.from.ledger().transferred(), 0);
    stage.take(1000 + 30_000);
    assert!(stage.poll(&mut waiting).is_pending());
    assert_eq!(stage.from.ledger().transferred(), 30_000 + QUEUE);
    stage.take(usize::MAX);
    assert_eq!(stage.done(&mut waiting).unwrap().bytes, 60_000);
    assert!(stage.came() == [stage.data.clone(), [&before[..], &stage.data].concat()]);
}

/// Somebody else fills the queue of the last one just when bytes are read ahead for it.
#[test]
fn copies_are_moved_on_while_bytes_that_are_read_ahead_wait_for_another_one() {
    let stage = Stage::copying();
    let before = vec![7; usize::try_from(WriterOptions::QUEUE_BYTES_MAX).unwrap()];
    let (other, message) = (stage.fast.clone(), before.clone());
    stage.on_read(move |_| other.try_send(&message).unwrap());
    let mut tee = stage.tee_with_the_fast_one_last();
    let mut waiting = tee.transfer();
    assert!(stage.poll(&mut waiting).is_pending());
    assert_eq!(stage.from.ledger().queued(), 4096);
    stage.pass(BOUND - Duration::from_nanos(1));
    stage.take(usize::MAX);
    assert!(stage.poll(&mut waiting).is_pending());
    assert_eq!(stage.slow.ledger().transferred(), 60_000);
    stage.take_fast(usize::MAX);
    let done = stage.done(&mut waiting).unwrap();
    assert_eq!((done.bytes, done.has_ended), (60_000, true));
    let [fast, slow] = stage.came();
    assert!(slow == stage.data);
    assert!(fast == [&before[..], &stage.data].concat());
}

/// A page is read ahead, and the wait is over before anybody gets it.
#[test]
fn behind_a_page_that_is_read_ahead_nothing_that_somebody_has_stays_in_the_pipe() {
    let stage = Stage::copying();
    let mut tee = stage.tee_with_the_fast_one_last();
    stage.on_read(|ports| ports.pass(BOUND));
    let failed = stage.done(&mut tee.transfer()).unwrap_err();
    assert_eq!(failed.end, TeeEnd::Destination(0));
    assert_eq!(accepted(&failed.destinations), [31_000, 0]);
    assert_eq!(stage.from.ledger().queued(), 31_000);
    // Whoever has a copy of the source's handle takes what nobody has had.
    let mut taken = [0; 1000];
    let ports = stage.driver.backend();
    assert_eq!(ports.read_now(&0, &mut taken), ReadNow::Data(1000));
    assert!(taken == stage.data[31_000..32_000]);
    stage.take(usize::MAX);
    stage.take_fast(usize::MAX);
    let done = stage.done(&mut tee.transfer()).unwrap();
    assert_eq!((done.bytes, done.has_ended), (59_000, true));
    let rest = [&stage.data[..31_000], &stage.data[32_000..]].concat();
    assert!(stage.came().iter().all(|came| *came == rest));
}
