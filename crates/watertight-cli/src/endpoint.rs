//! Opening: from addresses to pipes. All or nothing: no file is truncated before everything else is open.

use crate::address::{Address, Place};
use crate::child::{self, Unclaimed};
use crate::child_status::InputKind;
use crate::claimed::{Claimed, inherited, redirection};
use crate::destination::{DestinationEnd, DestinationKind, Herald};
use crate::end::{End, Failure, NotOpened};
use crate::event::{Inbox, Mailbox};
use crate::extent::Extent;
use crate::flags::{CopyFlags, FailurePolicy};
use crate::identity;
use crate::mixing::DataStreams;
use crate::partial::Closing;
use crate::paths::{Beginning, Paths, Patience};
use crate::seal;
use crate::source::{CHUNK_BYTES_MAX, SourceEnd};
use std::fs::{File, Metadata};
use std::sync::Arc;
use std::time::Duration;
use watertight::{
    AdoptError, Child, OsHandle, PipeReader, PipeWriter, ReaderOptions, StartError, StartStep,
    Step, WriterOptions,
};

/// What a descriptor may be. Others (a datagram socket, an eventfd) are no streams.
const COPIED: &str =
    "what can be copied is a file, a device, a pipe, a terminal or a connected stream socket";

/// Everything open.
pub(crate) struct Ends {
    pub(crate) source: SourceEnd,
    pub(crate) destinations: Vec<DestinationEnd>,
}

/// A child, and our end of its stream. The child is before that: dropped together, it is killed before its input ends.
pub(crate) enum Started {
    Destination(Unclaimed, PipeWriter, InputKind),
    Source(Arc<Child>, PipeReader),
}

impl Started {
    /// A destination's.
    pub(crate) fn of(child: Arc<Child>, writer: PipeWriter, input: InputKind) -> Self {
        Self::Destination(Unclaimed::of(child), writer, input)
    }
}

/// Everything that has a path is open, and nothing is taken over, started or emptied yet.
pub(crate) struct OpenedEnds {
    claimed: Claimed,
    paths: Paths,
    extent: Option<Extent>,
    beginning: Beginning,
}

/// Opens what has a path, in an order in which a failure spoils nothing: by threads of its own, which answer by `events`, or if there are
/// none on this thread.
pub(crate) fn open(
    flags: &CopyFlags,
    mut claimed: Claimed,
    report_file: Option<&File>,
    events: Option<(&Mailbox, &Inbox)>,
) -> Result<OpenedEnds, NotOpened> {
    if let Some(failure) = claimed.take_failure() {
        return Err(failure.into());
    }
    identity::refuse_same_names(flags)?;
    let mut paths = Paths::new(flags.destinations.len());
    let ends: Vec<_> = flags.ends().collect();
    match events {
        Some((mailbox, inbox)) => {
            paths.open(&ends, Patience::Idle(flags.idle), mailbox, inbox)?;
        }
        None => paths.open_here(&ends)?,
    }
    identity::refuse_same(flags, &paths, &claimed, report_file)?;
    let extent = look_at_source(flags, &paths, &claimed, Extent::of);
    let mut beginning = paths.beginning(&ends, flags.sync)?;
    if flags.sync {
        beginning.sync_inherited(&ends, &claimed)?;
    }
    Ok(OpenedEnds {
        claimed,
        paths,
        extent,
        beginning,
    })
}

impl OpenedEnds {
    /// How much the source holds, if it is a file or a block device.
    pub(crate) fn extent(&self) -> Option<Extent> {
        self.extent
    }

    /// Looks at the source, if it is open.
    pub(crate) fn look_at_source<T>(
        &self,
        flags: &CopyFlags,
        look: impl FnOnce(&File) -> Option<T>,
    ) -> Option<T> {
        look_at_source(flags, &self.paths, &self.claimed, look)
    }

