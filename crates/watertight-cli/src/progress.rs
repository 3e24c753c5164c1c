//! How far a copy is, for those who watch it: every destination, the slowest of them, and what the end waits for.

use crate::address::Address;
use crate::child::ChildOfEnd;
use crate::copy_ending::GivenUp;
use crate::destination::Destination;
use crate::flags::{CopyFlags, FailurePolicy};
use crate::units::base64;
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
#[derive(Debug, Default, Serialize)]
pub(crate) struct DestinationProgress {
    pub(crate) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address_base64: Option<String>,
    pub(crate) transferred: u64,
    /// Bytes that were read and wait for room in its queue.
    pub(crate) not_accepted: u64,
    pub(crate) queued: u64,
    pub(crate) in_flight: u64,
    /// It still takes bytes, as far as is known.
    pub(crate) live: bool,
    pub(crate) state: DestinationState,
    pub(crate) given_up: Option<GivenUp>,
    pub(crate) error: Option<String>,
}

/// What a destination does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DestinationState {
    /// Bytes wait for it.
    Behind,
    /// It was given up; `given_up` says why.
    Dropped,
    /// It has everything, and its end.
    Ended,
    /// It has everything, and its end is on its way.
    Ending,
    /// It is over too early, and not because of us; `error` says why.
    Failed,
    /// It has everything, and its end waits until all is known to be well.
    Held,
    /// It has everything that was read so far.
    #[default]
    Served,
}

/// Whom everybody else waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Awaited {
    /// This command was told to end, or what it has started.
    Ending(AwaitedCommand),
    /// All bytes are through, and no destination is given its end before this command, the source, has ended well.
    Held(AwaitedCommand),
    Nobody,
}

/// The command of an `exec:` address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AwaitedCommand {
    pub(crate) text: String,
    /// Its bytes in base64, if they are no text.
    pub(crate) base64: Option<String>,
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
        let are_ends_held = is_undecided && flags.on_failure == FailurePolicy::Kill;
        let is_held = are_ends_held && is_through;
        Self {
            bytes_read,
            bytes: of_slowest.or(furthest).unwrap_or(0),
            slowest: slowest.map(|(index, _)| index),
            destinations: flags
                .destinations
                .iter()
                .zip(destinations)
                .map(|(address, destination)| {
                    DestinationProgress::of(address, destination, are_ends_held)
                })
                .collect(),
            awaited: Awaited::of(flags, children, is_held),
        }
    }
}

impl DestinationProgress {
    fn of(address: &Address, destination: &Destination, is_end_held: bool) -> Self {
        let ledger = destination.ledger();
        Self {
            address: address.text.clone(),
            address_base64: address.base64(),
            transferred: ledger.transferred(),
            not_accepted: destination.not_accepted(),
            queued: ledger.queued(),
            in_flight: ledger.in_flight(),
            live: destination.is_live(),
            state: DestinationState::of(destination, is_end_held),
            given_up: destination.given_up(),
            error: destination.error(),
        }
    }

    /// How many bytes were read and are not transferred yet.
    pub(crate) fn waiting(&self) -> u64 {
        self.not_accepted + self.queued + self.in_flight
    }
}

impl DestinationState {
    fn of(destination: &Destination, is_end_held: bool) -> Self {
        if destination.given_up().is_some() {
            Self::Dropped
        } else if destination.is_complete() {
            Self::Ended
        } else if !destination.is_live() {
            Self::Failed
        } else if destination.is_behind() {
            Self::Behind
        } else if destination.is_ending() {
            Self::Ending
        } else if is_end_held {
            Self::Held
        } else {
            Self::Served
        }
    }
}

impl Awaited {
    fn of(flags: &CopyFlags, children: &[ChildOfEnd], is_held: bool) -> Self {
        let addresses = std::iter::once(&flags.source).chain(&flags.destinations);
        let mut of_children = addresses.zip(children);
        let ending = of_children.find(|(_, child)| child.is_being_ended());
        if let Some((address, _)) = ending {
            return Self::Ending(AwaitedCommand::of(address));
        }
        let is_source_running = children.first().is_some_and(ChildOfEnd::is_running);
        if is_held && is_source_running {
            return Self::Held(AwaitedCommand::of(&flags.source));
        }
        Self::Nobody
    }
}

impl AwaitedCommand {
    fn of(address: &Address) -> Self {
        const SCHEME: &str = "exec:";
        let text = address.text.strip_prefix(SCHEME);
        let command = |bytes: &[u8]| base64(bytes.strip_prefix(SCHEME.as_bytes()).unwrap_or(bytes));
        Self {
            text: text.unwrap_or(&address.text).to_owned(),
            base64: address.bytes.as_deref().map(command),
        }
    }
}
