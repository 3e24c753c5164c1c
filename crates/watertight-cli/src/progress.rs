//! How far a copy is, for those who watch it: every destination, the slowest of them, and what the end waits for.

use crate::address::Address;
use crate::child::ChildOfEnd;
use crate::destination::Destination;
use crate::flags::{CopyFlags, FailurePolicy};
use serde::Serialize;

/// What there is to show at one moment.
pub(crate) struct CopyProgress {
    pub(crate) bytes_read: u64,
    /// What the slowest of those that are left has got, else the furthest.
    pub(crate) bytes: u64,
    /// The slowest of those that are left.
    pub(crate) slowest: Option<usize>,
    pub(crate) destinations: Vec<DestinationProgress>,
    pub(crate) awaited: Awaited,
}

/// How far a destination is.
#[derive(Debug, Serialize)]
pub(crate) struct DestinationProgress {
    pub(crate) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address_hex: Option<String>,
    pub(crate) transferred: u64,
    pub(crate) queued: u64,
    pub(crate) in_flight: u64,
    /// It still takes bytes, as far as is known.
    pub(crate) live: bool,
}

/// Whom everybody else waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Awaited {
    /// This command was told to end, or what it has started.
    Ending(String),
    /// All bytes are through, and no destination is given its end before this command, the source, has ended well.
    Held(String),
    Nobody,
}

impl CopyProgress {
    /// Looks at everything. `is_undecided`: the stream has ended, and whether it was whole is not known yet.
    pub(crate) fn of(
        flags: &CopyFlags,
        bytes_read: u64,
        (destinations, children): (&[Destination], &[ChildOfEnd]),
        is_undecided: bool,
    ) -> Self {
        let live = destinations.iter().enumerate();
        let live = live.filter(|(_, destination)| destination.is_live());
        let slowest = live.min_by_key(|(_, destination)| destination.bytes_there());
        let furthest = destinations.iter().map(Destination::bytes_there).max();
        let of_slowest = slowest.map(|(_, destination)| destination.bytes_there());
        let is_through = !destinations.iter().any(Destination::is_behind);
        let is_held = is_undecided && is_through && flags.on_failure == FailurePolicy::Kill;
        Self {
            bytes_read,
            bytes: of_slowest.or(furthest).unwrap_or(0),
            slowest: slowest.map(|(index, _)| index),
            destinations: flags
                .destinations
                .iter()
                .zip(destinations)
                .map(|(address, destination)| DestinationProgress::of(address, destination))
                .collect(),
            awaited: Awaited::of(flags, children, is_held),
        }
    }
}

impl DestinationProgress {
    fn of(address: &Address, destination: &Destination) -> Self {
        let ledger = destination.ledger();
        Self {
            address: address.text.clone(),
            address_hex: address.hex.clone(),
            transferred: ledger.transferred(),
            queued: ledger.queued(),
            in_flight: ledger.in_flight(),
            live: destination.is_live(),
        }
    }
}

impl Awaited {
    fn of(flags: &CopyFlags, children: &[ChildOfEnd], is_held: bool) -> Self {
        let addresses = std::iter::once(&flags.source).chain(&flags.destinations);
        let mut of_children = addresses.zip(children);
        let ending = of_children.find(|(_, child)| child.is_being_ended());
        if let Some((address, _)) = ending {
            return Self::Ending(command(address));
        }
        let is_source_running = children.first().is_some_and(ChildOfEnd::is_running);
        if is_held && is_source_running {
            return Self::Held(command(&flags.source));
        }
        Self::Nobody
    }
}

/// The command of an `exec:` address.
fn command(address: &Address) -> String {
    let text = &address.text;
    text.strip_prefix("exec:").unwrap_or(text).to_owned()
}
