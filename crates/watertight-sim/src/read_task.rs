//! The reading tasks of the program under test.

use crate::backend::{Sim, SimHandle};
use crate::book::ReaderBook;
use crate::script::{ReadAct, ReaderSetup};
use crate::timed::{Late, bounded, poll_once, sleep};
use crate::world::{World, current};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;
use watertight::{PipeReader, ReaderOptions};
use watertight_core::{Error, ErrorKind};

/// A reader of the program, and its account.
pub(crate) struct ReaderActor {
    pub(crate) book: Rc<RefCell<ReaderBook>>,
    pub(crate) handle: Weak<PipeReader<Sim>>,
}

/// Makes a reader and starts its task.
pub(crate) fn spawn_reader(world: &World, end: usize, setup: &ReaderSetup) -> ReaderActor {
    let options = ReaderOptions::new()
        .read_ahead_bytes_max(setup.read_ahead_bytes_max)
        .stop_within(setup.stop_within);
    let reader = Arc::new(PipeReader::on(&world.driver, SimHandle(end), options));
    let book = Rc::new(RefCell::new(ReaderBook {
        end,
        is_shared: !setup.also.is_empty(),
        stop_within: setup.stop_within,
        ..ReaderBook::default()
    }));
    world.driver.backend().lock().ends[end].op_bytes_max = setup.read_ahead_bytes_max;
    let run = ReaderTask {
        reader: Some(reader.clone()),
        book: book.clone(),
    };
    world.spawn(format!("reader {end}"), run.run(setup.acts.clone()));
    if !setup.also.is_empty() {
        let other = ReaderTask {
            reader: Some(reader.clone()),
            book: book.clone(),
        };
        world.spawn(
            format!("reader {end}, other task"),
            other.run(setup.also.clone()),
        );
    }
    ReaderActor {
        book,
        handle: Arc::downgrade(&reader),
    }
}

/// Whoever reads: a task, or the task of a writer that passes on what comes.
pub(crate) struct ReaderTask {
    pub(crate) reader: Option<Arc<PipeReader<Sim>>>,
    pub(crate) book: Rc<RefCell<ReaderBook>>,
}

impl ReaderActor {
    /// Its reader for another task, unless nobody has it any more. What is taken is booked by several from now on.
    pub(crate) fn share(&self) -> Option<ReaderTask> {
        let reader = self.handle.upgrade()?;
        self.book.borrow_mut().is_shared = true;
        Some(ReaderTask {
            reader: Some(reader),
            book: self.book.clone(),
        })
    }
}

impl ReaderTask {
    async fn run(mut self, acts: Vec<ReadAct>) {
        for act in acts {
            let Some(reader) = self.reader.clone() else {
                return;
            };
            self.act(&reader, act).await;
        }
    }

    pub(crate) async fn act(&mut self, reader: &Arc<PipeReader<Sim>>, act: ReadAct) {
        match act {
            ReadAct::Read(len) => {
                self.read(reader, len, None).await;
            }
            ReadAct::ReadWithin(len, within) => {
                self.read(reader, len, Some(within)).await;
            }
            ReadAct::ReadToEnd(len) => {
                while self.read(reader, len, None).await {}
                // E6: what was told last is told again.
                self.read(reader, len, None).await;
            }
            ReadAct::GiveUpRead(len) => {
                let mut buf = vec![0; len];
                let mut waiting = reader.receive(&mut buf);
                let answer = poll_once(&mut waiting).await;
                drop(waiting);
                if let Some(answer) = answer {
                    self.heard(&buf, &answer, false);
                }
            }
            ReadAct::Abort => self.abort(reader).await,
            // Its clone goes with this act.
            ReadAct::Drop => self.reader = None,
            ReadAct::Sleep(duration) => sleep(duration).await,
        }
    }

    async fn abort(&self, reader: &Arc<PipeReader<Sim>>) {
        let (step, now) = {
            let world = current();
            let kernel = world.driver.backend().lock();
            (kernel.step, kernel.now)
        };
        self.book.borrow_mut().given_up.get_or_insert(step);
        self.book.borrow_mut().abort_asked.get_or_insert(now);
        let within = self.book.borrow().stop_within;
        let answer = bounded(within, "an abort of a reader", reader.abort()).await;
        let world = current();
        let kernel = world.driver.backend().lock();
        let mut book = self.book.borrow_mut();
        match answer {
            // Another task may still be on its way to tell what it got: checked at the end.
            Ok(receipt) if book.is_shared => book.receipt = Some(receipt),
            Ok(receipt) => book.check_receipt(&receipt, &kernel),
            Err(error) => book.wrong(format!("an ending failed: {error}")),
        }
    }

    /// Says whether there may be more.
    async fn read(
        &self,
        reader: &Arc<PipeReader<Sim>>,
        len: usize,
        within: Option<Duration>,
    ) -> bool {
        let mut buf = vec![0; len];
        let waiting = reader.receive(&mut buf);
        let answer = match within {
            Some(within) => {
                let due = current().now().after(within);
                let answer = bounded(within, "a read", waiting.within(within)).await;
                if answer.is_late() && current().now() < due {
                    self.book.borrow_mut().wrong("S4: a read timed out early");
                }
                answer
            }
            None => waiting.await,
        };
        self.heard(&buf, &answer, within.is_some())
    }

    fn heard(&self, buf: &[u8], answer: &Result<usize, Error>, may_wait: bool) -> bool {
        let world = current();
        let kernel = world.driver.backend().lock();
        let mut book = self.book.borrow_mut();
        match answer {
            Ok(0) if book.failed => book.wrong("S1: an end after an error"),
            Ok(0) => book.end(&kernel),
            Ok(n) => book.take(&buf[..*n], &kernel),
            Err(error) if error.kind == ErrorKind::TimedOut => {
                if !may_wait {
                    book.wrong("a read timed out without a deadline");
                }
                return true;
            }
            Err(_) if book.given_up.is_some() => {}
            Err(error) => {
                let end = &kernel.ends[book.end];
                let came = kernel.pipes[end.pipe].read;
                if !book.is_shared && book.got.len() != came {
                    let got = book.got.len();
                    book.wrong(format!(
                        "E5: an error, and {got} of {came} bytes were told before"
                    ));
                }
                book.fail(error);
            }
        }
        matches!(answer, Ok(1..))
    }
}
