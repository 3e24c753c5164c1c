//! No block and no buffer is freed or moved before its packet: the tests' allocator would end the process. Here it is made to.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests state their expectations this way, in their helpers too"
)]

use crate::itself::test_name;
use crate::windows_lab::checked::MESSAGE;
use crate::windows_lab::*;
use std::alloc::Layout;
use std::process::Command;
use watertight_core::{Backend, OpKind};
use watertight_os::fault;

/// Tells this test's child what to give up.
const PLANTED: &str = "WATERTIGHT_PLANTED";

/// Frees, or moves, one of the two memories of the only operation in flight, as if it were ours.
fn give_up(planted: &str) {
    let [[block, buffer]] = fault::kernels()[..] else {
        panic!("one operation is in flight");
    };
    let layout = Layout::from_size_align(16, 8).unwrap();
    let freed = |start: usize| {
        // SAFETY: none: it is the mistake that the allocator is to notice. It ends the process instead of freeing.
        unsafe { std::alloc::dealloc(std::ptr::with_exposed_provenance_mut(start), layout) };
    };
    match planted {
        "free the block" => freed(block),
        "free the buffer" => freed(buffer),
        "move the buffer" => {
            let start = std::ptr::with_exposed_provenance_mut(buffer);
            // SAFETY: none, as above.
            let _ = unsafe { std::alloc::realloc(start, layout, 64) };
        }
        other => panic!("{other}?"),
    }
}

/// A read that pends and is cancelled, and then what a cancel must not do.
fn cancel_and(planted: &str) {
    let mut lab = Lab::new();
    let (reading, _writing) = lab.pipe();
    assert_in_flight(&lab.submit_read(&reading));
    lab.native.cancel(&reading.handle, reading.id(OpKind::Read));
    give_up(planted);
}

#[test]
fn memory_that_the_kernel_has_cannot_be_given_up() {
    if let Ok(planted) = std::env::var(PLANTED) {
        return cancel_and(&planted);
    }
    let name = test_name(
        module_path!(),
        "memory_that_the_kernel_has_cannot_be_given_up",
    );
    for planted in ["free the block", "free the buffer", "move the buffer"] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name])
            .env(PLANTED, planted)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stderr);
        assert!(!child.status.success(), "{planted}: nobody noticed");
        assert!(text.contains(MESSAGE), "{planted}: {text}");
    }
}

#[test]
fn memory_is_ours_again_with_its_packet() {
    take_turn();
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    assert_in_flight(&lab.submit_read(&reading));
    assert_eq!(fault::kernels().len(), 1);
    lab.native.cancel(&reading.handle, reading.id(OpKind::Read));
    assert_eq!(fault::kernels().len(), 1, "a cancel is a request");
    lab.answer(reading.id(OpKind::Read));
    assert_eq!(fault::kernels().len(), 0);
    lab.close(reading);
    lab.close(writing);
}
