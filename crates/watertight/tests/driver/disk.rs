//! Destinations on a disk, for which a move inside the kernel waits: only a wait that blocks its thread makes one.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::still::{Ends, Still};
use watertight::{Tee, WriterOptions, transfer};
use watertight_core::MoveScope;

/// Its first half is passed on by a wait that is polled.
const TEXT: &[u8; 16] = b"polled, blocking";
const HALF: u64 = 8;

/// With the text in the source, and nothing behind it.
fn ends_on(still: Still) -> Ends {
    let ends = Ends::on(still, WriterOptions::new());
    ends.kernel().feed(TEXT);
    ends.kernel().end();
    ends
}

fn both(ends: &Ends) -> Tee<'_, Still> {
    Tee::new(&ends.from, [&ends.to, &ends.also_to]).unwrap()
}

#[test]
fn a_transfer_that_is_polled_waits_for_no_disk() {
    let ends = ends_on(Still::on_disk());
    let everywhere = || transfer(&ends.from, &ends.to).in_kernel_everywhere();
    let polled = ends.done(&mut everywhere().bytes_max(HALF));
    assert_eq!((polled.bytes, polled.in_kernel), (HALF, 0));
    let blocking = everywhere().wait().unwrap();
    assert_eq!((blocking.bytes, blocking.in_kernel), (HALF, HALF));
    assert!(blocking.has_ended);
    assert_eq!(ends.kernel().arrived(), TEXT);
}

#[test]
fn a_wait_that_is_polled_first_moves_once_it_blocks() {
    let ends = Ends::on(Still::on_disk(), WriterOptions::new());
    let mut moving = transfer(&ends.from, &ends.to).in_kernel_everywhere();
    ends.assert_pending(&mut moving);
    ends.kernel().feed(TEXT);
    ends.kernel().end();
    ends.turn();
    let done = moving.wait().unwrap();
    assert_eq!((done.bytes, done.in_kernel), (2 * HALF, 2 * HALF));
    assert_eq!(ends.kernel().arrived(), TEXT);
}

#[test]
fn a_tee_that_was_polled_moves_in_the_next_wait_that_blocks() {
    let ends = ends_on(Still::on_disk());
    let mut tee = both(&ends);
    tee.in_kernel_everywhere().bytes_max(HALF);
    let polled = ends.done(&mut tee.transfer());
    for one in &polled.destinations {
        assert_eq!((one.bytes, one.in_kernel), (HALF, 0));
    }
    let blocking = tee.bytes_max(u64::MAX).transfer().wait().unwrap();
    for one in &blocking.destinations {
        assert_eq!((one.bytes, one.in_kernel), (2 * HALF, HALF));
    }
    let arrived = ends.kernel().arrived_at_both();
    assert!(arrived.iter().all(|one| one == TEXT), "{arrived:?}");
}

#[test]
fn which_moves_are_asked_for_depends_on_what_was_said_and_on_the_wait() {
    for (is_everywhere, is_blocking, scope) in [
        (false, false, MoveScope::Alike),
        (false, true, MoveScope::Alike),
        (true, false, MoveScope::WithoutDisk),
        (true, true, MoveScope::Everywhere),
    ] {
        let ends = ends_on(Still::moving());
        let mut moving = transfer(&ends.from, &ends.to).bytes_max(HALF);
        if is_everywhere {
            moving = moving.in_kernel_everywhere();
        }
        let done = if is_blocking {
            moving.wait().unwrap()
        } else {
            ends.done(&mut moving)
        };
        assert_eq!((done.bytes, done.in_kernel), (HALF, HALF));
        let mut tee = both(&ends);
        if is_everywhere {
            tee.in_kernel_everywhere();
        }
        let done = if is_blocking {
            tee.transfer().wait().unwrap()
        } else {
            ends.done(&mut tee.transfer())
        };
        for one in &done.destinations {
            assert_eq!((one.bytes, one.in_kernel), (HALF, HALF));
        }
        let asked = ends.kernel().asked();
        let is_right = |one: &MoveScope| *one == scope;
        // The transfer's, then one of copies and one of the bytes themselves.
        assert!(asked.len() >= 3 && asked.iter().all(is_right), "{asked:?}");
    }
}
