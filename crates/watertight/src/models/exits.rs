//! A child's end, and those who wait for it: the real `ExitWatch`, and a system that tells the end from a thread of its own.

use super::harness::primitives::Mutex;
use super::harness::{Task, assert_no_complaints, explore, spawn};
use crate::child::exit::ExitWatch;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use watertight_os::ExitCallback;

/// A child, as the system knows it.
#[derive(Default)]
pub(super) struct Child(Mutex<State>);

#[derive(Default)]
struct State {
    is_over: bool,
    callbacks: Vec<ExitCallback>,
    /// So many questions fail.
    failures: u32,
    asked: u32,
}

impl Child {
    fn failing(failures: u32) -> Self {
        Self(Mutex::new(State {
            failures,
            ..State::default()
        }))
    }

    /// As `Process::on_exit`.
    pub(super) fn on_exit(&self, callback: ExitCallback) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.asked += 1;
        if state.failures > 0 {
            state.failures -= 1;
            return Err(io::ErrorKind::Other.into());
        }
        if state.is_over {
            drop(state);
            callback();
        } else {
            state.callbacks.push(callback);
        }
        Ok(())
    }

    /// It ends, and whoever asked is told.
    pub(super) fn end(&self) {
        let mut state = self.0.lock().unwrap();
        state.is_over = true;
        let callbacks = std::mem::take(&mut state.callbacks);
        drop(state);
        callbacks.into_iter().for_each(|callback| callback());
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.lock().unwrap().is_over
    }

    fn asked(&self) -> u32 {
        self.0.lock().unwrap().asked
    }
}

/// Waits for the end. A question that fails is told to whoever asked it.
fn wait(watch: &Arc<ExitWatch>, child: &Child, task: &Arc<Task>) -> io::Result<()> {
    let mut id = 0;
    loop {
        let polled = watch.poll(|told| child.on_exit(told), &mut id, &task.waker());
        if let Poll::Ready(ended) = polled {
            watch.forget(id);
            return ended;
        }
        task.sleep();
    }
}

/// Nobody waits any more.
pub(super) fn assert_forgotten(tasks: &[&Arc<Task>]) {
    for task in tasks {
        assert_eq!(Arc::strong_count(task), 1, "a waker nobody waits with");
    }
}

/// L13: two wait ‖ the end is told. Each hears of it, and the system is asked once.
#[test]
fn two_wait_while_the_end_is_told() {
    explore(&["told"], || {
        let (watch, child) = (Arc::<ExitWatch>::default(), Arc::new(Child::default()));
        let (first, second) = (Task::new(), Task::new());
        loom::explore();
        let ending = {
            let child = child.clone();
            spawn(move || child.end())
        };
        let other = {
            let (watch, child, task) = (watch.clone(), child.clone(), second.clone());
            spawn(move || wait(&watch, &child, &task).is_ok())
        };
        assert!(wait(&watch, &child, &first).is_ok());
        assert!(other.join().unwrap());
        ending.join().unwrap();
        loom::stop_exploring();
        assert!(watch.has_ended());
        assert_eq!(child.asked(), 1, "the system is asked once");
        assert_forgotten(&[&first, &second]);
        assert_no_complaints();
        "told"
    });
}

/// L13: who asked the system gives up ‖ another waits ‖ the end is told. The other hears of it, and nothing is kept of the one.
#[test]
fn one_gives_up_while_another_waits() {
    explore(&["at once", "given up"], || {
        let (watch, child) = (Arc::<ExitWatch>::default(), Arc::new(Child::default()));
        let (first, second) = (Task::new(), Task::new());
        let mut id = 0;
        let polled = watch.poll(|told| child.on_exit(told), &mut id, &first.waker());
        assert!(polled.is_pending(), "it has not ended");
        loom::explore();
        let ending = {
            let child = child.clone();
            spawn(move || child.end())
        };
        let other = {
            let (watch, child, task) = (watch.clone(), child.clone(), second.clone());
            spawn(move || wait(&watch, &child, &task).is_ok())
        };
        let polled = watch.poll(|told| child.on_exit(told), &mut id, &first.waker());
        watch.forget(id);
        if !child.is_over() {
            // No wake of it can be on its way yet.
            assert_forgotten(&[&first]);
        }
        assert!(other.join().unwrap());
        ending.join().unwrap();
        loom::stop_exploring();
        assert_eq!(child.asked(), 1, "the system is asked once");
        assert_forgotten(&[&first, &second]);
        assert_no_complaints();
        if polled.is_ready() {
            "at once"
        } else {
            "given up"
        }
    });
}

/// L13: the question of one fails ‖ another relies on it ‖ the end is told. The one hears of the failure, and the other asks anew.
#[test]
fn a_question_fails_while_another_relies_on_it() {
    explore(&["the first", "the second"], || {
        let (watch, child) = (Arc::<ExitWatch>::default(), Arc::new(Child::failing(1)));
        let (first, second) = (Task::new(), Task::new());
        loom::explore();
        let ending = {
            let child = child.clone();
            spawn(move || child.end())
        };
        let other = {
            let (watch, child, task) = (watch.clone(), child.clone(), second.clone());
            spawn(move || wait(&watch, &child, &task).is_ok())
        };
        let is_told = wait(&watch, &child, &first).is_ok();
        let is_other_told = other.join().unwrap();
        ending.join().unwrap();
        loom::stop_exploring();
        // One question fails, and one alone hears of that.
        assert_ne!(is_told, is_other_told, "whose question failed");
        assert!(watch.has_ended());
        assert_eq!(child.asked(), 2);
        assert_forgotten(&[&first, &second]);
        assert_no_complaints();
        if is_told { "the second" } else { "the first" }
    });
}
