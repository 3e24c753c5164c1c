//! `communicate`: a child's input, both its outputs and its end, driven together, so that none waits for another.
//!
//! `outcome.rs` has what comes of it and the limits, `outputs.rs` both outputs against the child's exit, `capture.rs` one of them, `link.rs` one
//! that goes on to the next command of a pipeline, `told.rs` who is told of them;
//! `rule.rs` decides what comes next. `blocking.rs` is how a thread waits for all of it at once.

use crate::child::exit_wait::ExitWait;
use crate::child::{Child, Exit};
use crate::driver::Driver;
use crate::handle::Native;
use crate::joined;
use crate::lines::Line;
use crate::receipt::Receipt;
use crate::timers::TimerId;
use crate::wait::{Operation, Sealed, Wait};
use crate::writer::PipeWriter;
use blocking::look_at_exit;
use capture::Looks;
use link::Link;
use outputs::Outputs;
use rule::{Known, Next, Phase};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;
use watertight_core::{Backend, Error, ErrorKind, Moment};
use watertight_os::Found;

mod blocking;
pub(crate) mod capture;
mod link;
mod outcome;
pub(crate) mod outputs;
mod request;
pub(crate) mod rule;
mod told;

pub use link::PipeAccount;
pub use outcome::{AfterExit, AtBound, Captured, EndedBy, EndedTree, Incomplete, Limits, Outcome};
pub use request::EndRequest;
pub use told::OutputStream;

/// How long output is still read after a kill. What a killed process wrote is in its pipe already; only somebody who escaped the
/// kill keeps the pipe from ending.
const DRAIN_WITHIN: Duration = Duration::from_millis(500);

/// Feeds a child, takes all its output and waits for its end, at once: see [`Child::communicate`] and
/// [`Command::output`](crate::Command::output).
///
/// What is queued for its input is sent, and its input ended (not a terminal's: [`Terminal`](crate::Terminal)). Both outputs are
/// kept, or passed on, up to [`Limits::output_bytes_max`] bytes each, and what is past that is dealt with as [`Limits::at_bound`]
/// says. After the child's exit [`Limits::after_exit`] is the rule: somebody the child has started may hold its output still. After
/// [`Limits::within`] its tree is asked to end, and killed after [`Limits::grace`]. Who wants the output as it comes sets a function
/// first: [`Wait::on_output`], [`Wait::on_lines`].
///
/// Whoever a child that ended by itself has left behind lives on, with [`kill_on_drop`](crate::Command::kill_on_drop) too. Only under
/// [`AfterExit::ToEnd`] those who hold its output are a part of the run, and a limit or a request that comes before their end ends them.
///
/// **Threads.** No thread is started for a pipe, however many children are run at once: the library's one thread serves the pipes of all of
/// them. Their ends are heard of by one thread more (Linux 5.4 and later, and only for tasks: a thread that waits waits by itself) or by the
/// system's pool, which waits for dozens of them with one thread (Windows); elsewhere a thread waits for each child.
///
/// **Bytes.** The [`Outcome`] has all output that arrived, whatever ended it; [`Outcome::ended`] says what did. Both streams are in
/// the order in which each was written; the exact order across them is kept only when they are one
/// ([`Output::to_stdout`](crate::Output::to_stdout)).
///
/// **Cancel safety.** Dropped before it is done, the child is dropped as [`Child`] is: it goes on, without its pipes, unless
/// [`kill_on_drop`](crate::Command::kill_on_drop) says otherwise; what it had written is lost. A deadline of the wait itself
/// (`.within()`, `.by()`) kills the tree at once and yields the outcome as it is then, without a status. If the child has ended by itself
/// and whoever it has left behind is no part of the run, nobody is killed, and the status is there.
///
/// # Errors
/// This process was forked from the one that began it, which goes on with it. Every other failure is in the outcome, beside all that
/// arrived: that of a stream ([`Captured::failure`]), and that of the system to tell the child's end ([`Outcome::failure`]).
#[derive(Debug)]
pub struct Communicate {
    child: Child,
    limits: Limits,
    outputs: Outputs<Native>,
    link: Link,
    stdin_id: u64,
    /// What it reads at its terminal: open as long as it may.
    terminal: Option<Arc<PipeWriter>>,
    terminal_id: u64,
    exit: ExitWait,
    /// The thread that blocked on the child was told of its end.
    is_end_told: bool,
    /// No thread has found that it cannot block on them.
    can_block: bool,
    due: Option<Moment>,
    request_id: u64,
    /// How often somebody asked for the end.
    requests: u32,
    /// How much was passed on by the last look.
    passed_on: u64,
    phase: Phase,
    timer: Option<TimerId>,
    holders: Vec<Found>,
    tree: Option<EndedTree>,
    /// Whether the child was seen to be over, for another thread.
    over: Option<Arc<AtomicBool>>,
}

