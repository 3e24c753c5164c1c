//! Scenarios of transfers: from a pipe of one peer to a pipe of another one, and inside the kernel between all the ends between which
//! bytes go there.

use super::ends::End;
use super::peer::Peer;
use super::stage::Stage;
use super::stage_read::Reading;
use super::stage_write::Writing;
use crate::common::noise;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use watertight::{
    ErrorKind, Transfer, TransferEnd, TransferError, Transferred, Wait, fault, transfer,
};

/// More than a pipe holds.
const LARGE: usize = 100 * 1024;

/// How much of it is passed on first.
const HEAD: u64 = 700;

/// How often a thread that blocks comes back to see whether it is held up for ever.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a transfer is made.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Manner {
    /// Inside the kernel, by a thread that blocks.
    Blocking,
    /// Through the buffer, by a task.
    Buffered,
    /// Inside the kernel, by a task.
    Moved,
    /// Asked for inside the kernel by a task, which moves no file there.
    Unmoved,
}

/// From pipe to pipe.
pub(crate) fn to_end(s: &mut Stage<'_>, manner: Manner) {
    pass_all(s, (End::Pipe, noise(LARGE, 50)), End::Pipe, manner);
}

/// From file to file, by a thread that blocks. Holes are first, in the middle and last.
pub(crate) fn with_holes(s: &mut Stage<'_>) {
    let (hole, data) = (vec![0_u8; LARGE / 4], noise(8 * 1024, 51));
    let data = [&hole[..], &data[..], &hole[..], &data[..], &hole[..]].concat();
    pass_all(s, (End::Sparse, data), End::File, Manner::Blocking);
}

/// From a file to a pipe, by splice if a thread blocks: only the file's disk can fail, and only the pipe is waited for.
pub(crate) fn from_file(s: &mut Stage<'_>, manner: Manner) {
    pass_all(s, (End::File, noise(LARGE, 54)), End::Pipe, manner);
}

/// From a pipe to a file, by splice: only the pipe is waited for, and only the file's disk can fail. By a thread that blocks.
pub(crate) fn to_file(s: &mut Stage<'_>) {
    let data = noise(LARGE, 55);
    pass_all(s, (End::Pipe, data), End::File, Manner::Blocking);
}

/// From a pipe to nobody, by splice. What came cannot be looked at: what left the pipe is what is counted.
pub(crate) fn to_null(s: &mut Stage<'_>) {
    pass_all(s, (End::Pipe, noise(LARGE, 56)), End::Null, Manner::Moved);
}

/// From a file to a socket, by sendfile. By a thread that blocks.
pub(crate) fn file_to_socket(s: &mut Stage<'_>) {
    let data = noise(LARGE, 57);
    pass_all(s, (End::File, data), End::OwnSocket, Manner::Blocking);
}

/// From a pipe to a socket, by splice: only the socket can fail.
pub(crate) fn pipe_to_socket(s: &mut Stage<'_>, manner: Manner) {
    pass_all(s, (End::Pipe, noise(LARGE, 59)), End::OwnSocket, manner);
}

/// A part, then the rest to the end.
fn pass_all(s: &mut Stage<'_>, (from, data): (End, Vec<u8>), to: End, manner: Manner) {
    let bytes = data.len();
    let Some(mut w) = s.writer(to) else {
        return;
    };
    let Some(mut r) = s.reader(from, data, true) else {
        return s.abort(w);
    };
    let is_on = pass_on(s, (&mut r, &mut w), HEAD, manner);
    s.expect(is_on && !r.ended, "a part is passed on");
    if is_on {
        pass_on(s, (&mut r, &mut w), u64::MAX, manner);
    }
    s.expect(r.ended, "the end of the stream is seen");
    s.expect(r.taken.len() == bytes, "everything is passed on");
    s.abort_reading(r);
    s.finish(w);
}

/// Passes on at most so many bytes, and records them at both ends. Says whether it may go on.
fn pass_on(
    s: &mut Stage<'_>,
    (r, w): (&mut Reading, &mut Writing),
    bytes_max: u64,
    manner: Manner,
) -> bool {
    let begin = Instant::now();
    let mut left = bytes_max;
    loop {
        let moving = transfer(&r.reader, &w.writer).bytes_max(left);
        let peers = (&mut r.peer, &mut w.peer);
        let answer = match manner {
            Manner::Blocking => {
                let moving = moving.in_kernel_everywhere().within(LOOK_EVERY);
                Some(block_between(moving, peers.0, peers.1))
            }
            Manner::Buffered => s.drive_between(moving, peers.0, peers.1),
            Manner::Moved | Manner::Unmoved => {
                let moving = moving.in_kernel_everywhere();
                s.drive_between(moving, peers.0, peers.1)
            }
        };
        let passed = record(r, w);
        match answer {
            Some(Ok(Transferred {
                bytes,
                in_kernel,
                has_ended,
                ..
            })) => {
                assert_eq!(bytes, passed, "told otherwise than it is");
                assert!(has_ended || bytes == left, "neither end nor bound");
                let is_tried = [Manner::Blocking, Manner::Moved].contains(&manner) && bytes > HEAD;
                let is_moved = in_kernel > 0 || !fault::begun().is_empty();
                assert!(is_moved || !is_tried, "nothing goes inside the kernel");
                let may_move = ![Manner::Buffered, Manner::Unmoved].contains(&manner);
                assert!(may_move || in_kernel == 0, "it goes inside the kernel");
                r.ended = has_ended;
                return true;
            }
            Some(Err(failed)) => {
                assert_eq!(failed.bytes, passed, "told otherwise than it is");
                if manner != Manner::Blocking || failed.error.kind != ErrorKind::TimedOut {
                    check_end(s, &failed, r, w);
                    return false;
                }
                if s.gives_up(begin) {
                    return false;
                }
                left -= passed;
            }
            None => return false,
        }
    }
}

/// Waits for a transfer in this thread, while another one does both peers' part.
fn block_between(
    moving: Wait<Transfer<'_>>,
    feeds: &mut Peer,
    takes: &mut Peer,
) -> Result<Transferred, TransferError> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                let (has_fed, has_taken) = (feeds.step(), takes.step());
                if !has_fed && !has_taken {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
        });
        let answer = moving.wait();
        is_over.store(true, Ordering::SeqCst);
        answer
    })
}

/// Records what was passed on at both ends, and how much that was. Whatever ended it, what left the one is what the other accepted.
fn record(r: &mut Reading, w: &mut Writing) -> u64 {
    let passed = w.writer.ledger().accepted() - w.accepted.len() as u64;
    let left = r.reader.ledger().transferred() - r.taken.len() as u64;
    assert_eq!(left, passed, "lost or doubled between the ends");
    let start = r.taken.len();
    let end = start + usize::try_from(passed).unwrap();
    let data = r.peer.data[start..end].to_vec();
    r.taken.extend_from_slice(&data);
    w.accepted.extend_from_slice(&data);
    passed
}

/// The end that is named is the one that failed: it says the same again.
fn check_end(s: &mut Stage<'_>, failed: &TransferError, r: &Reading, w: &Writing) {
    s.hear(failed.error.os);
    let again = if failed.end == TransferEnd::Source {
        let mut byte = [0];
        let read = r.reader.receive(&mut byte).within(Duration::ZERO);
        read.wait().err()
    } else {
        let refused = w.writer.try_send(b"?").err();
        refused.map(|refused| refused.error)
    };
    let again = again.map(|again| (again.kind, again.os));
    let first = (failed.error.kind, failed.error.os);
    assert_eq!(again, Some(first), "not of the {:?}", failed.end);
}
