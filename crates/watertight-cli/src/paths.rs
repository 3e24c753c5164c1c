//! Opening what has a path, each on a thread of its own, without harming anything: no file is truncated here.

use crate::address::{Address, FileMode, Place};
use crate::endpoint::{Failure, NotOpened};
use crate::event::{End, Event, Inbox, Mailbox, is_late};
use crate::platform;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long what has no reason to wait may take to open, after something else has failed.
const STRAGGLERS_WITHIN: Duration = Duration::from_millis(500);

/// How long opening may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// So long without anything happening, while this program runs.
    Idle(Option<Duration>),
    /// Until then, whatever happens.
    Until(Option<Instant>),
}

impl Patience {
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Idle(idle) => idle.and_then(|idle| Instant::now().checked_add(idle)),
            Self::Until(deadline) => deadline,
        }
    }

    fn begins_anew(self) -> bool {
        match self {
            Self::Idle(_) => true,
            Self::Until(_) => false,
        }
    }
}

/// A path that was opened.
pub(crate) struct OpenedPath {
    pub(crate) file: File,
    pub(crate) metadata: Metadata,
    /// There was no such file before.
    created: Option<Created>,
}

/// A file that this program made. It is removed when this is dropped, if it is still there, and still empty.
struct Created {
    file: File,
    path: PathBuf,
    is_kept: bool,
}

impl Created {
    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        let known = std::fs::symlink_metadata(&self.path);
        let is_empty = known.is_ok_and(|known| known.is_file() && known.len() == 0);
        if !self.is_kept && is_empty && platform::is_same_file(&self.file, &self.path) {
            // It was a courtesy; what failed is being told already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The ends that have paths.
pub(crate) struct Paths {
    pub(crate) source: Option<OpenedPath>,
    pub(crate) destinations: Vec<Option<OpenedPath>>,
    created: Vec<Created>,
    /// Those that are being opened and will not take long.
    opening: Vec<End>,
}

impl Paths {
    pub(crate) fn new(destinations: usize) -> Self {
        Self {
            source: None,
            destinations: (0..destinations).map(|_| None).collect(),
            created: Vec::new(),
            opening: Vec::new(),
        }
    }

    /// The copy begins: the files that were made for it stay, however it ends.
    pub(crate) fn keep_created(&mut self) {
        for created in self.created.drain(..) {
            created.keep();
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
        ends: &[(End, &Address)],
        patience: Patience,
        mailbox: &Mailbox,
        inbox: &Inbox,
    ) -> Result<(), NotOpened> {
        let result = self.open_all(ends, patience, mailbox, inbox);
        if result.is_err() {
            self.await_stragglers(inbox);
        }
        result
    }

    fn open_all(
        &mut self,
        ends: &[(End, &Address)],
        patience: Patience,
        mailbox: &Mailbox,
        inbox: &Inbox,
    ) -> Result<(), NotOpened> {
        let mut opening = 0;
        for (end, address) in ends.iter().copied() {
            let Some(path) = address.path() else {
                continue;
            };
            let source_waits = end == End::Source
                && inspect(end, address, path)?.is_some_and(|known| platform::is_fifo(&known));
            open_aside(end, address.clone(), mailbox.clone())
                .map_err(|error| (end, error.to_string()))?;
            opening += 1;
            if !std::fs::metadata(path).is_ok_and(|known| platform::is_fifo(&known)) {
                self.opening.push(end);
            }
            // A source that cannot be opened should leave no empty destination behind.
            if end == End::Source && !source_waits {
                self.await_one(patience, inbox)?;
                opening -= 1;
            }
        }
        for _ in 0..opening {
            self.await_one(patience, inbox)?;
        }
        Ok(())
    }

    fn await_one(&mut self, patience: Patience, inbox: &Inbox) -> Result<(), NotOpened> {
        let mut deadline = patience.deadline();
        loop {
            match inbox.next(deadline) {
                // This program was stopped, and could not see what happened.
                None if patience.begins_anew() && is_late(deadline, Instant::now()) => {
                    deadline = patience.deadline();
                }
                None => return Err(NotOpened::Idle),
                Some(Event::Interrupted(signal)) => return Err(NotOpened::Interrupted(signal)),
                Some(Event::Opened(end, result)) => {
                    let opened = result.map_err(|text| NotOpened::Failed(end, text));
                    return self.handle_opened(end, opened);
                }
                Some(
                    Event::ChildEnded(..)
                    | Event::Data(_)
                    | Event::DestinationEnded(..)
                    | Event::ReadByPeer(..)
                    | Event::SourceEnded(_)
                    | Event::TreeEnded(..)
                    | Event::Wake,
                ) => {}
            }
        }
    }

    fn handle_opened(
        &mut self,
        end: End,
        opened: Result<OpenedPath, NotOpened>,
    ) -> Result<(), NotOpened> {
        self.opening.retain(|known| *known != end);
        let mut opened = opened?;
        self.created.extend(opened.created.take());
        *self.slot(end) = Some(opened);
        Ok(())
    }

    /// Something failed: what the others make on their way must be known, so that it can be removed.
    fn await_stragglers(&mut self, inbox: &Inbox) {
        let deadline = Instant::now() + STRAGGLERS_WITHIN;
        while !self.opening.is_empty() {
            match inbox.next(Some(deadline)) {
                None => break,
                Some(Event::Opened(end, result)) => {
                    let opened = result.map_err(|text| NotOpened::Failed(end, text));
                    // The first failure is the one to tell.
                    let _ = self.handle_opened(end, opened);
                }
                Some(_) => {}
            }
        }
    }

    /// The files to be emptied, once everything else has gone well.
    pub(crate) fn truncations(
        &self,
        ends: &[(End, &Address)],
    ) -> Result<Vec<(End, File)>, Failure> {
        let mut files = Vec::new();
        for (end, address) in ends.iter().copied() {
            let (End::Destination(index), Place::File(_, FileMode { append: false, .. })) =
                (end, &address.place)
            else {
                continue;
            };
            let opened = self.destinations[index]
                .as_ref()
                .filter(|opened| opened.metadata.len() > 0);
            if let Some(opened) = opened.filter(|opened| opened.metadata.is_file()) {
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
    let opened = match &address.place {
        Place::File(_, mode) => open_file(path, *mode),
        Place::Exec(_) | Place::Fd(_) | Place::Fifo(_) => OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(with_metadata),
    };
    opened.map_err(|error| cannot_open("write", address, &error))
}

/// Not truncated here: it may turn out to be the source.
fn open_file(path: &Path, mode: FileMode) -> io::Result<OpenedPath> {
    let mut options = OpenOptions::new();
    options.append(mode.append).write(true);
    if !mode.must_exist {
        // First as if it must not exist: so it is known who made it.
        match options.clone().create_new(true).open(path) {
            Ok(file) => {
                let created = Created {
                    file: file.try_clone()?,
                    path: path.to_owned(),
                    is_kept: false,
                };
                let opened = with_metadata(file)?;
                return Ok(OpenedPath {
                    created: Some(created),
                    ..opened
                });
            }
            Err(error) if mode.exclusive => return Err(error),
            Err(_) => {}
        }
    }
    options
        .create(!mode.must_exist)
        .open(path)
        .and_then(with_metadata)
}

fn with_metadata(file: File) -> io::Result<OpenedPath> {
    let metadata = file.metadata()?;
    Ok(OpenedPath {
        file,
        metadata,
        created: None,
    })
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
            "it is a directory, and not one stream of bytes; name a file, or pack it with `tar cf - DIR`",
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
