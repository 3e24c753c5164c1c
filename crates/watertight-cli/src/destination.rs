//! One destination of a copy: its pipe, the chunk that waits for room in it, and what is known of its reader. How it ends is in
//! `destination/ending.rs`.

mod ending;

use crate::asking::Asking;
use crate::awaited::Awaited;
use crate::child::Unclaimed;
use crate::child_status::InputKind;
use crate::copy_ending::GivenUp;
use crate::event::{Event, Mailbox};
use crate::gate::Gate;
use crate::platform;
use crate::resume::Prefix;
use crate::seal;
use crate::unread::{Answer, InPipe, Seen, in_pipe};
use crate::verdict::Consumer;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use watertight::{Ending, Error, ErrorKind, Ledger, Observer, PipeWriter, Receipt};

/// How far the ending has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Bytes are accepted.
    Open,
    /// All is accepted; somebody waits until the peer has read it.
    BeingRead,
    /// The end of the stream is on its way.
    Finishing,
}

/// A destination that is open.
pub(crate) struct DestinationEnd {
    /// Before the writer: dropped together, a child is killed before its input ends.
    pub(crate) child: Unclaimed,
    pub(crate) writer: PipeWriter,
    pub(crate) kind: DestinationKind,
    /// What the child reads from.
    pub(crate) input: Option<InputKind>,
    /// What the file has already, if it was left by a copy that was cut.
    pub(crate) prefix: Option<Prefix>,
}

/// A destination.
pub(crate) struct Destination {
    index: usize,
    writer: Arc<PipeWriter>,
    kind: DestinationKind,
    input: Option<InputKind>,
    phase: Phase,
    /// What its file has already, if it was left by a copy that was cut.
    prefix: Option<Prefix>,
    /// What is wrong with that.
    wrong_prefix: Option<String>,
    /// A chunk for which there was no room yet.
    pending: Option<Bytes>,
    /// How much of that is no data: the seal's.
    pending_seal_bytes: u64,
    /// How many of the accepted bytes are no data.
    seal_bytes: u64,
    /// What goes out before its end: the seal's last frame.
    last: Option<Bytes>,
    transferred: u64,
    /// When it last took something, or had nothing to take.
    content_at: Instant,
    /// What was last told of the bytes in its pipe.
    told: Option<Answer>,
    /// What all that was told says of its reader.
    seen: Seen,
    asking: Asking,
    /// What the source's thread is told of it.
    gate: Arc<Gate>,
    /// Its reader holds up the question, and takes nothing.
    is_held_up_by_reader: bool,
    /// When bytes came into its pipe of which nothing is known.
    unknown_since: Instant,
    /// Nothing more comes from the source.
    is_source_over: bool,
    receipt: Option<Receipt>,
    given_up: Option<GivenUp>,
    /// It takes no more, and its ending is on its way.
    has_refused: bool,
    /// When that must be here, if it takes no more.
    ending_due: Option<Instant>,
    /// Why it takes no more, which is known before its ending.
    refusal: Option<Error>,
    /// When its end was set on its way.
    end_begun_at: Option<Instant>,
    /// Its consumer is to end before its input does.
    is_condemned: bool,
    /// Where the answer comes whether that consumer has read everything.
    condemned_read: Option<Receiver<Option<bool>>>,
    /// Its plain pipe was closed all the same while somebody of its consumer may live.
    looks_whole: bool,
    abandoned_at: Option<Instant>,
    read_by_peer: Option<bool>,
    /// The wait until its child has read everything, where that takes no thread.
    reading: Option<Awaited<Result<(), Error>>>,
}

/// What the pipe leads to, as far as ending it is concerned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DestinationKind {
    /// A child of ours: it can be waited for.
    Child,
    /// A file: nobody reads.
    File,
    /// Somebody else reads, who may take all the time in the world.
    Peer,
}

/// Tells the copy what the library's threads know.
pub(crate) struct Herald {
    pub(crate) index: usize,
    pub(crate) mailbox: Mailbox,
}

impl Observer for Herald {
    fn progress(&self, _: Ledger) {
        self.mailbox.wake_for_progress();
    }

    fn ended(&self, receipt: &Receipt) {
        self.mailbox
            .post(Event::DestinationEnded(self.index, receipt.clone()));
    }
}

