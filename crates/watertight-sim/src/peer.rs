//! The other end of a pipe, when the driver has only one: a program that does anything at any time.

use crate::chance::Chance;
use crate::kernel::Kernel;

/// What a peer does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deed {
    /// Closes its end.
    Close,
    /// A server cuts the connection (Windows).
    Disconnect,
    /// A client comes (Windows).
    Connect,
    /// An empty message (Windows).
    Empty,
    /// Another writer on the same pipe puts in what fits of so many bytes.
    Intrude(usize),
    /// Reads up to so many bytes.
    Read(usize),
    /// Leaves without reading what came from us: a socket's reset, after the data.
    Reset,
    /// Writes so many bytes.
    Write(usize),
}

/// A peer with its plan. After the plan: a reader reads to the end, a writer closes, unless it is to do nothing.
#[derive(Debug)]
pub struct Peer {
    pipe: usize,
    reads: bool,
    plan: Vec<Deed>,
    next: usize,
    /// Bytes of the present deed that are done.
    done: usize,
    /// After its plan it does nothing until it is told to end.
    stubborn: bool,
}

impl Peer {
    /// A peer on a pipe. `reads`: its end is the reading one.
    #[must_use]
    pub fn new(pipe: usize, reads: bool, plan: Vec<Deed>, stubborn: bool) -> Self {
        Self {
            pipe,
            reads,
            plan,
            next: 0,
            done: 0,
            stubborn,
        }
    }

    /// From now on it goes on to the end of the stream.
    pub fn relent(&mut self) {
        self.stubborn = false;
    }

    fn is_gone(&self, kernel: &Kernel) -> bool {
        let pipe = &kernel.pipes[self.pipe];
        let open = if self.reads {
            pipe.reading
        } else {
            pipe.writing
        };
        !open || pipe.disconnected
    }

    /// Whether it could do something now.
    pub(crate) fn is_able(&self, kernel: &Kernel) -> bool {
        if self.is_gone(kernel) {
            return false;
        }
        let pipe = &kernel.pipes[self.pipe];
        match self.plan.get(self.next) {
            Some(Deed::Read(_)) => pipe.unread() > 0 || !pipe.writing,
            Some(Deed::Write(_)) => kernel.room(self.pipe, 1) > 0 || !pipe.reading,
            Some(
                Deed::Close
                | Deed::Connect
                | Deed::Disconnect
                | Deed::Empty
                | Deed::Intrude(_)
                | Deed::Reset,
            ) => true,
            None if self.stubborn => false,
            None if pipe.listening => true,
            None if self.reads => pipe.unread() > 0 || !pipe.writing,
            None => true,
        }
    }

    pub(crate) fn act(&mut self, kernel: &mut Kernel, chance: &mut Chance) {
        if self.is_gone(kernel) {
            return;
        }
        let at = self.pipe;
        let Some(deed) = self.plan.get(self.next).copied() else {
            return self.go_on(kernel);
        };
        match deed {
            Deed::Close => kernel.peer_closes(at, self.reads),
            Deed::Connect => kernel.peer_connects(at),
            Deed::Disconnect => kernel.peer_disconnects(at),
            Deed::Empty => kernel.peer_writes_nothing(at),
            Deed::Intrude(bytes) => kernel.intrudes(at, bytes),
            Deed::Reset => kernel.peer_resets(at),
            Deed::Read(bytes) => {
                let most = chance.length(1, bytes - self.done);
                self.done += kernel.peer_reads(at, most);
                let ended = kernel.pipes[at].unread() == 0 && !kernel.pipes[at].writing;
                if self.done < bytes && !ended {
                    return;
                }
            }
            Deed::Write(bytes) => {
                let most = chance.length(1, bytes - self.done);
                self.done += kernel.peer_writes(at, most);
                if self.done < bytes && kernel.pipes[at].reading {
                    return;
                }
            }
        }
        self.next += 1;
        self.done = 0;
    }

    fn go_on(&self, kernel: &mut Kernel) {
        let pipe = &kernel.pipes[self.pipe];
        if pipe.listening {
            kernel.peer_connects(self.pipe);
        } else if self.reads && pipe.unread() > 0 {
            kernel.peer_reads(self.pipe, usize::MAX);
        } else {
            kernel.peer_closes(self.pipe, self.reads);
        }
    }
}

/// What others write.
const FOREIGN: u8 = 0xEE;

impl Kernel {
    /// The reading peer takes at most `max` bytes.
    pub fn peer_reads(&mut self, pipe: usize, max: usize) -> usize {
        self.tick();
        self.tell(|| format!("peer of pipe {pipe} reads up to {max}"));
        let before = self.pipes[pipe].read;
        self.pipes[pipe].pull(max);
        self.settle(pipe);
        self.pipes[pipe].read - before
    }

    /// The writing peer puts in what fits of `len` bytes of its stream; whether any did.
    pub fn peer_writes(&mut self, pipe: usize, len: usize) -> usize {
        self.tick();
        self.tell(|| format!("peer of pipe {pipe} writes up to {len}"));
        let room = self.room(pipe, len);
        let this = &mut self.pipes[pipe];
        let start = this.log().len();
        let data: Vec<u8> = (start..start + room)
            .map(|at| crate::chance::pattern(pipe as u32, at))
            .collect();
        if room > 0 {
            this.push(&data);
        }
        self.settle(pipe);
        room
    }

    /// Somebody else has the writing end too, and writes.
    pub fn intrudes(&mut self, pipe: usize, len: usize) {
        self.tick();
        self.tell(|| format!("somebody else writes up to {len} into pipe {pipe}"));
        let room = self.room(pipe, len);
        if room > 0 && self.pipes[pipe].writing && !self.pipes[pipe].listening {
            self.pipes[pipe].push_foreign(&vec![FOREIGN; room]);
        }
        self.settle(pipe);
    }

    /// The peer of a socket leaves with bytes of ours unread.
    pub fn peer_resets(&mut self, pipe: usize) {
        self.tick();
        self.tell(|| format!("peer of pipe {pipe} resets"));
        self.pipes[pipe].was_reset = self.pipes[pipe].is_socket();
        self.shut(pipe, false);
    }

    /// The peer sends an empty message.
    pub fn peer_writes_nothing(&mut self, pipe: usize) {
        self.tick();
        self.tell(|| format!("peer of pipe {pipe} writes an empty message"));
        self.pipes[pipe].push_empty();
        self.settle(pipe);
    }

    /// The peer closes its end.
    pub fn peer_closes(&mut self, pipe: usize, its_end_reads: bool) {
        self.tick();
        self.tell(|| format!("peer of pipe {pipe} closes"));
        self.shut(pipe, its_end_reads);
    }

    /// The server cuts the connection: everything in it is gone, on both ends.
    pub fn peer_disconnects(&mut self, pipe: usize) {
        self.tick();
        self.tell(|| format!("peer of pipe {pipe} disconnects"));
        self.pipes[pipe].disconnected = true;
        self.pipes[pipe].clear();
        self.settle(pipe);
    }

    /// Somebody comes, and data can flow.
    pub fn peer_connects(&mut self, pipe: usize) {
        self.tick();
        self.tell(|| format!("peer of pipe {pipe} connects"));
        self.pipes[pipe].listening = false;
        self.settle(pipe);
    }
}
