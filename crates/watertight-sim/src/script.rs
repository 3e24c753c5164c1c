//! What the program under test does with its pipes, as data.

use crate::kernel::Way;
use crate::peer::Deed;
use crate::pipe::Shape;
use std::time::Duration;

/// A thing a writing task does. Times are simulated ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// `abort`, and waits for it.
    Abort,
    /// `abort` under a deadline, then without.
    AbortWithin(Duration),
    /// Drops its handle to the writer.
    Drop,
    /// `finish`, and waits for it.
    Finish,
    /// `finish`, polled once; the handle is dropped before it is done.
    FinishUnheard,
    /// `finish` under a deadline; then an abort.
    FinishWithin(Duration),
    /// `flush`.
    Flush,
    /// `flush` under a deadline.
    FlushWithin(Duration),
    /// A transfer of at most so many bytes that is polled once and dropped.
    GiveUpTransfer(usize),
    /// A write that is polled once and dropped.
    GiveUpWrite(usize),
    /// Does nothing for a while.
    Sleep(Duration),
    /// Does that with its source.
    Source(ReadAct),
    /// `transfer` of at most so many bytes from its source.
    Transfer(usize),
    /// `transfer` under a deadline.
    TransferWithin(usize, Duration),
    /// `try_send`.
    Try(usize),
    /// `until_read`.
    UntilRead,
    /// `until_read` under a deadline.
    UntilReadWithin(Duration),
    /// `send`.
    Write(usize),
    /// `send_bytes`.
    WriteOwned(usize),
    /// `send_vectored`, in so many pieces.
    WriteVectored(usize, usize),
    /// `send` under a deadline.
    WriteWithin(usize, Duration),
}

/// A thing a reading task does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReadAct {
    /// `abort`, and waits for it.
    Abort,
    /// Drops its handle to the reader.
    Drop,
    /// A read that is polled once and dropped.
    GiveUpRead(usize),
    /// `read`, once.
    Read(usize),
    /// Reads until the end or an error.
    ReadToEnd(usize),
    /// `read` under a deadline.
    ReadWithin(usize, Duration),
    /// Does nothing for a while.
    Sleep(Duration),
}

/// The observer of a writer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Watcher {
    /// There is none.
    None,
    /// It looks.
    Looks,
    /// It panics when it is told something for the n-th time.
    Panics(u32),
}

/// A writer: its bounds and its tasks.
#[derive(Clone, Debug)]
pub struct WriterSetup {
    /// See `WriterOptions`.
    pub queue_bytes_max: u64,
    /// See `WriterOptions`.
    pub op_bytes_max: usize,
    /// See `WriterOptions`.
    pub linger: Duration,
    /// See `WriterOptions`.
    pub stop_within: Duration,
    /// Who is told.
    pub watcher: Watcher,
    /// The pipe, one of those before, whose reading end the first task passes on. Only this task writes then, and only it reads
    /// there; others may stop either end.
    pub source: Option<usize>,
    /// One list per task; more than one share the writer.
    pub tasks: Vec<Vec<Act>>,
}

/// A reader: its bounds and its task.
#[derive(Clone, Debug)]
pub struct ReaderSetup {
    /// See `ReaderOptions`.
    pub read_ahead_bytes_max: usize,
    /// See `ReaderOptions`.
    pub stop_within: Duration,
    /// What it does.
    pub acts: Vec<ReadAct>,
    /// What another task does with the same reader: it may stop it, and reads nothing.
    pub also: Vec<ReadAct>,
}

/// One pipe. An end that the driver does not have is a peer's.
#[derive(Clone, Debug)]
pub struct PipeSetup {
    /// How it holds bytes.
    pub shape: Shape,
    /// How our ends are served.
    pub way: Way,
    /// When our ends are made: others may be over by then, and leave their places.
    pub opens: Duration,
    /// Nobody has come yet when it is made.
    pub listening: bool,
    /// Our writing end.
    pub writer: Option<WriterSetup>,
    /// Our reading end.
    pub reader: Option<ReaderSetup>,
    /// What the peer does that has the other end.
    pub deeds: Vec<Deed>,
    /// It then does nothing more until the run is to end.
    pub stubborn: bool,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, for a person.
    pub name: String,
    /// Whose codes the calls have that are not asked of one end.
    pub is_windows: bool,
    /// When somebody waits for what lingers, and for how long.
    pub settles: Option<(Duration, Duration)>,
    /// The pipes.
    pub pipes: Vec<PipeSetup>,
}

impl WriterSetup {
    /// Bounds that are small, so that they are met.
    #[must_use]
    pub fn of(acts: &[Act]) -> Self {
        Self {
            queue_bytes_max: 1_000,
            op_bytes_max: 400,
            linger: Duration::from_secs(2),
            stop_within: Duration::from_secs(5),
            watcher: Watcher::Looks,
            source: None,
            tasks: vec![acts.to_vec()],
        }
    }
}

impl ReaderSetup {
    /// Bounds that are small, so that they are met.
    #[must_use]
    pub fn of(acts: &[ReadAct]) -> Self {
        Self {
            read_ahead_bytes_max: 300,
            stop_within: Duration::from_secs(5),
            acts: acts.to_vec(),
            also: Vec::new(),
        }
    }
}
