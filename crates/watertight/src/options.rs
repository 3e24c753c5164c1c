//! The bounds of a pipe: each has a name, a default and a reason.

use crate::observer::Observer;
use std::sync::Arc;
use std::time::Duration;

/// The most chunks of one gather write: Linux's and the BSDs' `IOV_MAX` is 1024; past a few dozen nothing is gained.
pub(crate) const OP_CHUNKS_MAX: usize = 64;

/// The size to which segments of joined small messages grow. Joined writes of 16 to 32 KiB stay in the cache.
pub(crate) const SEGMENT_BYTES_MAX: usize = 32 * 1024;

/// What dropping a writer means.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum OnDrop {
    /// Stop now, give up what was not transferred, and close. Nothing is said of it but to the observer and in
    /// [`census`](crate::census): it was asked for.
    Abort,
    /// Send what was accepted, then end the stream.
    #[default]
    Finish,
}

/// How a [`PipeWriter`](crate::PipeWriter) is bounded and who observes it.
#[derive(Clone)]
#[must_use = "options do nothing until they are passed to an adoption"]
pub struct WriterOptions {
    pub(crate) queue_bytes_max: u64,
    pub(crate) op_bytes_max: usize,
    pub(crate) linger: Option<Duration>,
    pub(crate) on_drop: OnDrop,
    pub(crate) stop_within: Duration,
    pub(crate) half_close: bool,
    pub(crate) armed: bool,
    pub(crate) join: bool,
    pub(crate) capacity_bytes: Option<u64>,
    /// As the writer's maker has it, if nothing is said.
    pub(crate) enlarge: Option<bool>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl WriterOptions {
    /// The default of [`WriterOptions::queue_bytes_max`]: several operations' worth, little enough for thousands of pipes.
    pub const QUEUE_BYTES_MAX: u64 = 256 * 1024;
    /// The default of [`WriterOptions::op_bytes_max`]: a Linux pipe's capacity, and the most that a cancelled write leaves
    /// in doubt on Windows.
    pub const OP_BYTES_MAX: usize = 64 * 1024;
    /// The default of [`WriterOptions::stop_within`]: a kernel answers a cancel in microseconds; a hung driver never.
    pub const STOP_WITHIN: Duration = Duration::from_secs(1);

    /// The defaults.
    pub fn new() -> Self {
        Self {
            queue_bytes_max: Self::QUEUE_BYTES_MAX,
            op_bytes_max: Self::OP_BYTES_MAX,
            linger: None,
            on_drop: OnDrop::Finish,
            stop_within: Self::STOP_WITHIN,
            half_close: true,
            armed: false,
            join: true,
            capacity_bytes: None,
            enlarge: None,
            observer: None,
        }
    }

    /// How many bytes may be queued and in flight together. At least 1.
    pub fn queue_bytes_max(mut self, bytes: u64) -> Self {
        self.queue_bytes_max = bytes.max(1);
        self
    }

    /// How many bytes one operation carries at most. At least 1, at most [`i32::MAX`].
    pub fn op_bytes_max(mut self, bytes: usize) -> Self {
        self.op_bytes_max = bytes.clamp(1, i32::MAX as usize);
        self
    }

    /// How long a dropped writer goes on sending what it accepted. Zero aborts at once.
    ///
    /// Without this there is no bound: as long as the process lives and the peer is there, it goes on (the process has a
    /// bound on all that linger, [`bound_lingering`](crate::bound_lingering), and its end has one, see
    /// [`exit_within`](crate::exit_within())). Where a bound passes, the rest is given up, and told.
    pub fn linger(mut self, duration: Duration) -> Self {
        self.linger = Some(duration);
        self
    }

    /// What a drop means: [`OnDrop::Finish`] unless this says otherwise.
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.on_drop = on_drop;
        self
    }

    /// How long a stop waits for the kernel's answer, before the operation goes into quarantine and its bytes are in doubt.
    pub fn stop_within(mut self, duration: Duration) -> Self {
        self.stop_within = duration;
        self
    }

    /// Whether `finish` and a drop end the stream of a *socket* even if others hold it too (`shutdown(SHUT_WR)`).
    ///
    /// On by default: the peer sees the end although this process reads from the same socket. Turn it off for a socket
    /// that another process uses (inherited standard output).
    pub fn half_close(mut self, yes: bool) -> Self {
        self.half_close = yes;
        self
    }

