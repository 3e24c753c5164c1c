//! The simulated kernel under real threads and a real clock: for tests that block, and that run on every kernel.

use crate::backend::{Sim, SimHandle};
use crate::chance::Chance;
use crate::faults::{Faults, Storm};
use crate::kernel::{Kernel, Way};
use crate::manner::Manner;
use crate::pipe::{Pipe, Shape};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use watertight::{Driver, PipeReader, PipeWriter, ReaderOptions, WriterOptions};
use watertight_core::{
    Backend, Cancelled, Completion, Moment, MoveNow, MoveScope, Op, OpId, OsCode, ReadNow,
    Submitted,
};

/// No wait is longer: nothing here depends on it, and a test that is over must not wait for ever.
const WAIT_LONGEST: Duration = Duration::from_secs(1);

/// A simulated kernel whose waiting blocks.
#[derive(Debug)]
pub struct Live {
    sim: Sim,
    start: Instant,
    changed: Mutex<bool>,
    notified: Condvar,
    /// Somebody has woken the wait that has not returned since.
    woken: AtomicBool,
}

/// Pipes on such a kernel, and the thread that drives them. One per test.
#[derive(Debug)]
pub struct LivePipes {
    driver: Arc<Driver<Live>>,
    shape: Shape,
    way: Way,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    fn new(is_windows: bool) -> Self {
        let faults = Faults::new(Storm::default(), &[], Chance::new(0));
        let kernel = Kernel::new(is_windows, faults, Manner::kind(), Chance::new(0));
        Self {
            sim: Sim::new(kernel),
            start: Instant::now(),
            changed: Mutex::new(false),
            notified: Condvar::new(),
            woken: AtomicBool::new(false),
        }
    }

    /// Something may have become ready.
    fn notify(&self) {
        *self.lock() = true;
        self.notified.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow_the_clock(&self) -> Moment {
        let mut kernel = self.sim.lock();
        kernel.now = kernel
            .now
            .max(Moment::default().after(self.start.elapsed()));
        kernel.now
    }
}

impl Backend for Live {
    type Handle = SimHandle;

    fn now(&self) -> Moment {
        self.follow_the_clock()
    }

    fn submit(&self, handle: &Arc<SimHandle>, id: OpId, op: Op) -> Submitted {
        let submitted = self.sim.submit(handle, id, op);
        self.notify();
        submitted
    }

    fn read_now(&self, handle: &SimHandle, buf: &mut [u8]) -> ReadNow {
        let now = self.sim.read_now(handle, buf);
        self.notify();
        now
    }

    fn move_now(
        &self,
        from: &SimHandle,
        to: &SimHandle,
        bytes_max: usize,
        scope: MoveScope,
    ) -> MoveNow {
        let moved = self.sim.move_now(from, to, bytes_max, scope);
        self.notify();
        moved
    }

    fn private_pipe(&self, from: &SimHandle, everywhere: bool) -> Option<(SimHandle, SimHandle)> {
        self.sim.private_pipe(from, everywhere)
    }

    fn duplicate_now(
        &self,
        from: &SimHandle,
        into: &SimHandle,
        bytes_max: usize,
        scope: MoveScope,
    ) -> MoveNow {
        self.sim.duplicate_now(from, into, bytes_max, scope)
    }

    fn who_waits(&self, from: &SimHandle, to: &SimHandle) -> MoveNow {
        self.sim.who_waits(from, to)
    }

    fn is_file(&self, handle: &SimHandle) -> bool {
        self.sim.is_file(handle)
    }

    fn cancel(&self, handle: &Arc<SimHandle>, id: OpId) -> Cancelled {
        let cancelled = self.sim.cancel(handle, id);
        self.notify();
        cancelled
    }

    fn close(&self, handle: Arc<SimHandle>, end_of_stream: bool) -> Result<(), OsCode> {
        let closed = self.sim.close(handle, end_of_stream);
        self.notify();
        closed
    }

    fn wait(&self, completions: &mut Vec<Completion>, until: Option<Moment>) -> Result<(), OsCode> {
        loop {
            *self.lock() = false;
            let now = self.follow_the_clock();
            while self.sim.lock().thread_step() {}
            self.sim.wait(completions, until)?;
            // Looked at after `changed` was cleared: a wake that comes now sets that again.
            let is_woken = self.woken.swap(false, Ordering::SeqCst);
            if is_woken || !completions.is_empty() || until.is_some_and(|until| until <= now) {
                return Ok(());
            }
            let next = self.sim.lock().next_event();
            let rest = next.map_or(WAIT_LONGEST, |next| now.until(next).min(WAIT_LONGEST));
            let waiting = self
                .notified
                .wait_timeout_while(self.lock(), rest, |changed| !*changed);
            drop(waiting);
        }
    }

    fn joins_after(&self) -> Option<u16> {
        self.sim.joins_after()
    }

    fn rest(&self, duration: Duration) {
        std::thread::park_timeout(duration);
    }

    fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        self.notify();
    }
}

impl LivePipes {
    /// Pipes of this shape, served in this way.
    ///
    /// # Panics
    /// The system has no thread left.
    #[must_use]
    pub fn new(shape: Shape, way: Way) -> Self {
        let driver = Arc::new(Driver::new(Live::new(way == Way::Overlapped)));
        let over = Arc::new(AtomicBool::new(false));
        let (turning, stop) = (driver.clone(), over.clone());
        let thread = std::thread::Builder::new()
            .name("simulated".into())
            .spawn(move || {
                let mut completions = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    turning.turn(&mut completions);
                }
            })
            .expect("a thread for the simulated kernel");
        Self {
            driver,
            shape,
            way,
            over,
            thread: Some(thread),
        }
    }

    /// Both ends of a new pipe.
    #[must_use]
    pub fn pipe(
        &self,
        reader: ReaderOptions,
        writer: WriterOptions,
    ) -> (PipeReader<Live>, PipeWriter<Live>) {
        let (from, into) = {
            let mut kernel = self.driver.backend().sim.lock();
            kernel.pipes.push(Pipe::new(self.shape));
            let at = kernel.pipes.len() - 1;
            (
                kernel.open(at, false, self.way),
                kernel.open(at, true, self.way),
            )
        };
        (
            PipeReader::on(&self.driver, SimHandle(from), reader),
            PipeWriter::on(&self.driver, SimHandle(into), writer),
        )
    }

    /// Waits until nothing is left of any pipe, for so long; what is wrong then.
    #[must_use]
    pub fn left_behind(&self, patience: Duration) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let census = self.driver.census();
            let is_over = census.pipes == 0 && census.operations_in_flight == 0;
            if is_over || begun.elapsed() > patience {
                let mut kernel = self.driver.backend().sim.lock();
                let mut wrongs = std::mem::take(&mut kernel.wrongs);
                if !is_over || census.quarantined > 0 || census.foreign_panics > 0 {
                    wrongs.push(format!("left behind: {census:?}"));
                }
                let open = kernel.ends.iter().filter(|end| !end.closed).count();
                if open > 0 {
                    wrongs.push(format!("{open} handles left open"));
                }
                return wrongs;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for LivePipes {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.driver.backend().wake();
        if let Some(thread) = self.thread.take() {
            // It panics only with a broken invariant, and that test has failed by then.
            let _ended = thread.join();
        }
    }
}
