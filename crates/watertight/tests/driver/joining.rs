//! Small messages that come densely are joined, on a kernel whose clock stands still until the test says otherwise.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use std::io::Write;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;
use watertight::{
    Driver, Ending, ErrorKind, Ledger, Observer, PipeReader, PipeWriter, ReaderOptions,
    WriterOptions,
};
use watertight_core::{
    Backend, Cancelled, Class, Completion, Moment, Op, OpId, OsCode, Outcome, ReadNow, Submitted,
    WriteNow,
};

/// The messages that go by themselves after a pause.
const FREE: usize = 16;
/// The first tick, and the one after a tick that found the caller at work.
const TICK: Duration = Duration::from_micros(50);
const SECOND_TICK: Duration = Duration::from_micros(100);
const MESSAGE: &[u8] = &[7; 64];

/// A kernel with one pipe whose clock stands still.
#[derive(Default)]
struct Still {
    now: AtomicU64,
    /// What each write brought.
    writes: Mutex<Vec<Vec<u8>>>,
    /// Others may write into the same pipe.
    atomic_bytes_max: Option<u64>,
    /// So many bytes fit into the pipe still.
    room: Mutex<Option<u64>>,
    has_failed: Mutex<bool>,
    in_flight: Mutex<Vec<(OpId, Op)>>,
    answers: Mutex<Vec<Completion>>,
}

impl Still {
    fn write(&self, data: &[u8]) -> WriteNow {
        if *self.has_failed.lock().unwrap() {
            return WriteNow::Failed(Class::Gone, Some(OsCode(32)));
        }
        let mut room = self.room.lock().unwrap();
        let taken = room.map_or(data.len() as u64, |room| room.min(data.len() as u64));
        if taken == 0 {
            return WriteNow::Wait;
        }
        *room = room.map(|room| room - taken);
        let taken_bytes = data[..usize::try_from(taken).unwrap()].to_vec();
        self.writes.lock().unwrap().push(taken_bytes);
        WriteNow::Transferred(taken)
    }

    fn pass(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap();
        self.now.fetch_add(nanos, SeqCst);
    }

    /// How long each write was since the last time somebody asked.
    fn lens(&self) -> Vec<usize> {
        let writes = std::mem::take(&mut *self.writes.lock().unwrap());
        writes.iter().map(Vec::len).collect()
    }
}

impl Backend for Still {
    type Handle = ();

    fn now(&self) -> Moment {
        Moment(self.now.load(SeqCst))
    }

    fn submit(&self, _: &Arc<()>, id: OpId, op: Op) -> Submitted {
        let Op::Write(chunks) = &op else {
            self.in_flight.lock().unwrap().push((id, op));
            return Submitted::InFlight;
        };
        let data: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.to_vec()).collect();
        match self.write(&data) {
            WriteNow::Transferred(bytes) => Submitted::Done(Outcome::Transferred(bytes)),
            WriteNow::Failed(class, os) => Submitted::Done(Outcome::failed(class, os)),
            WriteNow::Unavailable | WriteNow::Wait => {
                self.in_flight.lock().unwrap().push((id, op));
                Submitted::InFlight
            }
        }
    }

    fn read_now(&self, (): &(), _: &mut [u8]) -> ReadNow {
        ReadNow::Wait
    }

    fn write_now(&self, (): &(), data: &[u8]) -> WriteNow {
        self.write(data)
    }

    fn joins_after(&self) -> Option<u16> {
        Some(FREE as u16)
    }

    fn cancel(&self, _: &Arc<()>, id: OpId) -> Cancelled {
        self.in_flight.lock().unwrap().retain(|(own, _)| *own != id);
        Cancelled::Done(Outcome::cancelled())
    }

    fn close(&self, _: Arc<()>, _: bool) -> Result<(), OsCode> {
        Ok(())
    }

    fn wait(&self, completions: &mut Vec<Completion>, _: Option<Moment>) -> Result<(), OsCode> {
        completions.append(&mut self.answers.lock().unwrap());
        Ok(())
    }

    fn rest(&self, _: Duration) {}

    fn wake(&self) {}

    fn atomic_bytes_max(&self, (): &()) -> Option<u64> {
        self.atomic_bytes_max
    }
}