impl Communicate {
    pub(crate) fn begin(child: Child, limits: Limits) -> Wait<Self> {
        Wait::new(Self::new(child, limits, None))
    }

    /// With the input of the command behind, if the child's output goes there through us.
    pub(crate) fn new(mut child: Child, mut limits: Limits, behind: Option<PipeWriter>) -> Self {
        if let Some(stdin) = &child.stdin {
            stdin.cell().finish();
        }
        let terminal = take_terminal(&mut child);
        let link = behind.and_then(|to| Some((child.stdout.take()?, to)));
        let now = child.driver.backend.now();
        let to = [limits.stdout_to.take(), limits.stderr_to.take()];
        Self {
            outputs: Outputs::new([child.stdout.take(), child.stderr.take()], to, &limits),
            link: Link::new(link),
            due: limits.within.map(|within| now.after(within)),
            child,
            limits,
            stdin_id: 0,
            terminal,
            terminal_id: 0,
            exit: ExitWait::default(),
            is_end_told: false,
            can_block: true,
            request_id: 0,
            requests: 0,
            passed_on: 0,
            phase: Phase::Going,
            timer: None,
            holders: Vec::new(),
            tree: None,
            over: None,
        }
    }

    /// What went to the command behind, once it is over.
    pub(crate) fn pipe_account(&self) -> Option<PipeAccount> {
        self.link.account()
    }

    /// As at the deadline, from the next poll on.
    pub(crate) fn request_end(&mut self) {
        self.requests = self.requests.max(1);
    }

    fn now(&self) -> Moment {
        self.child.driver.backend.now()
    }

    /// Reads what is there, and looks whether the child is over.
    fn go_on(&mut self, waker: &Waker, looks: Looks) -> Result<(), Error> {
        let now = self.now();
        if let Some(request) = &self.limits.end_request {
            let sent = request.poll(&mut self.request_id, waker);
            self.requests = self.requests.max(sent);
        }
        self.link.poll(waker, now);
        let (child, exit) = (&self.child, &mut self.exit);
        let poll_exited = || match looks {
            Looks::Task => child.poll_exited(exit, waker),
            Looks::Thread => look_at_exit(child, exit, self.is_end_told, waker),
        };
        self.outputs
            .go_on(&child.driver, waker, looks, poll_exited)?;
        if let Some(over) = self.over.as_ref().filter(|_| self.outputs.is_over()) {
            over.store(true, Ordering::SeqCst);
        }
        if let Some(terminal) = &self.terminal
            && self.outputs.is_left()
        {
            // With its output gone, this is what hangs it up.
            terminal.cell().abort();
        }
        Ok(())
    }

    /// What the decision goes by.
    fn known(&self, now: Moment) -> Known {
        let known = self.outputs.known(now);
        // Asked once, for another thread may change it. Nothing is read while what came before waits for the command behind.
        let is_held_up = self.link.is_held_up();
        let is_about_to_be_told = |since| !is_held_up && self.link.is_about_to_be_told(since);
        Known {
            has_ended: known.has_ended && self.link.has_ended(),
            requests: self.requests,
            due: self.due,
            is_read_out: known.is_read_out && !known.exited_at.is_some_and(is_about_to_be_told),
            is_held_up: known.is_held_up || is_held_up,
            heard_at: known.heard_at.max(self.link.heard_at()),
            ..known
        }
    }

    /// P3: who has ended by itself is not ended by us, and whoever tells of ends may be late. So the child is looked at itself.
    fn look_before_the_end(&mut self, waker: &Waker, looks: Looks) -> Result<(), Error> {
        if self.outputs.is_over() {
            return Ok(());
        }
        let exited = look_at_exit(&self.child, &mut self.exit, self.is_end_told, waker);
        if let Poll::Ready(exited) = exited {
            let now = self.now();
            self.outputs.note_exit(exited, now, waker, looks)?;
        }
        Ok(())
    }

    /// What comes next.
    fn decide(&mut self, now: Moment, waker: &Waker, looks: Looks) -> Result<Next, Error> {
        let next = rule::next(self.phase, &self.known(now));
        let Next::Ask(_) = next else {
            return Ok(next);
        };
        self.look_before_the_end(waker, looks)?;
        Ok(rule::next(self.phase, &self.known(now)))
    }

