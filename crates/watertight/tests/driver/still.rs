//! A kernel whose clock stands still until the test says otherwise, and the ends of a transfer to one destination or to two on it.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::left_behind::LeftBehind;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use watertight::{Bytes, Driver, PipeReader, PipeWriter, ReaderOptions, WriterOptions};
use watertight_core::{
    Backend, Cancelled, Completion, Moment, MoveNow, MoveScope, Op, OpId, OsCode, Outcome, ReadNow,
    Submitted, WriteNow,
};

/// Something that happens while a thread blocks.
type News = Box<dyn FnOnce() + Send>;

/// The reading end of the first private pipe. Its writing end is the next handle, and behind that come those of the next pipe.
const PRIVATE: usize = 100;

/// A kernel with a source, whose handle is 0, and two destinations behind it, whose clock stands still.
#[derive(Default)]
pub(crate) struct Still {
    now: AtomicU64,
    source: Mutex<Source>,
    sinks: Mutex<[Sink; 2]>,
    /// It moves bytes by itself, and copies them into private pipes.
    pub(crate) has_moves: bool,
    /// The destinations are on a disk, for which a move waits.
    has_disk: bool,
    /// Which moves were asked for.
    asked: Mutex<Vec<MoveScope>>,
    /// What is in those.
    private: Mutex<Vec<VecDeque<u8>>>,
    /// It reads only by operations.
    has_operations: bool,
    /// A thread may block on its source; what happens meanwhile, one after the other. Else the whole time passes.
    is_blocking: bool,
    news: Mutex<VecDeque<News>>,
    in_flight: Mutex<Vec<(usize, OpId, Op)>>,
    answers: Mutex<Vec<Completion>>,
}

#[derive(Default)]
struct Source {
    bytes: VecDeque<u8>,
    has_ended: bool,
}

#[derive(Default)]
struct Sink {
    bytes: Vec<u8>,
    /// It takes so many bytes still; no bound without a number.
    room: Option<usize>,
}

impl Source {
    fn take(&mut self, bytes_max: usize) -> Vec<u8> {
        let bytes = bytes_max.min(self.bytes.len());
        self.bytes.drain(..bytes).collect()
    }

    /// The answer to an operation, if there is one now.
    fn outcome(&mut self, op: &Op) -> Option<Outcome> {
        if self.bytes.is_empty() && !self.has_ended {
            return None;
        }
        let Op::Read { bytes_max } = op else {
            return Some(Outcome::Ready);
        };
        let data = self.take(*bytes_max);
        Some(if data.is_empty() {
            Outcome::EndOfStream
        } else {
            Outcome::Data(Bytes::from(data))
        })
    }
}

impl Sink {
    fn room(&self) -> usize {
        self.room.unwrap_or(usize::MAX)
    }

    /// The first of these bytes, as many as there is room for.
    fn take(&mut self, data: &[u8]) -> usize {
        let bytes = data.len().min(self.room());
        self.bytes.extend_from_slice(&data[..bytes]);
        self.room = self.room.map(|room| room - bytes);
        bytes
    }
}

impl Still {
    /// One that moves bytes by itself.
    pub(crate) fn moving() -> Self {
        Self {
            has_moves: true,
            ..Self::default()
        }
    }

    /// One that moves bytes by itself, to a disk.
    pub(crate) fn on_disk() -> Self {
        Self {
            has_disk: true,
            ..Self::moving()
        }
    }

    /// One that reads only by operations.
    pub(crate) fn by_operations() -> Self {
        Self {
            has_operations: true,
            ..Self::default()
        }
    }

    /// One on which a thread blocks by itself.
    pub(crate) fn blocking() -> Self {
        Self {
            is_blocking: true,
            ..Self::default()
        }
    }

    pub(crate) fn pass(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap();
        self.now.fetch_add(nanos, SeqCst);
    }

    /// More comes into the source.
    pub(crate) fn feed(&self, data: &[u8]) {
        self.source.lock().unwrap().bytes.extend(data);
        self.answer_readable();
    }