    /// Whether the stream is to look cut unless it is ended in order: for a TCP socket on Unix.
    ///
    /// An end that is not `finish`, or a drop that sent everything, is a reset then: an abort, a failure, a panic, a kill
    /// (`SIGKILL` too), the end of the process before it. The peer reads what its own system has by then, and then
    /// `ECONNRESET` in place of a normal end; what this system still holds for it is lost, which is the price. The orderly end
    /// is a half-close, whatever [`half_close`](Self::half_close) says. It is off by default. An adoption of anything else fails with [`Unsupported`](crate::ErrorKind::Unsupported): a pipe and a local
    /// socket have no such sign.
    pub fn armed(mut self, yes: bool) -> Self {
        self.armed = yes;
        self
    }

    /// Whether small messages are joined while they come densely. On by default; off, each goes in a call of its own as long as the
    /// kernel takes it.
    ///
    /// After a pause, and whenever the sending thread has waited for anything of this library, the first sixteen messages go at once,
    /// each by itself. If these took less than 5 µs each, those that follow are joined: a message of up to 2 KiB is only queued.
    /// (Where a thread waits behind each message, as in round trips, it is 1,024 messages before that is tried again.)
    /// What is queued goes together when 16 KiB have come (or half the queue), when 50 µs have passed (up to 400 µs while 16 KiB
    /// come faster than that), or before somebody waits: for [`until_transferred`](crate::PipeWriter::until_transferred), a `flush`
    /// or the end here, or for anything of this library in the thread that sends.
    ///
    /// **Bytes.** Order, account and receipt are the same. What differs is when: an [`abort`](crate::PipeWriter::abort) finds up to
    /// 16 KiB queued, and discards them, that would have been transferred; a failure is heard of by the call after the tick, not by
    /// the one that brought the bytes; a process that is killed in the middle of a burst (`SIGKILL`, a signal that it does not
    /// handle, `_exit`, `exec`) loses what waits for its tick, such as the last lines of a log. A drop, `finish` and the ordinary end of
    /// the process lose nothing, whatever bound that has. On a pipe into which
    /// others may write, what is joined ends with a message and never exceeds `PIPE_BUF`.
    ///
    /// Linux 5.11 and later, for ends that can be polled. Elsewhere each message goes by itself: the system's waits are too coarse
    /// (Windows) or were not measured.
    ///
    /// # Examples
    ///
    /// ```
    /// # use watertight::{ReaderOptions, WriterOptions};
    /// // On Unix each line is with the kernel when `send` returns, whatever happens to this process then.
    /// let options = WriterOptions::new().join(false);
    /// let (reader, log) = watertight::pipe_with(ReaderOptions::new(), options)?;
    /// for line in 0..1000 {
    ///     log.send(b"a line of the log\n").wait()?;
    /// }
    /// log.until_transferred().wait()?;
    /// assert_eq!(log.ledger().transferred(), 18_000);
    /// # drop(reader);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join(mut self, yes: bool) -> Self {
        self.join = yes;
        self
    }

    /// Asks the kernel for a pipe of this capacity (Linux: `F_SETPIPE_SZ`); what it gave is
    /// [`PipeWriter::capacity`](crate::PipeWriter::capacity). Not asked for by default: a pipe may be shared, and an
    /// ordinary user's pipes share one limit (`/proc/sys/fs/pipe-user-pages-soft`). Ignored where it cannot be changed.
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.capacity_bytes = Some(bytes);
        self
    }

    /// Whether the pipe gets room for 128 KiB once 4 MiB have gone into it and it was full (Linux: `F_SETPIPE_SZ`;
    /// elsewhere this does nothing). One that is larger by then is left alone, and a refusal by the system is no failure: the pipe goes
    /// on as it is.
    ///
    /// On by default for the piped input of a [`Command`](crate::Command)'s child for which no
    /// [`capacity_bytes`](Self::capacity_bytes) is asked for, off for every other writer. A child that reads 128 KiB at once, as `cat`
    /// does, then finds as much, and whoever feeds it waits half as often (docs/performance.md, Children). The price is that of
    /// [`ReaderOptions::enlarge`].
    ///
    /// # Examples
    ///
    /// ```
    /// let mut command = watertight::Command::new("gzip");
    /// command.stdin_options(watertight::WriterOptions::new().enlarge(false));
    /// ```
    pub fn enlarge(mut self, yes: bool) -> Self {
        self.enlarge = Some(yes);
        self
    }

    /// Who is told of progress and of the ending.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for WriterOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriterOptions")
            .field("queue_bytes_max", &self.queue_bytes_max)
            .field("op_bytes_max", &self.op_bytes_max)
            .field("linger", &self.linger)
            .field("on_drop", &self.on_drop)
            .field("stop_within", &self.stop_within)
            .field("half_close", &self.half_close)
            .field("armed", &self.armed)
            .field("join", &self.join)
            .field("capacity_bytes", &self.capacity_bytes)
            .field("enlarge", &self.enlarge)
            .field("observer", &self.observer.is_some())
            .finish()
    }
}

