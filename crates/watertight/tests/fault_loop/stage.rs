//! What a scenario plays on: it drives our end and the peer from one thread, bounds every call, keeps a record of its own of
//! the bytes that were accepted, and checks every ending against what the peer really got.

use super::ends::{self, End, Given, Place};
use super::peer::Peer;
use super::rules;
use crate::common::joined;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use watertight::{
    ConstructError, Ending, Error, ErrorKind, Ledger, Observer, Operation, OsCode, PipeReader,
    PipeWriter, ReaderOptions, Receipt, Refused, Wait, WriterOptions, fault,
};

/// How long a call may go without an answer once a fault holds everything up that has no end of its own.
const STALLED: Duration = Duration::from_millis(8);

/// How long anything may take before it is a hang. Never waited for when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The bounds under which every scenario's ends are stopped.
pub(crate) const STOP_WITHIN: Duration = Duration::from_millis(10);

/// How much longer than its bound a stop may take before it counts as late: the machine may be busy.
const SLACK: Duration = Duration::from_secs(5);

/// An observer that keeps what it heard.
#[derive(Default)]
pub(crate) struct Heard {
    last: Mutex<Option<Ledger>>,
    ended: Mutex<Vec<Receipt>>,
}

impl Observer for Heard {
    fn progress(&self, ledger: Ledger) {
        assert!(self.ended.lock().unwrap().is_empty(), "news after the end");
        let before = self.last.lock().unwrap().replace(ledger);
        let before = before.map_or(0, |before| before.transferred());
        assert!(ledger.transferred() > before, "progress that is none");
    }

    fn ended(&self, receipt: &Receipt) {
        self.ended.lock().unwrap().push(receipt.clone());
    }
}

/// A writer under test, its peer, and our own record.
pub(crate) struct Writing {
    pub(crate) writer: PipeWriter,
    pub(crate) peer: Peer,
    /// Every byte that a call said it accepted.
    pub(crate) accepted: Vec<u8>,
    heard: Option<Arc<Heard>>,
}

/// A reader under test, its peer, and our own record.
pub(crate) struct Reading {
    pub(crate) reader: PipeReader,
    pub(crate) peer: Peer,
    pub(crate) taken: Vec<u8>,
    pub(crate) ended: bool,
    /// The same description once more: what nobody took is still in there.
    keep: OwnedFd,
}

struct Dropped {
    peer: Peer,
    accepted: Vec<u8>,
    heard: Arc<Heard>,
}

/// One run of a scenario.
pub(crate) struct Stage<'p> {
    pub(crate) place: &'p Place,
    /// The raw codes that somebody was told.
    pub(crate) told: Vec<OsCode>,
    /// What went otherwise than in a run without faults.
    pub(crate) unmet: Vec<&'static str>,
    /// A cancelled operation had no answer in time, so that some of its bytes are in doubt.
    pub(crate) in_doubt: bool,
    for_ever: bool,
    dropped: Vec<Dropped>,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl<'p> Stage<'p> {
    pub(crate) fn new(place: &'p Place, for_ever: bool) -> Self {
        Self {
            place,
            told: Vec::new(),
            unmet: Vec::new(),
            in_doubt: false,
            for_ever,
            dropped: Vec::new(),
        }
    }

    /// What holds unless a fault is told.
    pub(crate) fn expect(&mut self, met: bool, what: &'static str) {
        if !met {
            self.unmet.push(what);
        }
    }

    pub(crate) fn hear(&mut self, os: Option<OsCode>) {
        self.told.extend(os);
    }

    /// Waits for an answer while the peer does its part. `None`: a fault holds it up for ever, and it was given up.
    pub(crate) fn drive<O: Operation>(
        &mut self,
        wait: Wait<O>,
        peer: &mut Peer,
    ) -> Option<O::Output> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        let mut wait = pin!(wait);
        let begin = Instant::now();
        loop {
            if let Poll::Ready(answer) = wait.as_mut().poll(&mut cx) {
                return Some(answer);
            }
            if self.gives_up(begin) {
                return None;
            }
            if !peer.step() {
                peer.rest();
            }
        }
    }

    /// Waits for two answers at once.
    pub(crate) fn drive_both<A: Operation, B: Operation>(
        &mut self,
        first: Wait<A>,
        second: Wait<B>,
        peer: &mut Peer,
    ) -> (Option<A::Output>, Option<B::Output>) {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        let (mut first, mut second) = (pin!(first), pin!(second));
        let (mut one, mut two) = (None, None);
        let begin = Instant::now();
        loop {
            one = one.or_else(|| ready(first.as_mut().poll(&mut cx)));
            two = two.or_else(|| ready(second.as_mut().poll(&mut cx)));
            if (one.is_some() && two.is_some()) || self.gives_up(begin) {
                return (one, two);
            }
            if !peer.step() {
                peer.rest();
            }
        }
    }

    /// Whether a fault holds everything up for ever. Without one there must be an answer some time.
    fn gives_up(&self, begin: Instant) -> bool {
        if self.for_ever && begin.elapsed() > STALLED && rules::stalls(&fault::begun()) {
            return true;
        }
        assert!(begin.elapsed() < PATIENCE, "hang: no answer");
        false
    }

    /// As `drive`, for what must end in any case.
    fn stop<O: Operation>(&mut self, wait: Wait<O>, peer: &mut Peer) -> O::Output {
        let for_ever = std::mem::take(&mut self.for_ever);
        let begin = Instant::now();
        let answer = self.drive(wait, peer).expect("without a bound it ends");
        assert!(
            begin.elapsed() < STOP_WITHIN + SLACK,
            "hang: a stop took {:?}",
            begin.elapsed()
        );
        self.for_ever = for_ever;
        answer
    }
}

