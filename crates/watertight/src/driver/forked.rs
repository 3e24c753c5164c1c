//! What a forked child can do whose parent had other threads: they are not in it, and what they had locked at the fork stays so (rule C4).
//!
//! Never here: what is refused there. Every call asks that first.

use super::Driver;
use crate::sync::Mutex;
use watertight_core::Backend;

impl<B: Backend> Driver<B> {
    /// In a forked child: whether this lock of a pipe's, or one of the driver's, was held by another thread when the process was forked. Then
    /// nothing can be done with the pipe there: our copy of its handle stays open until the child ends or executes a program.
    pub(crate) fn is_locked_for_ever<T>(&self, of_pipe: &Mutex<T>) -> bool {
        let is_any_held = || {
            of_pipe.is_held()
                || self.registry.is_held()
                || self.timers.is_held()
                || self.nudged.is_held()
                || self.settling.is_held()
                || self.lingering.is_held()
        };
        self.backend.is_elsewhere() && is_any_held()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) use kernel::Forked;

/// A kernel before and after a fork, for tests.
#[cfg(all(test, not(any(loom, shuttle))))]
mod kernel {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use watertight_core::{
        Cancelled, Class, Completion, Moment, Op, OpId, OsCode, Outcome, ReadNow, Submitted,
    };

    /// Nothing moves in it. Whoever waits for it ends all that is in flight.
    #[derive(Default)]
    pub(crate) struct Forked {
        pub(crate) is_elsewhere: AtomicBool,
        pub(crate) closed: AtomicUsize,
        in_flight: Mutex<Vec<OpId>>,
    }

    impl Backend for Forked {
        type Handle = ();

        fn now(&self) -> Moment {
            Moment::default()
        }

        fn submit(&self, _: &Arc<()>, id: OpId, _: Op) -> Submitted {
            self.in_flight.lock().expect("no thread panicked").push(id);
            Submitted::InFlight
        }

        fn read_now(&self, _: &(), _: &mut [u8]) -> ReadNow {
            ReadNow::Wait
        }

        fn cancel(&self, _: &Arc<()>, id: OpId) -> Cancelled {
            let mut in_flight = self.in_flight.lock().expect("no thread panicked");
            in_flight.retain(|one| *one != id);
            Cancelled::Done(Outcome::cancelled())
        }

        fn close(&self, _: Arc<()>, _: bool) -> Result<(), OsCode> {
            self.closed.fetch_add(1, SeqCst);
            Ok(())
        }

        /// All that is in flight fails.
        fn wait(&self, answers: &mut Vec<Completion>, _: Option<Moment>) -> Result<(), OsCode> {
            let ids = std::mem::take(&mut *self.in_flight.lock().expect("no thread panicked"));
            answers.extend(ids.into_iter().map(|id| Completion {
                id,
                outcome: Outcome::failed(Class::Gone, None),
            }));
            Ok(())
        }

        fn rest(&self, _: Duration) {}

        fn wake(&self) {}