    /// Nothing comes behind what is in the source.
    pub(crate) fn end(&self) {
        self.source.lock().unwrap().has_ended = true;
        self.answer_readable();
    }

    fn answer_readable(&self) {
        let mut in_flight = self.in_flight.lock().unwrap();
        let is_source = |(handle, _, _): &(usize, OpId, Op)| *handle == 0;
        if let Some(at) = in_flight.iter().position(is_source) {
            let (_, id, op) = in_flight.remove(at);
            let outcome = self.source.lock().unwrap().outcome(&op);
            self.answer(id, outcome.unwrap());
        }
    }

    /// The first destination takes so many bytes more.
    pub(crate) fn make_room(&self, bytes: usize) {
        let mut in_flight = self.in_flight.lock().unwrap();
        let mut sinks = self.sinks.lock().unwrap();
        let sink = &mut sinks[0];
        sink.room = Some(sink.room() + bytes);
        let is_write = |(handle, _, _): &(usize, OpId, Op)| *handle == 1;
        if let Some(at) = in_flight.iter().position(is_write) {
            let (_, id, op) = in_flight.remove(at);
            let taken = sink.take(&data_of(&op));
            self.answer(id, Outcome::Transferred(taken as u64));
        }
    }

    /// All destinations take everything, and then so much time passes.
    fn take_all(&self, duration: Duration) {
        let mut in_flight = self.in_flight.lock().unwrap();
        let mut sinks = self.sinks.lock().unwrap();
        sinks.iter_mut().for_each(|sink| sink.room = None);
        in_flight.retain(|(handle, id, op)| {
            let is_write = matches!(op, Op::Write(_));
            if is_write {
                let taken = sinks[*handle - 1].take(&data_of(op));
                self.answer(*id, Outcome::Transferred(taken as u64));
            }
            !is_write
        });
        self.pass(duration);
    }

    fn answer(&self, id: OpId, outcome: Outcome) {
        let answer = Completion { id, outcome };
        self.answers.lock().unwrap().push(answer);
    }

    /// What has arrived at the other side of the first destination.
    pub(crate) fn arrived(&self) -> Vec<u8> {
        let [arrived, _] = self.arrived_at_both();
        arrived
    }

    pub(crate) fn arrived_at_both(&self) -> [Vec<u8>; 2] {
        let sinks = self.sinks.lock().unwrap();
        [sinks[0].bytes.clone(), sinks[1].bytes.clone()]
    }

    /// Which moves were asked for so far.
    pub(crate) fn asked(&self) -> Vec<MoveScope> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn left(&self) -> usize {
        self.source.lock().unwrap().bytes.len()
    }

    /// Takes the first bytes out of the source, or of the private pipe that has this end.
    fn take_out(&self, handle: usize, bytes_max: usize) -> Vec<u8> {
        let Some(end) = handle.checked_sub(PRIVATE) else {
            return self.source.lock().unwrap().take(bytes_max);
        };
        let mut private = self.private.lock().unwrap();
        let pipe = &mut private[end / 2];
        let bytes = bytes_max.min(pipe.len());
        pipe.drain(..bytes).collect()
    }

    /// How many of these bytes a destination takes.
    fn take_at(&self, handle: usize, data: &[u8]) -> usize {
        self.sinks.lock().unwrap()[handle - 1].take(data)
    }
}

fn data_of(op: &Op) -> Vec<u8> {
    let Op::Write(chunks) = op else {
        panic!("only a write has bytes")
    };
    chunks.iter().flat_map(|chunk| chunk.to_vec()).collect()
}

impl Backend for Still {
    type Handle = usize;

    fn now(&self) -> Moment {
        Moment(self.now.load(SeqCst))
    }

