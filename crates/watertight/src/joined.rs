//! The writers into which this thread has joined messages: they are sent before the thread waits for anything of ours.
//!
//! Whoever waits may wait for the answer to what it has just written, and then a tick would be lost for nothing. Sending tells
//! observers, who may wait themselves: it comes before a waker is left anywhere, or whoever left one looks again.
#![allow(
    clippy::missing_const_for_thread_local,
    reason = "the checkers' macros know no const block"
)]

use crate::driver::Pump;
use crate::sync::thread_local;
use std::cell::{Cell, RefCell};
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

/// So many writers a thread remembers; those of further ones wait for their tick.
const WRITERS_MAX: usize = 64;

thread_local! {
    static WRITERS: RefCell<Vec<Weak<dyn Pump>>> = RefCell::new(Vec::new());
    static NUMBER: Cell<u64> = Cell::new(0);
}

/// This thread's number; 0 while it ends.
pub(crate) fn this_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.try_with(|number| {
        if number.get() == 0 {
            number.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
        }
        number.get()
    });
    number.unwrap_or(0)
}

/// This thread begins to join messages into that writer.
pub(crate) fn note(writer: Weak<dyn Pump>) {
    // A thread whose locals are gone is ending: the tick sends.
    let _ = WRITERS.try_with(|writers| {
        let mut writers = writers.borrow_mut();
        writers.retain(|known| known.strong_count() > 0);
        if writers.len() < WRITERS_MAX && !writers.iter().any(|known| known.ptr_eq(&writer)) {
            writers.push(writer);
        }
    });
}

/// Whether this thread has joined anything since it waited last.
pub(crate) fn is_any() -> bool {
    let is_any = WRITERS.try_with(|writers| !writers.borrow().is_empty());
    is_any.unwrap_or(false)
}

/// This thread is about to wait: what it has joined is sent. Whether there was any: observers may have run, so whoever has left a
/// waker by now looks again.
pub(crate) fn send_all() -> bool {
    let writers = WRITERS.try_with(|writers| std::mem::take(&mut *writers.borrow_mut()));
    let writers = writers.unwrap_or_default();
    let is_any = !writers.is_empty();
    // An observer that is told of it may write on, which notes the writer anew.
    for writer in writers {
        if let Some(writer) = writer.upgrade() {
            writer.stop_joining();
        }
    }
    is_any
}

/// As [`send_all`], for a task that is pending: it is polled once more if there was any.
pub(crate) fn send_all_of_task(waker: &Waker) {
    if send_all() {
        waker.wake_by_ref();
    }
}
