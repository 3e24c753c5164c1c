//! Opening what has a path, each that may wait for its other side on a thread of its own, and all others on one, without harming anything: no
//! file is truncated here.

use crate::account;
use crate::address::{Address, FileMode, Place};
use crate::claimed::Claimed;
use crate::created::Created;
use crate::diagnostics;
use crate::end::End;
use crate::end::{Failure, NotOpened};
use crate::event::{Event, Inbox, Mailbox, is_late};
use crate::opened::OpenedPath;
use crate::partial::{self, Closing};
use crate::platform;
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// How long what has no reason to wait may take to open, after something else has failed: only a file system that hangs
/// takes longer.
const STRAGGLERS_WITHIN: Duration = Duration::from_secs(5);

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

/// The ends that have paths.
pub(crate) struct Paths {
    pub(crate) source: Option<OpenedPath>,
    pub(crate) destinations: Vec<Option<OpenedPath>>,
    created: Vec<Created>,
    /// Those that are being opened and will not take long.
    opening: Vec<End>,
    /// Something failed: what is not open yet need not be opened.
    is_given_up: Arc<AtomicBool>,
}

/// What changes when a copy or a command begins: some files were made for it, and others are emptied. Dropped, it takes away
/// what was made.
pub(crate) struct Beginning {
    created: Vec<Created>,
    truncations: Vec<(End, File)>,
    /// What is left to do with each destination's file at the end. Those that are written beside have their guards here.
    closings: Vec<Option<Closing>>,
}

impl Beginning {
    /// The copy begins: what is overwritten in place is emptied, and the files that were made there stay, however the copy
    /// ends. What is left to do at the end goes to whoever ends it.
    pub(crate) fn commit(mut self) -> Result<Vec<Option<Closing>>, Failure> {
        self.empty_files()?;
        let closings = std::mem::take(&mut self.closings);
        self.keep_created();
        Ok(closings)
    }

    /// What this program was started with is to be on the disk at the end, too.
    pub(crate) fn sync_inherited(
        &mut self,
        ends: &[(End, &Address)],
        claimed: &Claimed,
    ) -> Result<(), Failure> {
        for (end, address) in ends.iter().copied() {
            if let (End::Destination(index), Place::Fd(number)) = (end, &address.place) {
                let closing = claimed.look(*number, |file| Some(Closing::of_inherited(file)));
                let closing = closing.transpose();
                self.closings[index] =
                    closing.map_err(|error| (end, format!("cannot use {address}: {error}")))?;
            }
        }
        Ok(())
    }

    /// Empties what is overwritten.
    pub(crate) fn empty_files(&mut self) -> Result<(), Failure> {
        let mut emptied = "";
        for (end, file) in self.truncations.drain(..) {
            file.set_len(0)
                .map_err(|error| (end, format!("cannot empty the file: {error}{emptied}")))?;
            emptied = "; those before it are empty now";
        }
        Ok(())
    }

    /// The files that were made stay.
    pub(crate) fn keep_created(self) {
        self.created.into_iter().for_each(Created::keep);
    }
}

impl Paths {
    pub(crate) fn new(destinations: usize) -> Self {
        Self {
            source: None,
            destinations: (0..destinations).map(|_| None).collect(),
            created: Vec::new(),
            opening: Vec::new(),
            is_given_up: Arc::default(),
        }
    }

    pub(crate) fn slot(&mut self, end: End) -> &mut Option<OpenedPath> {
        match end {
            End::Destination(index) => &mut self.destinations[index],
            End::Source => &mut self.source,
        }
    }

    /// Opens them on other threads: opening a FIFO waits for its other side, and several FIFOs' other sides may come in any order. Any other
    /// waits only for a file system that hangs.
    pub(crate) fn open(
        &mut self,
        ends: &[(End, &Address)],
        patience: Patience,
        mailbox: &Mailbox,
        inbox: &Inbox,
    ) -> Result<(), NotOpened> {
        let result = self.open_all(ends, patience, mailbox, inbox);
        if result.is_err() {
            self.is_given_up.store(true, Ordering::Release);
            self.await_stragglers(inbox);
        }
        result
    }

