//! Bytes that go from one simulated pipe to another inside the kernel, by the rules of Linux's splice and tee between pipes; and of
//! copy_file_range, where threads serve both, as they serve files.
//! What an errno means is decided by the real backend's own table, and which end it is about as the real backend does it.

use crate::kernel::{Kernel, Way};
use crate::pipe::{Got, Pipe};
use rustix::io::Errno;
use watertight_core::{Class, MoveNow, MoveScope, OpKind, OsCode, Outcome};
use watertight_os::classify::{Call, Next, classified, next};

/// A storm of EINTR ends some time.
const INTERRUPTIONS_MAX: u32 = 30;

/// The most that one copy between files carries: much less than in life.
const COPY_BYTES_MAX: usize = 8 * 1024;

/// What becomes of the source's bytes.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Front {
    Leaves,
    Stays,
}

impl Kernel {
    /// splice: moves what is in the one pipe and what the other one has room for. Every pipe here passes for one of the driver's
    /// own making; now and then the kernel does not move for no reason.
    pub(crate) fn move_now(
        &mut self,
        from: usize,
        to: usize,
        bytes_max: usize,
        scope: MoveScope,
    ) -> MoveNow {
        if self.are_files(from, to) {
            return self.copy_file((from, to), bytes_max, scope, Front::Leaves);
        }
        if !self.moves_between(from, to) || self.chance.one_in(self.manner.spurious_one_in) {
            return MoveNow::Unavailable;
        }
        let mut interruptions = 0;
        while let Some(code) = self.unix_fault(Call::Write) {
            match next(Call::Write, code) {
                Next::Again if interruptions < INTERRUPTIONS_MAX => interruptions += 1,
                Next::Again => break,
                Next::Wait => return MoveNow::Wait,
                Next::Fail(class, os) => return self.move_failed(from, to, class, os),
            }
        }
        let (source, destination) = (self.ends[from].pipe, self.ends[to].pipe);
        if !self.pipes[destination].reading {
            let (class, os) = classified(Call::Write, Errno::PIPE);
            return self.move_failed(from, to, class, os);
        }
        let unread = self.pipes[source].unread();
        if unread == 0 && self.pipes[source].writing {
            return MoveNow::Wait;
        }
        if unread == 0 {
            return self.nothing_moved(from);
        }
        let mut bytes = self.pipes[destination].room(unread.min(bytes_max));
        if bytes > 0 && self.chance.one_in(self.manner.short_one_in) {
            bytes = self.pipes[destination].shortened(bytes, &mut self.chance);
        }
        if bytes == 0 {
            return MoveNow::Wait;
        }
        let Got::Bytes(data, _) = self.pipes[source].pull(bytes) else {
            self.wrong("what is unread of a pipe is not there");
            return MoveNow::Unavailable;
        };
        self.pipes[destination].push(&data);
        self.settle(source);
        self.settle(destination);
        let taken = data.len();
        self.ends[to].moved += taken as u64;
        let outcome = Outcome::Transferred(taken as u64);
        self.note(to, OpKind::Write, &outcome, false);
        MoveNow::Moved(taken)
    }

    /// A pipe for copies out of another one, of its shape; now and then there is none for no reason.
    pub(crate) fn private_pipe(&mut self, from: usize) -> Option<(usize, usize)> {
        if !self.is_moved_from(from) || self.chance.one_in(self.manner.spurious_one_in) {
            return None;
        }
        let shape = self.pipes[self.ends[from].pipe].shape();
        self.pipes.push(Pipe::new(shape));
        let pipe = self.pipes.len() - 1;
        self.private_pipes.push(pipe);
        let out = self.open(pipe, false, Way::Readiness);
        Some((out, self.open(pipe, true, Way::Readiness)))
    }

    /// tee: copies what is at the front of the one pipe into the other one, which is a private one that is empty, or a destination's.
    pub(crate) fn duplicate_now(
        &mut self,
        from: usize,
        into: usize,
        bytes_max: usize,
        scope: MoveScope,
    ) -> MoveNow {
        if self.are_files(from, into) {
            return self.copy_file((from, into), bytes_max, scope, Front::Stays);
        }
        if !self.moves_between(from, into) || self.chance.one_in(self.manner.spurious_one_in) {
            return MoveNow::Unavailable;
        }
        let mut interruptions = 0;
        while let Some(code) = self.unix_fault(Call::Write) {
            match next(Call::Write, code) {
                Next::Again if interruptions < INTERRUPTIONS_MAX => interruptions += 1,
                Next::Again => break,
                Next::Wait => return MoveNow::Wait,
                Next::Fail(class, os) => return self.move_failed(from, into, class, os),
            }
        }
        let (source, copy) = (self.ends[from].pipe, self.ends[into].pipe);
        let is_private = self.private_pipes.contains(&copy);
        if is_private && self.pipes[copy].unread() > 0 {
            self.wrong("a copy goes behind another one");
        }
        if !self.pipes[copy].reading {
            let (class, os) = classified(Call::Write, Errno::PIPE);
            return self.move_failed(from, into, class, os);
        }
        let unread = self.pipes[source].unread();
        if unread == 0 && self.pipes[source].writing {
            return MoveNow::Wait;
        }
        if unread == 0 {
            return self.nothing_moved(from);
        }
        let mut bytes = self.pipes[copy].room(unread.min(bytes_max));
        if bytes > 0 && self.chance.one_in(self.manner.short_one_in) {
            bytes = self.pipes[copy].shortened(bytes, &mut self.chance);
        }
        if bytes == 0 {
            return MoveNow::Wait;
        }
        let data = self.pipes[source].front(bytes);
        self.pipes[copy].push(&data);
        if !is_private {
            self.settle(copy);
            self.ends[into].moved += data.len() as u64;
            let outcome = Outcome::Transferred(data.len() as u64);
            self.note(into, OpKind::Write, &outcome, false);
        }
        MoveNow::Moved(data.len())
    }

