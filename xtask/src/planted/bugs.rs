//! The planted bugs: ten classes of mistakes, each the way a tired programmer makes it, in the product's own source.
//!
//! Where a class looks different on another system or in the other half, it is there twice.
//!
//! tidy: long because it is one table.

/// One change of one file that breaks one guarantee.
pub(crate) struct Planted {
    pub(crate) class: &'static str,
    pub(crate) name: &'static str,
    /// What the programmer thought.
    pub(crate) why: &'static str,
    pub(crate) file: &'static str,
    /// Stands in the file exactly once.
    pub(crate) find: &'static str,
    pub(crate) replace: &'static str,
}

pub(crate) const BUGS: [Planted; 21] = [
    Planted {
        class: "free on cancel",
        name: "free-on-cancel",
        why: "what is cancelled is over",
        file: "crates/watertight-os/src/windows/port.rs",
        find: "        let found = match in_flight.ask_cancel(id) {",
        replace: "        if let Some(Place::Kernel(given)) = in_flight.ask_cancel(id) {
            given.cancel();
            if let Some(Place::Kernel(given)) = in_flight.remove(id) {
                // SAFETY: it is cancelled.
                drop(unsafe { given.take_back() });
            }
            return Cancelled::Done(Outcome::cancelled());
        }
        let found = match in_flight.ask_cancel(id) {",
    },
    Planted {
        class: "free on cancel",
        name: "free-when-answered",
        why: "the answer is in the block, so nobody needs to wait for the packet",
        file: "crates/watertight-os/src/windows/port.rs",
        find: "            Some(Place::Kernel(given)) => {
                given.cancel();
                Found::Nothing
            }",
        replace: "            Some(Place::Kernel(given)) => {
                given.cancel();
                if given.is_answered()
                    && let Some(Place::Kernel(given)) = in_flight.remove(id)
                {
                    // SAFETY: the answer is there.
                    let operation = unsafe { given.take_back() };
                    return Cancelled::Done(operation.into_completion().outcome);
                }
                Found::Nothing
            }",
    },
    Planted {
        class: "signal before bookkeeping",
        name: "over-when-the-close-begins",
        why: "once the close is asked for nothing can change any more",
        file: "crates/watertight-core/src/write.rs",
        find: "        self.closing == Closing::Done || self.quarantined
    }",
        replace: "        self.closing != Closing::Not || self.quarantined
    }",
    },
    Planted {
        class: "signal before bookkeeping",
        name: "over-before-late-answer",
        why: "an operation in quarantine is nobody's any more, so its pipe may leave",
        file: "crates/watertight/src/pump_read.rs",
        find: "if self.seat.leaves(self.half.is_closed()) {",
        replace: "if self.seat.leaves(self.half.is_over()) {",
    },
    Planted {
        class: "signal before bookkeeping",
        name: "answer-before-letting-go",
        why: "the answer is what everybody waits for, so it goes first",
        file: "crates/watertight-os/src/windows/helper.rs",
        find: "            drop(handle);
            port.answer(Completion { id, outcome });",
        replace: "            port.answer(Completion { id, outcome });
            drop(handle);",
    },
    Planted {
        class: "forget the latch",
        name: "last-failure-wins",
        why: "a close that fails is worth telling",
        file: "crates/watertight-core/src/write.rs",
        find: "} else if let (Ok(_), Some(cause)) = (self.state, failure) {",
        replace: "} else if let Some(cause) = failure {",
    },
    Planted {
        class: "forget the latch",
        name: "last-failure-wins-reading",
        why: "a close that fails is worth telling",
        file: "crates/watertight-core/src/read.rs",
        find: "} else if let (Ok(_), Some(cause)) = (self.state, failure) {",
        replace: "} else if let Some(cause) = failure {",
    },
    Planted {
        class: "count a failed write as zero",
        name: "failed-write-is-zero",
        why: "a write that failed did not write",
        file: "crates/watertight-os/src/unix/helper.rs",
        find: "Err(outcome) => return with_count(outcome, moved),",
        replace: "Err(outcome) => return outcome,",
    },
    Planted {
        class: "count a failed write as zero",
        name: "failed-write-is-zero-core",
        why: "what failed goes back into the queue",
        file: "crates/watertight-core/src/write.rs",
        find: "                self.settle_exactly(&mut chunks, moved);
            }",
        replace: "                let _ = moved;
            }",
    },
    Planted {
        class: "count a failed write as zero",
        name: "cancelled-write-is-zero",
        why: "the kernel reports 0 bytes",
        file: "crates/watertight-os/src/windows/overlapped.rs",
        find: "self.answered(code, count, Moved::Unknown)",
        replace: "self.answered(code, count, Moved::Exactly(count as u64))",
    },
    Planted {
        class: "drop the queue on finish",
        name: "finish-drops-the-queue",
        why: "nothing in flight means drained",
        file: "crates/watertight-core/src/write.rs",
        find: "let drained = self.ledger.unsettled() == 0 && self.in_flight.is_none();",
        replace: "let drained = self.in_flight.is_none();",
    },
    Planted {
        class: "close twice or in flight",
        name: "close-again-after-eintr",
        why: "an interrupted call is called again",
        file: "crates/watertight-os/src/unix/poller.rs",
        find: "    let closed = fallible_all_the_same(\"close\", Call::Close, || {
        // SAFETY: the descriptor was owned by `fd`, which gave it up with `into_raw_fd`; nobody else knows the number.
        let status = unsafe { libc::close(fd.into_raw_fd()) };
        if status == 0 {
            Ok(())
        } else {
            Err(last_errno())
        }
    });
    match closed {",
        replace: "    let fd = fd.into_raw_fd();
    let once = || {
        fallible_all_the_same(\"close\", Call::Close, || {
            // SAFETY: the descriptor is ours.
            let status = unsafe { libc::close(fd) };
            if status == 0 {
                Ok(())
            } else {
                Err(last_errno())
            }
        })
    };
    let mut closed = once();
    while closed == Err(Errno::INTR) {
        closed = once();
    }
    match closed {",
    },
    Planted {
        class: "close twice or in flight",
        name: "close-in-quarantine",
        why: "the stop bound has passed, so the handle can go",
        file: "crates/watertight-core/src/read.rs",
        find: "if over && !self.is_busy() && self.closing == Closing::Not {",
        replace: "if over && !self.direct && self.closing == Closing::Not {",
    },
    Planted {
        class: "skip the end of the stream",
        name: "fifo-never-ends",
        why: "a FIFO without a writer waits for one",
        file: "crates/watertight-os/src/unix/handle.rs",
        find: "Ok(self.is_fifo && !polled(self.original())?.contains(PollFlags::HUP))",
        replace: "Ok(self.is_fifo && !polled(self.original())?.contains(PollFlags::IN))",
    },
    Planted {
        class: "skip the end of the stream",
        name: "empty-file-read-is-a-message",
        why: "no bytes are an empty message",
        file: "crates/watertight-os/src/windows/answer.rs",
        find: "            (true, true) => Outcome::EndOfStream,
            (true, false) => Outcome::Ready,",
        replace: "            (true, _) => Outcome::Ready,",
    },
    Planted {
        class: "lose a wake",
        name: "nobody-tells-the-next-in-line",
        why: "the next answer wakes the next in line",
        file: "crates/watertight/src/pump_write.rs",
        find: "        let mut wakes = Wakes::default();
        state.wake_line(&mut wakes);
        drop(state);",
        replace: "        let wakes = Wakes::default();
        drop(state);",
    },
    Planted {
        class: "lose a wake",
        name: "nobody-looks-after-a-timer",
        why: "a timer only changes the state; the next answer looks what there is to do",
        file: "crates/watertight/src/pump_write.rs",
        find: "        self.change(|state| {
            if state.seat.is_stop_due(now) {",
        replace: "        self.change_quietly(|state| {
            if state.seat.is_stop_due(now) {",
    },
    Planted {
        class: "lose a wake",
        name: "wake-before-the-answer-is-there",
        why: "wake it first, so that it is awake when the answer is there",
        file: "crates/watertight-os/src/windows/port.rs",
        find: "        lock(&self.answered).push(completion);
        self.wake();",
        replace: "        self.wake();
        lock(&self.answered).push(completion);",
    },
    Planted {
        class: "232 on write is a success",
        name: "232-is-pending",
        why: "232 is no error of a pipe: its data can still be read, and its packet comes",
        file: "crates/watertight-os/src/windows/overlapped.rs",
        find: "        ERROR_IO_PENDING | ERROR_MORE_DATA => Ok(()),",
        replace: "        ERROR_IO_PENDING
        | ERROR_MORE_DATA
        | windows_sys::Win32::Foundation::ERROR_NO_DATA => Ok(()),",
    },
    Planted {
        class: "232 on write is a success",
        name: "232-is-a-success",
        why: "232 says that the client has left again, and that is no failure",
        file: "crates/watertight-os/src/windows/classify.rs",
        find: "        Call::Connect => matches!(
            code,
            win::ERROR_SUCCESS",
        replace: "        Call::Connect | Call::Write => matches!(
            code,
            win::ERROR_SUCCESS",
    },
    Planted {
        class: "swallow an unknown code",
        name: "unknown-code-waits",
        why: "whatever it is, it may pass",
        file: "crates/watertight-os/src/unix/classify.rs",
        find: "} else if class == Class::Wait {",
        replace: "} else if matches!(class, Class::Io | Class::Wait) {",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted::patch;
    use std::collections::BTreeSet;
    use std::path::Path;

    const CLASSES: [&str; 10] = [
        "free on cancel",
        "signal before bookkeeping",
        "forget the latch",
        "count a failed write as zero",
        "drop the queue on finish",
        "close twice or in flight",
        "skip the end of the stream",
        "lose a wake",
        "232 on write is a success",
        "swallow an unknown code",
    ];

    #[test]
    fn every_bug_still_finds_its_place() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for bug in &BUGS {
            let text = std::fs::read_to_string(root.join(bug.file)).unwrap();
            let patched = patch(&text, bug.find, bug.replace);
            assert!(patched.is_ok(), "{} in {}: {patched:?}", bug.name, bug.file);
        }
    }

    #[test]
    fn every_class_has_a_bug_and_every_name_is_one_bugs() {
        let classes: BTreeSet<&str> = BUGS.iter().map(|bug| bug.class).collect();
        assert_eq!(classes, BTreeSet::from(CLASSES));
        let names: BTreeSet<&str> = BUGS.iter().map(|bug| bug.name).collect();
        assert_eq!(names.len(), BUGS.len());
    }
}