        fn is_elsewhere(&self) -> bool {
            self.is_elsewhere.load(SeqCst)
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::driver::Pump;
    use crate::{
        ErrorKind, Observer, PipeReader, PipeWriter, ReaderOptions, Receipt, WriterOptions,
    };
    use std::future::Future;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::{Context, Waker};
    use std::time::Duration;

    /// Longer than these tests.
    const LONG: Duration = Duration::from_secs(1000);
    const ON_ITS_WAY: &[u8] = b"on its way";

    impl Driver<Forked> {
        /// Every lock of the driver's, held.
        fn held(&self) -> impl Sized {
            (
                self.registry.lock(),
                self.timers.lock(),
                self.nudged.lock(),
                self.settling.lock(),
                self.lingering.lock(),
            )
        }

        fn fork(&self) {
            self.backend.is_elsewhere.store(true, SeqCst);
        }

        /// Only a test does: pipes and their driver keep each other until they are closed.
        fn come_back(&self) {
            self.backend.is_elsewhere.store(false, SeqCst);
        }

        fn closed(&self) -> usize {
            self.backend.closed.load(SeqCst)
        }
    }

    fn ends() -> (Arc<Driver<Forked>>, PipeReader<Forked>, PipeWriter<Forked>) {
        let driver = Arc::new(Driver::new(Forked::default()));
        let reader = PipeReader::on(&driver, (), ReaderOptions::new());
        let small = WriterOptions::new().queue_bytes_max(16);
        let writer = PipeWriter::on(&driver, (), small);
        (driver, reader, writer)
    }

    /// A thread of the parent's had the lock, and is not in the child: whoever waited for the lock there would wait for ever.
    #[test]
    fn a_drop_in_a_forked_child_waits_for_no_lock_of_the_parents() {
        let (driver, reader, writer) = ends();
        let (cell, source) = (writer.cell().clone(), reader.cell().clone());
        while writer.try_send(ON_ITS_WAY).is_ok() {}
        let mut buf = [0; 16];
        let mut flushing = Box::pin(writer.until_transferred().within(LONG));
        let mut read = Box::pin(writer.until_read());
        let mut sending = Box::pin(writer.send(b"no room for it"));
        let mut receiving = Box::pin(reader.receive(&mut buf));
        let mut context = Context::from_waker(Waker::noop());
        assert!(flushing.as_mut().poll(&mut context).is_pending());
        assert!(read.as_mut().poll(&mut context).is_pending());
        assert!(sending.as_mut().poll(&mut context).is_pending());
        assert!(receiving.as_mut().poll(&mut context).is_pending());
        driver.fork();
        let held = (cell.locked(), source.locked(), driver.held());
        drop((flushing, read, sending, receiving));
        driver.forget_settling(1);
        cell.abort();
        source.abort();
        let refused = writer.try_send(b"more").unwrap_err();
        assert_eq!(refused.error.kind, ErrorKind::WrongProcess);
        let refused = reader.receive(&mut buf).wait().unwrap_err();
        assert_eq!(refused.kind, ErrorKind::WrongProcess);
        let refused = writer.abort().wait().unwrap_err();
        assert_eq!(refused.kind, ErrorKind::WrongProcess);
        let refused = reader.abort().wait().unwrap_err();
        assert_eq!(refused.kind, ErrorKind::WrongProcess);
        // Nor does who only looks, or makes a second handle.
        let shown = format!("{writer:?} {reader:?}");
        assert_eq!(shown, "PipeWriter { .. } PipeReader { .. }");
        assert_eq!(writer.queue_bytes_max(), 0);
        cell.send_all_joined();
        drop(held);
        // The pipe's own alone, or the driver's.
        let held = cell.locked();
        drop(writer);
        drop(held);
        let held = driver.held();
        drop(reader);
        drop(held);
        assert_eq!(driver.closed(), 0);
        driver.come_back();
        cell.abort();
        source.abort();
        driver.turn(&mut Vec::new());
        assert_eq!(driver.closed(), 2);
        assert_eq!(driver.census().pipes, 0);
    }

    /// Where no lock was held, a drop in the child closes its copies: also one of which a write is under way that nobody answers there.
    #[test]
    fn a_drop_in_a_forked_child_closes_what_is_in_reach() {
        let (driver, reader, writer) = ends();
        writer.try_send(ON_ITS_WAY).unwrap();
        let mut buffer = [0; 8];
        let mut context = Context::from_waker(Waker::noop());
        let mut reading = Box::pin(reader.receive(&mut buffer));
        assert!(reading.as_mut().poll(&mut context).is_pending());
        driver.fork();
        drop(reading);
        drop(writer);
        assert_eq!(driver.closed(), 1);
        drop(reader);
        assert_eq!(driver.closed(), 2);
    }

    #[derive(Default)]
    struct Told(AtomicUsize);

    impl Observer for Told {
        fn ended(&self, _: &Receipt) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// What was accepted is the parent's to send, and the parent's observer hears of it.
    #[test]
    fn nobody_is_told_of_a_drop_in_a_forked_child() {
        let (driver, told) = (
            Arc::new(Driver::new(Forked::default())),
            Arc::<Told>::default(),
        );
        let options = WriterOptions::new().observer(told.clone());
        let writer = PipeWriter::on(&driver, (), options);
        let cell = writer.cell().clone();
        writer.try_send(ON_ITS_WAY).unwrap();
        driver.fork();
        drop(writer);
        assert_eq!((driver.closed(), told.0.load(SeqCst)), (1, 0));
        driver.come_back();
        cell.handle_nudge();
        assert_eq!(told.0.load(SeqCst), 1);
    }
}
