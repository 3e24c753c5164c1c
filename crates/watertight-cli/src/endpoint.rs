//! Opening: from addresses to pipes. All or nothing: no file is truncated before everything else is open.

use crate::address::{Address, Place};
use crate::child::{self, InputKind};
use crate::copy::CHUNK_BYTES_MAX;
use crate::destination::{DestinationKind, Herald};
use crate::event::{End, Inbox, Mailbox};
use crate::extent::Extent;
use crate::flags::{CopyFlags, FailurePolicy};
use crate::identity;
use crate::mixing::DataStreams;
use crate::paths::{Beginning, Paths, Patience};
use crate::seal;
use same_file::Handle;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use watertight::{
    Child, Direction, OsHandle, PipeReader, PipeWriter, ReaderOptions, StartError, StartStep,
    WriterOptions,
};

/// The standard streams' numbers end here.
const STANDARD_STREAMS: u32 = 3;

/// Everything open.
pub(crate) struct Ends {
    pub(crate) source: SourceEnd,
    pub(crate) destinations: Vec<DestinationEnd>,
}

pub(crate) struct SourceEnd {
    pub(crate) reader: PipeReader,
    pub(crate) child: Option<Arc<Child>>,
    /// How much it holds, if it is a file or a block device.
    pub(crate) extent: Option<Extent>,
}

pub(crate) struct DestinationEnd {
    pub(crate) writer: PipeWriter,
    pub(crate) child: Option<Arc<Child>>,
    pub(crate) kind: DestinationKind,
    /// What the child reads from.
    pub(crate) input: Option<InputKind>,
}

/// Why not everything is open.
pub(crate) enum NotOpened {
    Failed(End, String),
    /// Nothing happened for so long as `--idle` says.
    Idle,
    Interrupted(i32),
    /// The report's file is this end, or standard error: nothing may be written there.
    ReportRefused(End, String),
}

/// Descriptors above the standard streams, to be taken before this program opens anything that could get their numbers.
pub(crate) struct Claimed {
    files: Vec<(u32, File)>,
    /// The first that was not there.
    failure: Option<Failure>,
}

/// A child, and our end of its stream.
enum Started {
    Destination(Arc<Child>, PipeWriter, InputKind),
    Source(Arc<Child>, PipeReader),
}

/// The end that an error is about, with its text.
pub(crate) type Failure = (End, String);

impl From<Failure> for NotOpened {
    fn from((end, text): Failure) -> Self {
        Self::Failed(end, text)
    }
}

impl CopyFlags {
    pub(crate) fn ends(&self) -> impl Iterator<Item = (End, &Address)> {
        let destinations = self.destinations.iter().enumerate();
        let destinations = destinations.map(|(index, address)| (End::Destination(index), address));
        std::iter::once((End::Source, &self.source)).chain(destinations)
    }
}

impl Claimed {
    pub(crate) fn take<'a>(ends: impl IntoIterator<Item = (End, &'a Address)>) -> Self {
        let (mut files, mut failure) = (Vec::new(), None);
        for (end, address) in ends {
            if let Place::Fd(number) = address.place
                && number >= STANDARD_STREAMS
            {
                match inherited(end, address, number) {
                    Ok(handle) => files.push((number, File::from(handle))),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
        }
        Self { files, failure }
    }

    /// Looks at what is behind a descriptor that the program was started with, and takes no further one for it.
    pub(crate) fn look<T>(&self, number: u32, look: impl FnOnce(&File) -> Option<T>) -> Option<T> {
        let standard = match number {
            0 => Handle::stdin(),
            1 => Handle::stdout(),
            2 => Handle::stderr(),
            _ => {
                let (_, file) = self.files.iter().find(|(known, _)| *known == number)?;
                return look(file);
            }
        };
        look(standard.ok()?.as_file())
    }

    /// The first that was not there.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    pub(crate) fn remove(&mut self, number: u32) -> Option<OsHandle> {
        let index = self.files.iter().position(|(known, _)| *known == number)?;
        Some(self.files.swap_remove(index).1.into())
    }
}

fn inherited(end: End, address: &Address, number: u32) -> Result<OsHandle, Failure> {
    let direction = match end {
        End::Source => Direction::Read,
        End::Destination(_) => Direction::Write,
    };
    watertight::inherited(number, direction).map_err(|error| {
        let way_out =
            "is it open? Open it where this program is started, as in `3<file` or `3>file`";
        (end, format!("cannot use {address}: {error}; {way_out}"))
    })
}

