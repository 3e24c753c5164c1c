//! The run of `watertight copy`: one thread, one mailbox, and what to do about each event and each deadline.
//!
//! Bytes go from the source's thread through the mailbox into every destination's queue. The source reads only on credit,
//! and gets credit only when every live destination has taken the chunk before: memory is bounded, and the slowest sets
//! the pace. From where nobody needs a queue of ours, the source's thread has the library move the bytes on, and this one sees from the
//! accounts how far it is. Nothing here knows how a pipe works.

#[cfg(all(test, unix))]
mod closed_input_checks;
#[cfg(test)]
mod condemned_checks;
mod deadlines;
mod early_end;
mod flow;
#[cfg(all(test, unix))]
mod limit_checks;
mod readers;

use crate::account::so_far;
use crate::asking::HELD_UP_AFTER;
use crate::child::ChildOfEnd;
use crate::copy_ending::{CopyEnding, GivenUp};
use crate::destination::Destination;
use crate::diagnostics;
use crate::end::End;
use crate::endpoint::Ends;
use crate::event::{Event, Inbox, Mailbox, is_late};
use crate::extent::Extent;
use crate::flags::{CopyFlags, DeadPolicy, FailurePolicy};
use crate::left_behind::LeftBehind;
use crate::meter::Meter;
use crate::progress::CopyProgress;
use crate::rate::Pace;
use crate::reserve::Reserve;
use crate::seal::{Decoder, Sealer};
use crate::shared_position::GivenFiles;
use crate::source::{Source, Wanted};
use crate::source_ending::SourceEnding;
use crate::verdict::{
    Act, Consumer, EndRule, Producer, Stream, Verdict, act, consumer_at_end, judge,
};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it is looked whether bytes have moved that nobody told of, if a deadline depends on that: into a pipe, and out of it.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the source's thread may take to stop, beyond the library's own bound.
const SOURCE_STOP_WITHIN: Duration = Duration::from_secs(5);

/// A copy under way.
pub(crate) struct Copy<'a> {
    flags: &'a CopyFlags,
    mailbox: Mailbox,
    inbox: Inbox,
    meter: Meter,
    /// How fast our own queues are fed, if that is bounded.
    pace: Option<Pace>,
    source: Source,
    /// Our standard streams' pipes that are still to be enlarged.
    to_enlarge: Vec<End>,
    /// Once so many bytes are read, and compared with what all destinations have already, the library moves the rest on; if it does.
    moves_from: Option<u64>,
    /// The files among the ends that we were started with, if the library moves their bytes.
    given_files: Arc<GivenFiles>,
    /// The library moves the bytes from the source to the destinations, and nobody is told of each piece.
    is_moving: bool,
    /// What puts the data into frames, if they are to be sealed.
    sealer: Option<Sealer>,
    /// How the source ended, once it has.
    pub(crate) source_ending: Option<SourceEnding>,
    /// When its thread is given up, if it was told to stop.
    source_abandoned_at: Option<Instant>,
    /// Chunks it was asked for and that have not arrived.
    outstanding: usize,
    /// What waits until there is enough of it (`--start-at`).
    reserve: Option<Reserve>,
    /// Chunks that arrived before their turn.
    ahead: VecDeque<Bytes>,
    pub(crate) bytes_read: u64,
    /// The children: the source's first, then the destinations'. Before these: dropped together, a child is killed before its input ends.
    pub(crate) children: Vec<ChildOfEnd>,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) ending: Option<CopyEnding>,
    /// When a destination or a signal ended that, while the source's thread moves bytes to several.
    ended_early_at: Option<Instant>,
    /// Whether the destinations may have their ends.
    verdict: Verdict,
    pub(crate) signal: Option<i32>,
    /// Everything was stopped: no deadline counts any more.
    stopping: bool,
    moved_at: Instant,
    /// Since when nothing more comes from the source.
    drain_since: Option<Instant>,
}

/// What shows how far the copy is. `extent`: what the source tells of itself.
fn meter(flags: &CopyFlags, extent: Option<Extent>, now: Instant) -> io::Result<Meter> {
    let size = flags.size.or(extent.map(Extent::left));
    let size = size.into_iter().chain(flags.limit).min();
    let extent = (size, flags.destinations.len());
    Meter::new(flags.progress_choice(), flags.progress_every, extent, now)
}

