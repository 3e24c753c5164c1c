//! The driver on a kernel of our own making: answers that come late, never, or before the submission returns.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use watertight::{Driver, Ending, PipeReader, PipeWriter, ReaderOptions, WriterOptions};
use watertight_core::{
    Backend, Cancelled, Completion, Moment, Op, OpId, OsCode, Outcome, ReadNow, Submitted,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// How this kernel answers a submission.
#[derive(Clone, Copy, PartialEq)]
enum Answers {
    /// At once.
    AtOnce,
    /// Through `wait`, and `submit` returns only when that answer is dispatched.
    BeforeReturning,
    /// When the test says so.
    WhenTold,
}

/// Tells that a direct read has begun, and waits for its answer.
type Gate = (Mutex<Sender<()>>, Mutex<Receiver<ReadNow>>);

/// A kernel that does as the test tells.
struct Puppet {
    answers: Answers,
    cancel_answers: bool,
    start: Instant,
    ready: Mutex<Vec<Completion>>,
    woken: Mutex<bool>,
    changed: Condvar,
    submitted: Mutex<Sender<(OpId, Op)>>,
    closed: Mutex<HashSet<u32>>,
    dispatched: AtomicBool,
    /// Where a direct read waits for the test, if it is to.
    gate: Option<Gate>,
}

impl Puppet {
    fn new(answers: Answers, cancel_answers: bool, submitted: Sender<(OpId, Op)>) -> Self {
        Self {
            answers,
            cancel_answers,
            start: Instant::now(),
            ready: Mutex::default(),
            woken: Mutex::default(),
            changed: Condvar::new(),
            submitted: Mutex::new(submitted),
            closed: Mutex::default(),
            dispatched: AtomicBool::new(false),
            gate: None,
        }
    }

    fn driver(answers: Answers, cancel_answers: bool) -> (Arc<Driver<Self>>, Receiver<(OpId, Op)>) {
        let (submitted, seen) = channel();
        let puppet = Self::new(answers, cancel_answers, submitted);
        (Arc::new(Driver::new(puppet)), seen)
    }

    fn answer(&self, id: OpId, outcome: Outcome) {
        self.ready.lock().unwrap().push(Completion { id, outcome });
        self.wake();
    }

    fn is_closed(&self, handle: u32) -> bool {
        self.closed.lock().unwrap().contains(&handle)
    }
}

fn whole(op: &Op) -> Outcome {
    match op {
        Op::Write(chunks) => Outcome::Transferred(chunks.bytes()),
        Op::Read { .. } | Op::WaitReadable | Op::UntilRead => Outcome::Ready,
    }
}

impl Backend for Puppet {
    type Handle = u32;

    fn now(&self) -> Moment {
        Moment::default().after(self.start.elapsed())
    }

    fn submit(&self, _: &Arc<u32>, id: OpId, op: Op) -> Submitted {
        let outcome = whole(&op);
        self.submitted.lock().unwrap().send((id, op)).unwrap();
        match self.answers {
            Answers::AtOnce => return Submitted::Done(outcome),
            Answers::BeforeReturning => {
                self.answer(id, outcome);
                while !self.dispatched.swap(false, SeqCst) {
                    std::thread::yield_now();
                }
            }
            Answers::WhenTold => {}
        }
        Submitted::InFlight
    }

    fn read_now(&self, _: &u32, _: &mut [u8]) -> ReadNow {
        let Some((entered, answer)) = &self.gate else {
            return ReadNow::Unavailable;
        };
        entered.lock().unwrap().send(()).unwrap();
        answer.lock().unwrap().recv().unwrap()
    }

    fn cancel(&self, _: &Arc<u32>, _: OpId) -> Cancelled {
        if self.cancel_answers {
            Cancelled::Done(Outcome::cancelled())
        } else {
            Cancelled::Requested
        }
    }

    fn close(&self, handle: Arc<u32>, _: bool) -> Result<(), OsCode> {
        let handle = Arc::into_inner(handle).expect("closed while in use");
        assert!(self.closed.lock().unwrap().insert(handle), "closed twice");
        Ok(())
    }

    fn wait(&self, completions: &mut Vec<Completion>, until: Option<Moment>) -> Result<(), OsCode> {
        let rest = until.map_or(PATIENCE, |until| self.now().until(until));
        let woken = self.woken.lock().unwrap();
        let (mut woken, _) = self
            .changed
            .wait_timeout_while(woken, rest, |woken| !*woken)
            .unwrap();
        *woken = false;
        completions.append(&mut self.ready.lock().unwrap());
        Ok(())
    }

    fn rest(&self, duration: Duration) {
        std::thread::park_timeout(duration);
    }

    fn wake(&self) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// Runs the driver beside the test, for as long as it lasts.
struct Turning {
    driver: Arc<Driver<Puppet>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn turning(driver: &Arc<Driver<Puppet>>) -> Turning {
    let stop = Arc::new(AtomicBool::new(false));
    let (inner, stopped) = (driver.clone(), stop.clone());
    let thread = std::thread::spawn(move || {
        let mut completions = Vec::new();
        while !stopped.load(SeqCst) {
            inner.turn(&mut completions);
            inner.backend().dispatched.store(true, SeqCst);
        }
    });
    Turning {
        driver: driver.clone(),
        stop,
        thread: Some(thread),
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.driver.backend().wake();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn an_answer_that_overtakes_its_submission_is_booked_once() {
    let (driver, submitted) = Puppet::driver(Answers::BeforeReturning, true);
    let turning = turning(&driver);
    let writer = PipeWriter::on(&driver, 1, WriterOptions::new());
    for _ in 0..100 {
        writer.send(&[7; 1000]).within(PATIENCE).wait().unwrap();
    }
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    assert_eq!(receipt.ledger().transferred(), 100_000);
    assert!(driver.backend().is_closed(1));
    assert!(submitted.try_iter().count() > 0);
    drop(turning);
}

#[test]
fn a_kernel_that_never_answers_is_left_in_quarantine_and_released_when_it_does() {
    let (driver, submitted) = Puppet::driver(Answers::WhenTold, false);
    let turning = turning(&driver);
    let options = WriterOptions::new().stop_within(Duration::from_millis(20));
    let writer = PipeWriter::on(&driver, 7, options);
    writer.send(&[1; 500]).wait().unwrap();
    let (id, _) = submitted.recv_timeout(PATIENCE).unwrap();
    writer.send(&[2; 300]).wait().unwrap();
    let receipt = writer.abort().within(PATIENCE).wait().unwrap();
    assert_eq!(receipt.ending(), Ending::Aborted);
    let account = receipt.ledger();
    assert_eq!((account.in_doubt(), account.discarded()), (500, 300));
    assert_eq!(receipt.in_doubt().concat(), [1; 500]);
    assert_eq!(receipt.unsent().concat(), [2; 300]);
    assert!(!driver.backend().is_closed(7), "closed under the kernel");

    drop(writer);
    driver.backend().answer(id, Outcome::Transferred(500));
    while !driver.backend().is_closed(7) {
        std::thread::yield_now();
    }
    drop(turning);
}

#[test]
fn a_reader_stopped_while_the_kernel_keeps_its_read_ends_too() {
    let (driver, submitted) = Puppet::driver(Answers::WhenTold, false);
    let turning = turning(&driver);
    let options = ReaderOptions::new().stop_within(Duration::from_millis(20));
    let reader = PipeReader::on(&driver, 3, options);
    let mut buf = [0; 10];
    let late = reader
        .receive(&mut buf)
        .within(Duration::from_millis(5))
        .wait();
    assert_eq!(late.unwrap_err().kind, watertight::ErrorKind::TimedOut);
    let (id, _) = submitted.recv_timeout(PATIENCE).unwrap();
    let receipt = reader.abort().within(PATIENCE).wait().unwrap();
    assert_eq!(receipt.ending(), Ending::Aborted);
    assert!(!driver.backend().is_closed(3));
    driver.backend().answer(id, Outcome::cancelled());
    while !driver.backend().is_closed(3) {
        std::thread::yield_now();
    }
    drop(turning);
}

#[test]
fn a_stop_during_a_direct_read_closes_when_the_read_is_done() {
    for answer in [
        ReadNow::Data(1),
        ReadNow::EndOfStream,
        ReadNow::Wait,
        ReadNow::Failed(watertight_core::Class::Io, None),
    ] {
        let (entered, wait_entered) = channel();
        let (release, released) = channel();
        let (submitted, _seen) = channel();
        let mut puppet = Puppet::new(Answers::WhenTold, true, submitted);
        puppet.gate = Some((Mutex::new(entered), Mutex::new(released)));
        let driver = Arc::new(Driver::new(puppet));
        let turning = turning(&driver);
        let reader = PipeReader::on(&driver, 5, ReaderOptions::new());
        std::thread::scope(|scope| {
            let reader = &reader;
            scope.spawn(|| reader.receive(&mut [0; 4]).within(PATIENCE).wait());
            wait_entered.recv_timeout(PATIENCE).unwrap();
            let late = reader.abort().within(Duration::from_millis(5)).wait();
            assert!(late.is_err(), "closed under a direct read");
            assert!(!driver.backend().is_closed(5));
            release.send(answer).unwrap();
            let receipt = reader.abort().within(PATIENCE).wait().unwrap();
            assert!(receipt.ledger().balances());
        });
        assert!(driver.backend().is_closed(5), "{answer:?}");
        drop(turning);
    }
}

#[test]
fn a_late_answer_for_a_closed_pipe_reaches_nobody() {
    let (driver, submitted) = Puppet::driver(Answers::AtOnce, true);
    let turning = turning(&driver);
    let first = PipeWriter::on(&driver, 1, WriterOptions::new());
    first.send(b"x").wait().unwrap();
    let (stale, _) = submitted.recv_timeout(PATIENCE).unwrap();
    assert!(
        first
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    // The second pipe takes the first one's place, with another generation.
    let second = PipeWriter::on(&driver, 2, WriterOptions::new());
    second.send(b"y").wait().unwrap();
    let (fresh, _) = submitted.recv_timeout(PATIENCE).unwrap();
    assert_eq!(stale.pipe.slot, fresh.pipe.slot);
    assert_ne!(stale.pipe.generation, fresh.pipe.generation);
    driver.backend().answer(stale, Outcome::Transferred(1));
    let receipt = second.finish().within(PATIENCE).wait().unwrap();
    assert_eq!(receipt.ledger().transferred(), 1);
    drop(turning);
}