fn kernel(still: Still) -> Arc<Driver<Still>> {
    Arc::new(Driver::new(still))
}

fn writer(driver: &Arc<Driver<Still>>) -> PipeWriter<Still> {
    PipeWriter::on(driver, (), WriterOptions::new())
}

fn turn(driver: &Driver<Still>) {
    driver.turn(&mut Vec::new());
}

/// The driver's turn after so much time.
fn turn_after(driver: &Driver<Still>, duration: Duration) {
    driver.backend().pass(duration);
    turn(driver);
}

fn send(writer: &PipeWriter<Still>, times: usize) {
    for _ in 0..times {
        writer.send(MESSAGE).wait().unwrap();
    }
}

/// All that go by themselves (those of a new writer, and those of the first look at the clock), and one that does not.
fn begin_burst(driver: &Driver<Still>, writer: &PipeWriter<Still>) {
    driver.backend().pass(Duration::from_secs(1));
    send(writer, 2 * FREE);
    assert_eq!(driver.backend().lens(), [64; 2 * FREE]);
    send(writer, 1);
    assert!(driver.backend().lens().is_empty(), "it is joined");
}

#[test]
fn some_go_by_themselves_and_the_others_together_at_the_tick() {
    let driver = kernel(Still::default());
    let writer = writer(&driver);
    begin_burst(&driver, &writer);
    send(&writer, 99);
    turn(&driver);
    assert!(driver.backend().lens().is_empty(), "it is not time yet");
    turn_after(&driver, TICK);
    assert_eq!(driver.backend().lens(), [6400]);
    // There is another tick as long as messages come.
    send(&writer, 3);
    assert!(driver.backend().lens().is_empty());
    turn_after(&driver, TICK);
    assert_eq!(driver.backend().lens(), [192]);
    assert_eq!(writer.ledger().transferred(), (2 * FREE as u64 + 103) * 64);
}

#[test]
fn after_a_tick_that_finds_nothing_they_go_by_themselves_again() {
    let driver = kernel(Still::default());
    let writer = writer(&driver);
    begin_burst(&driver, &writer);
    turn_after(&driver, TICK);
    assert_eq!(driver.backend().lens(), [64]);
    turn_after(&driver, TICK);
    send(&writer, FREE);
    assert_eq!(driver.backend().lens(), [64; FREE]);
    send(&writer, 1);
    assert!(driver.backend().lens().is_empty(), "and then are joined");
    let _ = writer.finish().wait().unwrap();
    // Ticks that come late find nothing to do.
    turn_after(&driver, SECOND_TICK);
    assert_eq!(driver.backend().lens(), [64]);
}

#[test]
fn messages_that_come_slowly_go_by_themselves() {
    let driver = kernel(Still::default());
    let writer = writer(&driver);
    for _ in 0..10 * FREE {
        driver.backend().pass(Duration::from_micros(5));
        send(&writer, 1);
    }
    assert_eq!(driver.backend().lens(), [64; 10 * FREE]);
}

#[test]
fn a_caller_sends_a_lot_by_itself_and_the_tick_leaves_it_to_that() {
    let driver = kernel(Still::default());
    let writer = writer(&driver);
    begin_burst(&driver, &writer);
    send(&writer, 16 * 1024 / 64 - 1);
    assert_eq!(driver.backend().lens(), [16 * 1024]);
    send(&writer, 10);
    turn_after(&driver, TICK);
    assert!(driver.backend().lens().is_empty(), "the caller is at it");
    turn_after(&driver, TICK);
    assert!(driver.backend().lens().is_empty(), "the tick is longer now");
    turn_after(&driver, SECOND_TICK - TICK);
    assert_eq!(driver.backend().lens(), [640]);
}