impl<'a> Copy<'a> {
    /// Sets everything up. Nothing is read yet.
    pub(crate) fn new(
        flags: &'a CopyFlags,
        ends: Ends,
        mailbox: Mailbox,
        inbox: Inbox,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let meter = meter(flags, ends.source.extent, now)?;
        // Before the children, so that what fails here kills them before it ends their input.
        let mut destinations = Vec::new();
        let mut children = vec![ChildOfEnd::of(
            ends.source.child.clone(),
            &flags.source.exec,
            End::Source,
            &mailbox,
        )?];
        for (index, mut end) in ends.destinations.into_iter().enumerate() {
            children.push(ChildOfEnd::of(
                end.child.take(),
                &flags.destinations[index].exec,
                End::Destination(index),
                &mailbox,
            )?);
            destinations.push(Destination::new(index, end, now));
        }
        let moves_from = flow::moves_from(flags, &destinations);
        if moves_from.is_some() {
            readers::note_our_locks(flags, &ends.source.reader, &mut destinations);
        }
        let given_files = moves_from.map(|_| {
            let writers = destinations.iter().map(Destination::writer);
            GivenFiles::among(flags, &ends.source.reader, writers)
        });
        let to_enlarge = readers::pipes_to_enlarge(flags, &ends.source.reader, &destinations);
        let wanted = Wanted {
            limit: flags.read_bytes_max(),
            hash: flags.hash.is_some() || flags.seal,
            seal: flags.sealed.then(Decoder::new),
        };
        let source = Source::start(ends.source, wanted, mailbox.clone())?;
        Ok(Self {
            flags,
            meter,
            pace: flags.rate.map(|rate| Pace::new(rate, now)),
            source,
            to_enlarge,
            moves_from,
            given_files: Arc::new(given_files.unwrap_or_default()),
            is_moving: moves_from == Some(0),
            sealer: flags.seal.then(Sealer::default),
            source_ending: None,
            source_abandoned_at: None,
            outstanding: 0,
            reserve: flow::reserve(flags),
            ahead: VecDeque::new(),
            bytes_read: 0,
            destinations,
            children,
            ending: None,
            ended_early_at: None,
            verdict: Verdict::Open,
            signal: None,
            stopping: false,
            moved_at: now,
            drain_since: None,
            mailbox,
            inbox,
        })
    }

    /// Copies until the source, every destination and every child is over.
    pub(crate) fn run(&mut self) {
        if self.is_moving {
            self.move_on();
        }
        loop {
            let now = Instant::now();
            self.look(now);
            self.keep_deadlines(now);
            self.advance(now);
            if self.judge(now) {
                self.advance(now);
            }
            if self.is_over(now) {
                break;
            }
            if self.meter.is_due(now) {
                let progress = self.progress(now);
                self.meter.show(&progress, now);
            }
            let deadline = self.next_deadline(now);
            let event = self.inbox.next(deadline);
            let woken_at = Instant::now();
            if is_late(deadline, woken_at) {
                self.forgive(woken_at);
            }
            if let Some(event) = event {
                self.handle(event, woken_at);
            }
        }
        let now = Instant::now();
        let progress = self.progress(now);
        self.meter.end(&progress, now);
    }

    /// The copy is over, and its account is taken: all that is left of it are its commands, and whoever they have left behind.
    pub(crate) fn into_left_behind(self) -> LeftBehind {
        LeftBehind::new(self.children, self.inbox, self.flags.on_failure)
    }

    /// Sees what has moved without an event.
    fn look(&mut self, now: Instant) {
        if !self.is_moving {
            return;
        }
        for destination in &mut self.destinations {
            if destination.advance(false, now, &self.mailbox) {
                self.moved_at = self.moved_at.max(now);
            }
        }
        // What one of them has accepted was read, although it is in the source as long as another one has not.
        let accepted = self.destinations.iter().map(Destination::bytes_accepted);
        self.bytes_read = accepted.max().unwrap_or(0);
    }

    /// Gives the verdict, once enough is known. Whether it did.
    fn judge(&mut self, now: Instant) -> bool {
        if self.verdict != Verdict::Open || self.is_ending_on_its_way() {
            return false;
        }
        let dead_counts = self.flags.dead == DeadPolicy::Fail;
        let (source, children) = self.children.split_first().expect("one for each end");
        let producer = match source.status() {
            None => Producer::Nobody,
            Some(_) if source.is_running() => Producer::Running,
            Some(_) if source.has_failed() => Producer::EndedBadly,
            Some(_) => Producer::EndedWell,
        };
        let consumers = self.destinations.iter().zip(children);
        let consumers = consumers.map(|(destination, child)| {
            if destination.is_live() && child.has_failed() && dead_counts {
                Consumer::Failed
            } else if child.has_failed() {
                Consumer::Dropped
            } else if self.is_moving {
                let accepted = destination.bytes_accepted();
                consumer_at_end(destination.consumer(), accepted, self.bytes_read)
            } else {
                destination.consumer()
            }
        });
        let is_stopped = self.ending.is_some() || self.signal.is_some();
        self.verdict = judge(is_stopped, self.stream(now), producer, consumers);
        if self.verdict == Verdict::Bad {
            self.refuse_ends(now);
        }
        self.verdict != Verdict::Open
    }

