//! The pipe to the next command of a pipeline, where it goes through this process: a transfer that is part of the communication with the
//! command before, so that its limits are the pipe's, and the account of both ends.
//!
//! Never here: when the communication is over (`rule.rs`), and what the pipeline makes of the account.

use super::capture::{holders_of_pipe, is_readable};
use crate::reader::PipeReader;
use crate::transfer::{Transfer, TransferEnd, TransferError, Transferred};
use crate::wait::Operation;
use crate::writer::PipeWriter;
use bytes::BytesMut;
use std::task::{Poll, Waker};
use watertight_core::{ErrorKind, Ledger, Moment};
use watertight_os::{Found, Handle, Process};

/// How many bytes are read of what nobody takes any more, where the system does not say how many the pipe holds: a Linux pipe's capacity.
const READ_OUT_BYTES: u64 = 64 * 1024;

/// And at most: what an ordinary user may make a Linux pipe hold.
const READ_OUT_BYTES_MAX: u64 = 1024 * 1024;

/// How often it is looked for more, at most, before the pipe is closed: whoever writes on is not waited for.
const LAST_POLLS_MAX: u32 = 16;

/// What went through one pipe between two commands of a [`Pipeline`](crate::Pipeline), and what did not: see
/// [`Pipeline::accounted`](crate::Pipeline::accounted).
#[derive(Clone, Copy, Debug)]
#[must_use = "it says what became of the bytes"]
#[non_exhaustive]
pub struct PipeAccount {
    /// The account of the end that we read. *Accepted*: read of what the command before wrote. *Transferred*: accepted by our end of the
    /// pipe to the command behind. *Discarded*: the rest.
    pub from: Ledger,
    /// The account of the end that we write. *Transferred*: taken by the kernel, for the command behind.
    pub to: Ledger,
    /// How it ended: at the end of the stream, or why not and at which end. [`BrokenPipe`](ErrorKind::BrokenPipe) at the destination: the
    /// command behind read no further. [`Aborted`](ErrorKind::Aborted): the communication with the command before was over first, and its
    /// [`ended`](crate::Outcome::ended) says why. [`TimedOut`](ErrorKind::TimedOut): the deadline of the wait itself.
    pub ended: Result<Transferred, TransferError>,
}

impl PipeAccount {
    /// How many bytes went from the command before to the command behind: the kernel took them. How many of these the command behind has
    /// read, only that command knows.
    #[must_use]
    pub const fn passed_on(&self) -> u64 {
        self.to.transferred()
    }

    /// How many bytes were read of what the command before wrote, and did not go to the command behind.
    #[must_use]
    pub const fn not_passed_on(&self) -> u64 {
        self.from.accepted().saturating_sub(self.to.transferred())
    }

    /// Whether it was closed before the stream's end, and all that came had gone on.
    pub(crate) fn is_left_empty(&self) -> bool {
        let is_left = |failed: &TransferError| failed.error.kind == ErrorKind::Aborted;
        self.ended.as_ref().is_err_and(is_left) && self.not_passed_on() == 0
    }

    /// Whether it ended as a pipe ends between commands that are well: with the stream, or because the command behind had enough.
    pub(crate) fn is_well(&self) -> bool {
        match self.ended {
            Ok(_) => true,
            Err(failed) => {
                failed.end == TransferEnd::Destination && failed.error.kind == ErrorKind::BrokenPipe
            }
        }
    }
}

/// The pipe to the next command, if there is one that goes through us.
#[derive(Debug)]
pub(super) struct Link(Option<Box<Ends>>);

#[derive(Debug)]
struct Ends {
    from: PipeReader,
    to: PipeWriter,
    transfer: Transfer<'static>,
    ended: Option<Result<Transferred, TransferError>>,
    heard_at: Moment,
    from_id: u64,
    to_id: u64,
}

impl Link {
    pub(super) fn new(ends: Option<(PipeReader, PipeWriter)>) -> Self {
        Self(ends.map(|(from, to)| {
            Box::new(Ends {
                transfer: Transfer::between(from.cell().clone(), to.cell().clone()),
                from,
                to,
                ended: None,
                heard_at: Moment::default(),
                from_id: 0,
                to_id: 0,
            })
        }))
    }

    fn going(&self) -> Option<&Ends> {
        self.0.as_deref().filter(|ends| ends.ended.is_none())
    }

    fn going_mut(&mut self) -> Option<&mut Ends> {
        self.0.as_deref_mut().filter(|ends| ends.ended.is_none())
    }

