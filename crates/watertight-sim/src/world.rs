//! Who runs next: tasks, peers, the driver's thread, helper threads, and time; one step at a time, drawn from the seed.
//!
//! It is all one thread. Other threads are imitated by running somebody else's step in the middle of a call to the kernel
//! or of a wake: that is where threads meet, for the driver holds no lock there.

use crate::backend::Sim;
use crate::chance::Chance;
use crate::peer::Peer;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use watertight::Driver;
use watertight_core::Moment;

/// How deep threads may run in the middle of each other.
const DEPTH_MAX: u32 = 3;

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// A thread of the program under test.
struct Task {
    name: String,
    /// Taken out while it runs.
    work: Option<Work>,
    done: bool,
    ready: Arc<Ready>,
}

/// Whether somebody woke it.
#[derive(Debug)]
struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
        preempt();
    }
}

/// Everybody.
pub(crate) struct World {
    pub(crate) driver: Arc<Driver<Sim>>,
    tasks: RefCell<Vec<Task>>,
    pub(crate) peers: RefCell<Vec<Peer>>,
    sleepers: RefCell<Vec<(Moment, Waker)>>,
    chance: RefCell<Chance>,
    /// The driver's thread is in the middle of a turn.
    turning: Cell<bool>,
    depth: Cell<u32>,
    /// What somebody was promised by some time, and did not get yet.
    promises: RefCell<BTreeMap<u64, (Moment, String)>>,
    /// Numbers what happens, in order.
    number: Cell<u64>,
}

/// What can happen next.
#[derive(Clone, Copy, Debug)]
enum Choice {
    Peer(usize),
    Task(usize),
    Thread,
    Time,
    Turn,
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// Another thread may run here.
pub(crate) fn preempt() {
    let world = WORLD.with_borrow(Clone::clone);
    if let Some(world) = world {
        world.nested_step();
    }
}

/// The world that runs, for a task of it.
pub(crate) fn current() -> Rc<World> {
    let world = WORLD.with_borrow(Clone::clone);
    world.expect("a task runs in a world")
}

impl World {
    pub(crate) fn new(driver: Arc<Driver<Sim>>, chance: Chance) -> Rc<Self> {
        driver.backend().lock().woken = true;
        let world = Rc::new(Self {
            driver,
            tasks: RefCell::default(),
            peers: RefCell::default(),
            sleepers: RefCell::default(),
            chance: RefCell::new(chance),
            turning: Cell::new(false),
            depth: Cell::new(0),
            promises: RefCell::default(),
            number: Cell::new(0),
        });
        WORLD.set(Some(world.clone()));
        world
    }

    /// Forgets the world; its tasks are dropped as they are.
    pub(crate) fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
        let world = WORLD.take();
        drop(world);
    }

    pub(crate) fn spawn(&self, name: String, work: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push(Task {
            name,
            work: Some(Box::pin(work)),
            done: false,
            ready: Arc::new(Ready(AtomicBool::new(true))),
        });
    }

