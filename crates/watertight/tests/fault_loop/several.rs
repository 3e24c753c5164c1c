//! The scenarios of a transfer to several destinations: from a pipe of our own making, so that bytes stay in the kernel, and from one that
//! others may have, so that they do not.

use super::ends::End;
use super::peer::Peer;
use super::stage::Stage;
use super::stage_read::Reading;
use super::stage_write::Writing;
use crate::common::noise;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use watertight::{
    Ending, PipeReader, PipeWriter, ReaderOptions, Tee, TeeError, TeeOutcome, pipe_with,
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
    let data = noise(LARGE, 53);
    let Some((from, feed)) = own(s) else { return };
    let feeds = match feed.into_handle() {
        Ok(into) => Peer::writing(into, data.clone(), true),
        Err(kept) => panic!("an idle writer keeps its handle: {kept}"),
    };
    pass_all_on(s, &data, from, feeds);
}

/// The same through the buffer.
pub(crate) fn by_buffer(s: &mut Stage<'_>) {
    let data = noise(LARGE, 53);
    if let Some(Reading { reader, peer, .. }) = s.reader(End::Pipe, data.clone(), true) {
        pass_all_on(s, &data, reader, peer);
    }
}

fn pass_all_on(s: &mut Stage<'_>, data: &[u8], from: PipeReader, mut feeds: Peer) {
    let Some(mut one) = destination(s) else {
        return;
    };
    let Some(mut other) = destination(s) else {
        return s.abort(one);
    };
    let answer = pass_on(s, &from, &mut feeds, (&mut one, &mut other));
    let left = from.ledger().transferred();
    for w in [&mut one, &mut other] {
        let accepted = usize::try_from(w.writer.ledger().accepted()).unwrap();
        assert!(accepted as u64 >= left, "lost between the ends");
        w.accepted.extend_from_slice(&data[..accepted]);
    }
    match answer {
        Some(Ok(done)) => {
            assert_eq!(done.bytes, left, "told otherwise than it is");
            s.expect(done.has_ended, "the end of the stream is seen");
        }
        Some(Err(failed)) => {
            assert_eq!(failed.bytes, left, "told otherwise than it is");
            s.hear(failed.error.os);
            s.expect(false, "everything is passed on");
        }
        None => s.expect(false, "it is not held up"),
    }
    let receipt = s.stop(from.abort(), &mut feeds);
    let receipt = receipt.expect("there is no deadline");
    if let Ending::Failed(cause) = receipt.ending() {
        s.hear(cause.os);
    }
    assert_eq!(receipt.ledger().transferred(), left);
    drop(from);
    s.finish(one);
    s.finish(other);
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
    (one, other): (&mut Writing, &mut Writing),
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