    /// Passes on what is there; the waker is called when there is more.
    pub(super) fn poll(&mut self, waker: &Waker, now: Moment) {
        let Some(ends) = self.going_mut() else {
            return;
        };
        let (passed_on, was_held_up) = (ends.transfer.bytes(), ends.is_held_up());
        match ends.transfer.poll(waker) {
            Poll::Ready(ended) => ends.end(ended),
            Poll::Pending => ends.watch_queue(waker),
        }
        if ends.transfer.bytes() > passed_on || (was_held_up && !ends.is_held_up()) {
            ends.heard_at = now;
        }
    }

    /// Whether nothing more will be passed on.
    pub(super) fn has_ended(&self) -> bool {
        self.going().is_none()
    }

    /// Whether what came waits for the command behind.
    pub(super) fn is_held_up(&self) -> bool {
        self.going().is_some_and(Ends::is_held_up)
    }

    /// When something came last.
    pub(super) fn heard_at(&self) -> Moment {
        let ends = self.0.as_ref();
        ends.map_or_else(Moment::default, |ends| ends.heard_at)
    }

    /// Whether there is something to read of which whoever waits here is not told yet, and nothing was passed on since then.
    pub(super) fn is_about_to_be_told(&self, since: Moment) -> bool {
        let silent = self.going().filter(|ends| ends.heard_at <= since);
        silent.is_some_and(|ends| is_readable(&ends.from))
    }

    /// It is another number whenever an observer of the next command's input may have been called.
    pub(super) fn news(&self) -> u64 {
        let ends = self.0.as_ref();
        ends.map_or(0, |ends| {
            ends.to.ledger().transferred() + u64::from(ends.ended.is_some())
        })
    }

    /// Who else has the pipe, if its end has not come.
    pub(super) fn holders(&self, child: &Process) -> Vec<Found> {
        holders_of_pipe(child, self.going().map(|ends| &ends.from))
    }

    /// Ends it, if it has not ended.
    pub(super) fn stop(&mut self, why: ErrorKind) {
        if let Some(ends) = self.going_mut() {
            let stopped = ends.transfer.ended_by(why);
            ends.end(Err(stopped));
        }
    }

    /// Closes both ends, behind what goes on without any waiting. Whether that is done.
    pub(super) fn poll_closed(&mut self, waker: &Waker) -> bool {
        for _ in 0..LAST_POLLS_MAX {
            let before = self.news();
            self.poll(waker, self.heard_at());
            if self.news() == before {
                break;
            }
        }
        self.stop(ErrorKind::Aborted);
        let Some(ends) = self.0.as_deref_mut() else {
            return true;
        };
        let from = ends.from.cell().poll_over(&mut ends.from_id, waker);
        let to = ends.to.cell().poll_over(&mut ends.to_id, waker);
        from.is_ready() && to.is_ready()
    }

    /// Waits for nothing any more.
    pub(super) fn forget(&mut self) {
        if let Some(ends) = self.0.as_deref_mut() {
            ends.transfer.forget();
            ends.from.cell().forget(ends.from_id);
            ends.to.cell().forget(ends.to_id);
        }
    }

    /// The account, once it has ended.
    pub(super) fn account(&self) -> Option<PipeAccount> {
        let ends = self.0.as_ref()?;
        Some(PipeAccount {
            from: ends.from.ledger(),
            to: ends.to.ledger(),
            ended: ends.ended?,
        })
    }
}

impl Ends {
    fn is_held_up(&self) -> bool {
        let waits = self.transfer.waits_for() == TransferEnd::Destination;
        self.ended.is_none() && (waits || self.to.ledger().unsettled() > 0)
    }

    /// The transfer may wait for the command before while the kernel has not taken all that is accepted: the waker is called when it has.
    fn watch_queue(&mut self, waker: &Waker) {
        if self.to.ledger().unsettled() == 0 {
            return;
        }
        let cell = self.to.cell();
        let taken = cell.poll_transferred(&mut self.to_id, &mut None, waker);
        if taken.is_ready() {
            waker.wake_by_ref();
        }
    }

    /// P9: closes both ends. The command behind reads the end, and the one before gets SIGPIPE if it writes on.
    fn end(&mut self, ended: Result<Transferred, TransferError>) {
        self.transfer.forget();
        if ended.is_ok() {
            self.to.cell().finish();
        } else {
            self.read_out();
            self.to.cell().abort();
        }
        self.from.cell().abort();
        self.ended = Some(ended);
    }

    /// Reads what the command before has written by now and nobody takes any more, so that it is in the account: as much as its pipe
    /// holds, in one read.
    fn read_out(&self) {
        let cell = self.from.cell();
        // C4: in a forked child it is the parent's to read.
        let Ok(capacity) = cell.look(Handle::capacity) else {
            return;
        };
        let bytes = capacity.unwrap_or(READ_OUT_BYTES).min(READ_OUT_BYTES_MAX);
        let ahead = cell.ledger().queued();
        cell.read_ahead_once_to(ahead + bytes, &mut BytesMut::new());
    }
}