    /// The tasks that are not done.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let tasks = self.tasks.borrow();
        let unfinished = tasks.iter().filter(|task| !task.done);
        unfinished.map(|task| task.name.clone()).collect()
    }

    /// Does one thing. False: nothing can happen any more.
    pub(crate) fn step(&self) -> bool {
        self.driver.backend().lock().step += 1;
        self.wake_sleepers();
        let choices = self.choices(true);
        if choices.is_empty() {
            self.check_rest();
            return self.pass_time();
        }
        let choice = self.chance.borrow_mut().pick(&choices);
        self.carry_out(choice);
        true
    }

    fn nested_step(&self) {
        let one_in = self.driver.backend().lock().manner.preempt_one_in;
        let due = self.chance.borrow_mut().one_in(one_in);
        if !due || self.depth.get() >= DEPTH_MAX {
            return;
        }
        let choices = self.choices(false);
        if choices.is_empty() {
            return;
        }
        let choice = self.chance.borrow_mut().pick(&choices);
        self.depth.set(self.depth.get() + 1);
        self.carry_out(choice);
        self.depth.set(self.depth.get() - 1);
    }

    fn choices(&self, may_pass_time: bool) -> Vec<Choice> {
        let mut choices = Vec::new();
        for (index, task) in self.tasks.borrow().iter().enumerate() {
            if task.work.is_some() && task.ready.0.load(Ordering::Relaxed) {
                choices.push(Choice::Task(index));
            }
        }
        let mut kernel = self.driver.backend().lock();
        if let Ok(peers) = self.peers.try_borrow() {
            let able = |(_, peer): &(usize, &Peer)| peer.is_able(&kernel);
            let able: Vec<usize> = peers
                .iter()
                .enumerate()
                .filter(able)
                .map(|(i, _)| i)
                .collect();
            choices.extend(able.into_iter().map(Choice::Peer));
        }
        if kernel.thread_may_step() {
            choices.push(Choice::Thread);
        }
        let spurious = kernel.manner.spurious_one_in;
        let wanted = kernel.wants_turn();
        if !self.turning.get() && (wanted || kernel.chance.one_in(spurious)) {
            choices.push(Choice::Turn);
        }
        let one_in_some = may_pass_time && kernel.chance.one_in(TIME_ONE_IN);
        if !choices.is_empty() && one_in_some {
            choices.push(Choice::Time);
        }
        choices
    }

    fn carry_out(&self, choice: Choice) {
        let depth = self.depth.get();
        let what = || match choice {
            Choice::Task(index) => format!("[{depth}] {}", self.tasks.borrow()[index].name),
            Choice::Peer(_) | Choice::Thread | Choice::Time | Choice::Turn => {
                format!("[{depth}] {choice:?}")
            }
        };
        self.driver.backend().lock().tell(what);
        match choice {
            Choice::Peer(index) => {
                let mut peers = self.peers.borrow_mut();
                peers[index].act(
                    &mut self.driver.backend().lock(),
                    &mut self.chance.borrow_mut(),
                );
            }
            Choice::Task(index) => self.poll(index),
            Choice::Thread => {
                self.driver.backend().lock().thread_step();
            }
            Choice::Time => {
                self.pass_time();
            }
            Choice::Turn => {
                self.turning.set(true);
                self.driver.turn(&mut Vec::new());
                self.turning.set(false);
            }
        }
    }

    fn poll(&self, index: usize) {
        let taken = {
            let mut tasks = self.tasks.borrow_mut();
            let task = &mut tasks[index];
            // A waker is good for one poll: only the last one counts, and whoever keeps an older one wakes nobody.
            task.ready = Arc::new(Ready(AtomicBool::new(false)));
            task.work.take().map(|work| (work, task.ready.clone()))
        };
        let Some((mut work, ready)) = taken else {
            return;
        };
        let waker = Waker::from(ready);
        let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
        let mut done = None;
        {
            let mut tasks = self.tasks.borrow_mut();
            let task = &mut tasks[index];
            match polled {
                Poll::Ready(()) => {
                    task.done = true;
                    done = Some(work);
                }
                Poll::Pending => task.work = Some(work),
            }
        }
        drop(done);
    }

    /// Nothing happens before time passes: whoever was promised something by now has it.
    fn check_rest(&self) {
        {
            let mut kernel = self.driver.backend().lock();
            let now = kernel.now;
            for (until, what) in self.promises.borrow().values() {
                if *until < now {
                    kernel.wrong(format!("not answered by its time, {until:?}: {what}"));
                }
            }
            kernel.check_gone();
        }
    }

    /// Promises an answer by some time; [`World::keep`] follows.
    pub(crate) fn promise(&self, until: Moment, what: String) -> u64 {
        let id = self.number();
        self.promises.borrow_mut().insert(id, (until, what));
        id
    }

    /// The answer is there.
    pub(crate) fn keep(&self, id: u64) {
        self.promises.borrow_mut().remove(&id);
    }

    /// The next number.
    pub(crate) fn number(&self) -> u64 {
        self.number.set(self.number.get() + 1);
        self.number.get()
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Moment {
        self.driver.backend().lock().now
    }

    /// Time passes until something happens by itself. False: nothing will.
    fn pass_time(&self) -> bool {
        let next = {
            let sleepers = self.sleepers.borrow();
            let first = sleepers.iter().map(|(due, _)| *due).min();
            let kernel = self.driver.backend().lock();
            kernel.next_event().into_iter().chain(first).min()
        };
        let Some(next) = next.filter(|next| *next != Moment::NEVER) else {
            return false;
        };
        let mut kernel = self.driver.backend().lock();
        kernel.now = kernel.now.max(next);
        true
    }

    fn wake_sleepers(&self) {
        let now = self.driver.backend().lock().now;
        let mut due = Vec::new();
        self.sleepers.borrow_mut().retain(|(until, waker)| {
            let sleeps = *until > now;
            if !sleeps {
                due.push(waker.clone());
            }
            sleeps
        });
        for waker in due {
            waker.wake();
        }
    }

    /// Wakes a task of the program at that time.
    pub(crate) fn sleep(&self, until: Moment, waker: &Waker) {
        self.sleepers.borrow_mut().push((until, waker.clone()));
    }
}

/// How often time passes although there is something to do: deadlines and answers race.
const TIME_ONE_IN: u32 = 24;