    /// Gives every destination its end: there was nothing to copy. What is left to do with their files.
    pub(crate) fn end(mut self, flags: &CopyFlags) -> Result<Vec<Option<Closing>>, Failure> {
        let mut handles = Vec::new();
        for (end, address) in flags.ends() {
            let (handle, _) = take(end, address, &mut self.paths, &mut self.claimed)?;
            handles.push(handle);
        }
        // Before they are closed, as in every copy. A close has nothing to say where nothing was written.
        self.beginning.commit()
    }

    /// Starts the children, and takes everything over. The rest is done by whoever begins the copy.
    pub(crate) fn start(
        self,
        flags: &CopyFlags,
        data_streams: DataStreams,
        mailbox: &Mailbox,
    ) -> Result<(Ends, Beginning), NotOpened> {
        let Self {
            mut claimed,
            mut paths,
            extent,
            beginning,
        } = self;
        // Children first: they inherit the standard streams, which are taken after that.
        let mut started = Vec::new();
        for (end, address) in flags.ends() {
            started.push(start(end, address, flags, data_streams, mailbox)?);
        }
        let ends = adopt(flags, started, extent, (&mut paths, &mut claimed), mailbox)?;
        Ok((ends, beginning))
    }
}

/// Takes everything over: what was started, and all the rest.
fn adopt(
    flags: &CopyFlags,
    started: Vec<Option<Started>>,
    extent: Option<Extent>,
    (paths, claimed): (&mut Paths, &mut Claimed),
    mailbox: &Mailbox,
) -> Result<Ends, Failure> {
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
                    child,
                    kind: DestinationKind::Child,
                    input: Some(input),
                    prefix: None,
                });
            }
            (None, End::Source) => {
                let (handle, _) = take(end, address, paths, claimed)?;
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
                let (handle, kind) = take(end, address, paths, claimed)?;
                let options = writer_options(flags, address, index, mailbox);
                let writer = PipeWriter::adopt_with(handle, options)
                    .map_err(|error| cannot_adopt(end, address, &error))?;
                destinations.push(DestinationEnd {
                    writer,
                    child: Unclaimed::default(),
                    kind,
                    input: None,
                    prefix,
                });
            }
        }
    }
    let source = source.expect("the source is one of the ends");
    Ok(Ends {
        source,
        destinations,
    })
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
        .exact(flags.read_bytes_max().is_some())
}

fn cannot_adopt(end: End, address: &Address, error: &AdoptError) -> Failure {
    let way_out = match (&address.place, error.step) {
        (Place::Fd(_), Step::Inspect) => format!("; {COPIED}"),
        (Place::Fd(number), Step::InspectAccess) => open_the_other_way(end, *number),
        _ => String::new(),
    };
    (end, format!("cannot use {address}: {error}{way_out}"))
}

/// What to do about a descriptor that cannot be read, or cannot be written.
fn open_the_other_way(end: End, number: u32) -> String {
    let purpose = match end {
        End::Destination(_) => "writing",
        End::Source => "reading",
    };
    let redirection = redirection(end, number);
    format!(
        "; is it open for {purpose}? Open it so where this program is started, as in `{redirection}`"
    )
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
                .map(|(child, writer, input)| Started::of(child, writer, input))
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
            let kind = if opened.metadata.as_ref().is_some_and(Metadata::is_file) {
                DestinationKind::File
            } else {
                DestinationKind::Peer
            };
            (opened.file.into(), kind)
        }
    })
}

/// Looks at the source, whoever opened it.
fn look_at_source<T>(
    flags: &CopyFlags,
    paths: &Paths,
    claimed: &Claimed,
    look: impl FnOnce(&File) -> Option<T>,
) -> Option<T> {
    match flags.source.place {
        Place::Exec(_) => None,
        Place::Fd(number) => claimed.look(number, look),
        Place::Fifo(_) | Place::File(..) => look(&paths.source.as_ref()?.file),
    }
}
