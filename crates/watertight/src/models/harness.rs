//! What every model is made of: a checker, threads, a task that waits, and the complaints.

use super::kernel::Kernel;
use super::manner::Manner;
use crate::driver::Driver;
use crate::{Operation, PipeReader, PipeWriter, ReaderOptions, Wait, WriterOptions};
use std::cell::Cell;
#[cfg(loom)]
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Once, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use watertight_core::Backend;

#[cfg(loom)]
pub(super) mod primitives {
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread::{JoinHandle, spawn};
}
#[cfg(shuttle)]
pub(super) mod primitives {
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread::{JoinHandle, spawn};
}
pub(super) use primitives::spawn;
use primitives::{Condvar, JoinHandle, Mutex};

/// What a model's own foreign code panics with, past the hook that hears of all other panics.
pub(super) const EXPECTED: &str = "the panic of the model's foreign code";

/// What went wrong in this run. Panics are here too: the driver catches some, and none of them is the driver's own.
static COMPLAINTS: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

/// The preemptions that are explored, unless a model says why it is fewer.
#[cfg(loom)]
const PREEMPTIONS_MAX: usize = 3;

/// Enough for the longest run of a model; more is a thread that goes round in circles.
#[cfg(loom)]
const BRANCHES_MAX: usize = 5_000;

/// Goes through every order in which the model's threads may run. Each run says how it went, and exactly the `expected`
/// ends must come up: a model that never sees its race proves nothing.
#[cfg(loom)]
pub(super) fn explore(expected: &[&str], model: impl Fn() -> &'static str + Send + Sync + 'static) {
    explore_within(PREEMPTIONS_MAX, expected, model);
}

/// As [`explore`], with so many preemptions at most.
#[cfg(loom)]
pub(super) fn explore_within(
    preemptions_max: usize,
    expected: &[&str],
    model: impl Fn() -> &'static str + Send + Sync + 'static,
) {
    let _turn = hear_panics();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions_max));
    builder.max_branches = BRANCHES_MAX;
    builder.expect_explicit_explore = true;
    let ends = Arc::new(std::sync::Mutex::new(BTreeMap::<&str, u64>::new()));
    let counted = ends.clone();
    let start = std::time::Instant::now();
    builder.check(move || {
        complaints().clear();
        let end = model();
        *counted.lock().unwrap().entry(end).or_default() += 1;
    });
    let ends = ends.lock().unwrap();
    let (runs, took) = (ends.values().sum::<u64>(), start.elapsed());
    println!("{runs} orders in {took:.1?}: {ends:?}");
    assert_eq!(ends.keys().copied().collect::<Vec<_>>(), expected);
}

/// How many schedules each of the two ways draws for each large model, unless `WATERTIGHT_SCHEDULES` says otherwise.
#[cfg(shuttle)]
const SCHEDULES: usize = 17_000;

/// A thread's stack. Panics are caught on it, and told.
#[cfg(shuttle)]
const STACK_BYTES: usize = 256 * 1024;

/// PCT finds every bug that so many changes of the order make, with a probability it states.
#[cfg(shuttle)]
const CHANGES_MAX: usize = 3;

/// The same schedules every time, unless `SHUTTLE_RANDOM_SEED` says otherwise. A failing one is printed, to be replayed.
#[cfg(shuttle)]
const SEED: u64 = 0x5741_5445_5254;

/// Draws schedules of the model's threads: at random, and by PCT.
#[cfg(shuttle)]
pub(super) fn draw(model: fn()) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    let _turn = hear_panics();
    let start = std::time::Instant::now();
    let mut config = shuttle::Config::new();
    config.stack_size = STACK_BYTES;
    let run = move || {
        complaints().clear();
        model();
    };
    let schedules = match std::env::var("WATERTIGHT_SCHEDULES") {
        Ok(number) => number.parse().expect("WATERTIGHT_SCHEDULES is a number"),
        Err(_) => SCHEDULES,
    };
    let random = RandomScheduler::new_from_seed(SEED, schedules);
    let mut runs = shuttle::Runner::new(random, config.clone()).run(run);
    let pct = PctScheduler::new_from_seed(SEED, CHANGES_MAX, schedules);
    runs += shuttle::Runner::new(pct, config).run(run);
    println!("{runs} schedules in {:.1?}", start.elapsed());
    assert_eq!(runs, 2 * schedules);
}

/// Says that something is wrong. It does not panic: the driver would catch it.
pub(super) fn complain(what: String) {
    complaints().push(what);
}

/// Fails if anything was wrong in this run.
pub(super) fn assert_no_complaints() {
    let complaints = std::mem::take(&mut *complaints());
    assert!(complaints.is_empty(), "{complaints:#?}");
}

