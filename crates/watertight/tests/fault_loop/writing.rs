//! Scenarios of writers.

use super::ends::End;
use super::stage::Stage;
use super::stage_write::Writing;
use crate::common::noise;
use bytes::Bytes;
use std::io::IoSlice;
use std::time::Duration;
use watertight::ErrorKind;

/// More than the queue holds, and more than a pipe does.
const LARGE: usize = 150 * 1024;

/// Three messages, then the end.
pub(crate) fn finish(s: &mut Stage<'_>, end: End) {
    let Some(mut w) = s.writer(end) else { return };
    for bytes in [10, 700, 3000] {
        s.write(&mut w, &noise(bytes, 1));
    }
    if w.peer.delayed {
        s.flush(&mut w);
    }
    s.finish(w);
}

/// A message larger than queue and pipe, a flush, the end.
pub(crate) fn large(s: &mut Stage<'_>, end: End) {
    let Some(mut w) = s.writer(end) else { return };
    let all = s.write(&mut w, &noise(LARGE, 2));
    s.expect(all, "a large message is accepted");
    if end != End::File {
        let flushed = s.flush(&mut w);
        s.expect(flushed, "it is flushed");
    }
    s.finish(w);
}

/// Writes until the queue is full although nobody reads.
fn fill(s: &mut Stage<'_>, w: &mut Writing) {
    w.peer.holding = true;
    let message = noise(20 * 1024, 3);
    let full = (0..200).any(|_| {
        let before = w.writer.ledger().transferred();
        !s.try_send(w, &message) && w.writer.ledger().transferred() == before
    });
    s.expect(full, "the queue fills up");
}

pub(crate) fn full_abort(s: &mut Stage<'_>, end: End) {
    let Some(mut w) = s.writer(end) else { return };
    fill(s, &mut w);
    if end == End::Leading {
        // Until the helper is at work: before that a cancel needs no recall.
        let busy = w
            .writer
            .until_transferred()
            .within(Duration::from_millis(1))
            .wait();
        s.hear(busy.err().and_then(|error| error.os));
    }
    s.abort(w);
}

/// Dropped with a full queue, and the peer reads on.
pub(crate) fn drop_lingers(s: &mut Stage<'_>, end: End) {
    let Some(mut w) = s.observed(end) else { return };
    s.write(&mut w, &noise(30 * 1024, 4));
    s.write(&mut w, &noise(40 * 1024, 5));
    s.leave(w);
}

/// Dropped with a full queue, and nobody reads.
pub(crate) fn drop_full(s: &mut Stage<'_>, end: End) {
    let Some(mut w) = s.observed(end) else { return };
    fill(s, &mut w);
    s.leave(w);
}

/// Dropped with a bound of nothing.
pub(crate) fn drop_at_once(s: &mut Stage<'_>) {
    let options = Stage::options().linger(Duration::ZERO);
    let Some(mut w) = s.writer_with(End::Pipe, options, true) else {
        return;
    };
    fill(s, &mut w);
    s.leave(w);
}

pub(crate) fn until_read(s: &mut Stage<'_>, end: End) {
    let Some(mut w) = s.writer(end) else { return };
    s.write(&mut w, &noise(5000, 6));
    let answer = s.until_read(&mut w);
    s.expect(matches!(answer, Some(Ok(()))), "the peer reads it");
    s.finish(w);
}

pub(crate) fn until_read_given_up(s: &mut Stage<'_>) {
    let Some(mut w) = s.writer(End::Pipe) else {
        return;
    };
    // What the kernel refused at once nobody has to read.
    if !s.write(&mut w, &noise(5000, 7)) {
        return s.abort(w);
    }
    w.peer.holding = true;
    let wait = w.writer.until_read();
    let answer = wait.within(Duration::from_millis(1)).wait();
    let error = answer.expect_err("nobody read it");
    s.hear(error.os);
    s.expect(error.kind == ErrorKind::TimedOut, "the deadline passes");
    w.peer.holding = false;
    s.finish(w);
}

/// The peer leaves and throws it away.
pub(crate) fn until_read_left(s: &mut Stage<'_>, end: End) {
    let Some(mut w) = s.writer(end) else { return };
    if !s.write(&mut w, &noise(5000, 8)) {
        return s.abort(w);
    }
    w.peer.leave();
    if let Some(answer) = s.until_read(&mut w) {
        assert!(answer.is_err(), "nobody read it: {:?}", w.writer.ledger());
    }
    s.abort(w);
}

