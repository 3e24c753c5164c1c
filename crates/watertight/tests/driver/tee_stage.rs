//! The stage of the tests about destinations that are slow: a kernel with a source and two destinations, whose clock stands still until a test
//! says otherwise.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::left_behind::LeftBehind;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use watertight::{
    Driver, PipeReader, PipeWriter, ReaderOptions, SlowDestination, Tee, TeeError, TeeOutcome,
    TeeTransfer, Wait, WriterOptions,
};
use watertight_core::{
    Backend, Cancelled, Completion, Moment, MoveNow, MoveScope, Op, OpId, OsCode, Outcome, ReadNow,
    Submitted, WriteNow,
};

/// How long a destination may make no progress.
pub(crate) const BOUND: Duration = Duration::from_secs(5);
/// How much the slow one takes into its queue.
pub(crate) const QUEUE: u64 = 1000;
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
pub(crate) struct Ports {
    now: AtomicU64,
    /// It copies bytes into private pipes, and moves them.
    copies: bool,
    /// What is in those.
    private: Mutex<Vec<VecDeque<u8>>>,
    /// What happens while the source is read the next time.
    on_read: Mutex<Option<Deed>>,
    pub(crate) source: Mutex<VecDeque<u8>>,
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
    pub(crate) fn pass(&self, duration: Duration) {
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

    /// The one at that place takes so many bytes more.
    fn take_at(&self, place: usize, bytes: usize) {
        self.sinks.lock().unwrap()[place].room = bytes;
        let waiting = std::mem::take(&mut *self.in_flight.lock().unwrap());
        for (handle, id, op) in waiting {
            match self.write_op(handle, &op) {
                WriteNow::Transferred(bytes) => self.answers.lock().unwrap().push(Completion {
                    id,
                    outcome: Outcome::Transferred(bytes),
                }),
                WriteNow::Failed(..) | WriteNow::Unavailable | WriteNow::Wait => {
                    self.in_flight.lock().unwrap().push((handle, id, op))
                }
            }
        }
    }

    /// Both take everything, and then so much time passes.
    fn take_all(&self, duration: Duration) {
        for place in [0, 1] {
            self.take_at(place, usize::MAX);
        }
        self.pass(duration);
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
pub(crate) struct Stage {
    pub(crate) driver: Arc<Driver<Ports>>,
    pub(crate) data: Vec<u8>,
    pub(crate) from: PipeReader<Ports>,
    pub(crate) fast: Arc<PipeWriter<Ports>>,
    pub(crate) slow: PipeWriter<Ports>,
    counts: Arc<Counts>,
    /// The last one to go.
    _left_behind: LeftBehind<Ports>,
}

impl Stage {
    pub(crate) fn new(bytes: usize) -> Self {
        Self::with(bytes, false, [usize::MAX, 0])
    }

    /// With a kernel that copies. The fast one's pipe is full for now, and the slow one's takes half of the 60,000 bytes.
    pub(crate) fn copying() -> Self {
        Self::with(60_000, true, [0, 30_000])
    }

    pub(crate) fn with(bytes: usize, copies: bool, room: [usize; 2]) -> Self {
        Self::with_queue(QUEUE, bytes, copies, room)
    }

    /// With so much room in the slow one's queue.
    pub(crate) fn with_queue(
        queue_bytes_max: u64,
        bytes: usize,
        copies: bool,
        room: [usize; 2],
    ) -> Self {
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
        let small = WriterOptions::new().queue_bytes_max(queue_bytes_max);
        Self {
            from: PipeReader::on(&driver, 0, ReaderOptions::new()),
            fast: Arc::new(PipeWriter::on(&driver, 1, WriterOptions::new())),
            slow: PipeWriter::on(&driver, 2, small),
            _left_behind: LeftBehind::new(&driver, Ports::take_all),
            driver,
            data,
            counts: Arc::default(),
        }
    }

    pub(crate) fn tee(&self, slow: SlowDestination) -> Tee<'_, Ports> {
        let mut tee = Tee::new(&self.from, [&*self.fast, &self.slow]).unwrap();
        tee.slow_destination(slow);
        tee
    }

    /// With the fast one as the last: it gets the bytes themselves, as far as the slow one has them.
    pub(crate) fn tee_with_the_fast_one_last(&self) -> Tee<'_, Ports> {
        let mut tee = Tee::new(&self.from, [&self.slow, &*self.fast]).unwrap();
        tee.slow_destination(SlowDestination::FailAfter(BOUND));
        tee
    }

    /// Has something happen while the source is read the next time.
    pub(crate) fn on_read(&self, deed: impl FnOnce(&Ports) + Send + 'static) {
        *self.driver.backend().on_read.lock().unwrap() = Some(Box::new(deed));
    }

    pub(crate) fn woken(&self) -> u64 {
        self.counts.0.load(SeqCst)
    }

    /// Polls until nothing more can happen.
    pub(crate) fn poll(
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
    pub(crate) fn done(
        &self,
        waiting: &mut Wait<TeeTransfer<'_, '_, Ports>>,
    ) -> Result<TeeOutcome, TeeError> {
        match self.poll(waiting) {
            Poll::Ready(done) => done,
            Poll::Pending => panic!("it waits"),
        }
    }

    /// So much time passes, and timers fire.
    pub(crate) fn pass(&self, duration: Duration) {
        self.driver.backend().pass(duration);
        self.turn();
    }

    fn turn(&self) {
        self.driver.turn(&mut Vec::new());
    }

    /// The slow one takes so many bytes more.
    pub(crate) fn take(&self, bytes: usize) {
        self.take_at(1, bytes);
    }

    /// The fast one does.
    pub(crate) fn take_fast(&self, bytes: usize) {
        self.take_at(0, bytes);
    }

    fn take_at(&self, place: usize, bytes: usize) {
        self.driver.backend().take_at(place, bytes);
        self.turn();
    }

    /// What came at the fast one and at the slow one.
    pub(crate) fn came(&self) -> [Vec<u8>; 2] {
        let sinks = self.driver.backend().sinks.lock().unwrap();
        [sinks[0].data.clone(), sinks[1].data.clone()]
    }
}
