//! Spinning before blocking (`ReaderOptions::spin`) on a kernel whose time passes with its calls and only with them.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;
use watertight::{Driver, ErrorKind, PipeReader, ReaderOptions};
use watertight_core::{
    Backend, Cancelled, Completion, Moment, Op, OpId, OsCode, Outcome, ReadNow, Submitted,
};

/// What one read takes.
const READ: Duration = Duration::from_nanos(250);
/// How much later than the bytes a blocked thread is there.
const WAKING: Duration = Duration::from_micros(30);
const QUICK: Duration = Duration::from_micros(20);
const SLOW: Duration = Duration::from_secs(1);
const SPIN: Duration = Duration::from_micros(100);
/// No byte comes.
const NEVER: u64 = u64::MAX;

/// Done in the middle of a read.
type Deed = Box<dyn FnOnce() + Send>;

struct Kernel {
    now: AtomicU64,
    read_takes: Duration,
    has_processors: bool,
    /// When the next byte is there.
    arrives: AtomicU64,
    /// What the read of this number does besides.
    at_read: Mutex<Option<(u64, Deed)>>,
    reads: AtomicU64,
    blocks: AtomicU64,
    /// How often it was asked for the time, and for another processor.
    looks: AtomicU64,
    questions: AtomicU64,
    submitted: AtomicU64,
    closed: AtomicU64,
}

impl Kernel {
    fn new() -> Self {
        Self {
            now: AtomicU64::new(1),
            read_takes: READ,
            has_processors: true,
            arrives: AtomicU64::new(NEVER),
            at_read: Mutex::new(None),
            reads: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            questions: AtomicU64::new(0),
            submitted: AtomicU64::new(0),
            closed: AtomicU64::new(0),
        }
    }

    fn time(&self) -> Moment {
        Moment(self.now.load(SeqCst))
    }
}

impl Backend for Kernel {
    type Handle = u32;

    fn now(&self) -> Moment {
        self.looks.fetch_add(1, SeqCst);
        self.time()
    }

    fn submit(&self, _: &Arc<u32>, _: OpId, _: Op) -> Submitted {
        self.submitted.fetch_add(1, SeqCst);
        Submitted::InFlight
    }

    fn read_now(&self, _: &u32, buf: &mut [u8]) -> ReadNow {
        let number = self.reads.fetch_add(1, SeqCst) + 1;
        let due = self
            .at_read
            .lock()
            .unwrap()
            .take_if(|(at, _)| *at == number);
        if let Some((_, deed)) = due {
            deed();
        }
        self.now.store(self.time().after(self.read_takes).0, SeqCst);
        if self.time().0 < self.arrives.load(SeqCst) {
            return ReadNow::Wait;
        }
        self.arrives.store(NEVER, SeqCst);
        buf[0] = b'x';
        ReadNow::Data(1)
    }

    fn block_until_readable(&self, _: &u32, timeout: Option<Duration>) -> bool {
        self.blocks.fetch_add(1, SeqCst);
        let woken = Moment(self.arrives.load(SeqCst)).after(WAKING);
        let until = timeout.map_or(woken, |timeout| woken.min(self.time().after(timeout)));
        assert!(until < Moment::NEVER, "it blocks for ever");
        self.now.store(until.max(self.time()).0, SeqCst);
        true
    }

    fn may_spin(&self) -> bool {
        self.questions.fetch_add(1, SeqCst);
        self.has_processors
    }

    fn cancel(&self, _: &Arc<u32>, _: OpId) -> Cancelled {
        Cancelled::Done(Outcome::cancelled())
    }

    fn close(&self, _: Arc<u32>, _: bool) -> Result<(), OsCode> {
        self.closed.fetch_add(1, SeqCst);
        Ok(())
    }

    fn wait(&self, _: &mut Vec<Completion>, _: Option<Moment>) -> Result<(), OsCode> {
        Ok(())
    }

    fn rest(&self, _: Duration) {}

    fn wake(&self) {}
}

/// A reader on that kernel.
struct Stage {
    driver: Arc<Driver<Kernel>>,
    reader: Arc<PipeReader<Kernel>>,
}

/// What a wait made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Made {
    reads: u64,
    blocks: u64,
}

/// A wait that does not spin: a read, a block, a read.
const BLOCKED: Made = Made {
    reads: 2,
    blocks: 1,
};

impl Stage {
    fn new(kernel: Kernel, options: ReaderOptions) -> Self {
        let driver = Arc::new(Driver::new(kernel));
        let reader = Arc::new(PipeReader::on(&driver, 7, options));
        Self { driver, reader }
    }

    /// One whose last wait was short, so that the next one spins.
    fn spinning(kernel: Kernel, spin: Duration) -> Self {
        let stage = Self::new(kernel, ReaderOptions::new().spin(spin));
        assert_eq!(stage.wait(QUICK), BLOCKED);
        stage
    }

    fn kernel(&self) -> &Kernel {
        self.driver.backend()
    }

    fn made(&self) -> Made {
        Made {
            reads: self.kernel().reads.load(SeqCst),
            blocks: self.kernel().blocks.load(SeqCst),
        }
    }

    /// What was made meanwhile.
    fn count(&self, run: impl FnOnce()) -> Made {
        let before = self.made();
        run();
        let after = self.made();
        Made {
            reads: after.reads - before.reads,
            blocks: after.blocks - before.blocks,
        }
    }

    /// Waits for a byte that comes after so long.
    fn wait(&self, after: Duration) -> Made {
        let arrives = self.kernel().time().after(after);
        self.kernel().arrives.store(arrives.0, SeqCst);
        self.count(|| {
            let mut buf = [0; 8];
            assert_eq!(self.reader.receive(&mut buf).wait().unwrap(), 1);
            assert_eq!(buf[0], b'x');
        })
    }
}