#[test]
fn whoever_waits_for_the_bytes_sends_them() {
    let driver = kernel(Still::default());
    let mut writer = writer(&driver);
    begin_burst(&driver, &writer);
    writer.until_transferred().wait().unwrap();
    assert_eq!(driver.backend().lens(), [64]);
    send(&writer, 2);
    writer.flush().unwrap();
    assert_eq!(driver.backend().lens(), [128]);
    send(&writer, 1);
    assert!(driver.backend().lens().is_empty());
    let receipt = writer.finish().wait().unwrap();
    assert!(receipt.is_complete());
    assert_eq!(driver.backend().lens(), [64]);
}

#[test]
fn a_drop_sends_them_and_an_abort_does_not() {
    let driver = kernel(Still::default());
    let dropped = writer(&driver);
    begin_burst(&driver, &dropped);
    drop(dropped);
    assert_eq!(driver.backend().lens(), [64]);

    let aborted = writer(&driver);
    begin_burst(&driver, &aborted);
    let receipt = aborted.abort().wait().unwrap();
    assert_eq!(receipt.ending(), Ending::Aborted);
    assert_eq!(receipt.unsent().concat(), MESSAGE);
    assert_eq!(receipt.ledger().discarded(), 64);
    assert!(driver.backend().lens().is_empty());
}

#[test]
fn a_thread_that_waits_for_something_else_has_sent_them() {
    let driver = kernel(Still::default());
    let writer = writer(&driver);
    let reader = PipeReader::on(&driver, (), ReaderOptions::new());
    begin_burst(&driver, &writer);
    let mut buf = [0; 8];
    let mut waiting = reader.receive(&mut buf);
    let mut context = Context::from_waker(Waker::noop());
    let polled = std::future::Future::poll(std::pin::Pin::new(&mut waiting), &mut context);
    assert!(polled.is_pending());
    assert_eq!(driver.backend().lens(), [64]);
    // It was a pause.
    send(&writer, FREE);
    assert_eq!(driver.backend().lens(), [64; FREE]);
}

#[test]
fn another_thread_that_waits_sends_nothing() {
    let driver = kernel(Still::default());
    let writer = writer(&driver);
    let reader = PipeReader::on(&driver, (), ReaderOptions::new());
    begin_burst(&driver, &writer);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buf = [0; 8];
            let read = reader.receive(&mut buf).within(Duration::ZERO).wait();
            assert_eq!(read.unwrap_err().kind, ErrorKind::TimedOut);
        });
    });
    assert!(driver.backend().lens().is_empty());
}

#[test]
fn larger_messages_and_those_of_an_end_that_says_so_go_by_themselves() {
    let driver = kernel(Still::default());
    let large = writer(&driver);
    for _ in 0..3 * FREE {
        large.send(&[1; 2049]).wait().unwrap();
    }
    assert_eq!(driver.backend().lens(), [2049; 3 * FREE]);
    // In a burst a larger one takes along what is before it.
    begin_burst(&driver, &large);
    large.send(&[1; 2049]).wait().unwrap();
    assert_eq!(driver.backend().lens(), [64 + 2049]);

    let unjoined = PipeWriter::on(&driver, (), WriterOptions::new().join(false));
    send(&unjoined, 5 * FREE);
    assert_eq!(driver.backend().lens(), [64; 5 * FREE]);
}

#[test]
fn on_a_shared_pipe_what_is_joined_ends_with_a_message() {
    let driver = kernel(Still {
        atomic_bytes_max: Some(1000),
        ..Still::default()
    });
    let writer = writer(&driver);
    begin_burst(&driver, &writer);
    send(&writer, 29);
    turn_after(&driver, TICK);
    assert_eq!(driver.backend().lens(), [960, 960]);
}

