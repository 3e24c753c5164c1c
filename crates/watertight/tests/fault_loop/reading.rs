//! Scenarios of readers.

use super::ends::{self, End, Given};
use super::peer::Peer;
use super::stage::Stage;
use crate::common::noise;
use rustix::fs::{Mode, OFlags};
use std::fs::File;

/// More than a pipe holds.
const LARGE: usize = 100 * 1024;

pub(crate) fn to_end(s: &mut Stage<'_>, end: End) {
    let Some(mut r) = s.reader(end, noise(LARGE, 30), true) else {
        return;
    };
    s.read_to_end(&mut r, 16 * 1024);
    s.abort_reading(r);
}

/// A terminal has no end worth waiting for: so many bytes, and no more.
pub(crate) fn some(s: &mut Stage<'_>, end: End) {
    let Some(mut r) = s.reader(end, noise(1000, 31), false) else {
        return;
    };
    while r.taken.len() < 1000 {
        if s.read(&mut r, 300).is_none_or(|n| n == 0) {
            break;
        }
    }
    s.expect(r.taken.len() == 1000, "everything is read");
    s.abort_reading(r);
}

/// The peer writes only when somebody waits.
pub(crate) fn late(s: &mut Stage<'_>, end: End) {
    let Some(mut r) = s.reader(end, noise(500, 32), false) else {
        return;
    };
    r.peer.holding = true;
    s.read_in_vain(&mut r);
    r.peer.holding = false;
    while r.taken.len() < 500 && s.read(&mut r, 200).is_some_and(|n| n > 0) {}
    if r.taken.len() == 500 {
        s.read_in_vain(&mut r);
    }
    s.expect(r.taken.len() == 500, "everything is read");
    s.abort_reading(r);
}

/// Nothing ever comes, and somebody waits while it is aborted.
pub(crate) fn deadline(s: &mut Stage<'_>, end: End) {
    let Some(mut r) = s.reader(end, Vec::new(), false) else {
        return;
    };
    s.read_in_vain(&mut r);
    s.read_in_vain(&mut r);
    s.abort_reading(r);
}

/// Nothing ever comes, and the last handle goes.
pub(crate) fn dropped(s: &mut Stage<'_>, end: End) {
    let Some(mut r) = s.reader(end, Vec::new(), false) else {
        return;
    };
    s.read_in_vain(&mut r);
    s.leave_reading(r);
}

/// The handle comes back after half of it, and whoever has it reads the rest.
pub(crate) fn handle_back(s: &mut Stage<'_>) {
    let Some(mut r) = s.reader(End::Pipe, noise(2000, 33), false) else {
        return;
    };
    r.peer.holding = true;
    s.read_in_vain(&mut r);
    r.peer.holding = false;
    s.read(&mut r, 900);
    s.give_back(r);
}

/// Opened before anybody writes: no end yet.
pub(crate) fn before_the_writer(s: &mut Stage<'_>) {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let early = rustix::fs::open(s.place.fifo(), flags, Mode::empty()).unwrap();
    rustix::fs::fcntl_setfl(&early, OFlags::empty()).unwrap();
    let keep = early.try_clone().unwrap();
    let peer = Peer::content(Vec::new());
    let Some(mut r) = s.adopt_reader(early, keep, peer) else {
        return;
    };
    s.read_in_vain(&mut r);
    let writer = File::options().write(true).open(s.place.fifo()).unwrap();
    r.peer = Peer::writing(writer.into(), noise(3000, 34), true);
    s.read_to_end(&mut r, 1000);
    s.abort_reading(r);
}

/// What was read ahead and nobody took comes back.
pub(crate) fn read_ahead(s: &mut Stage<'_>) {
    let Some(mut r) = s.reader(End::File, noise(3000, 35), true) else {
        return;
    };
    s.read(&mut r, 100);
    s.expect(r.taken.len() == 100, "some of it is read");
    s.abort_reading(r);
}

/// The peer closes with unread bytes: its data comes first, then the reset.
pub(crate) fn reset(s: &mut Stage<'_>) {
    let Given { ours, peer } = ends::to_read(s.place, End::Socket, noise(700, 36), true);
    assert_eq!(rustix::io::write(&ours, b"nobody reads this"), Ok(17));
    let keep = ours.try_clone().unwrap();
    let Some(mut r) = s.adopt_reader(ours, keep, peer) else {
        return;
    };
    while s.read(&mut r, 1000).is_some_and(|n| n > 0) {}
    s.expect(r.taken == r.peer.data, "the data comes before the reset");
    assert!(!r.ended, "a reset is no end");
    s.abort_reading(r);
}