/// The handle comes back, is used by others, and is adopted again.
pub(crate) fn handle_back(s: &mut Stage<'_>, end: End) {
    let Some(mut w) = s.writer(end) else { return };
    s.write(&mut w, &noise(60 * 1024, 9));
    s.write(&mut w, &noise(9000, 9));
    s.flush(&mut w);
    let ledger = w.writer.ledger();
    let handle = match w.writer.into_handle() {
        Ok(handle) => handle,
        Err(kept) => {
            s.hear(kept.error.os);
            w.writer = kept.handle;
            return s.abort(w);
        }
    };
    assert_eq!(ledger.transferred(), w.accepted.len() as u64);
    assert_eq!(rustix::io::write(&handle, b"between"), Ok(7));
    w.peer.take_all();
    assert_eq!(w.peer.got.len(), w.accepted.len() + 7, "early: given back");
    assert!(w.peer.got.starts_with(&w.accepted));
    w.peer.got.clear();
    let Some(mut w) = s.adopt_writer(handle, w.peer, Stage::options(), false) else {
        return;
    };
    w.peer.holding = true;
    s.write(&mut w, &noise(40 * 1024, 10));
    s.write(&mut w, &noise(40 * 1024, 11));
    w.peer.holding = false;
    s.finish(w);
}

pub(crate) fn left_before(s: &mut Stage<'_>, end: End) {
    let Some(mut w) = s.writer(end) else { return };
    w.peer.leave();
    s.write(&mut w, &noise(100, 12));
    s.write(&mut w, &noise(100, 13));
    s.abort(w);
}

/// Leaves while the writer waits for room.
pub(crate) fn leaves(s: &mut Stage<'_>, end: End) {
    let Some(mut w) = s.writer(end) else { return };
    fill(s, &mut w);
    w.peer.holding = false;
    w.peer.step();
    w.peer.leave();
    s.write(&mut w, &noise(100, 14));
    s.flush(&mut w);
    s.abort(w);
}

pub(crate) fn vectored(s: &mut Stage<'_>, end: End) {
    let Some(mut w) = s.writer(end) else { return };
    let parts = [noise(10, 15), noise(4000, 16), noise(30_000, 17)];
    let slices = parts.each_ref().map(|part| IoSlice::new(part));
    let before = w.writer.ledger().accepted();
    let answer = s.drive(w.writer.send_vectored(&slices), &mut w.peer);
    s.record(&mut w, &parts.concat(), before, answer);
    s.finish(w);
}

/// Owned chunks, which go by reference and many at once.
pub(crate) fn chunks(s: &mut Stage<'_>) {
    let Some(mut w) = s.writer(End::Pipe) else {
        return;
    };
    w.peer.holding = true;
    for seed in 0..50 {
        let chunk = Bytes::from(noise(2000, seed));
        match w.writer.try_send_bytes(chunk.clone()) {
            Ok(()) => w.accepted.extend_from_slice(&chunk),
            Err(refused) => {
                let accepted = chunk.len() - refused.rest().len();
                w.accepted.extend_from_slice(&chunk[..accepted]);
                s.hear(refused.error.os);
            }
        }
    }
    w.peer.holding = false;
    s.finish(w);
}

/// Two that wait for room at once: in order, and nothing gets between the pieces.
pub(crate) fn two_messages(s: &mut Stage<'_>) {
    let Some(mut w) = s.writer(End::Pipe) else {
        return;
    };
    let (first, second) = (noise(LARGE, 18), noise(LARGE, 19));
    let Writing { writer, peer, .. } = &mut w;
    let answers = s.drive_both(writer.send(&first), writer.send(&second), peer);
    let total = w.writer.ledger().accepted();
    let before = s.record_piece(&mut w, &first, total, answers.0);
    s.record_piece(&mut w, &second, total - before, answers.1);
    s.finish(w);
}

pub(crate) fn observed(s: &mut Stage<'_>) {
    let Some(mut w) = s.observed(End::Pipe) else {
        return;
    };
    s.write(&mut w, &noise(LARGE, 20));
    s.flush(&mut w);
    s.finish(w);
}

/// Deadlines end the waiting and nothing else.
pub(crate) fn deadline(s: &mut Stage<'_>) {
    let Some(mut w) = s.writer(End::Pipe) else {
        return;
    };
    fill(s, &mut w);
    let short = Duration::from_millis(2);
    for _ in 0..2 {
        let flushed = w.writer.until_transferred().within(short).wait();
        // The kernel may take the last of it only now.
        if let Err(told) = flushed {
            s.hear(told.os);
            s.expect(told.kind == ErrorKind::TimedOut, "the deadline passes");
        }
    }
    w.peer.holding = false;
    s.finish(w);
}

pub(crate) fn capacity(s: &mut Stage<'_>) {
    let options = Stage::options().capacity_bytes(8192);
    let Some(mut w) = s.writer_with(End::Pipe, options, false) else {
        return;
    };
    s.write(&mut w, &noise(20_000, 21));
    s.finish(w);
}