/// How a [`PipeReader`](crate::PipeReader) is bounded.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they are passed to an adoption"]
pub struct ReaderOptions {
    pub(crate) read_ahead_bytes_max: usize,
    pub(crate) exact: bool,
    pub(crate) packets: bool,
    pub(crate) spin: Duration,
    /// As the reader's maker has it, if nothing is said.
    pub(crate) enlarge: Option<bool>,
    pub(crate) stop_within: Duration,
    #[cfg(feature = "tokio")]
    pub(crate) tokio_reactor: bool,
}

impl ReaderOptions {
    /// The default of [`ReaderOptions::read_ahead_bytes_max`].
    pub const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;

    /// The largest packet of a pipe of packets: `PIPE_BUF` of Linux (pipe(2), `O_DIRECT`). A larger write becomes several packets.
    pub const PACKET_BYTES_MAX: usize = 4096;

    /// The longest [`spin`](Self::spin): many times what it takes to block and to be woken, which is all that a spin can spare.
    pub const SPIN_MAX: Duration = Duration::from_millis(1);

    /// The defaults.
    pub fn new() -> Self {
        Self {
            read_ahead_bytes_max: Self::READ_AHEAD_BYTES_MAX,
            exact: false,
            packets: false,
            spin: Duration::ZERO,
            enlarge: None,
            stop_within: WriterOptions::STOP_WITHIN,
            #[cfg(feature = "tokio")]
            tokio_reactor: false,
        }
    }

    /// How many bytes are read ahead at most, where the system reads only into memory of its own choosing: Windows, and
    /// Unix handles that need a helper thread. Nothing is ever read before somebody asks. At least 1.
    pub fn read_ahead_bytes_max(mut self, bytes: usize) -> Self {
        self.read_ahead_bytes_max = bytes.clamp(1, i32::MAX as usize);
        self
    }

