//! How often a transfer through the buffer asks the kernel: counted at the seam, and on Windows also by the system's own calls.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, noise, read_exactly};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use watertight::{
    Driver, Native, PipeReader, PipeWriter, ReaderOptions, Tee, TeeOutcome, Transferred,
    WriterOptions, transfer,
};
use watertight_core::{
    Backend, Cancelled, Completion, Moment, MoveNow, MoveScope, Op, OpId, OsCode, ReadNow,
    Submitted, WriteNow,
};

/// 16 MiB, in pieces as large as a read and a write are at most, and as what a pipe holds.
const PIECES: u64 = 256;
const PIECE_BYTES: usize = 64 * 1024;

/// Which end of which pipe.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// The transfer writes there.
    Destination,
    /// Not the transfer's.
    Peer,
    /// The transfer reads there.
    Source,
}

/// A handle, and whose it is.
struct Held {
    native: Arc<<Native as Backend>::Handle>,
    end: End,
}

/// What the kernel was asked for.
#[derive(Default)]
struct Counts {
    /// Reads of the source that brought something or the end, or were operations.
    reads: AtomicU64,
    /// Those that found nothing.
    looks: AtomicU64,
    /// Writes to the destination.
    writes: AtomicU64,
    /// Attempts to move inside the kernel, and questions which end is waited for.
    moves: AtomicU64,
    questions: AtomicU64,
    /// Waits for any of the four ends, their answers, and calls that end such a wait.
    waits: AtomicU64,
    answers: AtomicU64,
    wakes: AtomicU64,
    /// How often a thread blocked by itself: for something to read, for room.
    read_blocks: AtomicU64,
    write_blocks: AtomicU64,
    /// How often one gave its processor away.
    yields: AtomicU64,
}

/// What runs while a thread gives its processor away.
type Others = Box<dyn FnMut(u64) + Send>;

/// The real kernel.
struct Counting {
    native: Native,
    counts: Counts,
    /// Moves inside it are offered.
    moves: bool,
    others: Mutex<Option<Others>>,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, SeqCst);
}

impl Backend for Counting {
    type Handle = Held;

    fn now(&self) -> Moment {
        self.native.now()
    }

    fn submit(&self, handle: &Arc<Held>, id: OpId, op: Op) -> Submitted {
        if handle.end == End::Source && matches!(op, Op::Read { .. }) {
            count(&self.counts.reads);
        }
        if handle.end == End::Destination && matches!(op, Op::Write(_)) {
            count(&self.counts.writes);
        }
        self.native.submit(&handle.native, id, op)
    }

    fn read_now(&self, handle: &Held, buf: &mut [u8]) -> ReadNow {
        let now = self.native.read_now(&handle.native, buf);
        if handle.end == End::Source {
            match now {
                ReadNow::Data(_) | ReadNow::EndOfStream | ReadNow::Failed(..) => {
                    count(&self.counts.reads);
                }
                ReadNow::Wait => count(&self.counts.looks),
                // No call was made.
                ReadNow::Unavailable => {}
            }
        }
        now
    }

    fn write_now(&self, handle: &Held, data: &[u8]) -> WriteNow {
        let now = self.native.write_now(&handle.native, data);
        if handle.end == End::Destination && now != WriteNow::Unavailable {
            count(&self.counts.writes);
        }
        now
    }

    fn move_now(&self, from: &Held, into: &Held, bytes_max: usize, scope: MoveScope) -> MoveNow {
        if !self.moves {
            return MoveNow::Unavailable;
        }
        count(&self.counts.moves);
        let (from, into) = (&from.native, &into.native);
        self.native.move_now(from, into, bytes_max, scope)
    }

    fn who_waits(&self, from: &Held, into: &Held) -> MoveNow {
        count(&self.counts.questions);
        self.native.who_waits(&from.native, &into.native)
    }

    fn bytes_ahead(&self, from: &Held) -> Option<u64> {
        count(&self.counts.questions);
        self.native.bytes_ahead(&from.native)
    }

    fn yield_now(&self) -> Option<Duration> {
        let before = self.counts.yields.fetch_add(1, SeqCst);
        // Nobody else gives anything away meanwhile.
        if let Some(others) = &mut *self.others.lock().unwrap() {
            others(before);
        }
        Some(Duration::ZERO)
    }