    /// copy_file_range: whatever fails, and that nothing is left or there is no room, a read and a write tell. It waits for a disk.
    fn copy_file(
        &mut self,
        (from, into): (usize, usize),
        bytes_max: usize,
        scope: MoveScope,
        front: Front,
    ) -> MoveNow {
        if scope != MoveScope::Everywhere {
            return MoveNow::Unavailable;
        }
        let (source, copy) = (self.ends[from].pipe, self.ends[into].pipe);
        let is_refused = self.chance.one_in(self.manner.spurious_one_in);
        if is_refused || !self.pipes[copy].reading || self.unix_fault(Call::Write).is_some() {
            return MoveNow::Unavailable;
        }
        let unread = self.pipes[source].unread();
        let mut bytes = self.pipes[copy].room(unread.min(bytes_max).min(COPY_BYTES_MAX));
        if bytes > 0 && self.chance.one_in(self.manner.short_one_in) {
            bytes = self.pipes[copy].shortened(bytes, &mut self.chance);
        }
        if bytes == 0 {
            return MoveNow::Unavailable;
        }
        let data = self.pipes[source].front(bytes);
        if front == Front::Leaves
            && self.pipes[source].pull(bytes) != Got::Bytes(data.clone(), false)
        {
            self.wrong("what is moved out of a file is not its front");
        }
        self.pipes[copy].push(&data);
        self.settle(source);
        self.settle(copy);
        self.ends[into].moved += data.len() as u64;
        let outcome = Outcome::Transferred(data.len() as u64);
        self.note(into, OpKind::Write, &outcome, false);
        MoveNow::Moved(data.len())
    }

    /// Two different ones that threads serve: they pass for files.
    fn are_files(&self, from: usize, to: usize) -> bool {
        let is_other = self.ends[from].pipe != self.ends[to].pipe;
        let is_file = |end: usize| self.ends[end].way == Way::Thread;
        is_other && is_file(from) && is_file(to)
    }

    /// Between two different pipes that are served by readiness; no socket's bytes are moved.
    fn moves_between(&self, from: usize, to: usize) -> bool {
        let is_other = self.ends[from].pipe != self.ends[to].pipe;
        is_other && self.is_moved_from(from) && self.is_moved_from(to)
    }

    /// A pipe that is served by readiness, and no socket.
    fn is_moved_from(&self, end: usize) -> bool {
        let end = &self.ends[end];
        let pipe = &self.pipes[end.pipe];
        end.way == Way::Readiness && !pipe.is_socket() && !pipe.has_quota()
    }

    /// EAGAIN does not say which end it is about, so the source is asked, by a call that may fail.
    pub(crate) fn who_waits(&mut self, from: usize) -> MoveNow {
        match self.unix_fault(Call::Wait) {
            None | Some(Errno::INTR) => {}
            Some(_) => return MoveNow::Wait,
        }
        let pipe = &self.pipes[self.ends[from].pipe];
        match (pipe.unread(), pipe.writing) {
            (0, true) => MoveNow::SourceWait,
            (0, false) => MoveNow::EndOfStream,
            (_, _) => MoveNow::DestinationWait,
        }
    }

    /// The end of the source. A FIFO is asked whether it is one, and the question may fail.
    fn nothing_moved(&mut self, from: usize) -> MoveNow {
        match self.unix_fault(Call::Wait) {
            None | Some(Errno::INTR) => MoveNow::EndOfStream,
            Some(code) => {
                let (class, os) = classified(Call::Wait, code);
                let outcome = Outcome::failed(class, os);
                self.note(from, OpKind::Read, &outcome, false);
                MoveNow::ReadFailed(class, os)
            }
        }
    }

    /// EPIPE comes before the end of the source; of any other failure a read and a write tell.
    fn move_failed(&mut self, from: usize, to: usize, class: Class, os: Option<OsCode>) -> MoveNow {
        if class != Class::Gone {
            return MoveNow::Unavailable;
        }
        let source = &self.pipes[self.ends[from].pipe];
        if source.unread() == 0 && !source.writing {
            return MoveNow::EndOfStream;
        }
        let outcome = Outcome::failed(class, os);
        self.note(to, OpKind::Write, &outcome, false);
        MoveNow::WriteFailed(class, os)
    }
}
