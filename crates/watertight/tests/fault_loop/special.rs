//! Scenarios of more than one end, and of making things.

use super::ends::{self, End, Given};
use super::peer::Peer;
use super::stage::Stage;
use crate::common::noise;
use std::os::unix::net::UnixStream;
use watertight::{Driver, Native, ReaderOptions, pipe_with};

/// Both ends of a pipe are ours.
pub(crate) fn own_pipe(s: &mut Stage<'_>) {
    let (reader, writer) = match pipe_with(ReaderOptions::new(), Stage::options()) {
        Ok(ends) => ends,
        Err(failed) => return s.hear(failed.error.os),
    };
    let peer = match reader.into_handle() {
        Ok(from) => Peer::reading(from),
        Err(kept) => panic!("an idle reader keeps its handle: {kept}"),
    };
    let mut w = Stage::of(writer, peer);
    s.write(&mut w, &noise(90_000, 40));
    s.finish(w);
}

/// What becomes of one pipe is nothing to another.
pub(crate) fn two_pipes(s: &mut Stage<'_>) {
    let Some(mut one) = s.writer(End::Pipe) else {
        return;
    };
    let Some(mut other) = s.writer(End::Socket) else {
        return s.abort(one);
    };
    s.write(&mut one, &noise(1000, 41));
    s.write(&mut other, &noise(1000, 42));
    s.finish(one);
    s.finish(other);
}

/// A backend and a driver of their own, made and dropped.
pub(crate) fn poller(s: &mut Stage<'_>) {
    match Native::new() {
        Ok(native) => drop(Driver::new(native)),
        Err(failed) => s.hear(failed.os),
    }
}

/// Standard input becomes ours, and its number the null device.
pub(crate) fn standard_input(s: &mut Stage<'_>) {
    let Given { ours, peer } = ends::to_read(s.place, End::Pipe, noise(600, 43), true);
    let before = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).unwrap();
    rustix::stdio::dup2_stdin(&ours).unwrap();
    let taken = watertight::inherited(0, watertight::Direction::Read);
    rustix::stdio::dup2_stdin(&before).unwrap();
    let handle = match taken {
        Ok(handle) => handle,
        Err(failed) => return s.hear(failed.error.os),
    };
    let keep = handle.try_clone().unwrap();
    drop(ours);
    let Some(mut r) = s.adopt_reader(handle, keep, peer) else {
        return;
    };
    s.read_to_end(&mut r, 500);
    s.abort_reading(r);
}

/// A reader and a writer of one socket, which ends in one direction and goes on in the other.
pub(crate) fn both_ways(s: &mut Stage<'_>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let again = ours.try_clone().unwrap();
    let keep = ours.try_clone().unwrap();
    let mut out = Peer::reading(theirs.try_clone().unwrap().into());
    out.shared = true;
    let back = Peer::writing(theirs.into(), noise(800, 44), false);
    let Some(mut w) = s.adopt_writer(ours.into(), out, Stage::options(), false) else {
        return;
    };
    let Some(mut r) = s.adopt_reader(again.into(), keep.into(), back) else {
        return s.abort(w);
    };
    s.write(&mut w, &noise(500, 45));
    s.finish(w);
    while r.taken.len() < 800 && s.read(&mut r, 1000).is_some_and(|n| n > 0) {}
    s.expect(r.taken.len() == 800, "the other direction goes on");
    s.abort_reading(r);
}