    fn block_until_readable(&self, handle: &Held, timeout: Option<Duration>) -> bool {
        count(&self.counts.read_blocks);
        self.native.block_until_readable(&handle.native, timeout)
    }

    fn block_until_writable(&self, handles: &[&Held], timeout: Option<Duration>) -> bool {
        count(&self.counts.write_blocks);
        let natives: Vec<_> = handles.iter().map(|handle| &*handle.native).collect();
        self.native.block_until_writable(&natives, timeout)
    }

    fn cancel(&self, handle: &Arc<Held>, id: OpId) -> Cancelled {
        self.native.cancel(&handle.native, id)
    }

    fn close(&self, handle: Arc<Held>, end_of_stream: bool) -> Result<(), OsCode> {
        let held = Arc::into_inner(handle).expect("O4: nobody else has it");
        self.native.close(held.native, end_of_stream)
    }

    fn wait(&self, completions: &mut Vec<Completion>, until: Option<Moment>) -> Result<(), OsCode> {
        let before = completions.len();
        let waited = self.native.wait(completions, until);
        let answers = (completions.len() - before) as u64;
        self.counts.answers.fetch_add(answers, SeqCst);
        // Last: whoever looks at the waits first sees all answers of theirs.
        count(&self.counts.waits);
        waited
    }

    fn rest(&self, duration: Duration) {
        self.native.rest(duration);
    }

    fn wake(&self) {
        count(&self.counts.wakes);
        self.native.wake();
    }

    fn is_elsewhere(&self) -> bool {
        self.native.is_elsewhere()
    }
}

/// Runs the driver beside the test, for as long as it lasts.
struct Turning {
    driver: Arc<Driver<Counting>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Turning {
    /// Through the buffer, or with moves inside the kernel where these are offered.
    fn start(moves: bool) -> Self {
        let native = Native::new().unwrap();
        let counts = Counts::default();
        let driver = Arc::new(Driver::new(Counting {
            native,
            counts,
            moves,
            others: Mutex::default(),
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let (inner, stopped) = (driver.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut completions = Vec::new();
            while !stopped.load(SeqCst) {
                inner.turn(&mut completions);
            }
        });
        Self {
            driver,
            stop,
            thread: Some(thread),
        }
    }

    /// A pipe of which the transfer has that end.
    fn pipe(&self, end: End) -> Ends<Counting> {
        let (reading, writing) = self.driver.backend().native.pipe().unwrap();
        let held = |native, own| {
            let native = Arc::new(native);
            let end = if end == own { end } else { End::Peer };
            Held { native, end }
        };
        let (reading, writing) = (held(reading, End::Source), held(writing, End::Destination));
        (
            PipeReader::on(&self.driver, reading, ReaderOptions::new()),
            PipeWriter::on(&self.driver, writing, WriterOptions::new()),
        )
    }

    /// A file with these bytes, which nobody finds by a name.
    #[cfg(target_os = "linux")]
    fn file(&self, data: &[u8]) -> PipeReader<Counting> {
        let folder = crate::common::files::Folder::new("calls");
        let path = folder.0.join("source");
        std::fs::write(&path, data).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let native = &self.driver.backend().native;
        let native = native
            .adopt(file.into(), watertight::Direction::Read)
            .unwrap();
        let (native, end) = (Arc::new(native), End::Source);
        PipeReader::on(&self.driver, Held { native, end }, ReaderOptions::new())
    }

    fn count(&self, which: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        which(&self.driver.backend().counts).load(SeqCst)
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.driver.backend().wake();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Both ends of a pipe.
type Ends<B> = (PipeReader<B>, PipeWriter<B>);

/// Passes all pieces on, each once the one before has arrived.
fn pass_in_lock_step<B: Backend>(source: Ends<B>, destination: Ends<B>) -> Transferred {
    let ((from, feed), (sink, to)) = (source, destination);
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| transfer(&from, &to).within(PATIENCE).wait());
        for round in 0..PIECES {
            let piece = noise(PIECE_BYTES, round);
            feed.send(&piece).within(PATIENCE).wait().unwrap();
            assert!(read_exactly(&sink, PIECE_BYTES) == piece, "piece {round}");
        }
        let receipt = feed.finish().within(PATIENCE).wait().unwrap();
        assert!(receipt.is_complete());
        let done = moving.join().unwrap().unwrap();
        let receipt = to.finish().within(PATIENCE).wait().unwrap();
        assert!(receipt.is_complete());
        done
    })
}

/// Passes all pieces on to both, each once the one before has arrived at both.
fn pass_to_two_in_lock_step<B: Backend>(source: Ends<B>, destinations: [Ends<B>; 2]) -> TeeOutcome {
    let ((from, feed), [(one_sink, one), (other_sink, other)]) = (source, destinations);
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| {
            let mut tee = Tee::new(&from, [&one, &other]).unwrap();
            tee.transfer().within(PATIENCE).wait()
        });
        for round in 0..PIECES {
            let piece = noise(PIECE_BYTES, round);
            feed.send(&piece).within(PATIENCE).wait().unwrap();
            for sink in [&one_sink, &other_sink] {
                assert!(read_exactly(sink, PIECE_BYTES) == piece, "piece {round}");
            }
        }
        let receipt = feed.finish().within(PATIENCE).wait().unwrap();
        assert!(receipt.is_complete());
        let done = moving.join().unwrap().unwrap();
        for to in [&one, &other] {
            let receipt = to.finish().within(PATIENCE).wait().unwrap();
            assert!(receipt.is_complete());
        }
        done
    })
}