/// The writing side.
impl Stage<'_> {
    pub(crate) fn options() -> WriterOptions {
        WriterOptions::new()
            .queue_bytes_max(48 * 1024)
            .stop_within(STOP_WITHIN)
            .linger(STOP_WITHIN)
    }

    pub(crate) fn writer(&mut self, end: End) -> Option<Writing> {
        self.writer_with(end, Self::options(), false)
    }

    /// With an observer, from whom the ending is learnt after a drop.
    pub(crate) fn observed(&mut self, end: End) -> Option<Writing> {
        self.writer_with(end, Self::options(), true)
    }

    pub(crate) fn writer_with(
        &mut self,
        end: End,
        options: WriterOptions,
        observed: bool,
    ) -> Option<Writing> {
        let Given { ours, peer } = ends::to_write(self.place, end);
        let ours = self.by_number(end, ours, false)?;
        self.adopt_writer(ours, peer, options, observed)
    }

    pub(crate) fn adopt_writer(
        &mut self,
        ours: OwnedFd,
        peer: Peer,
        options: WriterOptions,
        observed: bool,
    ) -> Option<Writing> {
        let heard = observed.then(Arc::<Heard>::default);
        let options = match &heard {
            Some(heard) => options.observer(heard.clone()),
            None => options,
        };
        match PipeWriter::adopt_with(ours, options) {
            Ok(writer) => Some(Writing {
                writer,
                peer,
                accepted: Vec::new(),
                heard,
            }),
            Err(refused) => {
                self.given_back(refused, peer);
                None
            }
        }
    }

    /// A writer that was made otherwise.
    pub(crate) fn of(writer: PipeWriter, peer: Peer) -> Writing {
        Writing {
            writer,
            peer,
            accepted: Vec::new(),
            heard: None,
        }
    }

    /// Writes all of it. What was accepted is recorded, whatever the call said.
    pub(crate) fn write(&mut self, w: &mut Writing, data: &[u8]) -> bool {
        let before = w.writer.ledger().accepted();
        let answer = self.drive(w.writer.write_all(data), &mut w.peer);
        self.record(w, data, before, answer)
    }

    /// Records what a call accepted.
    pub(crate) fn record<M>(
        &mut self,
        w: &mut Writing,
        data: &[u8],
        before: u64,
        answer: Option<Result<(), Refused<M>>>,
    ) -> bool {
        let accepted = match &answer {
            Some(Ok(())) => data.len(),
            Some(Err(refused)) => {
                self.hear(refused.error.os);
                usize::try_from(refused.accepted).unwrap()
            }
            // Given up: what the pieces that were accepted come to, only the account says.
            None => usize::try_from(w.writer.ledger().accepted() - before).unwrap(),
        };
        w.accepted.extend_from_slice(&data[..accepted]);
        matches!(answer, Some(Ok(())))
    }

    /// Records one of several messages; `left` is what the account has for it and those after it. Says how much it was.
    pub(crate) fn record_piece(
        &mut self,
        w: &mut Writing,
        data: &[u8],
        left: u64,
        answer: Option<Result<(), Refused>>,
    ) -> u64 {
        let accepted = match answer {
            Some(Ok(())) => data.len() as u64,
            Some(Err(refused)) => {
                self.hear(refused.error.os);
                refused.accepted
            }
            None => left.min(data.len() as u64),
        };
        w.accepted
            .extend_from_slice(&data[..usize::try_from(accepted).unwrap()]);
        accepted
    }

    pub(crate) fn try_write(&mut self, w: &mut Writing, data: &[u8]) -> bool {
        match w.writer.try_write(data) {
            Ok(()) => {
                w.accepted.extend_from_slice(data);
                true
            }
            Err(refused) => {
                assert_eq!(refused.accepted, 0);
                self.hear(refused.error.os);
                false
            }
        }
    }

    /// Transferred means that the kernel has it: a peer that looks then finds it all.
    pub(crate) fn flush(&mut self, w: &mut Writing) -> bool {
        let target = w.accepted.len();
        let answer = self.drive(w.writer.flush(), &mut w.peer);
        match answer {
            Some(Ok(())) if w.peer.is_live() => {
                let holding = w.peer.holding;
                w.peer.take_all();
                if w.peer.delayed {
                    w.peer.await_bytes(target);
                }
                w.peer.holding = holding;
                w.peer.check_got(&w.accepted, w.accepted.len());
                assert!(
                    w.peer.got.len() >= target,
                    "early: flushed, and the peer finds less"
                );
                true
            }
            Some(answer) => {
                let told = answer.err();
                self.hear(told.and_then(|error| error.os));
                told.is_none()
            }
            None => false,
        }
    }

    pub(crate) fn until_read(&mut self, w: &mut Writing) -> Option<Result<(), Error>> {
        let target = w.accepted.len();
        let answer = self.drive(w.writer.wait_until_read(), &mut w.peer)?;
        match answer {
            Ok(()) => assert!(
                w.peer.got.len() >= target,
                "early: the peer has read less than that"
            ),
            Err(error) => self.hear(error.os),
        }
        Some(answer)
    }

    pub(crate) fn finish(&mut self, mut w: Writing) {
        let answer = self.drive(w.writer.finish(), &mut w.peer);
        match answer {
            Some(receipt) => {
                let receipt = receipt.expect("there is no deadline");
                self.expect(receipt.is_complete(), "finish is complete");
                self.ended(w, &receipt);
            }
            None => self.abort(w),
        }
    }

    pub(crate) fn abort(&mut self, mut w: Writing) {
        let receipt = self.stop(w.writer.abort(), &mut w.peer);
        let receipt = receipt.expect("there is no deadline");
        self.ended(w, &receipt);
    }

    /// The receipt is there.
    pub(crate) fn ended(&mut self, mut w: Writing, receipt: &Receipt) {
        self.check(&w.accepted, receipt, &mut w.peer);
        let late = w.writer.try_write(b"late").unwrap_err();
        assert_eq!(late.accepted, 0, "over is over");
        let Writing {
            writer,
            peer,
            accepted,
            heard,
        } = w;
        drop(writer);
        if let Some(heard) = heard {
            self.dropped.push(Dropped {
                peer,
                accepted,
                heard,
            });
        }
    }

    /// The last handle goes; the observer hears how it ended.
    pub(crate) fn leave(&mut self, w: Writing) {
        let heard = w.heard.expect("a dropped writer needs an observer");
        let begin = Instant::now();
        drop(w.writer);
        let (mut peer, patience) = (w.peer, STOP_WITHIN * 2 + SLACK);
        while heard.ended.lock().unwrap().is_empty() {
            assert!(
                begin.elapsed() < patience,
                "hang: a dropped writer lingers for ever"
            );
            if !peer.step() {
                peer.rest();
            }
        }
        self.dropped.push(Dropped {
            peer,
            accepted: w.accepted,
            heard,
        });
    }

    /// What observers heard of pipes that nobody waited for.
    pub(crate) fn listen(&mut self) {
        for mut dropped in std::mem::take(&mut self.dropped) {
            let ended = std::mem::take(&mut *dropped.heard.ended.lock().unwrap());
            assert_eq!(ended.len(), 1, "the ending is told once");
            self.check(&dropped.accepted, &ended[0], &mut dropped.peer);
        }
    }

    /// Every byte that was accepted is where the receipt says.
    fn check(&mut self, accepted: &[u8], receipt: &Receipt, peer: &mut Peer) {
        if let Ending::Failed(cause) = receipt.ending() {
            self.hear(cause.os);
        }
        let ledger = receipt.ledger();
        let transferred = usize::try_from(ledger.transferred()).unwrap();
        assert_eq!(ledger.accepted(), accepted.len() as u64, "{ledger:?}");
        assert_eq!((ledger.queued(), ledger.in_flight()), (0, 0), "{ledger:?}");
        let parts = ledger.transferred() + ledger.discarded() + ledger.in_doubt();
        assert_eq!(ledger.accepted(), parts, "{ledger:?}");
        let in_doubt = joined(receipt.in_doubt());
        assert_eq!(in_doubt.len() as u64, ledger.in_doubt());
        let in_doubt_bytes = in_doubt.len();
        let back = [in_doubt, joined(receipt.unsent())].concat();
        assert!(
            back == accepted[transferred..],
            "handed back: not the rest of what was accepted"
        );
        let quarantined = ledger.in_doubt() > 0;
        if quarantined {
            self.in_doubt = true;
            // The kernel still has the operation, so there is no end to see yet; the peer's leaving releases it.
            peer.take_all();
            peer.leave();
        } else if peer.shared && receipt.ending() != Ending::Finished {
            peer.take_all();
        } else {
            peer.read_to_end();
        }
        let most = transferred + in_doubt_bytes;
        if !peer.forgets {
            peer.check_got(accepted, most);
        }
        if !peer.left && !peer.forgets {
            let got = peer.got.len();
            assert!(got >= transferred, "lost: {got} of {transferred} came");
        }
        if receipt.ending() == Ending::Finished {
            assert_eq!(transferred, accepted.len(), "early: finished");
            assert!(peer.left || peer.ended, "early: no end was seen");
        }
    }
}