    /// Whether the copy was whole, and this destination has every byte of it.
    pub(crate) fn is_whole_at(&self, index: usize) -> bool {
        let destination = &self.destinations[index];
        self.verdict == Verdict::Good
            && destination.is_complete()
            && destination.bytes_there() == self.bytes_read + destination.seal_bytes()
    }

    fn stream(&self, now: Instant) -> Stream {
        match &self.source_ending {
            None if self.is_source_over(now) => Stream::Failed,
            None => Stream::Open,
            // How a destination ended is on its way, and says what is wrong.
            Some(ending) if self.is_any_live(&ending.destinations_over) => Stream::Open,
            Some(ending) => {
                let read = self.bytes_read;
                let is_expected = self.flags.expect_bytes.is_none_or(|bytes| bytes == read);
                let is_all = ending.ended || ending.limit_reached;
                if !is_all || ending.error.is_some() || !is_expected {
                    Stream::Failed
                } else if ending.limit_reached {
                    Stream::Enough
                } else {
                    Stream::Ended
                }
            }
        }
    }

    /// Whether the source's thread has seen that a destination takes no more, and how that one ended has not arrived. A child that closed
    /// its input may have work to do: a verdict in between would have it asked to end. It is not waited for without a bound: what does not
    /// say in time how it ended is given up (`give_up_silent`).
    fn is_ending_on_its_way(&self) -> bool {
        let ending = self.source_ending.as_ref();
        ending.is_some_and(|ending| self.is_any_live(&ending.destinations_over))
    }

    fn is_any_live(&self, indices: &[usize]) -> bool {
        let is_live = |index: &usize| self.destinations[*index].is_live();
        indices.iter().any(is_live)
    }

    /// The verdict is bad: no child is given a clean end of this stream. The others get what was read.
    fn refuse_ends(&mut self, now: Instant) {
        self.child_of(End::Source).stop(now);
        let all = 0..self.destinations.len();
        let is_refused =
            |index: &usize| act(self.end_rule(*index), self.verdict, false) == Act::Kill;
        let refused: Vec<usize> = all.filter(is_refused).collect();
        self.give_up(&refused, GivenUp::CutShort, now);
    }

    /// This program was stopped for a while, and what it did not see is nobody's idleness.
    fn forgive(&mut self, now: Instant) {
        self.moved_at = self.moved_at.max(now);
        for destination in &mut self.destinations {
            destination.forgive(now);
        }
    }

    fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::AccountAsked => {
                self.look(now);
                self.tell_account();
            }
            Event::ChildMayBeOver(end) => self.child_of(end).look_at_child(),
            Event::Data(chunk) => {
                self.outstanding -= 1;
                self.bytes_read += chunk.len() as u64;
                self.moved_at = self.moved_at.max(now);
                if let Some(pace) = &mut self.pace {
                    pace.spend(chunk.len() as u64, now);
                }
                self.enlarge_once_it_pays();
                self.take_in(chunk);
            }
            Event::DestinationEnded(index, receipt) => {
                if self.destinations[index].handle_ending(receipt) {
                    self.handle_early_ending(now);
                }
                self.stop_if_nobody_is_left(now);
            }
            Event::Interrupted(signal) => {
                self.signal = Some(signal);
                if self.flags.on_failure == FailurePolicy::End {
                    // What was read still goes to everybody, and then the end.
                    self.stop_evenly(CopyEnding::Interrupted, now);
                } else {
                    self.stop_all(CopyEnding::Interrupted, GivenUp::Interrupted);
                }
            }
            Event::LimitReached => {
                // Its pipe is closed next: how the child ends is our doing.
                self.child_of(End::Source).stop(now);
            }
            Event::MayBeRead(index) => self.destinations[index].look_at_reading(now),
            Event::ReadByPeer(index, answer) => self.destinations[index].handle_read(answer, now),
            Event::SourceEnded(ending) => self.handle_source_ending(ending, now),
            Event::TreeEnded(end, left) => self.child_of(end).handle_tree(&left),
            Event::Unread(index, answer) => self.handle_unread(index, answer, now),
            Event::Opened(..) | Event::Wake => {}
        }
    }

    fn handle_source_ending(&mut self, mut ending: SourceEnding, now: Instant) {
        if ending.limit_reached && self.flags.reads_up_to_too_many() {
            // It is no end that was wanted.
            ending.limit_reached = false;
            self.ending.get_or_insert(CopyEnding::TooManyBytes);
        }
        if ending.error.is_some() {
            let why = if ending.shrank {
                CopyEnding::SourceShrank
            } else {
                CopyEnding::SourceFailed
            };
            self.ending.get_or_insert(why);
            self.child_of(End::Source).stop(now);
        }
        if ending.is_destination_over {
            // Its own ending may come only now.
            self.ending.get_or_insert(CopyEnding::DestinationEnded);
            self.child_of(End::Source).stop(now);
        }
        self.begin_drain(now);
        self.moved_at = self.moved_at.max(now);
        for destination in &mut self.destinations {
            destination.forget_our_lock(now);
        }
        for index in &ending.destinations_over {
            self.destinations[*index].expect_ending(now);
        }
        self.source_ending = Some(ending);
        // From here on it is waited for what is still on its way.
        self.mailbox.wants_progress(true);
    }

    /// Says how far everything is, and goes on.
    fn tell_account(&self) {
        let addresses = self.flags.destinations.iter();
        let destinations = addresses
            .zip(&self.destinations)
            .map(|(address, destination)| (address.text.as_str(), destination.ledger()));
        let text = so_far(&self.flags.source.text, self.bytes_read, destinations);
        diagnostics::offer(&text);
    }

    /// Reads no more. What was read still goes to the destinations that are left.
    fn stop_source(&mut self, why: CopyEnding, now: Instant) {
        self.ending.get_or_insert(why);
        self.begin_drain(now);
        if self.source_ending.is_none() && self.source_abandoned_at.is_none() {
            self.source_abandoned_at = Some(now + SOURCE_STOP_WITHIN);
            // Before its pipe is closed: how the child ends from now on is our doing.
            self.child_of(End::Source).stop(now);
            self.source.stop();
        }
    }

    /// Nothing more comes from the source.
    fn begin_drain(&mut self, now: Instant) {
        if self.drain_since.is_none() {
            self.drain_since = Some(now);
            // What the rate held back until now was nobody's idleness.
            self.moved_at = self.moved_at.max(now);
        }
        for destination in &mut self.destinations {
            destination.handle_source_over();
        }
    }

    /// Stops everything now.
    fn stop_all(&mut self, why: CopyEnding, given_up: GivenUp) {
        let now = Instant::now();
        self.stopping = true;
        self.stop_source(why, now);
        self.ahead.clear();
        let all: Vec<usize> = (0..self.destinations.len()).collect();
        self.give_up(&all, given_up, now);
        for child in &mut self.children {
            child.stop(now);
        }
    }

    /// Stops these destinations. A child's input stays open until the child has ended.
    fn give_up(&mut self, indices: &[usize], why: GivenUp, now: Instant) {
        let live = indices.iter().copied();
        let live = live.filter(|index| self.destinations[*index].is_live());
        let live: Vec<usize> = live.collect();
        for &index in &live {
            if self.is_last_to_end(index) {
                self.destinations[index].condemn(why, &self.mailbox, now);
            }
        }
        // All are asked by now: those that are held up are so at the same time.
        let until = Instant::now() + HELD_UP_AFTER;
        for &index in &live {
            self.destinations[index].await_condemned(until);
        }
        for &index in &live {
            self.child_of(End::Destination(index)).stop(now);
            // One that is condemned is given up already.
            self.destinations[index].give_up(why, now);
        }
    }

    /// Whether this destination's input ends only when its consumer has, if it is given up.
    fn is_last_to_end(&self, index: usize) -> bool {
        self.end_rule(index) == EndRule::IfGood
    }

    fn end_rule(&self, index: usize) -> EndRule {
        self.flags.end_rule(self.destinations[index].is_child())
    }

    fn close_condemned(&mut self, now: Instant) {
        for (destination, child) in self.destinations.iter_mut().zip(&self.children[1..]) {
            if child.is_over() {
                destination.close_condemned(child.may_live(), now);
            }
        }
    }

    fn child_of(&mut self, end: End) -> &mut ChildOfEnd {
        match end {
            End::Destination(index) => &mut self.children[index + 1],
            End::Source => &mut self.children[0],
        }
    }

    fn is_source_over(&self, now: Instant) -> bool {
        self.source_ending.is_some() || self.source_abandoned_at.is_some_and(|at| at <= now)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.is_source_over(now)
            && self
                .destinations
                .iter()
                .all(|destination| destination.is_over(now))
            && self.children.iter().all(ChildOfEnd::is_over)
    }

    /// What those who watch are shown.
    fn progress(&self, now: Instant) -> CopyProgress {
        let is_all_there = matches!(self.stream(now), Stream::Ended | Stream::Enough);
        let is_undecided = self.verdict == Verdict::Open && is_all_there;
        let ends = (&self.destinations[..], &self.children[..]);
        CopyProgress::of(self.flags, self.bytes_read, ends, is_undecided)
    }
}