    fn submit(&self, handle: &Arc<usize>, id: OpId, op: Op) -> Submitted {
        match &op {
            Op::Write(_) => {
                let taken = self.take_at(**handle, &data_of(&op));
                if taken > 0 {
                    return Submitted::Done(Outcome::Transferred(taken as u64));
                }
            }
            Op::Read { .. } | Op::WaitReadable => {
                if let Some(outcome) = self.source.lock().unwrap().outcome(&op) {
                    return Submitted::Done(outcome);
                }
            }
            Op::UntilRead => panic!("nobody asks for it"),
        }
        self.in_flight.lock().unwrap().push((**handle, id, op));
        Submitted::InFlight
    }

    fn read_now(&self, handle: &usize, buf: &mut [u8]) -> ReadNow {
        if self.has_operations {
            return ReadNow::Unavailable;
        }
        let data = self.take_out(*handle, buf.len());
        if data.is_empty() {
            return match self.source.lock().unwrap().has_ended {
                true => ReadNow::EndOfStream,
                false => ReadNow::Wait,
            };
        }
        buf[..data.len()].copy_from_slice(&data);
        ReadNow::Data(data.len())
    }

    fn write_now(&self, handle: &usize, data: &[u8]) -> WriteNow {
        match self.take_at(*handle, data) {
            0 => WriteNow::Wait,
            taken => WriteNow::Transferred(taken as u64),
        }
    }

    fn move_now(&self, from: &usize, to: &usize, bytes_max: usize, scope: MoveScope) -> MoveNow {
        self.asked.lock().unwrap().push(scope);
        let may_move = !self.has_disk || scope == MoveScope::Everywhere;
        if !self.has_moves || !may_move {
            return MoveNow::Unavailable;
        }
        let room = self.sinks.lock().unwrap()[*to - 1].room();
        let data = self.take_out(*from, bytes_max.min(room));
        if data.is_empty() {
            return match self.source.lock().unwrap().has_ended {
                true => MoveNow::EndOfStream,
                false => MoveNow::SourceWait,
            };
        }
        assert_eq!(self.take_at(*to, &data), data.len());
        MoveNow::Moved(data.len())
    }

    fn private_pipe(&self, _: &usize, _: bool) -> Option<(usize, usize)> {
        let mut private = self.private.lock().unwrap();
        let out = PRIVATE + 2 * private.len();
        self.has_moves.then(|| {
            private.push(VecDeque::new());
            (out, out + 1)
        })
    }

    /// Only into a pipe of a destination's own.
    fn duplicate_now(&self, _: &usize, into: &usize, bytes_max: usize, _: MoveScope) -> MoveNow {
        if *into < PRIVATE {
            return MoveNow::Unavailable;
        }
        let source = self.source.lock().unwrap();
        let copies: VecDeque<u8> = source.bytes.iter().copied().take(bytes_max).collect();
        let copied = copies.len();
        if copied == 0 {
            return match source.has_ended {
                true => MoveNow::EndOfStream,
                false => MoveNow::SourceWait,
            };
        }
        self.private.lock().unwrap()[(*into - PRIVATE) / 2] = copies;
        MoveNow::Moved(copied)
    }

