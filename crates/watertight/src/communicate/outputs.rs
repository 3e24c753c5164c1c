//! Both outputs of a child, and its exit as far as it was told: the part of a `communicate` that several threads tell of something. On any
//! backend, so that the models go through every order in which they may.
//!
//! Never here: what comes next (`rule.rs`), how the exit is asked for, and what is done to the child.

use super::capture::{Capture, Looks};
use super::outcome::{AfterExit, Captured, Limits};
use super::rule::Known;
use super::told::{OutputStream, Told};
use crate::driver::Driver;
use crate::reader::PipeReader;
use crate::writer::PipeWriter;
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause, Error, ErrorKind, Moment, Verb};

/// Both outputs of a child, and its exit as far as it was told.
#[derive(Debug)]
pub(crate) struct Outputs<B: Backend> {
    pub(super) stdout: Capture<B>,
    pub(super) stderr: Capture<B>,
    pub(crate) told: Told,
    after_exit: AfterExit,
    /// When the child was seen to be over.
    exited_at: Option<Moment>,
    /// Why the system cannot tell whether it is.
    failure: Option<Error>,
    /// The outputs were looked at once more since the child was seen to be over.
    is_read_out: bool,
    /// A thread saw the child's end by its last look: what the child wrote before that is read before anything else is decided.
    looks_again: bool,
}

impl<B: Backend> Outputs<B> {
    /// Of the standard output and the standard error, as far as they are pipes of their own, and where they go on to.
    pub(crate) fn new(
        [stdout, stderr]: [Option<PipeReader<B>>; 2],
        [stdout_to, stderr_to]: [Option<Arc<PipeWriter<B>>>; 2],
        limits: &Limits,
    ) -> Self {
        Self {
            stdout: Capture::new(OutputStream::Stdout, stdout, stdout_to, limits),
            stderr: Capture::new(OutputStream::Stderr, stderr, stderr_to, limits),
            told: Told::new(limits.line_bytes_max),
            after_exit: limits.after_exit,
            exited_at: None,
            failure: None,
            is_read_out: false,
            looks_again: false,
        }
    }

    /// Whether nobody asks for the child's end any more: it was told, or cannot be.
    pub(crate) const fn is_over(&self) -> bool {
        self.exited_at.is_some() || self.failure.is_some()
    }

    /// Reads what is there, and asks whether the child is over. `poll_exited` says so, and has the waker called when it is.
    pub(crate) fn go_on(
        &mut self,
        driver: &Driver<B>,
        waker: &Waker,
        looks: Looks,
        poll_exited: impl FnOnce() -> Poll<Result<(), Cause>>,
    ) -> Result<(), Error> {
        let (now, is_over) = (driver.backend.now(), self.is_over());
        for capture in [&mut self.stdout, &mut self.stderr] {
            capture.poll(waker, looks, now, is_over, &mut self.told);
        }
        // What was written before the end may be in a pipe whose wait is answered only now.
        self.is_read_out = self.exited_at.is_some_and(|since| {
            let mut outputs = [&self.stdout, &self.stderr].into_iter();
            !outputs.any(|output| output.is_about_to_be_told(since))
        });
        if !is_over && let Poll::Ready(exited) = poll_exited() {
            self.note_exit(exited, driver.backend.now(), waker, looks)?;
        }
        Ok(())
    }

    /// The child is over, or the system cannot tell.
    pub(super) fn note_exit(
        &mut self,
        exited: Result<(), Cause>,
        now: Moment,
        waker: &Waker,
        looks: Looks,
    ) -> Result<(), Error> {
        if let Err(cause) = exited {
            let error = Error::without_bytes(Verb::Run, cause);
            if cause.kind == ErrorKind::WrongProcess {
                // C4: the process that it belongs to has all that came.
                return Err(error);
            }
            self.failure = Some(error);
            return Ok(());
        }
        self.exited_at = Some(now);
        // What it wrote before its end is read before anything else is decided.
        match looks {
            Looks::Task => waker.wake_by_ref(),
            Looks::Thread => self.looks_again = true,
        }
        Ok(())
    }

    /// What the decision goes by, as far as it is known here: nobody has asked for the end, and there is no deadline.
    pub(crate) fn known(&self, now: Moment) -> Known {
        Known {
            now,
            exited_at: self.exited_at,
            is_unheard: self.failure.is_some(),
            has_ended: self.stdout.has_ended() && self.stderr.has_ended(),
            is_past_bound: self.stdout.ends_the_tree() || self.stderr.ends_the_tree(),
            requests: 0,
            due: None,
            after_exit: self.after_exit,
            is_read_out: self.is_read_out,
            is_held_up: self.stdout.is_held_up() || self.stderr.is_held_up(),
            heard_at: self.stdout.heard_at().max(self.stderr.heard_at()),
        }
    }

    /// Why the system cannot tell whether the child is over, if it cannot.
    pub(super) const fn failure(&self) -> Option<Error> {
        self.failure
    }

    /// Whether a thread is to look once more before it waits.
    pub(super) const fn looks_again(&mut self) -> bool {
        std::mem::replace(&mut self.looks_again, false)
    }

    /// Whether one of them was closed because it cannot be passed on.
    pub(super) const fn is_left(&self) -> bool {
        self.stdout.is_left() || self.stderr.is_left()
    }

    /// How much was passed on.
    pub(super) fn passed_on(&self) -> u64 {
        self.stdout.passed_on() + self.stderr.passed_on()
    }

    /// Takes what is in the pipes still, as far as that needs no waiting.
    pub(super) fn drain(&mut self) {
        self.stdout.drain(&mut self.told);
        self.stderr.drain(&mut self.told);
    }

    /// Closes them. Whether the one and the other is closed.
    pub(crate) fn poll_closed(&mut self, waker: &Waker) -> [bool; 2] {
        [&mut self.stdout, &mut self.stderr].map(|one| one.poll_closed(waker, &mut self.told))
    }

    /// Waits for nothing any more.
    pub(crate) fn forget(&self) {
        self.stdout.forget();
        self.stderr.forget();
    }

    /// What came of them. Nothing more is read.
    pub(crate) fn take(&mut self) -> [Captured; 2] {
        self.told.tell_cut();
        [&mut self.stdout, &mut self.stderr].map(Capture::take)
    }
}