#[test]
fn a_piece_is_one_read_and_one_write_and_no_wait_is_for_nothing() {
    let _accounted = Accounted::start();
    let turning = Turning::start(false);
    let (source, destination) = (turning.pipe(End::Source), turning.pipe(End::Destination));
    let done = pass_in_lock_step(source, destination);
    assert_eq!(done.bytes, PIECES * PIECE_BYTES as u64);
    assert_eq!((done.in_kernel, done.has_ended), (0, true));
    // And one that finds the end.
    assert_eq!(turning.count(|counts| &counts.reads), PIECES + 1);
    assert_eq!(turning.count(|counts| &counts.writes), PIECES);
    // Before each of these reads at most one finds nothing, and none where operations read.
    let looks = turning.count(|counts| &counts.looks);
    // One more behind each time that it gave the processor away, which it does rarely when that brings nothing.
    let yields = turning.count(|counts| &counts.yields);
    assert!(
        looks <= PIECES + 1 + yields,
        "{looks} reads found nothing, {yields} of them for others"
    );
    assert!(yields <= PIECES / 8, "{yields} times");
    assert!(cfg!(unix) || looks == 0);
    // A wait ends with an answer or a wake; several may come at once.
    let waits = turning.count(|counts| &counts.waits);
    let answers = turning.count(|counts| &counts.answers);
    let wakes = turning.count(|counts| &counts.wakes);
    assert!(
        waits <= answers + wakes,
        "{waits} waits for {answers} answers and {wakes} wakes"
    );
    assert!(wakes < PIECES, "{wakes} wakes of the driver's thread");
}

#[test]
fn a_piece_for_two_is_one_read_and_one_write_to_each_and_no_wait_is_for_nothing() {
    let _accounted = Accounted::start();
    let turning = Turning::start(false);
    let source = turning.pipe(End::Source);
    let destinations = [End::Destination; 2].map(|end| turning.pipe(end));
    let done = pass_to_two_in_lock_step(source, destinations);
    let bytes = PIECES * PIECE_BYTES as u64;
    assert_eq!((done.bytes, done.has_ended), (bytes, true));
    for to in &done.destinations {
        assert_eq!((to.bytes, to.in_kernel), (bytes, 0));
    }
    // And one that finds the end.
    assert_eq!(turning.count(|counts| &counts.reads), PIECES + 1);
    assert_eq!(turning.count(|counts| &counts.writes), 2 * PIECES);
    // Where operations read, none looks.
    assert!(cfg!(unix) || turning.count(|counts| &counts.looks) == 0);
    let waits = turning.count(|counts| &counts.waits);
    let answers = turning.count(|counts| &counts.answers);
    let wakes = turning.count(|counts| &counts.wakes);
    assert!(
        waits <= answers + wakes,
        "{waits} waits for {answers} answers and {wakes} wakes"
    );
}

