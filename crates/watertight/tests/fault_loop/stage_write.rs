//! The writing side of a stage: a record of its own of the bytes that were accepted, checked at every ending against what the
//! peer really got.

use super::ends::{self, End, Given};
use super::peer::Peer;
use super::stage::{LINGER, SLACK, STOP_WITHIN, Stage};
use crate::common::joined;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use watertight::{
    Ending, Error, HandleError, Ledger, Observer, PipeWriter, Receipt, Refused, WriterOptions,
};

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

/// A writer that nobody has any more; its observer knows how it ended.
pub(crate) struct Dropped {
    peer: Peer,
    accepted: Vec<u8>,
    heard: Arc<Heard>,
}

impl Stage<'_> {
    pub(crate) fn options() -> WriterOptions {
        WriterOptions::new()
            .queue_bytes_max(48 * 1024)
            .stop_within(STOP_WITHIN)
            .linger(LINGER)
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
        if end != End::OwnSocket {
            return self.adopt_writer(ours, peer, options, observed);
        }
        let (options, heard) = listened_to(options, observed);
        let adopted = PipeWriter::adopt_unshared(ours, options);
        self.adopted(adopted, peer, heard)
    }

    pub(crate) fn adopt_writer(
        &mut self,
        ours: OwnedFd,
        peer: Peer,
        options: WriterOptions,
        observed: bool,
    ) -> Option<Writing> {
        let (options, heard) = listened_to(options, observed);
        let adopted = PipeWriter::adopt_with(ours, options);
        self.adopted(adopted, peer, heard)
    }

    fn adopted(
        &mut self,
        adopted: Result<PipeWriter, HandleError<OwnedFd>>,
        peer: Peer,
        heard: Option<Arc<Heard>>,
    ) -> Option<Writing> {
        match adopted {
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
        let answer = self.drive(w.writer.send(data), &mut w.peer);
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

    pub(crate) fn try_send(&mut self, w: &mut Writing, data: &[u8]) -> bool {
        match w.writer.try_send(data) {
            Ok(()) => {
                w.accepted.extend_from_slice(data);
                true
            }
            Err(refused) => {
                self.hear(refused.error.os);
                let accepted = data.len() - refused.rest_of(data).len();
                w.accepted.extend_from_slice(&data[..accepted]);
                false
            }
        }
    }

    /// Transferred means that the kernel has it: a peer that looks then finds it all.
    pub(crate) fn flush(&mut self, w: &mut Writing) -> bool {
        let target = w.accepted.len();
        let answer = self.drive(w.writer.until_transferred(), &mut w.peer);
        match answer {
            // A failed pipe is closed, and the leading end of a terminal takes with it what was not read.
            Some(Ok(())) if w.peer.is_live() && w.writer.try_send(b"").is_ok() => {
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
        let answer = self.drive(w.writer.until_read(), &mut w.peer)?;
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
        let late = w.writer.try_send(b"late").unwrap_err();
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
        let (mut peer, patience) = (w.peer, LINGER + STOP_WITHIN + SLACK);
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

    /// An adoption failed: the handle is back, and as it was.
    fn given_back(&mut self, refused: HandleError<OwnedFd>, mut peer: Peer) {
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

/// With somebody who hears what becomes of the writer, if that is wanted.
fn listened_to(options: WriterOptions, observed: bool) -> (WriterOptions, Option<Arc<Heard>>) {
    let heard = observed.then(Arc::<Heard>::default);
    let options = match &heard {
        Some(heard) => options.observer(heard.clone()),
        None => options,
    };
    (options, heard)
}
