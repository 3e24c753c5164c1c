//! Opening: from addresses to pipes. All or nothing: no file is truncated before everything else is open.

use crate::address::{Address, Place};
use crate::child;
use crate::child_status::InputKind;
use crate::claimed::{Claimed, inherited};
use crate::destination::{DestinationEnd, DestinationKind, Herald};
use crate::end::{End, Failure, NotOpened};
use crate::event::{Inbox, Mailbox};
use crate::extent::Extent;
use crate::flags::{CopyFlags, FailurePolicy};
use crate::identity;
use crate::mixing::DataStreams;
use crate::paths::{Beginning, Paths, Patience};
use crate::seal;
use crate::source::CHUNK_BYTES_MAX;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use watertight::{
    Child, OsHandle, PipeReader, PipeWriter, ReaderOptions, StartError, StartStep, WriterOptions,
};

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

/// A child, and our end of its stream.
enum Started {
    Destination(Arc<Child>, PipeWriter, InputKind),
    Source(Arc<Child>, PipeReader),
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
                    prefix: None,
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
                let opened = paths.destinations[index].as_mut();
                let prefix = opened.and_then(|opened| opened.prefix.take());
                let prefix = prefix.map(|prefix| *prefix);
                let (handle, kind) = take(end, address, &mut paths, &mut claimed)?;
                let options = writer_options(flags, address, index, mailbox);
                let writer = PipeWriter::adopt_with(handle, options)
                    .map_err(|error| cannot_adopt(end, address, &error))?;
                destinations.push(DestinationEnd {
                    writer,
                    child: None,
                    kind,
                    input: None,
                    prefix,
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