/// Opens all ends, in an order in which a failure spoils nothing. The rest is done by whoever begins the copy.
pub(crate) fn open(
    flags: &CopyFlags,
    mut claimed: Claimed,
    data_streams: DataStreams,
    report_file: Option<&File>,
    mailbox: &Mailbox,
    inbox: &Inbox,
) -> Result<(Ends, Beginning), NotOpened> {
    if let Some(failure) = claimed.take_failure() {
        return Err(failure.into());
    }
    data_streams.refuse_children(flags)?;
    identity::refuse_same_names(flags)?;
    let mut paths = Paths::new(flags.destinations.len());
    let ends: Vec<_> = flags.ends().collect();
    paths.open(&ends, Patience::Idle(flags.idle), mailbox, inbox)?;
    identity::refuse_same(flags, &paths, &claimed, report_file)?;
    let extent = source_extent(flags, &paths, &claimed);
    let beginning = paths.beginning(&ends, flags.sync)?;
    // Children first: they inherit the standard streams, which are taken after that.
    let mut started = Vec::new();
    for (end, address) in flags.ends() {
        started.push(start(end, address, flags, data_streams, mailbox)?);
    }
    let mut source = None;
    let mut destinations = Vec::new();
    for ((end, address), started) in flags.ends().zip(started) {
        match (started, end) {
            (Some(Started::Source(child, reader)), _) => {
                source = Some(SourceEnd {
                    reader,
                    child: Some(child),
                    extent,
                });
            }
            (Some(Started::Destination(child, writer, input)), _) => {
                destinations.push(DestinationEnd {
                    writer,
                    child: Some(child),
                    kind: DestinationKind::Child,
                    input: Some(input),
                });
            }
            (None, End::Source) => {
                let (handle, _) = take(end, address, &mut paths, &mut claimed)?;
                let reader = PipeReader::adopt_with(handle, reader_options(flags))
                    .map_err(|error| cannot_adopt(end, address, &error))?;
                source = Some(SourceEnd {
                    reader,
                    child: None,
                    extent,
                });
            }
            (None, End::Destination(index)) => {
                let (handle, kind) = take(end, address, &mut paths, &mut claimed)?;
                let options = writer_options(flags, address, index, mailbox);
                let writer = PipeWriter::adopt_with(handle, options)
                    .map_err(|error| cannot_adopt(end, address, &error))?;
                destinations.push(DestinationEnd {
                    writer,
                    child: None,
                    kind,
                    input: None,
                });
            }
        }
    }
    let source = source.expect("the source is one of the ends");
    let ends = Ends {
        source,
        destinations,
    };
    Ok((ends, beginning))
}

fn writer_options(
    flags: &CopyFlags,
    address: &Address,
    index: usize,
    mailbox: &Mailbox,
) -> WriterOptions {
    // A stream that we inherited may be a socket that others use: its end is theirs to declare.
    let own = !matches!(address.place, Place::Fd(_));
    // A chunk with its frames, and the last frame, must fit.
    let added = if flags.seal { seal::ADDED_BYTES_MAX } else { 0 };
    WriterOptions::new()
        .queue_bytes_max(flags.buffer_bytes().saturating_add(added))
        .half_close(own)
        .linger(Duration::ZERO)
        .observer(Arc::new(Herald {
            index,
            mailbox: mailbox.clone(),
        }))
}

fn reader_options(flags: &CopyFlags) -> ReaderOptions {
    let chunk = usize::try_from(CHUNK_BYTES_MAX).expect("a chunk is small");
    // What is behind the limit is for others.
    ReaderOptions::new()
        .read_ahead_bytes_max(chunk)
        .exact(flags.limit.is_some())
}

fn cannot_adopt(end: End, address: &Address, error: &watertight::AdoptError) -> Failure {
    (end, format!("cannot use {address}: {error}"))
}

/// Starts the child, if the address is one.
fn start(
    end: End,
    address: &Address,
    flags: &CopyFlags,
    data_streams: DataStreams,
    mailbox: &Mailbox,
) -> Result<Option<Started>, Failure> {
    let Place::Exec(command) = &address.place else {
        return Ok(None);
    };
    let stderr = data_streams.child_stderr();
    let started = match end {
        End::Destination(index) => {
            let stdout = data_streams
                .child_stdout()
                .map_err(|error| (end, format!("cannot start {address}: {error}")))?;
            let outputs = (stdout, stderr);
            let options = writer_options(flags, address, index, mailbox);
            // Who wants the end at once wants what looks like one.
            let is_armed = flags.on_failure == FailurePolicy::Kill;
            child::start_destination(command, &address.exec, outputs, is_armed, options)
                .map(|(child, writer, input)| Started::Destination(child, writer, input))
        }
        End::Source => child::start_source(command, stderr, reader_options(flags))
            .map(|(child, reader)| Started::Source(child, reader)),
    };
    let started = started.map_err(|error| (end, cannot_start(address, &error)))?;
    Ok(Some(started))
}

fn cannot_start(address: &Address, error: &StartError) -> String {
    let way_out = if error.step == StartStep::Program {
        "; is it installed and in PATH? (No shell runs: for built-ins, pipes and variables use exec:\"sh -c '...'\")"
    } else {
        ""
    };
    format!("{address}: {error}{way_out}")
}

/// Takes what is open already: a path's file, or a stream this program was started with.
fn take(
    end: End,
    address: &Address,
    paths: &mut Paths,
    claimed: &mut Claimed,
) -> Result<(OsHandle, DestinationKind), Failure> {
    Ok(match &address.place {
        Place::Fd(number) => {
            let handle = match claimed.remove(*number) {
                Some(handle) => handle,
                None => inherited(end, address, *number)?,
            };
            (handle, DestinationKind::Peer)
        }
        Place::Exec(_) | Place::Fifo(_) | Place::File(..) => {
            let opened = paths.slot(end).take().expect("every path is open by now");
            let kind = if opened.metadata.is_file() {
                DestinationKind::File
            } else {
                DestinationKind::Peer
            };
            (opened.file.into(), kind)
        }
    })
}

/// How much the source holds, if it is a file or a block device, whoever opened it.
fn source_extent(flags: &CopyFlags, paths: &Paths, claimed: &Claimed) -> Option<Extent> {
    match flags.source.place {
        Place::Exec(_) => None,
        Place::Fd(number) => claimed.look(number, Extent::of),
        Place::Fifo(_) | Place::File(..) => Extent::of(&paths.source.as_ref()?.file),
    }
}