/// The reading side.
impl Stage<'_> {
    pub(crate) fn reader(&mut self, end: End, data: Vec<u8>, closes: bool) -> Option<Reading> {
        let Given { ours, mut peer } = ends::to_read(self.place, end, data, closes);
        let keep = ours.try_clone().unwrap();
        let ours = self.by_number(end, ours, true)?;
        peer.forgets = end == End::Terminal;
        self.adopt_reader(ours, keep, peer)
    }

    pub(crate) fn adopt_reader(
        &mut self,
        ours: OwnedFd,
        keep: OwnedFd,
        mut peer: Peer,
    ) -> Option<Reading> {
        let options = ReaderOptions::new().stop_within(STOP_WITHIN);
        match PipeReader::adopt_with(ours, options) {
            Ok(reader) => Some(Reading {
                reader,
                peer,
                taken: Vec::new(),
                ended: false,
                keep,
            }),
            Err(refused) => {
                self.hear(refused.error.os);
                // Still usable: what the peer writes comes out of it.
                if peer.step() || peer.wrote > 0 {
                    let n = rustix::io::read(&refused.handle, &mut [0; 8]).unwrap();
                    assert!(n > 0, "the handle came back, and not as it was");
                }
                None
            }
        }
    }

    /// Reads once. `None`: it failed, or was given up.
    pub(crate) fn read(&mut self, r: &mut Reading, bytes: usize) -> Option<usize> {
        let mut buf = vec![0; bytes];
        let answer = self.drive(r.reader.read(&mut buf), &mut r.peer)?;
        match answer {
            Ok(0) => {
                r.ended = true;
                Some(0)
            }
            Ok(n) => {
                r.taken.extend_from_slice(&buf[..n]);
                Some(n)
            }
            Err(error) => {
                self.hear(error.os);
                None
            }
        }
    }

    pub(crate) fn read_to_end(&mut self, r: &mut Reading, bytes: usize) {
        while let Some(n) = self.read(r, bytes) {
            if n == 0 {
                break;
            }
        }
        self.expect(r.ended, "the end of the stream is seen");
        let whole = r.taken == r.peer.data;
        self.expect(whole, "everything that was written is read");
    }

    /// Nothing is there, and nothing comes before the deadline.
    pub(crate) fn read_in_vain(&mut self, r: &mut Reading) {
        let mut buf = [0; 16];
        let wait = r.reader.read(&mut buf).within(Duration::from_millis(1));
        match wait.wait() {
            Ok(n) => panic!("read {n} bytes that nobody wrote"),
            Err(error) => {
                self.expect(error.kind == ErrorKind::TimedOut, "the deadline passes");
                self.hear(error.os);
            }
        }
    }

    pub(crate) fn abort_reading(&mut self, mut r: Reading) {
        let receipt = self.stop(r.reader.abort(), &mut r.peer);
        let receipt = receipt.expect("there is no deadline");
        if let Ending::Failed(cause) = receipt.ending() {
            self.hear(cause.os);
        }
        let ledger = receipt.ledger();
        let untaken = joined(receipt.untaken());
        assert_eq!(ledger.transferred(), r.taken.len() as u64, "{ledger:?}");
        assert_eq!(ledger.discarded(), untaken.len() as u64, "{ledger:?}");
        let parts = ledger.transferred() + ledger.discarded();
        assert_eq!(ledger.accepted(), parts, "{ledger:?}");
        drop(r.reader);
        Self::check_read(r.taken, &untaken, r.ended, &r.keep, r.peer);
    }

    /// The handle comes back; what is left is still in there.
    pub(crate) fn give_back(&mut self, mut r: Reading) {
        match r.reader.into_handle() {
            Ok(handle) => drop(handle),
            Err((reader, error)) => {
                self.hear(error.os);
                r.reader = reader;
                return self.abort_reading(r);
            }
        }
        r.peer.holding = false;
        while r.peer.step() {}
        Self::check_read(r.taken, &[], r.ended, &r.keep, r.peer);
    }

    /// The last handle goes. Nobody hears of a reader that was dropped.
    pub(crate) fn leave_reading(&mut self, r: Reading) {
        drop(r.reader);
    }

    /// What was taken, what came back, and what is still in there are what the peer wrote, in order.
    pub(crate) fn check_read(
        taken: Vec<u8>,
        untaken: &[u8],
        ended: bool,
        keep: &OwnedFd,
        mut peer: Peer,
    ) {
        if ended {
            assert!(
                !peer.is_live() && peer.wrote == peer.data.len(),
                "early: the end of a stream that goes on"
            );
            assert!(untaken.is_empty(), "data comes before the end");
        }
        // A read in quarantine may still take something.
        let quarantined = watertight::census().quarantined > 0;
        peer.close();
        let mut all = [&taken, untaken].concat();
        if !quarantined {
            read_rest(keep, &mut all);
        }
        let wrote = &peer.data[..peer.wrote];
        if quarantined || peer.forgets {
            assert!(wrote.starts_with(&all), "not what the peer wrote");
        } else {
            assert!(
                all == wrote,
                "lost or doubled: {} of {} bytes",
                all.len(),
                wrote.len()
            );
        }
    }
}

