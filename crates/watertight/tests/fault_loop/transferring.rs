//! Scenarios of transfers: from a pipe of one peer to a pipe of another one.

use super::ends::End;
use super::stage::Stage;
use super::stage_read::Reading;
use super::stage_write::Writing;
use crate::common::noise;
use std::time::Duration;
use watertight::{TransferEnd, TransferError, Transferred, transfer};

/// More than a pipe holds.
const LARGE: usize = 100 * 1024;

/// How much of it is passed on first.
const HEAD: u64 = 700;

/// A part, then the rest to the end.
pub(crate) fn to_end(s: &mut Stage<'_>, is_everywhere: bool) {
    let Some(mut w) = s.writer(End::Pipe) else {
        return;
    };
    let Some(mut r) = s.reader(End::Pipe, noise(LARGE, 50), true) else {
        return s.abort(w);
    };
    let is_on = pass_on(s, (&mut r, &mut w), HEAD, is_everywhere);
    s.expect(is_on && !r.ended, "a part is passed on");
    if is_on {
        pass_on(s, (&mut r, &mut w), u64::MAX, is_everywhere);
    }
    s.expect(r.ended, "the end of the stream is seen");
    s.expect(r.taken.len() == LARGE, "everything is passed on");
    s.abort_reading(r);
    s.finish(w);
}

/// Passes on at most so many bytes, and records them at both ends. Says whether it may go on.
fn pass_on(
    s: &mut Stage<'_>,
    (r, w): (&mut Reading, &mut Writing),
    bytes_max: u64,
    is_everywhere: bool,
) -> bool {
    let moving = transfer(&r.reader, &w.writer).bytes_max(bytes_max);
    let moving = if is_everywhere {
        moving.in_kernel_everywhere()
    } else {
        moving
    };
    let answer = s.drive_between(moving, &mut r.peer, &mut w.peer);
    // Whatever ended it, what left the one is what the other accepted.
    let passed = w.writer.ledger().accepted() - w.accepted.len() as u64;
    let left = r.reader.ledger().transferred() - r.taken.len() as u64;
    assert_eq!(left, passed, "lost or doubled between the ends");
    let start = r.taken.len();
    let end = start + usize::try_from(passed).unwrap();
    let data = r.peer.data[start..end].to_vec();
    r.taken.extend_from_slice(&data);
    w.accepted.extend_from_slice(&data);
    match answer {
        Some(Ok(Transferred {
            bytes, has_ended, ..
        })) => {
            assert_eq!(bytes, passed, "told otherwise than it is");
            assert!(has_ended || bytes == bytes_max, "neither end nor bound");
            r.ended = has_ended;
            true
        }
        Some(Err(failed)) => {
            assert_eq!(failed.bytes, passed, "told otherwise than it is");
            check_end(s, &failed, r, w);
            false
        }
        None => false,
    }
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