#[test]
fn a_small_queue_is_sent_when_it_is_half_full_and_when_there_is_no_room() {
    let driver = kernel(Still::default());
    let options = WriterOptions::new().queue_bytes_max(400);
    let writer = PipeWriter::on(&driver, (), options);
    begin_burst(&driver, &writer);
    send(&writer, 3);
    assert_eq!(driver.backend().lens(), [256]);
    send(&writer, 3);
    writer.try_send(&[1; 300]).unwrap();
    assert_eq!(driver.backend().lens(), [192, 300]);
    send(&writer, 3);
    writer.send(&[1; 300]).wait().unwrap();
    assert_eq!(driver.backend().lens(), [192, 300]);
    send(&writer, 3);
    // The traits take a part of what is larger.
    let mut writer = writer;
    assert_eq!(writer.write(&[1; 400]).unwrap(), 100);
    assert_eq!(driver.backend().lens(), [192 + 100]);
}

#[test]
fn a_failure_at_the_tick_is_the_next_calls_answer() {
    let driver = kernel(Still::default());
    let writer = writer(&driver);
    begin_burst(&driver, &writer);
    *driver.backend().has_failed.lock().unwrap() = true;
    send(&writer, 1);
    turn_after(&driver, TICK);
    let refused = writer.send(MESSAGE).wait().unwrap_err();
    assert_eq!(refused.error.kind, ErrorKind::BrokenPipe);
    let receipt = writer.finish().wait().unwrap();
    assert_eq!(receipt.unsent().concat(), [7; 128]);
    assert_eq!(receipt.messages().unsent, 2);
    assert_eq!(receipt.ledger().unsettled(), 0);
}

#[test]
fn a_failure_while_the_caller_sends_is_its_own_answer() {
    let driver = kernel(Still::default());
    let writer = writer(&driver);
    begin_burst(&driver, &writer);
    send(&writer, 16 * 1024 / 64 - 2);
    *driver.backend().has_failed.lock().unwrap() = true;
    let refused = writer.send(MESSAGE).wait().unwrap_err();
    assert_eq!(refused.error.kind, ErrorKind::BrokenPipe);
    // The last one went back to its caller.
    let receipt = writer.finish().wait().unwrap();
    assert_eq!(receipt.unsent().concat().len(), 16 * 1024 - 64);
}

#[test]
fn a_full_pipe_takes_the_joined_ones_when_it_has_room() {
    let driver = kernel(Still::default());
    let writer = writer(&driver);
    begin_burst(&driver, &writer);
    *driver.backend().room.lock().unwrap() = Some(0);
    turn_after(&driver, TICK);
    assert!(driver.backend().lens().is_empty());
    send(&writer, 10);
    turn_after(&driver, TICK);
    *driver.backend().room.lock().unwrap() = None;
    let (id, op) = driver.backend().in_flight.lock().unwrap().pop().unwrap();
    let Op::Write(chunks) = op else {
        panic!("a write is in flight")
    };
    let outcome = Outcome::Transferred(chunks.bytes());
    let answer = Completion { id, outcome };
    driver.backend().answers.lock().unwrap().push(answer);
    turn(&driver);
    assert_eq!(driver.backend().lens(), [640]);
    assert_eq!(writer.ledger().queued(), 0);
}

#[test]
fn a_thread_that_joins_into_anothers_burst_has_sent_it_too_when_it_waits() {
    let driver = kernel(Still::default());
    let writer = writer(&driver);
    let reader = PipeReader::on(&driver, (), ReaderOptions::new());
    std::thread::scope(|scope| {
        scope.spawn(|| begin_burst(&driver, &writer));
    });
    send(&writer, 1);
    assert!(driver.backend().lens().is_empty());
    let mut buf = [0; 8];
    let read = reader.receive(&mut buf).within(Duration::ZERO).wait();
    assert_eq!(read.unwrap_err().kind, ErrorKind::TimedOut);
    assert_eq!(driver.backend().lens(), [128]);
}

#[test]
fn a_burst_ends_though_larger_messages_come() {
    let driver = kernel(Still::default());
    let writer = writer(&driver);
    begin_burst(&driver, &writer);
    for _ in 0..2 {
        writer.send(&[1; 4096]).wait().unwrap();
        turn_after(&driver, SECOND_TICK);
    }
    driver.backend().lens();
    send(&writer, FREE);
    assert_eq!(driver.backend().lens(), [64; FREE]);
}

