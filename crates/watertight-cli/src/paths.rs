//! Opening what has a path, each on a thread of its own, without harming anything: no file is truncated here.

use crate::address::{Address, FileMode, Place};
use crate::endpoint::{Failure, NotOpened};
use crate::event::{End, Event, Inbox, Mailbox};
use crate::flags::CopyFlags;
use crate::platform;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// A path that was opened.
pub(crate) struct OpenedPath {
    pub(crate) file: File,
    pub(crate) metadata: Metadata,
}

/// The ends that have paths.
pub(crate) struct Paths {
    pub(crate) source: Option<OpenedPath>,
    pub(crate) destinations: Vec<Option<OpenedPath>>,
}

impl Paths {
    pub(crate) fn new(destinations: usize) -> Self {
        Self {
            source: None,
            destinations: (0..destinations).map(|_| None).collect(),
        }
    }

    pub(crate) fn slot(&mut self, end: End) -> &mut Option<OpenedPath> {
        match end {
            End::Destination(index) => &mut self.destinations[index],
            End::Source => &mut self.source,
        }
    }

    /// Opens them on threads of their own: opening a FIFO waits for its other side, and several FIFOs' other sides may
    /// come in any order.
    pub(crate) fn open(
        &mut self,
        flags: &CopyFlags,
        mailbox: &Mailbox,
        inbox: &Inbox,
    ) -> Result<(), NotOpened> {
        let source_waits = match flags.source.path() {
            Some(path) => inspect(End::Source, &flags.source, path)?
                .is_some_and(|known| platform::is_fifo(&known)),
            None => false,
        };
        let mut opening = 0;
        for (end, address) in flags.ends() {
            if address.path().is_none() {
                continue;
            }
            open_aside(end, address.clone(), mailbox.clone())
                .map_err(|error| (end, error.to_string()))?;
            opening += 1;
            // A source that cannot be opened should leave no empty destination behind.
            if end == End::Source && !source_waits {
                self.await_one(flags.idle, inbox)?;
                opening -= 1;
            }
        }
        for _ in 0..opening {
            self.await_one(flags.idle, inbox)?;
        }
        Ok(())
    }

    fn await_one(&mut self, idle: Option<Duration>, inbox: &Inbox) -> Result<(), NotOpened> {
        let deadline = idle.and_then(|idle| Instant::now().checked_add(idle));
        loop {
            match inbox.next(deadline) {
                None => return Err(NotOpened::Idle),
                Some(Event::Interrupted(signal)) => return Err(NotOpened::Interrupted(signal)),
                Some(Event::Opened(end, Err(text))) => return Err(NotOpened::Failed(end, text)),
                Some(Event::Opened(end, Ok(opened))) => {
                    *self.slot(end) = Some(opened);
                    return Ok(());
                }
                Some(
                    Event::ChildEnded(..)
                    | Event::Data(_)
                    | Event::DestinationEnded(..)
                    | Event::ReadByPeer(..)
                    | Event::SourceEnded(_)
                    | Event::Wake,
                ) => {}
            }
        }
    }

    /// The files to be emptied, once everything else has gone well.
    pub(crate) fn truncations(&self, flags: &CopyFlags) -> Result<Vec<(End, File)>, Failure> {
        let mut files = Vec::new();
        for (index, address) in flags.destinations.iter().enumerate() {
            let Place::File(_, FileMode { append: false, .. }) = address.place else {
                continue;
            };
            let opened = self.destinations[index]
                .as_ref()
                .filter(|opened| opened.metadata.len() > 0);
            if let Some(opened) = opened.filter(|opened| opened.metadata.is_file()) {
                let end = End::Destination(index);
                let file = opened
                    .file
                    .try_clone()
                    .map_err(|error| (end, error.to_string()))?;
                files.push((end, file));
            }
        }
        Ok(files)
    }
}

fn open_aside(end: End, address: Address, mailbox: Mailbox) -> io::Result<()> {
    std::thread::Builder::new()
        .name("open".into())
        .spawn(move || {
            let opened = match end {
                End::Destination(_) => open_destination(&address),
                End::Source => open_source(&address),
            };
            mailbox.post(Event::Opened(end, opened));
        })?;
    Ok(())
}

fn open_source(address: &Address) -> Result<OpenedPath, String> {
    let path = address
        .path()
        .expect("only addresses with a path are opened");
    inspect(End::Source, address, path).map_err(|(_, text)| text)?;
    let opened = File::open(path).and_then(with_metadata);
    opened.map_err(|error| cannot_open("read", address, &error))
}

fn open_destination(address: &Address) -> Result<OpenedPath, String> {
    let path = address
        .path()
        .expect("only addresses with a path are opened");
    inspect(End::Destination(0), address, path).map_err(|(_, text)| text)?;
    let mut options = OpenOptions::new();
    if let Place::File(_, mode) = &address.place {
        // Not truncated here: it may turn out to be the source.
        options
            .append(mode.append)
            .create(!mode.must_exist)
            .create_new(mode.exclusive);
    }
    let opened = options.write(true).open(path).and_then(with_metadata);
    opened.map_err(|error| cannot_open("write", address, &error))
}

fn with_metadata(file: File) -> io::Result<OpenedPath> {
    let metadata = file.metadata()?;
    Ok(OpenedPath { file, metadata })
}

/// Looks at a path before it is opened: what cannot work gets a better answer than the system's.
fn inspect(end: End, address: &Address, path: &Path) -> Result<Option<Metadata>, Failure> {
    let is_fifo_wanted = matches!(address.place, Place::Fifo(_));
    if is_fifo_wanted && !platform::HAS_FIFOS {
        let text = "there are no FIFOs on this system; `npipe:` comes in a later version";
        return Err((end, format!("cannot open {address}: {text}")));
    }
    let known = std::fs::metadata(path).ok();
    let wrong = match &known {
        Some(known) if known.is_dir() => Some(
            "it is a directory, and a copy moves one stream of bytes; name a file, or use exec:\"tar cf - DIR\"",
        ),
        Some(known) if platform::is_socket(known) => Some(
            "it is a local socket, which cannot be opened like a file; `unix:` comes in a later version",
        ),
        Some(known) if is_fifo_wanted && !platform::is_fifo(known) => {
            Some("it is not a FIFO; leave `fifo:` out if it is the file you mean")
        }
        None if is_fifo_wanted => Some("there is no such FIFO; make it with mkfifo"),
        Some(_) | None => None,
    };
    match wrong {
        Some(text) => Err((end, format!("cannot open {address}: {text}"))),
        None => Ok(known),
    }
}

fn cannot_open(verb: &str, address: &Address, error: &io::Error) -> String {
    let ways_out = [
        (
            io::ErrorKind::AlreadyExists,
            "; leave `exclusive` out to overwrite it",
        ),
        (
            io::ErrorKind::NotFound,
            "; check the path (a destination's folder must exist)",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "; its permissions do not allow it",
        ),
    ];
    let way_out = ways_out.iter().find(|(kind, _)| *kind == error.kind());
    let way_out = way_out.map_or("", |(_, text)| text);
    format!("cannot open {address} to {verb} it: {error}{way_out}")
}