/// Both sides.
impl Stage<'_> {
    /// An inherited end comes by its number; every other as it is.
    fn by_number(&mut self, end: End, ours: OwnedFd, to_read: bool) -> Option<OwnedFd> {
        if end != End::Inherited {
            return Some(ours);
        }
        match watertight::inherited(ends::number(&ours), to_read) {
            Ok(handle) => Some(handle),
            Err(failed) => {
                self.hear(failed.error.os);
                None
            }
        }
    }

    /// An adoption failed: the handle is back, and as it was.
    fn given_back(&mut self, refused: ConstructError<OwnedFd>, mut peer: Peer) {
        self.hear(refused.error.os);
        assert_eq!(
            rustix::io::write(&refused.handle, b"?"),
            Ok(1),
            "unusable when given back"
        );
        if peer.forgets {
            return;
        }
        drop(refused.handle);
        if peer.shared {
            peer.take_all();
        } else {
            peer.read_to_end();
        }
        assert_eq!(peer.got, b"?");
    }
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Pending => None,
        Poll::Ready(answer) => Some(answer),
    }
}

/// Everything that is left in there, up to the end: the peer has closed.
fn read_rest(keep: &OwnedFd, all: &mut Vec<u8>) {
    let mut buf = [0; 32 * 1024];
    loop {
        match rustix::io::read(keep, &mut buf) {
            // A terminal's other end is gone.
            Ok(0) | Err(rustix::io::Errno::IO | rustix::io::Errno::CONNRESET) => return,
            Ok(n) => all.extend_from_slice(&buf[..n]),
            Err(code) => panic!("what is left cannot be read: {code}"),
        }
    }
}