/// Others run when a thread gives its processor away. They bring what it would have blocked for, so it never blocks.
#[cfg(target_os = "linux")]
fn who_is_ready_runs_before_the_thread_blocks(moves: bool) {
    const ROUNDS: u64 = 8;
    const BYTES: usize = 32 * 1024;
    let _accounted = Accounted::start();
    let turning = Turning::start(moves);
    let ((from, feed), (sink, to)) = (turning.pipe(End::Source), turning.pipe(End::Destination));
    let mut feed = Some(feed);
    let others = move |before| {
        if before > 0 {
            assert_eq!(read_exactly(&sink, BYTES), noise(BYTES, before - 1));
        }
        if before == ROUNDS {
            feed = None;
        } else if let Some(feed) = &feed {
            feed.try_send(&noise(BYTES, before)).unwrap();
        }
    };
    *turning.driver.backend().others.lock().unwrap() = Some(Box::new(others));
    let done = transfer(&from, &to).within(PATIENCE).wait().unwrap();
    *turning.driver.backend().others.lock().unwrap() = None;
    let bytes = ROUNDS * BYTES as u64;
    assert_eq!((done.bytes, done.has_ended), (bytes, true));
    assert_eq!(done.in_kernel, if moves { bytes } else { 0 });
    assert_eq!(turning.count(|counts| &counts.yields), ROUNDS + 1);
    assert_eq!(turning.count(|counts| &counts.read_blocks), 0);
    assert_eq!(turning.count(|counts| &counts.write_blocks), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn who_is_ready_runs_before_the_thread_blocks_through_the_buffer() {
    who_is_ready_runs_before_the_thread_blocks(false);
}

#[cfg(target_os = "linux")]
#[test]
fn who_is_ready_runs_before_the_thread_blocks_inside_the_kernel() {
    who_is_ready_runs_before_the_thread_blocks(true);
}

/// The same to two: each has what was brought before the next is.
#[cfg(target_os = "linux")]
#[test]
fn who_is_ready_runs_before_a_thread_blocks_that_moves_to_several() {
    const ROUNDS: u64 = 8;
    const BYTES: usize = 32 * 1024;
    for moves in [false, true] {
        let _accounted = Accounted::start();
        let turning = Turning::start(moves);
        let (from, feed) = turning.pipe(End::Source);
        let (first_sink, first) = turning.pipe(End::Destination);
        let (second_sink, second) = turning.pipe(End::Destination);
        let mut feed = Some(feed);
        let others = move |before| {
            for sink in [&first_sink, &second_sink] {
                if before > 0 {
                    assert_eq!(read_exactly(sink, BYTES), noise(BYTES, before - 1));
                }
            }
            if before == ROUNDS {
                feed = None;
            } else if let Some(feed) = &feed {
                feed.try_send(&noise(BYTES, before)).unwrap();
            }
        };
        *turning.driver.backend().others.lock().unwrap() = Some(Box::new(others));
        let mut tee = watertight::Tee::new(&from, [&first, &second]).unwrap();
        let done = tee.transfer().within(PATIENCE).wait().unwrap();
        *turning.driver.backend().others.lock().unwrap() = None;
        assert_eq!(
            (done.bytes, done.has_ended),
            (ROUNDS * BYTES as u64, true),
            "inside the kernel: {moves}"
        );
        assert_eq!(turning.count(|counts| &counts.yields), ROUNDS + 1);
        assert_eq!(turning.count(|counts| &counts.read_blocks), 0);
    }
}

/// A destination that is full is emptied by whoever runs then.
#[cfg(target_os = "linux")]
#[test]
fn who_takes_runs_before_the_thread_blocks_for_a_full_destination() {
    let _accounted = Accounted::start();
    let turning = Turning::start(true);
    let ((from, feed), (sink, to)) = (turning.pipe(End::Source), turning.pipe(End::Destination));
    feed.try_send(&noise(PIECE_BYTES, 1)).unwrap();
    drop(feed);
    let full = transfer(&from, &to).within(PATIENCE).wait().unwrap();
    assert_eq!(full.bytes, PIECE_BYTES as u64);
    let (from, feed) = turning.pipe(End::Source);
    feed.try_send(&noise(PIECE_BYTES, 2)).unwrap();
    drop(feed);
    let mut is_full = true;
    let others = move |_| {
        if std::mem::take(&mut is_full) {
            assert_eq!(read_exactly(&sink, PIECE_BYTES), noise(PIECE_BYTES, 1));
        }
    };
    *turning.driver.backend().others.lock().unwrap() = Some(Box::new(others));
    let done = transfer(&from, &to).within(PATIENCE).wait().unwrap();
    *turning.driver.backend().others.lock().unwrap() = None;
    assert_eq!((done.bytes, done.in_kernel), (full.bytes, full.bytes));
    assert_eq!(turning.count(|counts| &counts.write_blocks), 0);
}

/// While a file has more, a pipe that took less than was offered is full: nobody asks, and no attempt is made to find that out.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_has_more_makes_one_attempt_for_each_time_that_its_pipe_was_full() {
    const ROUNDS: u64 = 16;
    let _accounted = Accounted::start();
    let turning = Turning::start(true);
    let data = noise(ROUNDS as usize * PIECE_BYTES, 7);
    let from = turning.file(&data);
    let (sink, to) = turning.pipe(End::Destination);
    let expected = data.clone();
    let mut taken = 0;
    let others = move |_| {
        let piece = read_exactly(&sink, PIECE_BYTES.min(expected.len() - taken));
        assert!(piece == expected[taken..taken + piece.len()]);
        taken += piece.len();
    };
    *turning.driver.backend().others.lock().unwrap() = Some(Box::new(others));
    let moving = transfer(&from, &to).in_kernel_everywhere().within(PATIENCE);
    let done = moving.wait().unwrap();
    *turning.driver.backend().others.lock().unwrap() = None;
    assert_eq!((done.in_kernel, done.has_ended), (data.len() as u64, true));
    assert_eq!(turning.count(|counts| &counts.write_blocks), 0);
    // Those by which the rhythm is learned and tried again, and at the end of the file one more and what finds the end.
    let moves = turning.count(|counts| &counts.moves);
    assert!(moves <= ROUNDS + 7, "{moves} attempts");
    let questions = turning.count(|counts| &counts.questions);
    assert!(questions <= 4, "{questions} questions");
}

/// How often the system was asked to read and to write since calls are counted. Each wait has had an answer or a wake.
#[cfg(all(windows, feature = "fault"))]
fn reads_and_writes() -> (u64, u64) {
    let trace = watertight::fault::stop();
    assert_eq!(trace.count, trace.calls.len() as u64, "not all are listed");
    let made = |name| {
        let calls = trace.calls.iter().filter(|made| made.name == name);
        calls.count() as u64
    };
    let (reads, writes) = (made("ReadFile"), made("WriteFile"));
    let waits = made("GetQueuedCompletionStatusEx");
    let wakes = made("PostQueuedCompletionStatus");
    // The next wait has begun.
    let answers = reads + writes + wakes;
    assert!(waits <= answers + 1, "{waits} waits for {answers} answers");
    assert!(wakes < PIECES, "{wakes} wakes of the driver's thread");
    (reads, writes)
}

/// All that is asked for by the four ends: who feeds and who takes make one call for a piece too.
#[cfg(all(windows, feature = "fault"))]
#[test]
fn a_piece_is_one_call_at_each_end_and_one_wait_for_each_at_most() {
    use watertight::{fault, pipe};
    let _accounted = Accounted::start();
    let _guard = fault::guard();
    let (source, destination) = (pipe().unwrap(), pipe().unwrap());
    fault::plan(&[]);
    let done = pass_in_lock_step(source, destination);
    let (reads, writes) = reads_and_writes();
    assert_eq!(done.bytes, PIECES * PIECE_BYTES as u64);
    // And one that finds the end.
    assert!(reads <= 2 * PIECES + 1, "{reads} reads");
    assert!(writes <= 2 * PIECES, "{writes} writes");
}

/// All that is asked for by the six ends.
#[cfg(all(windows, feature = "fault"))]
#[test]
fn a_piece_for_two_is_one_call_at_each_end_and_one_wait_for_each_at_most() {
    use watertight::{fault, pipe};
    let _accounted = Accounted::start();
    let _guard = fault::guard();
    let source = pipe().unwrap();
    let destinations = [pipe().unwrap(), pipe().unwrap()];
    fault::plan(&[]);
    let done = pass_to_two_in_lock_step(source, destinations);
    let (reads, writes) = reads_and_writes();
    assert_eq!(done.bytes, PIECES * PIECE_BYTES as u64);
    // And one that finds the end.
    assert!(reads <= 3 * PIECES + 1, "{reads} reads");
    assert!(writes <= 3 * PIECES, "{writes} writes");
}
