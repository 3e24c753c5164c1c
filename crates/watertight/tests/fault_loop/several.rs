//! The scenarios of a transfer to several destinations: from a pipe of our own making, so that bytes stay in the kernel, and from one that
//! others may have, or a file, so that they do so only where it is asked for.

use super::ends::End;
use super::peer::Peer;
use super::stage::Stage;
use super::stage_read::Reading;
use super::stage_write::Writing;
use super::transferring::LOOK_EVERY;
use crate::common::noise;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use watertight::{
    Ending, ErrorKind, PipeReader, PipeWriter, ReaderOptions, Tee, TeeError, TeeOutcome, fault,
    pipe_with,
};

/// More than a pipe holds.
const LARGE: usize = 100 * 1024;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// All of one pipe to two others.
pub(crate) fn to_end(s: &mut Stage<'_>) {
    let Some((from, feed)) = own(s) else { return };
    let mut feeds = match feed.into_handle() {
        Ok(into) => Peer::writing(into, noise(LARGE, 53), true),
        Err(kept) => panic!("an idle writer keeps its handle: {kept}"),
    };
    let Some(one) = destination(s) else {
        return;
    };
    let Some(other) = destination(s) else {
        return s.abort(one);
    };
    let mut to = [one, other];
    let (left, _) = pass_all_on(s, (&from, &mut feeds), &mut to, false);
    let receipt = s.stop(from.abort(), &mut feeds);
    let receipt = receipt.expect("there is no deadline");
    if let Ending::Failed(cause) = receipt.ending() {
        s.hear(cause.os);
    }
    assert_eq!(receipt.ledger().transferred(), left);
    drop(from);
    for w in to {
        s.finish(w);
    }
}

/// The same through the buffer.
pub(crate) fn by_buffer(s: &mut Stage<'_>) {
    let Some(r) = s.reader(End::Pipe, noise(LARGE, 53), true) else {
        return;
    };
    let Some(one) = destination(s) else {
        return s.abort_reading(r);
    };
    let Some(other) = destination(s) else {
        s.abort(one);
        return s.abort_reading(r);
    };
    to_both(s, r, [one, other], false);
}

/// Inside the kernel from a pipe that others may have, to a pipe and a file that others may have.
pub(crate) fn everywhere(s: &mut Stage<'_>, [one, other]: [End; 2]) {
    between(s, (End::Pipe, noise(LARGE, 58)), [one, other]);
}

/// Inside the kernel from a file to two others. Holes are first, in the middle and last.
pub(crate) fn files(s: &mut Stage<'_>) {
    let (hole, data) = (vec![0_u8; LARGE / 4], noise(8 * 1024, 60));
    let data = [&hole[..], &data[..], &hole[..], &data[..], &hole[..]].concat();
    between(s, (End::Sparse, data), [End::File, End::Sparse]);
}

/// Inside the kernel wherever it goes.
fn between(s: &mut Stage<'_>, (from, data): (End, Vec<u8>), [one, other]: [End; 2]) {
    let Some(r) = s.reader(from, data, true) else {
        return;
    };
    let Some(one) = s.writer(one) else {
        return s.abort_reading(r);
    };
    let Some(other) = s.writer(other) else {
        s.abort(one);
        return s.abort_reading(r);
    };
    to_both(s, r, [one, other], true);
}

/// All of it to both. What did not leave the source is still there.
fn to_both(s: &mut Stage<'_>, mut r: Reading, mut to: [Writing; 2], is_everywhere: bool) {
    let from = (&r.reader, &mut r.peer);
    let (left, has_ended) = pass_all_on(s, from, &mut to, is_everywhere);
    r.taken = r.peer.data[..usize::try_from(left).unwrap()].to_vec();
    r.ended = has_ended;
    s.abort_reading(r);
    for w in to {
        s.finish(w);
    }
}

