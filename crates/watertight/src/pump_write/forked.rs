//! What a writer can do in a forked child whose parent had other threads.

use super::WriterCell;
use std::sync::Arc;
use watertight_core::Backend;

impl<B: Backend> WriterCell<B> {
    /// In a forked child: whether this pipe's lock, or one of the driver's, was held by another thread when the process was forked. Then nothing
    /// can be done with the pipe here (rule C4): our copy of its handle stays open until the child ends or executes a program.
    pub(crate) fn is_locked_for_ever(&self) -> bool {
        let is_elsewhere = self.driver.backend.is_elsewhere();
        is_elsewhere && (self.state.is_held() || self.driver.is_locked_for_ever())
    }

    pub(crate) fn abort(self: &Arc<Self>) {
        if self.is_locked_for_ever() {
            return;
        }
        let is_elsewhere = self.driver.refuse_elsewhere().is_err();
        self.change(|state| {
            state.forget_threads(is_elsewhere);
            state.half.abort();
        });
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::driver::Driver;
    use crate::{ErrorKind, PipeReader, PipeWriter, ReaderOptions, WriterOptions};
    use std::future::Future;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Waker};
    use std::time::Duration;
    use watertight_core::Submitted;
    use watertight_core::{
        Cancelled, Class, Completion, Moment, Op, OpId, OsCode, Outcome, ReadNow,
    };

    /// Longer than this test.
    const LONG: Duration = Duration::from_secs(1000);

    /// A kernel in which nothing moves, before and after a fork. Whoever waits for it ends all that is in flight.
    #[derive(Default)]
    struct Forked {
        is_elsewhere: AtomicBool,
        closed: AtomicUsize,
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

        fn cancel(&self, _: &Arc<()>, _: OpId) -> Cancelled {
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
        while writer.try_send(b"on its way").is_ok() {}
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
        driver.backend.is_elsewhere.store(true, SeqCst);
        let held = (cell.state.lock(), source.held(), driver.held());
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
        drop(held);
        // The pipe's own alone, or the driver's.
        let held = cell.state.lock();
        drop(writer);
        drop(held);
        let held = driver.held();
        drop(reader);
        drop(held);
        assert_eq!(driver.backend.closed.load(SeqCst), 0);
        // The pipes and their driver keep each other until they are closed. Only a test comes back to do that.
        driver.backend.is_elsewhere.store(false, SeqCst);
        cell.abort();
        source.abort();
        driver.turn(&mut Vec::new());
        assert_eq!(driver.backend.closed.load(SeqCst), 2);
        assert_eq!(driver.census().pipes, 0);
    }

    /// Where no lock was held, a drop in the child closes its copies.
    #[test]
    fn a_drop_in_a_forked_child_closes_what_is_in_reach() {
        let (driver, reader, writer) = ends();
        driver.backend.is_elsewhere.store(true, SeqCst);
        drop((reader, writer));
        assert_eq!(driver.backend.closed.load(SeqCst), 2);
    }
}
