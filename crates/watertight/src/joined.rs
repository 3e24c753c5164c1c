//! The writers into which this thread has joined messages: they are sent before the thread waits for anything of ours.
//!
//! Whoever waits may wait for the answer to what it has just written, and then a tick would be lost for nothing.

use crate::driver::Pump;
use crate::sync::thread_local;
use std::cell::RefCell;
use std::sync::Weak;

/// So many writers a thread remembers; those of further ones wait for their tick.
const WRITERS_MAX: usize = 64;

thread_local! {
    static WRITERS: RefCell<Vec<Weak<dyn Pump>>> = RefCell::new(Vec::new());
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

/// This thread is about to wait: what it has joined is sent.
pub(crate) fn send_all() {
    let writers = WRITERS.try_with(|writers| std::mem::take(&mut *writers.borrow_mut()));
    // An observer that is told of it may write on, which notes the writer anew.
    for writer in writers.unwrap_or_default() {
        if let Some(writer) = writer.upgrade() {
            writer.stop_joining();
        }
    }
}
