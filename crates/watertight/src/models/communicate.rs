//! A child's exit against the end of its output: the part of a `communicate` that is told of both (`communicate/outputs.rs`), its rule, and the
//! real `ExitWatch`, with the models' kernel in place of the pipe and a system that tells the exit from a thread of its own.
//!
//! Not here: `Communicate`'s loop around them, which adds what is done to the child, its input and its deadlines.

use super::exits::{Child, assert_forgotten};
use super::harness::{Task, World, assert_no_complaints, explore, explore_within, spawn, wait};
use super::kernel::Kernel;
use super::manner::{Answers, Manner};
use crate::child::cause;
use crate::child::exit::ExitWatch;
use crate::communicate::capture::Looks;
use crate::communicate::outputs::Outputs;
use crate::communicate::rule::{self, Next, Phase};
use crate::{AfterExit, Captured, EndRequest, EndedBy, Limits, OutputStream, Settle};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use watertight_core::Backend;

/// Fewer than elsewhere: a run is several polls, each of a dozen calls.
const PREEMPTIONS_MAX: usize = 2;

/// The last that a child writes.
const LAST: &[u8] = b"last";

/// What waits for the exit of a child and the end of its one output, as a `Communicate` does.
struct Run {
    outputs: Outputs<Kernel>,
    watch: Arc<ExitWatch>,
    child: Arc<Child>,
    exit_id: u64,
    task: Arc<Task>,
    /// The exit was seen before the poll that is made, or was made last. Not a lock of the model's: it is no part of the race.
    was_over: Arc<AtomicBool>,
}

impl Run {
    /// One that waits for both. The output is the pipe that was opened first; it is empty, and somebody has its writing end.
    fn begin(world: &World, child: &Arc<Child>, after_exit: AfterExit) -> Self {
        let reader = world.reader(Manner {
            reads: Answers::WhenReadable,
            holds: Some(b""),
            is_held: true,
            ..Manner::default()
        });
        let limits = Limits::new().after_exit(after_exit);
        let mut run = Self {
            outputs: Outputs::new([Some(reader), None], [None, None], &limits),
            watch: Arc::default(),
            child: child.clone(),
            exit_id: 0,
            task: Task::new(),
            was_over: Arc::default(),
        };
        assert_eq!(run.poll(world), Next::Stay(None));
        world.calm();
        run
    }

    /// Polls once, as `Communicate` does.
    fn poll(&mut self, world: &World) -> Next {
        let waker = self.task.waker();
        self.was_over.store(self.outputs.is_over(), SeqCst);
        let (watch, child, exit_id) = (&self.watch, &self.child, &mut self.exit_id);
        let poll_exited = || {
            let polled = watch.poll(|told| child.on_exit(told), exit_id, &waker);
            polled.map_err(|error| cause(&error))
        };
        let gone_on = self
            .outputs
            .go_on(&world.driver, &waker, Looks::Task, poll_exited);
        gone_on.unwrap();
        rule::next(Phase::Going, &self.outputs.known(world.kernel().now()))
    }

    /// Polls whenever it is woken, until it is over: why it is.
    fn drive(&mut self, world: &World) -> EndedBy {
        loop {
            self.task.sleep();
            let next = self.poll(world);
            if let Next::Close(why) = next {
                return why;
            }
            assert_eq!(next, Next::Stay(None));
        }
    }

    /// Closes the output: what came of it.
    fn close(&mut self) -> Captured {
        let waker = self.task.waker();
        while self.outputs.poll_closed(&waker) != [true; 2] {
            self.task.sleep();
        }
        let [stdout, _] = self.outputs.take();
        stdout
    }

    /// Waits for nothing any more.
    fn forget(&self) {
        self.watch.forget(self.exit_id);
        self.outputs.forget();
    }
}

/// Nothing is left of a run.
fn end(world: World, task: &Arc<Task>) {
    wait(Settle::on(&world.driver)).unwrap();
    world.end();
    assert_forgotten(&[task]);
}

