//! Which ends are one and the same thing, whatever their names: what would destroy itself, or feed itself, is refused.

use crate::address::{Address, Place};
use crate::endpoint::{Claimed, NotOpened};
use crate::event::End;
use crate::flags::CopyFlags;
use crate::paths::{OpenedPath, Paths};
use crate::platform;
use same_file::Handle;
use std::fs::File;

pub(crate) const REPORT: &str = "the report's file";
const STANDARD_ERROR: &str = "standard error";

/// What can be recognised. Terminals, other devices and sockets may well be named twice.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Thing {
    /// A block device, by its number: it may have several names.
    Block(u64),
    Fifo((u64, u64)),
    File(Handle),
}

/// Something with a part in the copy.
struct Known {
    thing: Thing,
    name: String,
    is_source: bool,
}

impl Thing {
    fn of(handle: Handle) -> Option<Self> {
        let metadata = handle.as_file().metadata().ok()?;
        if metadata.is_file() {
            return Some(Self::File(handle));
        }
        platform::block_device(&metadata)
            .map(Self::Block)
            .or_else(|| platform::fifo(&metadata).map(Self::Fifo))
    }

    pub(crate) fn of_file(file: &File) -> Option<Self> {
        Self::of(Handle::from_file(file.try_clone().ok()?).ok()?)
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

impl Known {
    /// A file must have one part only; a FIFO or a device must not be read and written.
    fn clashes_with(&self, other: &Self) -> bool {
        let is_fed_back = self.is_source || other.is_source;
        self.thing == other.thing && (self.thing.is_file() || is_fed_back)
    }
}

/// Refuses a report that would be written into an end of the copy. Nothing else is open yet; without this, the report of
/// whatever fails next would be written there.
pub(crate) fn refuse_report(
    flags: &CopyFlags,
    claimed: &Claimed,
    report_file: &File,
) -> Result<(), NotOpened> {
    let Some(report) = Thing::of_file(report_file).filter(Thing::is_file) else {
        return Ok(());
    };
    if standard_error().is_some_and(|thing| thing == report) {
        let text = same_file(REPORT, STANDARD_ERROR);
        return Err(NotOpened::ReportRefused(End::Source, text));
    }
    for (end, address) in flags.ends() {
        let is_same = match address.path() {
            // Not opened: that could wait.
            Some(path) => platform::is_same_file(report_file, path),
            None => descriptor(address, claimed).is_some_and(|thing| thing == report),
        };
        if is_same {
            let text = same_file(&address.to_string(), REPORT);
            return Err(NotOpened::ReportRefused(end, text));
        }
    }
    Ok(())
}

/// A destination that is the source, or another destination, would destroy what it reads or writes.
pub(crate) fn refuse_same(
    flags: &CopyFlags,
    paths: &Paths,
    claimed: &Claimed,
    report_file: Option<&File>,
) -> Result<(), NotOpened> {
    let report = report_file.and_then(Thing::of_file).filter(Thing::is_file);
    let mut known: Vec<Known> = Vec::new();
    for (end, address) in flags.ends() {
        let opened = |opened: &OpenedPath| Thing::of_file(&opened.file);
        let thing = match end {
            _ if address.path().is_none() => descriptor(address, claimed),
            End::Destination(index) => paths.destinations[index].as_ref().and_then(opened),
            End::Source => paths.source.as_ref().and_then(opened),
        };
        let Some(thing) = thing else {
            continue;
        };
        if report.as_ref() == Some(&thing) {
            let text = same_file(&address.to_string(), REPORT);
            return Err(NotOpened::ReportRefused(end, text));
        }
        if standard_error().as_ref() == Some(&thing) {
            let text = same_file(&address.to_string(), STANDARD_ERROR);
            return Err(NotOpened::Failed(end, text));
        }
        let one = Known {
            thing,
            name: address.to_string(),
            is_source: end == End::Source,
        };
        if let Some(other) = known.iter().find(|other| other.clashes_with(&one)) {
            let text = if one.thing.is_file() {
                same_file(&one.name, &other.name)
            } else {
                let (one, other) = (&one.name, &other.name);
                format!("{one} and {other} are the same FIFO or device; write to another one")
            };
            return Err(NotOpened::Failed(end, text));
        }
        known.push(one);
    }
    Ok(())
}

pub(crate) fn same_file(one: &str, other: &str) -> String {
    format!("{one} and {other} are the same file, which would destroy it; write to another file")
}

/// The file behind standard error, if it is one.
pub(crate) fn standard_error() -> Option<Thing> {
    Handle::stderr()
        .ok()
        .and_then(Thing::of)
        .filter(Thing::is_file)
}

/// What is behind a descriptor that the program was started with.
pub(crate) fn descriptor(address: &Address, claimed: &Claimed) -> Option<Thing> {
    match address.place {
        Place::Fd(0) => Thing::of(Handle::stdin().ok()?),
        Place::Fd(1) => Thing::of(Handle::stdout().ok()?),
        Place::Fd(2) => Thing::of(Handle::stderr().ok()?),
        Place::Fd(number) => Thing::of_file(&claimed.file(number)?),
        Place::Exec(_) | Place::Fifo(_) | Place::File(..) => None,
    }
}