/// Passes all on, and records it at the destinations. Says how much left the source, and whether its end was seen.
fn pass_all_on(
    s: &mut Stage<'_>,
    (from, feeds): (&PipeReader, &mut Peer),
    to: &mut [Writing; 2],
    is_everywhere: bool,
) -> (u64, bool) {
    let answer = if is_everywhere {
        block_on_all(s, from, feeds, to)
    } else {
        pass_on(s, from, feeds, to)
    };
    let left = from.ledger().transferred();
    for w in to.iter_mut() {
        let accepted = usize::try_from(w.writer.ledger().accepted()).unwrap();
        assert!(accepted as u64 >= left, "lost between the ends");
        w.accepted.extend_from_slice(&feeds.data[..accepted]);
    }
    let mut has_ended = false;
    match answer {
        Some(Ok(done)) => {
            assert_eq!(done.bytes, left, "told otherwise than it is");
            has_ended = done.has_ended;
            s.expect(has_ended, "the end of the stream is seen");
            let is_moved = done.destinations.iter().all(|one| one.in_kernel > 0);
            let is_moved = is_moved || !fault::begun().is_empty();
            assert!(is_moved || !is_everywhere, "nothing goes inside the kernel");
        }
        Some(Err(failed)) => {
            assert_eq!(failed.bytes, left, "told otherwise than it is");
            s.hear(failed.error.os);
            s.expect(false, "everything is passed on");
        }
        None => s.expect(false, "it is not held up"),
    }
    (left, has_ended)
}

/// Tells a thread that it is over, also if this one panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// As `pass_on`, wherever it goes inside the kernel: by a thread that blocks, for a task moves no file there. Another thread does all
/// peers' part.
fn block_on_all(
    s: &mut Stage<'_>,
    from: &PipeReader,
    feeds: &mut Peer,
    [one, other]: &mut [Writing; 2],
) -> Option<Result<TeeOutcome, TeeError>> {
    let mut tee = Tee::new(from, [&one.writer, &other.writer]).expect("two that differ");
    tee.in_kernel_everywhere();
    let peers = [feeds, &mut one.peer, &mut other.peer];
    let begin = Instant::now();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| step_all(peers, &is_over));
        let _over = Over(&is_over);
        loop {
            let answer = tee.transfer().within(LOOK_EVERY).wait();
            let is_late = |failed: &TeeError| {
                failed.error.kind == ErrorKind::TimedOut && failed.error.os.is_none()
            };
            if !answer.as_ref().is_err_and(is_late) {
                return Some(answer);
            }
            if s.gives_up(begin) {
                return None;
            }
        }
    })
}

fn step_all(mut peers: [&mut Peer; 3], is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        let mut has_stepped = false;
        for peer in &mut peers {
            has_stepped |= peer.step();
        }
        if !has_stepped {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// A pipe of our own making.
fn own(s: &mut Stage<'_>) -> Option<(PipeReader, PipeWriter)> {
    match pipe_with(ReaderOptions::new(), Stage::options()) {
        Ok(ends) => Some(ends),
        Err(failed) => {
            s.hear(failed.error.os);
            None
        }
    }
}

/// One whose reading end the peer has.
fn destination(s: &mut Stage<'_>) -> Option<Writing> {
    let (sink, to) = own(s)?;
    let peer = match sink.into_handle() {
        Ok(from) => Peer::reading(from),
        Err(kept) => panic!("an idle reader keeps its handle: {kept}"),
    };
    Some(Stage::of(to, peer))
}

/// Waits while all peers do their part. `None`: a fault holds it up for ever, and it was given up.
fn pass_on(
    s: &mut Stage<'_>,
    from: &PipeReader,
    feeds: &mut Peer,
    [one, other]: &mut [Writing; 2],
) -> Option<Result<TeeOutcome, TeeError>> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut tee = Tee::new(from, [&one.writer, &other.writer]).expect("two that differ");
    let mut wait = pin!(tee.transfer());
    let begin = Instant::now();
    loop {
        if let Poll::Ready(answer) = wait.as_mut().poll(&mut cx) {
            return Some(answer);
        }
        if s.gives_up(begin) {
            return None;
        }
        let moved = [feeds.step(), one.peer.step(), other.peer.step()];
        if !moved.contains(&true) {
            // Until the waker is called, or a moment: what the driver's thread writes wakes nobody here.
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}