    /// Opens them on this thread, one after the other: those that wait for nobody.
    pub(crate) fn open_here(&mut self, ends: &[(End, &Address)]) -> Result<(), NotOpened> {
        for (end, address) in ends.iter().copied() {
            if address.path().is_some() {
                let opened = open_one(end, address);
                let opened = opened.map_err(|text| NotOpened::Failed(end, text));
                self.handle_opened(end, opened)?;
            }
        }
        Ok(())
    }

    fn open_all(
        &mut self,
        ends: &[(End, &Address)],
        patience: Patience,
        mailbox: &Mailbox,
        inbox: &Inbox,
    ) -> Result<(), NotOpened> {
        let opener = Opener {
            mailbox: mailbox.clone(),
            is_given_up: self.is_given_up.clone(),
        };
        let mut in_turn = None;
        let mut opening = 0;
        for (end, address) in ends.iter().copied() {
            let Some(path) = address.path() else {
                continue;
            };
            let source_waits = end == End::Source
                && inspect(end, address, path)?.is_some_and(|known| platform::is_fifo(&known));
            // A FIFO or a device may wait for its other side.
            let may_wait = std::fs::metadata(path).is_ok_and(|known| !known.is_file());
            let begun = if may_wait {
                opener.open_aside(end, address)
            } else {
                opener.open_in_turn(&mut in_turn, end, address)
            };
            begun.map_err(|error| (end, format!("cannot open {address}: no thread: {error}")))?;
            opening += 1;
            if !may_wait {
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
                Some(Event::AccountAsked) => diagnostics::offer(account::NOT_BEGUN),
                Some(
                    Event::ChildMayBeOver(_)
                    | Event::Data(_)
                    | Event::DestinationEnded(..)
                    | Event::LimitReached
                    | Event::MayBeRead(_)
                    | Event::ReadByPeer(..)
                    | Event::SourceEnded(_)
                    | Event::TreeEnded(..)
                    | Event::Unread(..)
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

    /// What is left to do once everything else has gone well. `is_synced`: files are to be on the disk at the end.
    pub(crate) fn beginning(
        &mut self,
        ends: &[(End, &Address)],
        is_synced: bool,
    ) -> Result<Beginning, Failure> {
        let mut truncations = Vec::new();
        for (end, address) in ends.iter().copied() {
            let (End::Destination(index), Place::File(..)) = (end, &address.place) else {
                continue;
            };
            let is_overwritten = |opened: &&OpenedPath| {
                let file = opened.metadata.as_ref().filter(|known| known.is_file());
                let has_bytes = file.is_some_and(|file| file.len() > 0);
                has_bytes && opened.prefix.is_none() && !opened.is_appended
            };
            if let Some(opened) = self.destinations[index].as_ref().filter(is_overwritten) {
                let file = opened
                    .file
                    .try_clone()
                    .map_err(|error| (end, error.to_string()))?;
                truncations.push((end, file));
            }
        }
        let mut closings = Vec::new();
        for (index, slot) in self.destinations.iter_mut().enumerate() {
            let closing = closing(slot.as_mut(), is_synced);
            closings.push(closing.map_err(|error| (End::Destination(index), error.to_string()))?);
        }
        Ok(Beginning {
            created: std::mem::take(&mut self.created),
            truncations,
            closings,
        })
    }
}

fn closing(opened: Option<&mut OpenedPath>, is_synced: bool) -> io::Result<Option<Closing>> {
    let Some(opened) = opened else {
        return Ok(None);
    };
    let placing = opened.placing.take();
    let metadata = opened.metadata.as_ref();
    let closing = placing.map(|placing| Closing::new(*placing, &opened.file, metadata, is_synced));
    closing.transpose()
}

/// What opens an end on another thread, and tells what came of it. Whoever does not take the answer out of the mailbox drops it, and with it
/// the file that was made.
#[derive(Clone)]
struct Opener {
    mailbox: Mailbox,
    is_given_up: Arc<AtomicBool>,
}

/// To the thread that opens one after the other. It goes when this does.
type InTurn = Sender<(End, Address)>;

impl Opener {
    /// On a thread of its own.
    fn open_aside(&self, end: End, address: &Address) -> io::Result<()> {
        let (opener, address) = (self.clone(), address.clone());
        let thread = Builder::new().name("open".into());
        thread.spawn(move || opener.open(end, &address))?;
        Ok(())
    }

    /// On the thread of all these, behind those before it.
    fn open_in_turn(
        &self,
        in_turn: &mut Option<InTurn>,
        end: End,
        address: &Address,
    ) -> io::Result<()> {
        let sender = match in_turn.take() {
            Some(sender) => sender,
            None => self.clone().start()?,
        };
        // The thread is there as long as this end of the channel is.
        let _ = sender.send((end, address.clone()));
        *in_turn = Some(sender);
        Ok(())
    }

    fn start(self) -> io::Result<InTurn> {
        let (sender, ends) = channel::<(End, Address)>();
        let thread = Builder::new().name("open".into());
        thread.spawn(move || {
            for (end, address) in ends {
                self.open(end, &address);
            }
        })?;
        Ok(sender)
    }

    fn open(&self, end: End, address: &Address) {
        let opened = if self.is_given_up.load(Ordering::Acquire) {
            Err(format!("{address} was not opened: something else failed"))
        } else {
            open_one(end, address)
        };
        self.mailbox.post(Event::Opened(end, opened));
    }
}

fn open_one(end: End, address: &Address) -> Result<OpenedPath, String> {
    match end {
        End::Destination(_) => open_destination(address),
        End::Source => open_source(address),
    }
}

fn open_source(address: &Address) -> Result<OpenedPath, String> {
    let path = address
        .path()
        .expect("only addresses with a path are opened");
    inspect(End::Source, address, path).map_err(|(_, text)| text)?;
    let opened = platform::open_options().read(true).open(path);
    let opened = opened.and_then(as_it_is);
    opened.map_err(|error| cannot_open(End::Source, address, &error))
}

fn open_destination(address: &Address) -> Result<OpenedPath, String> {
    let path = address
        .path()
        .expect("only addresses with a path are opened");
    inspect(End::Destination(0), address, path).map_err(|(_, text)| text)?;
    let opened = match &address.place {
        Place::File(_, mode) => open_file(path, *mode),
        Place::Exec(_) | Place::Fd(_) | Place::Fifo(_) => platform::open_options()
            .write(true)
            .open(path)
            .and_then(as_it_is),
    };
    opened.map_err(|error| cannot_open(End::Destination(0), address, &error))
}

/// Not truncated here: it may turn out to be the source. If this fails, what was made goes.
fn open_file(path: &Path, mode: FileMode) -> io::Result<OpenedPath> {
    let opened = partial::open(path, mode)?;
    Ok(OpenedPath {
        metadata: platform::known(&opened.file)?,
        file: opened.file,
        created: opened.created,
        is_appended: opened.is_appended,
        replaced: opened.replaced,
        prefix: opened.prefix.map(Box::new),
        placing: Some(Box::new(opened.placing)),
    })
}

/// What no file can be made for.
fn as_it_is(file: File) -> io::Result<OpenedPath> {
    Ok(OpenedPath {
        metadata: platform::known(&file)?,
        file,
        created: None,
        is_appended: false,
        replaced: None,
        prefix: None,
        placing: None,
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
        Some(known) if known.is_dir() => Some(match end {
            End::Destination(_) => {
                "it is a directory, and not one stream of bytes; name a file in it, or unpack what comes with `exec:tar xf - -C DIR`"
            }
            End::Source => {
                "it is a directory, and not one stream of bytes; name a file, or pack it with `tar cf - DIR`"
            }
        }),
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

fn cannot_open(end: End, address: &Address, error: &io::Error) -> String {
    let verb = match end {
        End::Destination(_) => "write",
        End::Source => "read",
    };
    let must_exist = matches!(&address.place, Place::File(_, mode) if mode.must_exist);
    let way_out = match (error.kind(), end) {
        (io::ErrorKind::AlreadyExists, _) => "; leave `exclusive` out to overwrite it",
        (io::ErrorKind::NotFound, End::Source) => "; check the path",
        (io::ErrorKind::NotFound, End::Destination(_)) if must_exist => {
            "; check the path, or leave `create=no` out to have it made"
        }
        (io::ErrorKind::NotFound, End::Destination(_)) => {
            "; check the path (a destination's folder must exist)"
        }
        (io::ErrorKind::PermissionDenied, _) => "; its permissions do not allow it",
        _ => "",
    };
    format!("cannot open {address} to {verb} it: {error}{way_out}")
}