    /// Does what comes next: the phase then, and when to look again if nothing happens until then.
    fn next_phase(
        &mut self,
        waker: &Waker,
        looks: Looks,
    ) -> Result<(Phase, Option<Moment>), Error> {
        let now = self.now();
        Ok(match self.decide(now, waker, looks)? {
            Next::Ask(why) => self.ask(why, now),
            Next::Close(why) => (Phase::Closing(why), None),
            Next::Kill(why) => self.kill_now(why, now),
            Next::LookAtTree(why, _) if self.child.process.is_tree_over() => {
                // Whoever was started meanwhile. The child is not reaped yet, so its group is in reach.
                self.kill();
                (Phase::Closing(why), None)
            }
            Next::LookAtTree(_, look) => (self.phase, Some(look)),
            Next::Stay(look) => (self.phase, look),
        })
    }

    /// Asks the tree to end; where that cannot be, or there is no grace, it is killed.
    fn ask(&mut self, why: EndedBy, now: Moment) -> (Phase, Option<Moment>) {
        if !self.limits.grace.is_zero() {
            let asked = self.child.process.terminate_tree();
            // One that refuses is no reason to leave the others no time.
            let is_asked = !asked.signalled.is_empty();
            self.tree.get_or_insert_default().note_asked(asked);
            if is_asked {
                let due = now.after(self.limits.grace);
                return (Phase::Asked(why, due), Some(due));
            }
        }
        // Nobody has to be given time. At once, for the child was just looked at (P3): by the next step it may have ended by itself.
        self.kill_now(why, now)
    }

    fn kill_now(&mut self, why: EndedBy, now: Moment) -> (Phase, Option<Moment>) {
        self.kill();
        let due = now.after(DRAIN_WITHIN);
        (Phase::Killed(why, due), Some(due))
    }

    fn kill(&mut self) {
        let killed = self.child.process.kill_tree();
        self.tree.get_or_insert_default().note_killed(killed);
    }

    /// P3: whoever a child that ended by itself has left behind is not ended by us.
    fn let_go(&mut self) {
        if let Err(error) = self.child.let_go() {
            // They would end with us, and nobody would hear of it.
            self.kill();
            if let Some(tree) = &mut self.tree {
                tree.error.get_or_insert(error);
            }
        }
    }

    /// Closes what is open, and waits until that is done: it takes no longer than the stop bound.
    fn poll_closed(&mut self, waker: &Waker) -> Poll<Option<Receipt>> {
        let [out, err] = self.outputs.poll_closed(waker);
        let out = out && self.link.poll_closed(waker);
        let err = err && self.poll_terminal_closed(waker);
        let Some(stdin) = &self.child.stdin else {
            return if out && err {
                Poll::Ready(None)
            } else {
                Poll::Pending
            };
        };
        stdin.cell().abort();
        let receipt = stdin.cell().poll_over(&mut self.stdin_id, waker);
        match receipt {
            Poll::Ready(receipt) if out && err => Poll::Ready(Some(receipt)),
            Poll::Ready(_) | Poll::Pending => Poll::Pending,
        }
    }

    /// Closes its terminal's input: what it did not read there it does not want. Whether that is done.
    fn poll_terminal_closed(&mut self, waker: &Waker) -> bool {
        let Some(terminal) = &self.terminal else {
            return true;
        };
        terminal.cell().abort();
        let closed = terminal.cell().poll_over(&mut self.terminal_id, waker);
        closed.is_ready()
    }

    fn name_holders(&mut self) {
        let child = &self.child.process;
        let captured = [&self.outputs.stdout, &self.outputs.stderr].map(|one| one.holders(child));
        let linked = self.link.holders(child);
        for one in captured.into_iter().flatten().chain(linked) {
            // It may have another name by now.
            if self.holders.iter().all(|known| known.pid != one.pid) {
                self.holders.push(one);
            }
        }
    }

    fn outcome(&mut self, ended: EndedBy, exit: Option<Exit>, stdin: Option<Receipt>) -> Outcome {
        let [stdout, stderr] = self.outputs.take();
        Outcome {
            exit,
            ended,
            stdout,
            stderr,
            stdin,
            holders: std::mem::take(&mut self.holders),
            tree: self.tree.take(),
            // Of a child whose end is not told there is none, so that both have one meaning on every system.
            usage: exit.and_then(|_| self.child.usage()),
            failure: self.outputs.failure(),
            has_observer_panicked: self.outputs.told.has_panicked(),
            is_broken_stdin_ignored: self.limits.is_broken_stdin_ignored,
        }
    }

    fn keep_time(&mut self, due: Option<Moment>, waker: &Waker) {
        self.forget_timer();
        self.timer = due.map(|due| self.child.driver.wake_at(due, waker.clone()));
    }

