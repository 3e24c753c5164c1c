//! The reading side of a stage: what was taken, what came back and what is still in there are what the peer wrote.

use super::ends::{self, End, Given};
use super::peer::Peer;
use super::stage::{STOP_WITHIN, Stage};
use crate::common::joined;
use std::os::fd::OwnedFd;
use std::time::Duration;
use watertight::{Ending, ErrorKind, PipeReader, ReaderOptions};

/// A reader under test, its peer, and our own record.
pub(crate) struct Reading {
    pub(crate) reader: PipeReader,
    pub(crate) peer: Peer,
    pub(crate) taken: Vec<u8>,
    pub(crate) ended: bool,
    /// The same description once more: what nobody took is still in there.
    keep: OwnedFd,
}

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
        let answer = self.drive(r.reader.receive(&mut buf), &mut r.peer)?;
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
        let wait = r.reader.receive(&mut buf).within(Duration::from_millis(1));
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
            Err(kept) => {
                self.hear(kept.error.os);
                r.reader = kept.handle;
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