/// Does something when it is told of progress, once it is armed, and once.
struct Does<F: Fn() + Send + Sync>(AtomicBool, F);

impl<F: Fn() + Send + Sync> Observer for Does<F> {
    fn progress(&self, _: Ledger) {
        if self.0.swap(false, SeqCst) {
            (self.1)();
        }
    }
}

fn watched<F: Fn() + Send + Sync + 'static>(
    driver: &Arc<Driver<Still>>,
    deed: F,
) -> (PipeWriter<Still>, Arc<Does<F>>) {
    let observer = Arc::new(Does(AtomicBool::new(false), deed));
    let options = WriterOptions::new().observer(observer.clone());
    (PipeWriter::on(driver, (), options), observer)
}

#[test]
fn an_observer_that_waits_while_a_waiting_thread_sends_takes_no_wake_from_it() {
    let driver = kernel(Still::default());
    *driver.backend().room.lock().unwrap() = Some(0);
    let full = writer(&driver);
    full.send(MESSAGE).wait().unwrap();
    *driver.backend().room.lock().unwrap() = None;
    let turning = driver.clone();
    let (joining, observer) = watched(&driver, move || {
        let (id, _) = turning.backend().in_flight.lock().unwrap().pop().unwrap();
        let outcome = Outcome::Transferred(64);
        let answer = Completion { id, outcome };
        turning.backend().answers.lock().unwrap().push(answer);
        turn(&turning);
        // As any wait of the observer's own: the wake that has just come is gone.
        std::thread::park();
    });
    begin_burst(&driver, &joining);
    observer.0.store(true, SeqCst);
    full.until_transferred().wait().unwrap();
    assert!(!observer.0.load(SeqCst));
}

#[test]
fn an_observer_may_stop_the_reader_that_the_thread_is_about_to_wait_for() {
    let driver = kernel(Still::default());
    let reader = Arc::new(PipeReader::on(&driver, (), ReaderOptions::new()));
    let stopped = reader.clone();
    let (joining, observer) = watched(&driver, move || {
        let _ = stopped.abort().wait().unwrap();
    });
    begin_burst(&driver, &joining);
    observer.0.store(true, SeqCst);
    let read = reader.receive(&mut [0; 8]).wait();
    assert_eq!(read.unwrap_err().kind, ErrorKind::Aborted);
}

#[cfg(feature = "tokio")]
#[test]
fn a_task_that_reads_by_the_traits_has_sent_what_it_wrote() {
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    let driver = kernel(Still::default());
    let mut writer = writer(&driver);
    let mut reader = PipeReader::on(&driver, (), ReaderOptions::new());
    begin_burst(&driver, &writer);
    let mut context = Context::from_waker(Waker::noop());
    let written = std::pin::Pin::new(&mut writer).poll_write(&mut context, MESSAGE);
    assert!(written.is_ready());
    let mut buf = [0; 8];
    let mut room = ReadBuf::new(&mut buf);
    let read = std::pin::Pin::new(&mut reader).poll_read(&mut context, &mut room);
    assert!(read.is_pending());
    assert_eq!(driver.backend().lens(), [128]);
}

#[cfg(unix)]
#[test]
fn what_was_sent_comes_before_what_goes_through_a_copy_of_the_handle() {
    let (reader, writer) = watertight::pipe().unwrap();
    for _ in 0..5 * FREE {
        writer.send(b"ours").wait().unwrap();
    }
    let mut copy = std::fs::File::from(writer.try_clone_handle().unwrap());
    copy.write_all(b"the copy's").unwrap();
    let mut buf = vec![0; 4 * 5 * FREE];
    let mut filled = 0;
    while filled < buf.len() {
        filled += reader.receive(&mut buf[filled..]).wait().unwrap();
    }
    assert_eq!(buf, b"ours".repeat(5 * FREE));
}
