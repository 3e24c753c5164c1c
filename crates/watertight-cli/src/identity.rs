//! Which ends are one and the same thing, whatever their names: what would destroy itself, or feed itself, is refused.

use crate::address::{Address, Place};
use crate::claimed::Claimed;
use crate::end::End;
use crate::end::NotOpened;
use crate::file_identity::{self, Identity};
use crate::flags::CopyFlags;
use crate::names::Names;
use crate::opened::OpenedPath;
use crate::paths::Paths;
use crate::platform;
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

pub(crate) const REPORT: &str = "the report's file";
const STANDARD_ERROR: &str = "standard error";
const STANDARD_ERROR_NUMBER: u32 = 2;

/// What can be recognised, whatever its name.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Thing {
    /// A block device, by its number: it may have several names.
    Block(u64),
    /// A character device, likewise.
    Character(u64),
    Fifo((u64, u64)),
    File(Identity),
    Socket((u64, u64)),
}

/// Something with a part in the copy.
struct Known {
    thing: Thing,
    name: String,
    is_source: bool,
}

impl Thing {
    /// What is open here. Takes no descriptor: whoever has too few of them must know it all the same.
    pub(crate) fn of(file: &File) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        Self::known(&metadata, || file_identity::of(file))
    }

    /// What the path leads to. It is not opened where that could wait.
    pub(crate) fn of_path(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Self::known(&metadata, || file_identity::of_path(path))
    }

    fn known(metadata: &Metadata, identity: impl FnOnce() -> io::Result<Identity>) -> Option<Self> {
        if metadata.is_file() {
            return identity().ok().map(Self::File);
        }
        platform::block_device(metadata)
            .map(Self::Block)
            .or_else(|| platform::character_device(metadata).map(Self::Character))
            .or_else(|| platform::fifo(metadata).map(Self::Fifo))
            .or_else(|| platform::socket(metadata).map(Self::Socket))
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Terminals, other character devices and sockets may well be named twice.
    pub(crate) fn may_be_named_twice(&self) -> bool {
        matches!(self, Self::Character(_) | Self::Socket(_))
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
    (report, is_emptied): (&Thing, bool),
) -> Result<(), NotOpened> {
    // What we say may go before the report, as long as it stays there.
    if is_emptied && standard_error(claimed).as_ref() == Some(report) {
        let text = same_file(REPORT, STANDARD_ERROR);
        return Err(NotOpened::ReportRefused(End::Source, text));
    }
    // A terminal is made for both, and what is read from a pipe is not written there.
    let is_terminal = matches!(report, Thing::Character(_));
    let counts = |end: End| report.is_file() || (!is_terminal && end != End::Source);
    for (end, address) in flags.ends() {
        if counts(end) && of_address(address, claimed).as_ref() == Some(report) {
            let (one, other) = (&address.to_string(), REPORT);
            let text = if report.is_file() {
                same_file(one, other)
            } else {
                format!("{one} and {other} are the same stream; write to another one")
            };
            return Err(NotOpened::ReportRefused(end, text));
        }
    }
    Ok(())
}

/// Destinations that would be one new file, or one of which would be written where another is written beside. Nothing is made
/// yet: by their names.
pub(crate) fn refuse_same_names(flags: &CopyFlags) -> Result<(), NotOpened> {
    let mut known: Vec<(Identity, Names, &Address)> = Vec::new();
    for (end, address) in flags.ends() {
        let Some((folder, names)) = names(end, address) else {
            continue;
        };
        for (other_folder, other_names, other) in &known {
            if *other_folder != folder {
                continue;
            }
            let (one, other) = (address.to_string(), other.to_string());
            if names.is_same(other_names) {
                return Err(NotOpened::Failed(end, same_file(&one, &other)));
            }
            if names.is_in_the_way(other_names) {
                let text = format!(
                    "{one} and {other} are in each other's way: a file is written as NAME.partial until it is whole; choose another name"
                );
                return Err(NotOpened::Failed(end, text));
            }
        }
        known.push((folder, names, address));
    }
    Ok(())
}

/// A destination's names, and the folder that they are in.
fn names(end: End, address: &Address) -> Option<(Identity, Names)> {
    let (End::Destination(_), Place::File(path, _)) = (end, &address.place) else {
        return None;
    };
    // Devices may well be named twice.
    if std::fs::metadata(path).is_ok_and(|known| !known.is_file()) {
        return None;
    }
    let names = Names::of(path).ok()??;
    let folder = file_identity::of_path(names.folder()).ok()?;
    Some((folder, names))
}

/// A destination that is the source, or another destination, would destroy what it reads or writes.
pub(crate) fn refuse_same(
    flags: &CopyFlags,
    paths: &Paths,
    claimed: &Claimed,
    report_file: Option<&File>,
) -> Result<(), NotOpened> {
    let report = report_file.and_then(Thing::of).filter(Thing::is_file);
    let mut known: Vec<Known> = Vec::new();
    for (end, address) in flags.ends() {
        // A destination's file and the one that it replaces: the one beside may have been there before, too.
        let opened = |opened: &OpenedPath| opened.files().filter_map(Thing::of).collect::<Vec<_>>();
        let things = match end {
            _ if address.path().is_none() => of_address(address, claimed).map(|thing| vec![thing]),
            End::Destination(index) => paths.destinations[index].as_ref().map(opened),
            End::Source => paths.source.as_ref().map(opened),
        };
        for thing in things.into_iter().flatten() {
            if thing.may_be_named_twice() {
                continue;
            }
            if report.as_ref() == Some(&thing) {
                let text = same_file(&address.to_string(), REPORT);
                return Err(NotOpened::ReportRefused(end, text));
            }
            let one = Known {
                thing,
                name: address.to_string(),
                is_source: end == End::Source,
            };
            if let Some(other) = known.iter().find(|other| other.clashes_with(&one)) {
                return Err(NotOpened::Failed(end, clash(&one, other)));
            }
            known.push(one);
        }
    }
    Ok(())
}

fn clash(one: &Known, other: &Known) -> String {
    if one.thing.is_file() {
        return same_file(&one.name, &other.name);
    }
    let (one, other) = (&one.name, &other.name);
    format!("{one} and {other} are the same FIFO or device; write to another one")
}

/// Written in place, it would be destroyed. Written beside, it would not: it is refused all the same, as cp does, for nobody means that, and
/// which of both it comes to depends on its links, its owner and its folder.
pub(crate) fn same_file(one: &str, other: &str) -> String {
    format!("{one} and {other} are the same file; write to another file")
}

/// The file behind standard error, if it is one.
pub(crate) fn standard_error(claimed: &Claimed) -> Option<Thing> {
    claimed
        .look(STANDARD_ERROR_NUMBER, Thing::of)
        .filter(Thing::is_file)
}

/// What is at an address before anything is opened. A child is nothing yet.
pub(crate) fn of_address(address: &Address, claimed: &Claimed) -> Option<Thing> {
    match &address.place {
        Place::Exec(_) => None,
        Place::Fd(number) => claimed.look(*number, Thing::of),
        Place::Fifo(path) | Place::File(path, _) => Thing::of_path(path),
    }
}