    /// Whether no read takes more than the caller's buffer has room for, so that what is behind it is there for whoever else reads
    /// the same pipe. Off by default: where there is read-ahead, small reads cost an operation each without it. It has no effect
    /// on a pipe of packets ([`packets`](Self::packets)).
    ///
    /// # Examples
    ///
    /// ```
    /// let options = watertight::ReaderOptions::new().exact(true);
    /// let (reader, writer) = watertight::pipe_with(options, watertight::WriterOptions::new())?;
    /// writer.send(b"first, rest").wait()?;
    /// let mut first = [0; 5];
    /// assert_eq!(reader.receive(&mut first).wait()?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exact(mut self, yes: bool) -> Self {
        self.exact = yes;
        self
    }

    /// Whether the pipe may be one of packets (Linux: `pipe2(O_DIRECT)`). Off by default.
    ///
    /// A read takes one packet out of such a pipe, and the kernel throws away what the buffer has no room for: `read(2)` does, and
    /// without this option so do the reads of this library. With it every read offers the kernel room for a whole packet
    /// ([`PACKET_BYTES_MAX`](Self::PACKET_BYTES_MAX)); what the caller's buffer has no room for is read ahead, and is what the next
    /// read brings. So no byte is lost, and a read never joins two packets.
    ///
    /// It is not the default because the reading end does not show that its pipe is one of packets, and on an ordinary pipe the
    /// read-ahead takes bytes from whoever shares the reading end. With read-ahead left,
    /// [`into_handle`](crate::PipeReader::into_handle) is refused until it is read.
    pub fn packets(mut self, yes: bool) -> Self {
        self.packets = yes;
        self
    }

    /// How long a thread that waits for bytes looks again and again before it blocks (Linux; elsewhere this does nothing). Zero, the
    /// default: it blocks at once. Cut to [`SPIN_MAX`](Self::SPIN_MAX), and rounded up to whole 4 µs.
    ///
    /// It is for round trips whose answers come sooner than a thread is switched away and woken again. The price is a processor
    /// that does nothing else meanwhile, so this is the most, and how much of it is used follows from the pipe. A pipe begins to spin
    /// once a wait that blocked was short: no longer than this, and 100 µs for the waking. Each spin in vain
    /// halves the next one, down to none. So a pipe on which nothing happens costs no spinning.
    ///
    /// A thread that may run on one processor only does not spin, even if its peer has another, which nobody knows. That is asked
    /// of the thread that reads, whenever its pipe is about to begin; whether a control group leaves the process more than one
    /// processor's time is asked once.
    ///
    /// Only blocking reads spin: `receive(..).wait()`, and with it [`receive_to_end`](crate::PipeReader::receive_to_end),
    /// [`lines`](crate::PipeReader::lines) and [`std::io::Read`]. An `.await` does not, nor does a transfer.
    ///
    /// **Bytes.** As without it: a spin repeats the read that every wait begins with.
    ///
    /// **Cancel safety.** A deadline, and a stop by another thread, end a spin within a few reads.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use watertight::{ReaderOptions, WriterOptions};
    /// let options = ReaderOptions::new().spin(Duration::from_micros(200));
    /// let (answers, peer) = watertight::pipe_with(options, WriterOptions::new())?;
    /// peer.send(b"answer").wait()?;
    /// let mut answer = [0; 8];
    /// assert_eq!(answers.receive(&mut answer).wait()?, 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spin(mut self, most: Duration) -> Self {
        self.spin = most.min(Self::SPIN_MAX);
        self
    }

    /// Whether the pipe gets room for 128 KiB once 4 MiB have come out of it (Linux: `F_SETPIPE_SZ`; elsewhere this does nothing). One
    /// that is larger by then is left alone, and a refusal by the system is no failure: the pipe goes on as it is.
    ///
    /// On by default for the outputs of a [`Command`](crate::Command)'s children, off for every other reader. `cat` and its like write
    /// 128 KiB at once, so that a larger pipe spares them a wait in the middle of it (docs/performance.md, Children). The price: an ordinary
    /// user's pipes share one limit (`/proc/sys/fs/pipe-user-pages-soft`), and the writer can be further ahead of the reader.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut command = watertight::Command::new("cargo");
    /// command.output_options(watertight::ReaderOptions::new().enlarge(false));
    /// ```
    pub fn enlarge(mut self, yes: bool) -> Self {
        self.enlarge = Some(yes);
        self
    }

    /// How long a stop waits for the kernel's answer, before the operation goes into quarantine.
    pub fn stop_within(mut self, duration: Duration) -> Self {
        self.stop_within = duration;
        self
    }

    /// Whether tasks wait for something to read in the reactor of the tokio runtime in which the reader is made, and not with the
    /// library's own thread: as fast as tokio's own pipes. Off by default, since only the caller knows that the runtime has its
    /// I/O enabled; on for the streams of tokio's own children (`PipeReader::try_from`).
    ///
    /// The reader outlives the runtime, and may be used anywhere: who reads outside of that runtime, or after its end, waits with
    /// the library's thread. It costs a second descriptor, and the memory of a registration. Ignored where the reader is made
    /// outside of a runtime, for what a reactor does not take (files), and on Windows.
    ///
    /// # Panics
    /// The adoption does, as tokio itself, in a runtime without I/O (`Builder::enable_io`).
    #[cfg(feature = "tokio")]
    pub fn tokio_reactor(mut self, yes: bool) -> Self {
        self.tokio_reactor = yes;
        self
    }
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self::new()
    }
}
