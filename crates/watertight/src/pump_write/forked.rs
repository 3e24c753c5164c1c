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
    use watertight_core::{Cancelled, Completion, Moment, Op, OpId, OsCode, Outcome, ReadNow};

    const ON_ITS_WAY: &[u8] = b"on its way";

    /// A kernel in which nothing moves unless it is waited for, before and after a fork.
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

        /// All that is in flight is answered: the write, that it carried what it had.
        fn wait(&self, answers: &mut Vec<Completion>, _: Option<Moment>) -> Result<(), OsCode> {
            let outcome = Outcome::Transferred(ON_ITS_WAY.len() as u64);
            let ids = std::mem::take(&mut *self.in_flight.lock().expect("no thread panicked"));
            let answered = |id| Completion {
                id,
                outcome: outcome.clone(),
            };
            answers.extend(ids.into_iter().map(answered));
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
        let writer = PipeWriter::on(&driver, (), WriterOptions::new());
        (driver, reader, writer)
    }

    /// A thread of the parent's had the lock, and is not in the child: whoever waited for the lock there would wait for ever.
    #[test]
    fn a_drop_in_a_forked_child_waits_for_no_lock_of_the_parents() {
        let (driver, reader, writer) = ends();
        let cell = writer.cell().clone();
        writer.try_send(ON_ITS_WAY).unwrap();
        let mut flushing = Box::pin(writer.until_transferred());
        let mut context = Context::from_waker(Waker::noop());
        assert!(flushing.as_mut().poll(&mut context).is_pending());
        driver.backend.is_elsewhere.store(true, SeqCst);
        let held = cell.state.lock();
        drop(flushing);
        let refused = writer.try_send(b"more").unwrap_err();
        assert_eq!(refused.error.kind, ErrorKind::WrongProcess);
        let refused = writer.abort().wait().unwrap_err();
        assert_eq!(refused.kind, ErrorKind::WrongProcess);
        drop(writer);
        drop(held);
        let held = driver.held();
        let refused = reader.abort().wait().unwrap_err();
        assert_eq!(refused.kind, ErrorKind::WrongProcess);
        drop(reader);
        drop(held);
        assert_eq!(driver.backend.closed.load(SeqCst), 0);
        // What is in flight keeps the pipe and its driver. Only a test comes back.
        driver.backend.is_elsewhere.store(false, SeqCst);
        driver.turn(&mut Vec::new());
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
