//! When readers are looked at, and how a deadline waits for what the look finds.
//!
//! Never here: how it is asked (`asking.rs`), and what an answer means (`unread.rs`).

use super::{Copy, LOOK_EVERY};
use crate::destination::Destination;
use crate::end::End;
use crate::flags::{CopyFlags, SlowPolicy};
use crate::platform;
use crate::unread::Answer;
use std::fs::File;
use std::io;
use std::time::Instant;
use watertight::{OsHandle, PipeReader};

/// Has destinations know whether the thread that moves bytes out of this source may hold up a question about their pipes. A splice out of a
/// pipe waits for nothing while it has a lock; one out of a file waits for the disk. What goes through this program is read before it takes a
/// pipe's lock, and so is a file that goes to several or to queues.
pub(super) fn note_our_locks(
    flags: &CopyFlags,
    source: &PipeReader,
    destinations: &mut [Destination],
) {
    let is_copied = flags.stable || flags.hash.is_some();
    let is_copied = is_copied || flags.destinations.len() > 1 || flags.fills_queues();
    if is_movement_wanted(flags) && !is_copied && !is_pipe(source.try_clone_handle()) {
        destinations.iter_mut().for_each(Destination::note_our_lock);
    }
}

/// The pipes among the ends that may be enlarged. To be asked before a byte is written: the copy of a file's descriptor that is closed behind
/// that hears, in place of the destination's own close, what a disk far away has not taken.
pub(super) fn pipes_to_enlarge(
    flags: &CopyFlags,
    source: &PipeReader,
    destinations: &[Destination],
) -> Vec<End> {
    let copy = |end: &End| match end {
        End::Destination(index) => destinations[*index].writer().try_clone_handle(),
        End::Source => source.try_clone_handle(),
    };
    let mut ends = flags.ends_to_enlarge();
    ends.retain(|end| is_pipe(copy(end)));
    ends
}

/// fstat. What cannot be asked may be anything.
fn is_pipe(copy: io::Result<OsHandle>) -> bool {
    let known = copy.map(File::from).and_then(|copy| copy.metadata());
    known.is_ok_and(|known| platform::is_fifo(&known))
}

fn is_movement_wanted(flags: &CopyFlags) -> bool {
    flags.idle.is_some() || flags.slow != SlowPolicy::Wait
}

impl Copy<'_> {
    /// Whether a deadline depends on whether bytes move.
    pub(super) fn is_movement_watched(&self) -> bool {
        is_movement_wanted(self.flags) && !self.stopping
    }

    /// Looks at the readers that were not looked at for a while, and at those for which a deadline is about to count.
    pub(super) fn look_at_readers(&mut self, now: Instant) {
        if !self.is_movement_watched() {
            return;
        }
        let idle_at = self.idle_at();
        for index in 0..self.destinations.len() {
            let deadlines = [idle_at, self.slow_at(index)].into_iter().flatten();
            let mut due = deadlines.filter(|at| *at <= now);
            let destination = &mut self.destinations[index];
            let look_at = destination.look_at(LOOK_EVERY);
            let is_look_due = look_at.is_some_and(|at| at <= now);
            if is_look_due || due.any(|at| !destination.is_known_at(at, now)) {
                destination.look_at_reader(now, &self.mailbox);
            }
            destination.keep_gate(LOOK_EVERY, now);
            // Up to then its reader may have taken something.
            if let Some(locked_at) = destination.locked_since(now) {
                self.moved_at = self.moved_at.max(locked_at);
            }
        }
    }

    /// It was looked how much of a destination's pipe its reader has not taken.
    pub(super) fn handle_unread(&mut self, index: usize, answer: Answer, now: Instant) {
        if self.destinations[index].handle_unread(answer, now) {
            self.moved_at = self.moved_at.max(now);
        }
    }

    /// Whether the copy has been idle for too long, with all that readers have taken by then. While our own source's thread has a pipe's
    /// lock, nobody takes anything out of that.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let mut all = self.destinations.iter();
        let due = self.idle_at().filter(|at| *at <= now);
        due.is_some_and(|at| {
            all.all(|one| one.is_known_at(at, now) || one.locked_since(now).is_some())
        })
    }

    /// Whether a destination has been slow for too long, with all that its reader has taken by then.
    pub(super) fn is_slow(&self, index: usize, now: Instant) -> bool {
        let due = self.slow_at(index).filter(|at| *at <= now);
        due.is_some_and(|at| self.destinations[index].is_known_at(at, now))
    }
}