    fn forget_timer(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.child.driver.forget_timer(timer);
        }
    }

    /// A function that was told of output, or an observer of where it is passed on to, may have waited on this thread for something
    /// else, and with that have taken a wake that was meant for us: look again.
    fn may_have_missed_a_wake(&mut self) -> bool {
        let passed_on = self.outputs.passed_on() + self.link.news();
        let has_passed_on = std::mem::replace(&mut self.passed_on, passed_on) != passed_on;
        self.outputs.told.was_called() || has_passed_on
    }

    fn pending<T>(&mut self, waker: &Waker) -> Poll<T> {
        if self.may_have_missed_a_wake() {
            waker.wake_by_ref();
        }
        Poll::Pending
    }

    /// Goes as far as it can without waiting.
    fn step(&mut self, waker: &Waker, looks: Looks) -> Result<Step, Error> {
        self.refuse_elsewhere()?;
        loop {
            if let Phase::Closing(ended) = self.phase {
                return Ok(Step::Close(ended));
            }
            self.go_on(waker, looks)?;
            let (phase, due) = self.next_phase(waker, looks)?;
            if phase == self.phase {
                return Ok(Step::Wait(due));
            }
            self.phase = phase;
            if let Phase::Closing(_) = phase {
                self.forget_timer();
                self.name_holders();
            }
        }
    }

    /// Closes all, and says how it went.
    fn poll_end(&mut self, ended: EndedBy, waker: &Waker) -> Poll<Result<Outcome, Error>> {
        let stdin = match self.poll_closed(waker) {
            Poll::Pending => return self.pending(waker),
            Poll::Ready(stdin) => stdin,
        };
        let exit = self.child.try_wait();
        if self.tree.is_none() {
            self.let_go();
        }
        Poll::Ready(Ok(self.outcome(ended, exit, stdin)))
    }

    /// P3: what has ended it when the deadline of the wait passes, if nobody was signalled and nobody is to be.
    fn ended_by_itself(&self) -> Option<EndedBy> {
        match self.phase {
            _ if self.tree.is_some() => None,
            Phase::Closing(ended) => Some(ended),
            Phase::Asked(..) | Phase::Going | Phase::Killed(..) => {
                let known = self.known(self.now());
                // Nobody holds an output that is at its end.
                if known.exited_at.is_some() && known.has_ended {
                    return Some(EndedBy::Itself);
                }
                let is_let_be = known.let_be_since().is_some();
                is_let_be.then_some(EndedBy::DeadlineAfterExit)
            }
        }
    }
}

/// What comes next.
enum Step {
    Close(EndedBy),
    /// For what happens, until then at most.
    Wait(Option<Moment>),
}

impl Wait<Communicate> {
    /// Has `told` called with all that is read of both outputs, as it comes: also with what is past
    /// [`Limits::output_bytes_max`] and is not kept. Set before it is awaited or waited for; set again, it replaces the one before.
    ///
    /// The calls run on the thread that polls or waits, one at a time, with no lock held. They may call anything and block: while
    /// one runs nothing is read, so that the child waits when its pipe is full, and no limit is looked at. Each stream is told in its
    /// order; the order across the two is that in which we read them, and exact only when they are one
    /// ([`Output::to_stdout`](crate::Output::to_stdout)).
    ///
    /// **Bytes.** Whatever ends it, all that the [`Outcome`] counts was told before it is there: [`Captured::told`] says how much.
    /// With [`Limits::output_bytes_max`] zero nothing is kept beside that.
    ///
    /// **Panics** in `told` are caught: it is called no more, the child and its output go on as they would, and
    /// [`Outcome::has_observer_panicked`] says so, which is no success.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use watertight::{Command, Limits, OutputStream};
    /// let limits = Limits::new().output_bytes_max(0);
    /// let mut command = Command::new("sh");
    /// let run = command.args(["-c", "echo out; echo err >&2"]).output(limits)?;
    /// let (to, lengths) = std::sync::mpsc::channel();
    /// let outcome = run.on_output(move |stream, bytes| {
    ///     if stream == OutputStream::Stdout {
    ///         let _ = to.send(bytes.len());
    ///     }
    /// });
    /// let outcome = outcome.wait()?.into_result()?;
    /// assert_eq!((outcome.stdout.told, lengths.iter().sum::<usize>()), (4, 4));
    /// assert!(outcome.stdout.bytes.is_empty() && outcome.stdout.is_whole());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_output(mut self, told: impl FnMut(OutputStream, &[u8]) + Send + 'static) -> Self {
        self.operation_mut().outputs.told.set_output(Box::new(told));
        self
    }

    /// As [`on_output`](Self::on_output), line by line: `told` is called with a line when its newline has come, or when it is
    /// [`Limits::line_bytes_max`] long ([`LineEnd::Bound`](crate::LineEnd::Bound): the same line goes on in the next call). What is
    /// behind the last newline is told at the end of the stream ([`LineEnd::Stream`](crate::LineEnd::Stream)), or when nothing more
    /// is read, because of a deadline for one ([`LineEnd::Cut`](crate::LineEnd::Cut)).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use watertight::{Command, Limits};
    /// let mut command = Command::new("sh");
    /// let run = command.args(["-c", "echo first; echo second"]).output(Limits::new())?;
    /// let (to, lines) = std::sync::mpsc::channel();
    /// let run = run.on_lines(move |_, line| {
    ///     let _ = to.send(String::from_utf8_lossy(line.content()).into_owned());
    /// });
    /// run.wait()?.into_result()?;
    /// assert_eq!(lines.iter().collect::<Vec<_>>(), ["first", "second"]);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_lines(mut self, told: impl FnMut(OutputStream, &Line) + Send + 'static) -> Self {
        self.operation_mut().outputs.told.set_lines(Box::new(told));
        self
    }

    /// Sets `over` when the child is seen to be over, whoever holds its output then. For the program, to which a key means another thing then.
    #[doc(hidden)]
    pub fn tells_exit(mut self, over: &Arc<AtomicBool>) -> Self {
        self.operation_mut().over = Some(over.clone());
        self
    }
}