/// The last bytes come and the child exits ‖ both are told. All of the bytes are in the outcome, whichever is told first, although somebody else
/// holds the pipe and no silence is waited for.
#[test]
fn what_was_written_before_the_exit_is_in_the_outcome() {
    explore_within(PREEMPTIONS_MAX, &["after the exit", "before"], || {
        let (world, child) = (World::new(Kernel::new()), Arc::<Child>::default());
        let mut run = Run::begin(&world, &child, AfterExit::Quiet(Duration::ZERO));
        let (was_over, is_late) = (run.was_over.clone(), Arc::<AtomicBool>::default());
        let noted = is_late.clone();
        let told = move |_: OutputStream, _: &[u8]| noted.store(was_over.load(SeqCst), SeqCst);
        run.outputs.told.set_output(Box::new(told));
        world.race();
        let driver = world.driver.clone();
        let ending = spawn(move || {
            driver.backend.feed(0, LAST);
            child.end();
        });
        let ended = run.drive(&world);
        // How a pipe is closed is another model's.
        world.rest();
        ending.join().unwrap();
        let stdout = run.close();
        run.forget();
        assert_eq!(ended, EndedBy::Quiet);
        assert_eq!(stdout.bytes, LAST, "it was written before the exit");
        assert!(!stdout.has_ended && stdout.failure.is_none());
        let task = run.task.clone();
        drop(run);
        end(world, &task);
        if is_late.load(SeqCst) {
            "after the exit"
        } else {
            "before"
        }
    });
}

/// The child exits ‖ its output ends. The run ends with the second of the two, by itself.
#[test]
fn the_exit_meets_the_end_of_the_output() {
    explore_within(PREEMPTIONS_MAX, &["exit first", "exit last"], || {
        let (world, child) = (World::new(Kernel::new()), Arc::<Child>::default());
        let mut run = Run::begin(&world, &child, AfterExit::ToEnd);
        world.race();
        let ending = spawn(move || child.end());
        let driver = world.driver.clone();
        let closing = spawn(move || driver.backend.hang_up(0));
        let ended = run.drive(&world);
        world.rest();
        ending.join().unwrap();
        closing.join().unwrap();
        assert!(run.outputs.is_over() && run.child.is_over());
        let stdout = run.close();
        run.forget();
        assert_eq!(ended, EndedBy::Itself);
        assert!(stdout.has_ended && stdout.failure.is_none());
        let was_over = run.was_over.load(SeqCst);
        let task = run.task.clone();
        drop(run);
        end(world, &task);
        if was_over { "exit first" } else { "exit last" }
    });
}

/// The child exits, and somebody whom it left behind writes ‖ the run is polled and dropped. Nobody is told any more, and the pipe is closed once.
#[test]
fn a_drop_meets_the_exit() {
    explore_within(PREEMPTIONS_MAX, &["dropped", "heard"], || {
        let (world, child) = (World::new(Kernel::new()), Arc::<Child>::default());
        let mut run = Run::begin(&world, &child, AfterExit::ToEnd);
        let task = run.task.clone();
        world.race();
        let driver = world.driver.clone();
        let ending = spawn(move || {
            child.end();
            driver.backend.feed(0, LAST);
        });
        assert_eq!(run.poll(&world), Next::Stay(None));
        let is_heard = run.outputs.is_over();
        run.forget();
        if !run.child.is_over() {
            // No wake of it can be on its way yet; the two are the model's own.
            assert_eq!(Arc::strong_count(&task), 2, "a waker nobody waits with");
        }
        drop(run);
        ending.join().unwrap();
        world.rest();
        end(world, &task);
        if is_heard { "heard" } else { "dropped" }
    });
}

/// A run begins to wait ‖ somebody asks for its end: it hears of that, at once or by its wake.
#[test]
fn a_request_meets_the_wait() {
    explore(&["at once", "woken"], || {
        let (request, task, mut id) = (EndRequest::new(), Task::new(), 0);
        let mut end = "at once";
        loom::explore();
        let other = request.clone();
        let asking = spawn(move || other.send());
        while request.poll(&mut id, &task.waker()) == 0 {
            end = "woken";
            task.sleep();
        }
        asking.join().unwrap();
        loom::stop_exploring();
        request.forget(id, false);
        assert_forgotten(&[&task]);
        assert_no_complaints();
        end
    });
}