impl Destination {
    pub(crate) fn new(index: usize, end: DestinationEnd, now: Instant) -> Self {
        Self {
            index,
            writer: Arc::new(end.writer),
            kind: end.kind,
            input: end.input,
            phase: Phase::Open,
            prefix: end.prefix,
            wrong_prefix: None,
            pending: None,
            pending_seal_bytes: 0,
            seal_bytes: 0,
            last: None,
            transferred: 0,
            content_at: now,
            told: None,
            seen: Seen::default(),
            asking: Asking::default(),
            gate: Arc::default(),
            is_held_up_by_reader: false,
            unknown_since: now,
            is_source_over: false,
            receipt: None,
            given_up: None,
            has_refused: false,
            ending_due: None,
            refusal: None,
            end_begun_at: None,
            is_condemned: false,
            condemned_read: None,
            looks_whole: false,
            abandoned_at: None,
            read_by_peer: None,
            reading: None,
        }
    }

    /// What its bytes are written to.
    pub(crate) fn writer(&self) -> Arc<PipeWriter> {
        self.writer.clone()
    }

    /// What the source's thread looks at while it moves bytes here.
    pub(crate) fn gate(&self) -> Arc<Gate> {
        self.gate.clone()
    }

    /// Has the source's thread move nothing more to it, and the others not wait for it. Before it is given up: so it is no failure of its own.
    pub(crate) fn leave_out(&self) {
        self.gate.leave_out();
    }

    /// Has the source's thread write nothing to it while a question has been open for so long: who holds that up would hold up the write too,
    /// and with it whatever goes to the others.
    pub(crate) fn keep_gate(&self, after: Duration, now: Instant) {
        self.gate.shut(self.asking.is_open_for(after, now));
    }

    /// Whether it still takes bytes, as far as is known.
    pub(crate) fn is_live(&self) -> bool {
        self.receipt.is_none() && self.given_up.is_none()
    }