fn complaints() -> std::sync::MutexGuard<'static, Vec<String>> {
    COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Complains of every panic from now on. One model runs at a time: they complain in one place.
fn hear_panics() -> std::sync::MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            complain(panic.to_string());
            before(panic);
        }));
    });
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A driver and its thread.
pub(super) struct World {
    pub(super) driver: Arc<Driver<Kernel>>,
    turning: JoinHandle<()>,
    racing: Cell<bool>,
}

impl World {
    pub(super) fn new(kernel: Kernel) -> Self {
        let driver = Arc::new(Driver::new(kernel));
        let inner = driver.clone();
        let turning = spawn(move || {
            let mut completions = Vec::new();
            loop {
                let is_last = inner.backend.is_over();
                inner.turn(&mut completions);
                if is_last {
                    break;
                }
            }
        });
        let racing = Cell::new(false);
        Self {
            driver,
            turning,
            racing,
        }
    }

    /// Has the driver's thread go to sleep, for models that give it nothing to do: its beginning is no part of the race.
    pub(super) fn calm(&self) {
        let task = Task::new();
        self.driver.wake_at(self.kernel().now(), task.waker());
        task.sleep();
    }

    /// From here on every order counts. What is set up before happens in one order.
    pub(super) fn race(&self) {
        assert!(!self.racing.replace(true), "it races already");
        #[cfg(loom)]
        loom::explore();
    }

    /// The race is over; what is looked at and cleared up behind it happens in one order again.
    pub(super) fn rest(&self) {
        assert!(self.racing.replace(false), "it never raced");
        #[cfg(loom)]
        loom::stop_exploring();
    }

    /// A writer on a new pipe.
    pub(super) fn writer(&self, manner: Manner, options: WriterOptions) -> PipeWriter<Kernel> {
        PipeWriter::on(&self.driver, self.kernel().open(manner), options)
    }

    /// A reader on a new pipe.
    pub(super) fn reader(&self, manner: Manner) -> PipeReader<Kernel> {
        let pipe = self.kernel().open(manner);
        PipeReader::on(&self.driver, pipe, ReaderOptions::new())
    }

    pub(super) fn kernel(&self) -> &Kernel {
        &self.driver.backend
    }

    /// What calls a thread back from where it blocks, and wakes it where it sleeps.
    pub(super) fn bell(&self, task: &Arc<Task>) -> Waker {
        let driver = self.driver.clone();
        let task = task.clone();
        Waker::from(Arc::new(Bell { driver, task }))
    }

    /// As [`wait`], by a thread that may block in the kernel.
    pub(super) fn block_on<O: Operation<Backend = Kernel>>(&self, wait: &mut Wait<O>) -> O::Output {
        let task = Task::new();
        let bell = self.bell(&task);
        loop {
            if let Poll::Ready(output) = wait.operation_mut().poll_blocking(&bell, None) {
                return output;
            }
            task.sleep();
        }
    }

    /// Ends the driver's thread and looks at the books.
    pub(super) fn end(self) {
        let Self {
            driver,
            turning,
            racing,
        } = self;
        assert!(!racing.get(), "the race is never over");
        driver.backend.end();
        turning.join().expect("the driver's thread goes on");
        driver.backend.check_books();
        assert_no_complaints();
    }
}

/// Somebody who waits: a waker of the checker's.
pub(super) struct Task {
    state: Mutex<Token>,
    changed: Condvar,
}

#[derive(Default)]
struct Token {
    wakes: u32,
    woken: bool,
    asleep: bool,
}

impl Task {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(Token::default()),
            changed: Condvar::new(),
        })
    }

    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        self.clone().into()
    }

    /// How often it was woken.
    pub(super) fn wakes(&self) -> u32 {
        self.lock().wakes
    }

    /// Sleeps until it is woken.
    pub(super) fn sleep(&self) {
        let mut state = self.lock();
        while !std::mem::take(&mut state.woken) {
            state.asleep = true;
            state = self.changed.wait(state).expect("no panic under this lock");
        }
    }

    fn lock(&self) -> primitives::MutexGuard<'_, Token> {
        self.state.lock().expect("no panic under this lock")
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.lock();
        state.wakes += 1;
        state.woken = true;
        let is_asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if is_asleep {
            self.changed.notify_one();
        }
    }
}

/// A thread that may block in the kernel, and may sleep.
struct Bell {
    driver: Arc<Driver<Kernel>>,
    task: Arc<Task>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.driver.backend.ring();
        self.task.wake_by_ref();
    }
}

/// Waits for a future; a lost wake is a deadlock, which the checker finds.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    let task = Task::new();
    let waker = task.waker();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        task.sleep();
    }
}

/// Asks once.
pub(super) fn ask<F: Future>(future: Pin<&mut F>, task: &Arc<Task>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&task.waker()))
}