    fn block_until_readable(&self, _: &usize, timeout: Option<Duration>) -> bool {
        if !self.is_blocking {
            return false;
        }
        let news = self.news.lock().unwrap().pop_front();
        match news {
            Some(news) => news(),
            None => self.pass(timeout.unwrap()),
        }
        true
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

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// All ends on one kernel.
pub(crate) struct Ends {
    driver: Arc<Driver<Still>>,
    pub(crate) from: PipeReader<Still>,
    pub(crate) to: PipeWriter<Still>,
    /// It takes everything.
    pub(crate) also_to: PipeWriter<Still>,
    woken: Arc<Woken>,
    /// The last one to go.
    _left_behind: LeftBehind<Still>,
}

impl Ends {
    pub(crate) fn on(still: Still, options: WriterOptions) -> Self {
        let driver = Arc::new(Driver::new(still));
        Self {
            from: PipeReader::on(&driver, 0, ReaderOptions::new()),
            to: PipeWriter::on(&driver, 1, options),
            also_to: PipeWriter::on(&driver, 2, WriterOptions::new()),
            _left_behind: LeftBehind::new(&driver, Still::take_all),
            driver,
            woken: Arc::default(),
        }
    }

    /// With these bytes in the source.
    pub(crate) fn with(data: &[u8]) -> Self {
        let ends = Self::on(Still::default(), WriterOptions::new());
        ends.kernel().feed(data);
        ends
    }

    /// The same, and a first destination that takes nothing, with so small a queue.
    pub(crate) fn full(data: &[u8], queue_bytes_max: u64) -> Self {
        let ends = Self::full_on(Still::default(), queue_bytes_max);
        ends.kernel().feed(data);
        ends
    }

    pub(crate) fn full_on(still: Still, queue_bytes_max: u64) -> Self {
        still.sinks.lock().unwrap()[0].room = Some(0);
        Self::on(still, WriterOptions::new().queue_bytes_max(queue_bytes_max))
    }

    pub(crate) fn kernel(&self) -> &Still {
        self.driver.backend()
    }

    pub(crate) fn turn(&self) {
        self.driver.turn(&mut Vec::new());
    }

    /// Has that happen while a thread blocks, behind what is to happen before.
    pub(crate) fn while_blocked(&self, news: impl FnOnce(&Driver<Still>) + Send + 'static) {
        let driver = Arc::downgrade(&self.driver);
        let mut all = self.kernel().news.lock().unwrap();
        all.push_back(Box::new(move || {
            news(&driver.upgrade().expect("a thread waits on it"));
        }));
    }

    /// The driver's turn after so much time: how often it has woken.
    pub(crate) fn turn_after(&self, duration: Duration) -> u64 {
        self.kernel().pass(duration);
        let before = self.woken.0.load(SeqCst);
        self.turn();
        self.woken.0.load(SeqCst) - before
    }

    /// Has this done in a thread of its own, while the clock goes on until it is over.
    pub(crate) fn while_time_passes<T: Send>(&self, deed: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let doing = scope.spawn(deed);
            while !doing.is_finished() {
                self.turn_after(Duration::from_millis(1));
                std::thread::yield_now();
            }
            doing.join().unwrap()
        })
    }

    pub(crate) fn poll<F: Future + Unpin>(&self, moving: &mut F) -> Poll<F::Output> {
        let waker = Waker::from(self.woken.clone());
        Pin::new(moving).poll(&mut Context::from_waker(&waker))
    }

    pub(crate) fn has_woken(&self) -> bool {
        self.woken.0.load(SeqCst) > 0
    }

    pub(crate) fn assert_pending<F>(&self, moving: &mut F)
    where
        F: Future<Output: Debug> + Unpin,
    {
        let polled = self.poll(moving);
        assert!(polled.is_pending(), "{polled:?}");
    }

    pub(crate) fn done<F, T, E: Debug>(&self, moving: &mut F) -> T
    where
        F: Future<Output = Result<T, E>> + Unpin,
    {
        match self.poll(moving) {
            Poll::Ready(Ok(done)) => done,
            Poll::Ready(Err(failed)) => panic!("it has failed: {failed:?}"),
            Poll::Pending => panic!("it waits"),
        }
    }

    pub(crate) fn failed<F, T: Debug, E>(&self, moving: &mut F) -> E
    where
        F: Future<Output = Result<T, E>> + Unpin,
    {
        match self.poll(moving) {
            Poll::Ready(Err(failed)) => failed,
            Poll::Ready(Ok(done)) => panic!("it is done: {done:?}"),
            Poll::Pending => panic!("it waits"),
        }
    }

    /// So many bytes have passed, and the others are in the source, untouched.
    pub(crate) fn assert_passed(&self, bytes: u64, of: usize) {
        assert_eq!(self.to.ledger().accepted(), bytes);
        assert_eq!(self.from.ledger().transferred(), bytes);
        assert_eq!(self.from.ledger().queued(), 0, "read ahead");
        assert_eq!(self.kernel().left() as u64 + bytes, of as u64);
    }
}