/// What the child writes to its terminal is taken as its standard output, or, where that is a pipe, as its standard error. What it
/// reads there comes back.
fn take_terminal(child: &mut Child) -> Option<Arc<PipeWriter>> {
    let place = if child.stdout.is_none() {
        &mut child.stdout
    } else {
        &mut child.stderr
    };
    if place.is_some() {
        return None;
    }
    let terminal = child.terminal.take()?;
    *place = Some(terminal.output);
    Some(terminal.input)
}

impl Sealed for Communicate {}

impl Operation for Communicate {
    type Output = Result<Outcome, Error>;
    type Backend = Native;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        match self.step(waker, Looks::Task)? {
            Step::Close(ended) => self.poll_end(ended, waker),
            Step::Wait(due) => {
                self.keep_time(due, waker);
                self.pending(waker)
            }
        }
    }

    /// A thread that may block waits for the outputs and the end by itself: no other thread has a part in it.
    fn poll_blocking(&mut self, waker: &Waker, deadline: Option<Moment>) -> Poll<Self::Output> {
        // Once others are to tell of something, they are heard: what waits for them is let go when they have told.
        while self.can_block {
            // Before the look, so that there is one behind it.
            let is_late = deadline.is_some_and(|deadline| deadline <= self.now());
            let due = match self.step(waker, Looks::Thread)? {
                Step::Close(ended) => return self.poll_end(ended, waker),
                Step::Wait(due) => due,
            };
            if is_late {
                return Poll::Pending;
            }
            let looks_again = self.outputs.looks_again();
            if self.may_have_missed_a_wake() || joined::send_all() || looks_again {
                continue;
            }
            let until = due.into_iter().chain(deadline).min();
            self.can_block = self.block(waker, until);
        }
        self.poll(waker)
    }

    fn expire(&mut self) -> Self::Output {
        self.look_before_the_end(Waker::noop(), Looks::Thread)?;
        let ended_before = self.ended_by_itself();
        if ended_before.is_none() {
            self.kill();
        }
        self.outputs.drain();
        self.link.stop(ErrorKind::TimedOut);
        if let Some(terminal) = &self.terminal {
            terminal.cell().abort();
        }
        self.name_holders();
        let Some(ended) = ended_before else {
            return Ok(self.outcome(EndedBy::Deadline, None, None));
        };
        let exit = self.child.try_wait();
        self.let_go();
        Ok(self.outcome(ended, exit, None))
    }

    fn forget(&mut self) {
        self.child.forget_exit(&mut self.exit);
        if let Some(request) = &self.limits.end_request {
            let is_elsewhere = self.child.driver.refuse_elsewhere().is_err();
            request.forget(self.request_id, is_elsewhere);
        }
        self.forget_timer();
        self.outputs.forget();
        self.link.forget();
        if let Some(stdin) = &self.child.stdin {
            stdin.cell().forget(self.stdin_id);
        }
        if let Some(terminal) = &self.terminal {
            terminal.cell().forget(self.terminal_id);
        }
    }

    fn driver(&self) -> Option<&Arc<Driver<Native>>> {
        Some(&self.child.driver)
    }
}
