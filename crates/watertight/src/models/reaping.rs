//! What threads share about children on Unix: the real tables of `watertight-os`, and a system that knows one child.

use super::harness::primitives::{Condvar, Mutex, MutexGuard};
use super::harness::{Task, assert_no_complaints, complain, explore, spawn};
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use watertight_os::{Reaped, Reaping, Usage, Waiting};

/// Under which the system tells the child's end.
const KEY: usize = 7;

/// How far the child is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Life {
    #[default]
    Running,
    Ended,
    /// Its number is somebody else's.
    Gone,
}

/// The system: one child, and one place where its end is told.
struct System {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    life: Life,
    is_registered: bool,
}

impl System {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }

    fn life(&self) -> Life {
        self.lock().life
    }

    /// The child ends.
    fn end(&self) {
        self.lock().life = Life::Ended;
        self.changed.notify_all();
    }

    /// waitid, without waiting: whoever reaps the child is told what it has used.
    fn reap(&self) -> io::Result<(Reaped, Option<Usage>)> {
        let mut state = self.lock();
        Ok(match state.life {
            Life::Running => (Reaped::Running, None),
            Life::Ended => {
                state.life = Life::Gone;
                let end = Reaped::Ended(ExitStatus::default());
                (end, Some(Usage::default()))
            }
            Life::Gone => (Reaped::Unknown, None),
        })
    }

    /// kill, by the number.
    fn kill(&self) {
        if self.life() == Life::Gone {
            complain("a signal to somebody else's number".into());
        }
    }

    /// epoll_ctl: the end is told once.
    fn register(&self) {
        let before = std::mem::replace(&mut self.lock().is_registered, true);
        if before {
            complain("it is registered already".into());
        }
        self.changed.notify_all();
    }

    /// epoll_wait: until the end is told.
    fn wait(&self) {
        let mut state = self.lock();
        while !state.is_registered || state.life == Life::Running {
            state = self.changed.wait(state).expect("no panic under this lock");
        }
        state.is_registered = false;
    }
}

/// L13: a signal, which asks first whether the child runs ‖ the child's end ‖ its reaping. The number is not signalled once it is
/// somebody else's.
#[test]
fn a_signal_meets_the_reaping() {
    explore(&["over", "signalled"], || {
        let (system, reaping) = (System::new(), Arc::new(Reaping::new(None, ())));
        loom::explore();
        let ending = {
            let system = system.clone();
            spawn(move || system.end())
        };
        let other = {
            let (system, reaping) = (system.clone(), reaping.clone());
            spawn(move || drop(reaping.reap(|| system.reap())))
        };
        let is_signalled = reaping.with(|is_reaped, ()| {
            if is_reaped || system.life() != Life::Running {
                return false;
            }
            system.kill();
            true
        });
        ending.join().unwrap();
        other.join().unwrap();
        loom::stop_exploring();
        // Whoever asks last hears of the end.
        let end = reaping.reap(|| system.reap()).unwrap();
        assert_eq!(end, Reaped::Ended(ExitStatus::default()));
        assert_eq!(system.life(), Life::Gone);
        assert_no_complaints();
        if is_signalled { "signalled" } else { "over" }
    });
}

/// L13: two reap the child at once. One of them gets its status from the system, and both hear of it; what
/// it has used is kept.
#[test]
fn two_reap_at_once() {
    explore(&["both"], || {
        let (system, reaping) = (System::new(), Arc::new(Reaping::new(None, ())));
        system.end();
        loom::explore();
        let other = {
            let (system, reaping) = (system.clone(), reaping.clone());
            spawn(move || reaping.reap(|| system.reap()).unwrap())
        };
        let ends = [
            reaping.reap(|| system.reap()).unwrap(),
            other.join().unwrap(),
        ];
        loom::stop_exploring();
        let expected = Reaped::Ended(ExitStatus::default());
        assert_eq!(ends, [expected; 2], "both hear how it ended");
        assert_eq!(reaping.usage(), Some(Usage::default()), "what it has used");
        assert_no_complaints();
        "both"
    });
}

/// L13: somebody begins to wait ‖ the child's end ‖ the thread that is told of ends. Who waits is called, and the descriptor is closed
/// by then.
#[test]
fn a_childs_end_is_told_while_somebody_begins_to_wait() {
    explore(&["told"], || {
        let system = System::new();
        let waiting = Arc::new(Waiting::<()>::default());
        let (descriptor, task) = (Arc::new(()), Task::new());
        loom::explore();
        let telling = {
            let (system, waiting) = (system.clone(), waiting.clone());
            spawn(move || {
                loop {
                    system.wait();
                    let callbacks = waiting.take(KEY, |()| {});
                    if !callbacks.is_empty() {
                        return callbacks.into_iter().for_each(|callback| callback());
                    }
                }
            })
        };
        let ending = {
            let system = system.clone();
            spawn(move || system.end())
        };
        let waker = task.waker();
        let register = || -> io::Result<()> {
            system.register();
            Ok(())
        };
        let told = Box::new(move || waker.wake());
        waiting.add(KEY, &descriptor, told, register).unwrap();
        task.sleep();
        assert_eq!(Arc::strong_count(&descriptor), 1, "it is open still");
        telling.join().unwrap();
        ending.join().unwrap();
        loom::stop_exploring();
        assert_eq!(Arc::strong_count(&task), 1, "a waker nobody waits with");
        assert_no_complaints();
        "told"
    });
}
