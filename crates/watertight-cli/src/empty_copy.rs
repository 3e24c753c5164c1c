//! Whether a copy is an empty one: its source is at its end before a byte was read. This is told without a read, and such a copy needs
//! no thread but the one that runs.
//!
//! Never here: what an empty copy comes to, which is the same either way. In doubt a copy is none.

use crate::address::{Address, Place};
use crate::claimed::Claimed;
use crate::endpoint::OpenedEnds;
use crate::flags::{CopyFlags, ProgressChoice};
use crate::meter;
use crate::outlook::Outlook;
use crate::platform::{self, KeptSignals};
use std::fs::{File, Metadata};
use std::io;

/// Whether it may be one, as far as that is known before anything is opened. If so its ends are opened on this thread: nothing that
/// could wait for its other side is among them. (A file system that hangs holds this thread at the look before that in any case.)
pub(crate) fn may_be(flags: &CopyFlags, claimed: &Claimed) -> bool {
    // A seal says something of nothing too, and there may be more in a partial than in the source.
    let is_about_more = flags.seal || flags.sealed || flags.is_resumed();
    let is_told = matches!(
        flags.progress_choice(),
        ProgressChoice::Always | ProgressChoice::Json
    );
    let mut destinations = flags.destinations.iter();
    platform::TELLS_ENDS
        && !is_about_more
        && !is_told
        && destinations.all(|address| is_at_hand(address, claimed))
        && is_source_promising(flags, claimed)
}

/// Whether it is one. A pipe in which nothing is yet is waited for, if nothing has to go on meanwhile. It is none while a signal is to
/// be heard.
pub(crate) fn is_it(flags: &CopyFlags, opened: &OpenedEnds, signals: &mut KeptSignals) -> bool {
    let is_ended = |source: &File| {
        Some(match platform::outlook(source) {
            Outlook::Ended => !signals.is_any_waiting(),
            Outlook::Silent => may_wait(flags) && platform::await_end(source, signals),
            Outlook::Unknown => false,
        })
    };
    opened.look_at_source(flags, is_ended) == Some(true)
}

/// Whether the source is at its end, or a pipe that can be waited for.
fn is_source_promising(flags: &CopyFlags, claimed: &Claimed) -> bool {
    let outlook = match &flags.source.place {
        Place::Exec(_) | Place::Fifo(_) => Outlook::Unknown,
        Place::Fd(number) => {
            let look = |source: &File| Some(platform::outlook(source));
            claimed.look(*number, look).unwrap_or(Outlook::Unknown)
        }
        Place::File(path, _) => match std::fs::metadata(path) {
            Ok(known) if is_without_size(&known) => Outlook::Ended,
            Ok(_) | Err(_) => Outlook::Unknown,
        },
    };
    match outlook {
        Outlook::Ended => true,
        // While files are opened somebody has to hear signals.
        Outlook::Silent => may_wait(flags) && flags.ends().all(|(_, one)| one.path().is_none()),
        Outlook::Unknown => false,
    }
}

/// Whether nothing has to go on while a silent source is waited for.
fn may_wait(flags: &CopyFlags) -> bool {
    flags.idle.is_none() && !meter::is_line_wanted(flags.progress_choice())
}

/// Whether opening and ending this destination waits for nobody.
fn is_at_hand(address: &Address, claimed: &Claimed) -> bool {
    match &address.place {
        Place::Exec(_) | Place::Fifo(_) => false,
        Place::Fd(number) => {
            let look = |destination: &File| Some(platform::takes_an_end(destination));
            claimed.look(*number, look) == Some(true)
        }
        Place::File(path, _) => match std::fs::metadata(path) {
            Ok(known) => known.is_file() || platform::is_null(&known),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        },
    }
}

/// Whether the file may have nothing in it.
fn is_without_size(known: &Metadata) -> bool {
    known.is_file() && known.len() == 0 || platform::is_null(known)
}