#[test]
fn who_spins_blocks_once_and_not_again_while_its_peer_is_quick() {
    let stage = Stage::new(Kernel::new(), ReaderOptions::new().spin(SPIN));
    assert_eq!(stage.wait(QUICK), BLOCKED);
    for _ in 0..100 {
        let made = stage.wait(QUICK);
        assert_eq!(made.blocks, 0);
        assert!(made.reads > 2);
    }
    assert_eq!(stage.kernel().questions.load(SeqCst), 1);
}

#[test]
fn who_did_not_ask_for_it_blocks_at_once_and_asks_for_no_time() {
    let stage = Stage::new(Kernel::new(), ReaderOptions::new());
    for _ in 0..100 {
        assert_eq!(stage.wait(QUICK), BLOCKED);
    }
    assert_eq!(stage.kernel().questions.load(SeqCst), 0);
    assert_eq!(stage.kernel().looks.load(SeqCst), 0);
}

#[test]
fn a_pipe_on_which_little_happens_never_begins_to_spin() {
    let stage = Stage::new(Kernel::new(), ReaderOptions::new().spin(SPIN));
    for _ in 0..100 {
        assert_eq!(stage.wait(SLOW), BLOCKED);
    }
    assert_eq!(stage.kernel().questions.load(SeqCst), 0);
}

#[test]
fn a_pipe_on_which_little_happens_any_more_soon_spins_no_longer() {
    let stage = Stage::spinning(Kernel::new(), SPIN);
    let spun: Vec<u64> = (0..20).map(|_| stage.wait(SLOW).reads - 2).collect();
    assert!(spun[0] > 0);
    assert!(
        spun.windows(2).all(|pair| pair[1] <= pair[0] / 2),
        "{spun:?}"
    );
    assert!(spun[10..].iter().all(|reads| *reads == 0), "{spun:?}");
}

#[test]
fn a_thread_that_has_one_processor_never_spins() {
    let kernel = Kernel {
        has_processors: false,
        ..Kernel::new()
    };
    let stage = Stage::new(kernel, ReaderOptions::new().spin(SPIN));
    for _ in 0..50 {
        assert_eq!(stage.wait(QUICK), BLOCKED);
    }
    assert_eq!(stage.kernel().questions.load(SeqCst), 1);
}

#[test]
fn a_deadline_ends_a_spin() {
    let stage = Stage::spinning(Kernel::new(), SPIN);
    let begun = stage.kernel().time();
    let made = stage.count(|| {
        let late = stage.reader.receive(&mut [0; 8]).within(QUICK).wait();
        assert_eq!(late.unwrap_err().kind, ErrorKind::TimedOut);
    });
    assert_eq!(made.blocks, 0);
    assert!(made.reads > 2);
    let waited = begun.until(stage.kernel().time());
    assert!(waited >= QUICK && waited < QUICK + 8 * READ, "{waited:?}");
    let made = stage.count(|| {
        let zero = Duration::ZERO;
        let late = stage.reader.receive(&mut [0; 8]).within(zero).wait();
        assert_eq!(late.unwrap_err().kind, ErrorKind::TimedOut);
    });
    assert_eq!((made.reads, made.blocks), (1, 0), "it looks once");
}

#[test]
fn a_stop_by_another_thread_ends_a_spin() {
    let stage = Stage::spinning(Kernel::new(), SPIN);
    let stopped_at = stage.made().reads + 10;
    let reader = stage.reader.clone();
    let stop: Deed = Box::new(move || {
        let other = std::thread::spawn(move || {
            let mut stopped = pin!(reader.abort());
            let mut nobody = Context::from_waker(Waker::noop());
            // Whoever is in the handle closes it.
            assert!(stopped.as_mut().poll(&mut nobody).is_pending());
        });
        other.join().unwrap();
    });
    *stage.kernel().at_read.lock().unwrap() = Some((stopped_at, stop));
    let blocks = stage.made().blocks;
    let read = stage.reader.receive(&mut [0; 8]).wait();
    assert_eq!(read.unwrap_err().kind, ErrorKind::Aborted);
    assert_eq!(stage.made().blocks, blocks);
    assert!(stage.made().reads < stopped_at + 8, "within a few reads");
    assert_eq!(stage.kernel().closed.load(SeqCst), 1);
}

#[test]
fn a_spin_ends_although_time_stands_still() {
    let kernel = Kernel {
        read_takes: Duration::ZERO,
        ..Kernel::new()
    };
    let stage = Stage::spinning(kernel, SPIN);
    let made = stage.wait(QUICK);
    assert!(made.reads > 2 && made.blocks == 1, "{made:?}");
}

#[test]
fn a_spin_is_cut_to_its_maximum() {
    let stage = Stage::spinning(Kernel::new(), SLOW);
    let made = stage.wait(SLOW);
    let spun = READ * u32::try_from(made.reads - 2).unwrap();
    let most = ReaderOptions::SPIN_MAX;
    assert!(spun >= most && spun < most + 8 * READ, "{spun:?}");
}

#[test]
fn a_task_does_not_spin() {
    let stage = Stage::spinning(Kernel::new(), SPIN);
    let made = stage.count(|| {
        let mut buf = [0; 8];
        let mut read = pin!(stage.reader.receive(&mut buf));
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(read.as_mut().poll(&mut nobody).is_pending());
    });
    assert_eq!((made.reads, made.blocks), (1, 0));
    assert_eq!(stage.kernel().submitted.load(SeqCst), 1);
}