    /// Whether nothing more will happen.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.receipt.is_some() || self.abandoned_at.is_some_and(|at| at <= now)
    }

    /// When it is over at the latest, if it was given up.
    pub(crate) fn abandoned_at(&self) -> Option<Instant> {
        self.abandoned_at.filter(|_| self.receipt.is_none())
    }

    /// Whether the next chunk may come.
    pub(crate) fn is_ready(&self) -> bool {
        self.pending.is_none()
    }

    /// Whether its pipe would take a byte now. Of a file nobody knows: its disk may be busy. And no copy of its descriptor is closed, which may
    /// wait for the disk, and hear what it has not taken.
    pub(crate) fn has_room(&self) -> bool {
        let copy = || self.writer.try_clone_handle();
        self.kind != DestinationKind::File && copy().is_ok_and(|copy| platform::has_room(&copy))
    }

    /// Whether a byte still waits here: in our queue, or in front of it.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_live() && (self.pending.is_some() || self.writer.ledger().unsettled() > 0)
    }

    /// How many bytes wait here until there is room in its queue.
    pub(crate) fn not_accepted(&self) -> u64 {
        self.pending.as_ref().map_or(0, |chunk| chunk.len() as u64)
    }

    /// Whether its end is on its way.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_live() && self.phase != Phase::Open
    }

    /// Whether a byte waits to be taken, here or in its pipe.
    pub(crate) fn has_bytes_to_go(&self) -> bool {
        self.is_behind() || self.in_pipe() == InPipe::Unread
    }

    /// What is known of the bytes in its pipe, as far as somebody waits for them to be taken.
    fn in_pipe(&self) -> InPipe {
        let is_of_interest = match self.kind {
            // It has read them when its end is on its way.
            DestinationKind::Child => self.phase != Phase::Finishing,
            DestinationKind::File => false,
            // A stranger may read what is left whenever it likes, also as long as there is no verdict.
            DestinationKind::Peer => !self.is_source_over,
        };
        if !is_of_interest || !self.is_live() {
            return InPipe::Nothing;
        }
        match in_pipe(self.told, self.transferred) {
            InPipe::Unasked if self.is_held_up_by_reader => InPipe::Unread,
            known @ (InPipe::Nothing | InPipe::Unasked | InPipe::Unread) => known,
        }
    }

    /// When to look at its reader again, if it may be the reader who keeps bytes waiting; or when the look is held up.
    pub(crate) fn look_at(&self, every: Duration) -> Option<Instant> {
        let is_needed = self.in_pipe() != InPipe::Nothing;
        is_needed.then(|| self.asking.due(self.unknown_since, every))
    }

    /// Whether a deadline at that moment may count: it is known what its reader had taken by then, or of no interest.
    pub(crate) fn is_known_at(&self, at: Instant, now: Instant) -> bool {
        self.in_pipe() == InPipe::Nothing || self.asking.is_known_at(at, now)
    }

    /// Our own source's thread may have its pipe's lock while it waits for a file.
    pub(crate) fn note_our_lock(&mut self) {
        self.asking.note_ours();
    }

    /// That thread is over, and has no lock any more.
    pub(crate) fn forget_our_lock(&mut self, now: Instant) {
        self.asking.forget_ours(now);
    }

    /// Since when nothing moves in its pipe, if that lock may be what holds up a question. It says nothing about the reader.
    pub(crate) fn locked_since(&self, now: Instant) -> Option<Instant> {
        self.asking.locked_since(now)
    }

    /// Asks how much of its pipe is unread, if that is of interest. The answer comes as an event.
    pub(crate) fn look_at_reader(&mut self, now: Instant, mailbox: &Mailbox) {
        if self.in_pipe() == InPipe::Nothing {
            return;
        }
        self.is_held_up_by_reader = self.asking.is_held_up_by_reader(now);
        let asked = self.asking.ask(&self.writer, self.index, mailbox, now);
        if asked.is_err() {
            // Without a thread it is not known here.
            self.told = Some(Answer {
                before: self.transferred,
                after: self.transferred,
                unread: None,
            });
        }
    }

    /// The answer to `look_at_reader`. Says whether its reader has taken something, or may have.
    pub(crate) fn handle_unread(&mut self, answer: Answer, now: Instant) -> bool {
        self.asking.handle_answer();
        self.is_held_up_by_reader = false;
        let has_taken = self.seen.may_have_taken(answer);
        self.told = Some(answer);
        if has_taken {
            self.content_at = self.content_at.max(now);
        }
        // Now, for the next question may be due.
        self.offer();
        has_taken
    }

    /// When it has taken nothing for so long although bytes wait for it, or has held up its own end for so long.
    pub(crate) fn slow_at(&self, after: Duration) -> Option<Instant> {
        if self.has_bytes_to_go() {
            self.content_at.checked_add(after)
        } else if self.asking.may_be_ours() {
            // It may be our own source's thread that holds it up.
            None
        } else {
            self.end_held_up_at(after)
        }
    }

    /// Nothing more comes from the source.
    pub(crate) fn handle_source_over(&mut self) {
        self.is_source_over = true;
    }

    /// What happened up to now is not its fault.
    pub(crate) fn forgive(&mut self, now: Instant) {
        self.content_at = self.content_at.max(now);
        self.forgive_end(now);
    }

    /// How many bytes are there: those that were written, and those that its file had.
    pub(crate) fn bytes_there(&self) -> u64 {
        self.transferred + self.verified_bytes()
    }

    /// How many bytes it has or is to have: those that it accepted, and those that its file had.
    pub(crate) fn bytes_accepted(&self) -> u64 {
        self.ledger().accepted() + self.verified_bytes()
    }

    /// Hands it a chunk, `seal_bytes` of which are no data. It must be ready. What its file has already is compared with that,
    /// and not written. False: it is something else, and the destination is given up.
    #[must_use]
    pub(crate) fn push(&mut self, chunk: Bytes, seal_bytes: u64, now: Instant) -> bool {
        if !self.is_live() {
            return true;
        }
        let verified = match &mut self.prefix {
            None => 0,
            Some(prefix) => match prefix.verify(&chunk) {
                Ok(bytes) => bytes,
                Err(text) => {
                    self.give_up(GivenUp::NotResumed, now);
                    self.wrong_prefix = Some(text);
                    return false;
                }
            },
        };
        if verified < chunk.len() {
            self.pending = Some(chunk.slice(verified..));
            self.pending_seal_bytes = seal_bytes;
        }
        true
    }

    /// No chunk comes any more, and the source was whole. False: its file has more than that, and the destination is given up.
    #[must_use]
    pub(crate) fn end_prefix(&mut self, now: Instant) -> bool {
        let prefix = self.prefix.as_ref().filter(|_| self.is_live());
        let Some(text) = prefix.and_then(Prefix::excess) else {
            return true;
        };
        self.give_up(GivenUp::NotResumed, now);
        self.wrong_prefix = Some(text);
        false
    }

    /// How many bytes its file had, if it was left by a copy that was cut.
    pub(crate) fn resumed_at(&self) -> Option<u64> {
        self.prefix.as_ref().map(Prefix::bytes)
    }

    /// How many of those are known to be the source's.
    pub(crate) fn verified_bytes(&self) -> u64 {
        self.prefix.as_ref().map_or(0, Prefix::verified)
    }

    /// Hands it what is to go out behind everything else.
    pub(crate) fn push_last(&mut self, last: Bytes) {
        self.last = Some(last);
    }

    /// What the verdict has to know of it. One that is over counts no more: if it did, the copy would have been stopped.
    pub(crate) fn consumer(&self) -> Consumer {
        if !self.is_live() {
            Consumer::Dropped
        } else if self.is_behind() || self.has_failed(self.writer.ledger()) {
            // One that has failed is behind until its ending, which is on its way, is here.
            Consumer::Behind
        } else {
            Consumer::Served
        }
    }

    /// Goes as far as it can without waiting, to its end if there is no more. Says whether bytes moved.
    pub(crate) fn advance(&mut self, no_more: bool, now: Instant, mailbox: &Mailbox) -> bool {
        if !self.is_live() {
            return false;
        }
        self.offer();
        if self.pending.is_none()
            && let Some(last) = self.last.take()
        {
            self.pending_seal_bytes = last.len() as u64;
            self.pending = Some(last);
            self.offer();
        }
        let ledger = self.writer.ledger();
        let moved = ledger.transferred() > self.transferred;
        if moved && self.in_pipe() == InPipe::Nothing {
            self.unknown_since = now;
        }
        self.transferred = ledger.transferred();
        if self.has_failed(ledger) {
            self.expect_ending(now);
        }
        let waits_here = self.pending.is_some() || ledger.unsettled() > 0;
        // Behind bytes that it has not taken, what moves into its pipe is no doing of its reader's.
        if (moved || !waits_here) && self.in_pipe() != InPipe::Unread {
            self.content_at = now;
        }
        if no_more && self.pending.is_none() && self.phase == Phase::Open {
            self.begin_end(ledger, mailbox, now);
        }
        moved
    }

    /// Not while a question is open: who holds that up would hold up the write too, and with it everything that this thread does. With the
    /// answer it is offered.
    fn offer(&mut self) {
        if self.asking.is_open() {
            return;
        }
        let Some(chunk) = self.pending.take() else {
            return;
        };
        match self.writer.try_send_bytes(chunk) {
            Ok(()) => self.seal_bytes += self.pending_seal_bytes,
            Err(refused) if refused.error.kind == ErrorKind::QueueFull => {
                self.pending = Some(refused.message);
            }
            // The pipe is over: its ending is on its way, with the account. Some of the chunk may have got in.
            Err(refused) if self.pending_seal_bytes > 0 => {
                self.has_refused = true;
                let accepted = refused.message.len() - refused.rest().len();
                self.seal_bytes += seal::added_bytes(&refused.message[..accepted]);
            }
            Err(_) => self.has_refused = true,
        }
    }

    /// Its account now, or its final one.
    pub(crate) fn ledger(&self) -> Ledger {
        let known = self.receipt.as_ref().map(Receipt::ledger);
        known.unwrap_or_else(|| self.writer.ledger())
    }

    /// Whether everything that it accepted was transferred, and it was ended in order.
    pub(crate) fn is_complete(&self) -> bool {
        self.given_up.is_none() && self.receipt.as_ref().is_some_and(Receipt::is_complete)
    }

    /// How many of the accepted bytes are no data.
    pub(crate) fn seal_bytes(&self) -> u64 {
        self.seal_bytes
    }

    /// How its pipe ended, if it has.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.receipt.as_ref().map(Receipt::ending)
    }

    pub(crate) fn error(&self) -> Option<String> {
        if self.wrong_prefix.is_some() {
            return self.wrong_prefix.clone();
        }
        let Some(receipt) = &self.receipt else {
            return self.untold_failure();
        };
        let error = receipt.error();
        // That we aborted it is told as what made us do it.
        let error =
            error.filter(|error| self.given_up.is_none() || error.kind != ErrorKind::Aborted);
        error.map(|error| error.to_string())
    }

    /// Whether its pipe failed because its child was gone, which we had ended.
    pub(crate) fn is_failure_ours(&self) -> bool {
        let error = self.receipt.as_ref().and_then(Receipt::error);
        let is_unread =
            |error: Error| matches!(error.kind, ErrorKind::BrokenPipe | ErrorKind::Reset);
        let is_ended = self.given_up.is_some_and(|why| why != GivenUp::NoEnding);
        self.is_child() && is_ended && error.is_some_and(is_unread)
    }

    /// What its child reads from, if it has one.
    pub(crate) fn input(&self) -> Option<InputKind> {
        self.input
    }

    /// Whether somebody who was to see no end of it sees a clean one.
    pub(crate) fn looks_whole(&self) -> bool {
        self.looks_whole
    }

    /// Whether a child of ours reads it.
    pub(crate) fn is_child(&self) -> bool {
        self.kind == DestinationKind::Child
    }

    pub(crate) fn given_up(&self) -> Option<GivenUp> {
        self.given_up
    }

    /// Whether the peer has read everything. Of nothing there is nothing to be known.
    pub(crate) fn read_by_peer(&self) -> Option<bool> {
        self.read_by_peer
            .filter(|_| self.ledger().transferred() > 0)
    }
}
