//! The tasks of the program under test: they carry out scripts and write down what they are told.

use crate::backend::{Sim, SimHandle};
use crate::book::{Fate, HEAD_BYTES, ReaderBook, WriterBook, framed};
use crate::chance::pattern;
use crate::script::{Act, ReadAct, ReaderSetup, Watcher, WriterSetup};
use crate::world::{World, current};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;
use watertight::{
    Ledger, Observer, PipeReader, PipeWriter, ReaderOptions, Receipt, Refused, WriterOptions,
};
use watertight_core::{Error, ErrorKind};

/// A writer of the program, and its account.
pub(crate) struct WriterActor {
    pub(crate) book: Rc<RefCell<WriterBook>>,
    /// To stop it from outside, while a task has it.
    pub(crate) handle: Weak<PipeWriter<Sim>>,
    /// What the observer heard: how often, and the receipt.
    pub(crate) heard: Arc<Mutex<Heard>>,
}

impl WriterActor {
    pub(crate) fn receipts_heard(&self) -> Vec<Receipt> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.receipts.clone()
    }
}

/// A reader of the program, and its account.
pub(crate) struct ReaderActor {
    pub(crate) book: Rc<RefCell<ReaderBook>>,
    pub(crate) handle: Weak<PipeReader<Sim>>,
}

/// What an observer heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    told: u32,
    transferred: u64,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) panicked: bool,
    pub(crate) wrongs: Vec<String>,
}

struct Listener {
    heard: Arc<Mutex<Heard>>,
    panics_at: Option<u32>,
}

impl Listener {
    fn hear(&self, ledger: Ledger, receipt: Option<&Receipt>) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.told += 1;
        if !heard.receipts.is_empty() {
            heard
                .wrongs
                .push("D6: told something after the ending".into());
        }
        if ledger.transferred() < heard.transferred {
            heard.wrongs.push("D6: progress goes back".into());
        }
        heard.transferred = ledger.transferred();
        heard.receipts.extend(receipt.cloned());
        if self.panics_at == Some(heard.told) {
            heard.panicked = true;
            drop(heard);
            std::panic::resume_unwind(Box::new("an observer that panics"));
        }
    }
}

impl Observer for Listener {
    fn progress(&self, ledger: Ledger) {
        self.hear(ledger, None);
    }

    fn ended(&self, receipt: &Receipt) {
        self.hear(receipt.ledger(), Some(receipt));
    }
}

/// Makes a writer and starts its tasks.
pub(crate) fn spawn_writer(world: &World, end: usize, setup: &WriterSetup) -> WriterActor {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let mut options = WriterOptions::new()
        .queue_bytes_max(setup.queue_bytes_max)
        .op_bytes_max(setup.op_bytes_max)
        .linger(setup.linger)
        .stop_within(setup.stop_within);
    let panics_at = match setup.watcher {
        Watcher::None | Watcher::Looks => None,
        Watcher::Panics(at) => Some(at),
    };
    if setup.watcher != Watcher::None {
        let heard = heard.clone();
        options = options.observer(Arc::new(Listener { heard, panics_at }));
    }
    let writer = Arc::new(PipeWriter::on(&world.driver, SimHandle(end), options));
    let book = Rc::new(RefCell::new(WriterBook {
        end,
        is_framed: setup.tasks.len() > 1,
        heard: heard.clone(),
        ..WriterBook::default()
    }));
    for (task, acts) in setup.tasks.iter().enumerate() {
        let run = WriterTask {
            writer: Some(writer.clone()),
            book: book.clone(),
            queue_bytes_max: setup.queue_bytes_max,
            next: u16::try_from(task * 1_000).unwrap_or(0),
        };
        world.spawn(format!("writer {end}, task {task}"), run.run(acts.clone()));
    }
    WriterActor {
        book,
        handle: Arc::downgrade(&writer),
        heard,
    }
}

/// Makes a reader and starts its task.
pub(crate) fn spawn_reader(world: &World, end: usize, setup: &ReaderSetup) -> ReaderActor {
    let options = ReaderOptions::new()
        .read_ahead_bytes_max(setup.read_ahead_bytes_max)
        .stop_within(setup.stop_within);
    let reader = Arc::new(PipeReader::on(&world.driver, SimHandle(end), options));
    let book = Rc::new(RefCell::new(ReaderBook {
        end,
        ..ReaderBook::default()
    }));
    let run = ReaderTask {
        reader: Some(reader.clone()),
        book: book.clone(),
    };
    world.spawn(format!("reader {end}"), run.run(setup.acts.clone()));
    ReaderActor {
        book,
        handle: Arc::downgrade(&reader),
    }
}

struct WriterTask {
    writer: Option<Arc<PipeWriter<Sim>>>,
    book: Rc<RefCell<WriterBook>>,
    queue_bytes_max: u64,
    next: u16,
}

impl WriterTask {
    async fn run(mut self, acts: Vec<Act>) {
        for act in acts {
            let Some(writer) = self.writer.clone() else {
                return;
            };
            self.act(&writer, act).await;
        }
    }

    async fn act(&mut self, writer: &Arc<PipeWriter<Sim>>, act: Act) {
        match act {
            Act::Write(len) => {
                let message = self.message(len);
                let answer = writer.write_all(&message).await;
                self.booked(&message, answer, false);
            }
            Act::WriteWithin(len, within) => {
                let message = self.message(len);
                let answer = writer.write_all(&message).within(within).await;
                self.booked(&message, answer, true);
            }
            Act::WriteOwned(len) => {
                let message = self.message(len);
                let owned = bytes::Bytes::from(message.clone());
                let answer = writer.write_all_bytes(owned).await;
                if let Err(refused) = &answer
                    && refused.message != message
                {
                    self.book
                        .borrow_mut()
                        .wrong("an owned message came back changed");
                }
                self.booked(&message, answer.map_err(without_message), false);
            }
            Act::WriteVectored(len, parts) => {
                let message = self.message(len);
                let slices: Vec<IoSlice<'_>> = message
                    .chunks(len.div_ceil(parts.max(1)).max(1))
                    .map(IoSlice::new)
                    .collect();
                let answer = writer.write_all_vectored(&slices).await;
                self.booked(&message, answer, false);
            }
            Act::Try(len) => {
                let message = self.message(len);
                let answer = writer.try_write(&message);
                self.booked(&message, answer, true);
            }
            Act::GiveUpWrite(len) => self.give_up(writer, len).await,
            Act::Flush => self.flush(writer, None).await,
            Act::FlushWithin(within) => self.flush(writer, Some(within)).await,
            Act::UntilRead => self.until_read(writer, None).await,
            Act::UntilReadWithin(within) => self.until_read(writer, Some(within)).await,
            Act::Finish => self.over(writer.finish().await, false),
            Act::FinishWithin(within) => {
                let answer = writer.finish().within(within).await;
                let late = answer.is_err();
                self.over(answer, true);
                if late {
                    let answer = writer.abort().await;
                    self.over(answer, false);
                }
            }
            Act::Abort => self.over(writer.abort().await, false),
            Act::AbortWithin(within) => {
                self.over(writer.abort().within(within).await, true);
                self.over(writer.abort().await, false);
            }
            Act::Drop => self.writer = None,
            Act::Sleep(duration) => sleep(duration).await,
        }
    }

    fn message(&mut self, len: usize) -> Vec<u8> {
        let book = self.book.borrow();
        if book.is_framed {
            self.next += 1;
            return framed(self.next, len.max(HEAD_BYTES));
        }
        let start = book.expected.len();
        (start..start + len)
            .map(|at| pattern(book.end as u32, at))
            .collect()
    }

    /// A write was answered: so many of its bytes are accepted.
    fn booked(&self, message: &[u8], answer: Result<(), Refused>, may_wait: bool) {
        let accepted = match &answer {
            Ok(()) => message.len(),
            Err(refused) => usize::try_from(refused.accepted).unwrap_or(usize::MAX),
        };
        let mut book = self.book.borrow_mut();
        if accepted > message.len() {
            return book.wrong("more of a message is accepted than there is");
        }
        if let Err(refused) = answer {
            let kind = refused.error.kind;
            let is_time = matches!(kind, ErrorKind::TimedOut | ErrorKind::QueueFull);
            if is_time && !may_wait {
                book.wrong(format!("{kind:?} without a deadline"));
            }
            if accepted > 0 && message.len() as u64 <= self.queue_bytes_max {
                book.wrong("D4: a message that fits the queue was accepted in part");
            }
        }
        if book.is_framed {
            book.fates.insert(self.next, Fate::Accepted(accepted));
        } else {
            book.expected.extend_from_slice(&message[..accepted]);
        }
    }

    /// Polls a write once and drops it: it is accepted whole or not at all, and the account says which.
    async fn give_up(&mut self, writer: &Arc<PipeWriter<Sim>>, len: usize) {
        let most = usize::try_from(self.queue_bytes_max).unwrap_or(usize::MAX);
        let message = self.message(len.min(most));
        let is_framed = self.book.borrow().is_framed;
        let before = writer.ledger().accepted();
        let mut waiting = writer.write_all(&message);
        let answer = poll_once(&mut waiting).await;
        drop(waiting);
        match answer {
            Some(answer) => self.booked(&message, answer, false),
            None if is_framed => {
                let fate = Fate::Unknown(message.len());
                self.book.borrow_mut().fates.insert(self.next, fate);
            }
            None => {
                let accepted = usize::try_from(writer.ledger().accepted() - before);
                let accepted = accepted.unwrap_or(usize::MAX).min(message.len());
                let mut book = self.book.borrow_mut();
                if accepted != 0 && accepted != message.len() {
                    book.wrong("D4: a part of a dropped write is accepted");
                }
                book.expected.extend_from_slice(&message[..accepted]);
            }
        }
    }

    async fn flush(&self, writer: &Arc<PipeWriter<Sim>>, within: Option<Duration>) {
        let target = writer.ledger().accepted();
        let answer = match within {
            Some(within) => writer.flush().within(within).await,
            None => writer.flush().await,
        };
        let kernel = current();
        let kernel = kernel.driver.backend().lock();
        let mut book = self.book.borrow_mut();
        let end = &kernel.ends[book.end];
        let in_pipe = kernel.pipes[end.pipe].log().len() as u64;
        if answer.is_ok() && (end.transferred < target || in_pipe < target) {
            let told = end.transferred;
            book.wrong(format!("G4: flushed {target} bytes, the kernel has {told}"));
        }
        check_time(&mut book, &answer, within.is_some());
    }

    async fn until_read(&self, writer: &Arc<PipeWriter<Sim>>, within: Option<Duration>) {
        let target = usize::try_from(writer.ledger().accepted()).unwrap_or(usize::MAX);
        let answer = match within {
            Some(within) => writer.wait_until_read().within(within).await,
            None => writer.wait_until_read().await,
        };
        let kernel = current();
        let kernel = kernel.driver.backend().lock();
        let mut book = self.book.borrow_mut();
        let read = kernel.pipes[kernel.ends[book.end].pipe].read;
        if answer.is_ok() && read < target {
            book.wrong(format!("G4: {target} bytes are called read, {read} are"));
        }
        check_time(&mut book, &answer, within.is_some());
    }

    fn over(&self, answer: Result<Receipt, Error>, may_wait: bool) {
        let world = current();
        let kernel = world.driver.backend().lock();
        let mut book = self.book.borrow_mut();
        match answer {
            Ok(receipt) if book.is_settled() => book.check_receipt(&receipt, &kernel),
            // Other tasks may still learn what became of their messages: checked at the end.
            Ok(receipt) => book.receipt = Some(receipt),
            Err(error) if may_wait && error.kind == ErrorKind::TimedOut => {}
            Err(error) => book.wrong(format!("an ending failed: {error}")),
        }
    }
}

fn check_time(book: &mut WriterBook, answer: &Result<(), Error>, deadline: bool) {
    if let Err(error) = answer
        && error.kind == ErrorKind::TimedOut
        && !deadline
        && book.receipt.is_none()
    {
        // A linger bound is told as "timed out" too, but only after a drop, and then nobody waits.
        book.wrong("timed out without a deadline");
    }
}

fn without_message(refused: Refused<bytes::Bytes>) -> Refused {
    Refused {
        error: refused.error,
        accepted: refused.accepted,
        message: (),
    }
}

struct ReaderTask {
    reader: Option<Arc<PipeReader<Sim>>>,
    book: Rc<RefCell<ReaderBook>>,
}

impl ReaderTask {
    async fn run(mut self, acts: Vec<ReadAct>) {
        for act in acts {
            let Some(reader) = self.reader.clone() else {
                return;
            };
            match act {
                ReadAct::Read(len) => {
                    self.read(&reader, len, None).await;
                }
                ReadAct::ReadWithin(len, within) => {
                    self.read(&reader, len, Some(within)).await;
                }
                ReadAct::ReadToEnd(len) => while self.read(&reader, len, None).await {},
                ReadAct::GiveUpRead(len) => {
                    let mut buf = vec![0; len];
                    let mut waiting = reader.read(&mut buf);
                    let answer = poll_once(&mut waiting).await;
                    drop(waiting);
                    if let Some(answer) = answer {
                        self.heard(&buf, &answer, false);
                    }
                }
                ReadAct::Abort => {
                    let step = current().driver.backend().lock().step;
                    self.book.borrow_mut().given_up.get_or_insert(step);
                    let answer = reader.abort().await;
                    let world = current();
                    let kernel = world.driver.backend().lock();
                    let mut book = self.book.borrow_mut();
                    match answer {
                        Ok(receipt) => book.check_receipt(&receipt, &kernel),
                        Err(error) => book.wrong(format!("an ending failed: {error}")),
                    }
                }
                ReadAct::Drop => self.reader = None,
                ReadAct::Sleep(duration) => sleep(duration).await,
            }
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
        let waiting = reader.read(&mut buf);
        let answer = match within {
            Some(within) => waiting.within(within).await,
            None => waiting.await,
        };
        self.heard(&buf, &answer, within.is_some())
    }

    fn heard(&self, buf: &[u8], answer: &Result<usize, Error>, may_wait: bool) -> bool {
        let world = current();
        let kernel = world.driver.backend().lock();
        let mut book = self.book.borrow_mut();
        match answer {
            Ok(0) => book.end(&kernel),
            Ok(n) => book.take(&buf[..*n], &kernel),
            Err(error) if error.kind == ErrorKind::TimedOut => {
                if !may_wait {
                    book.wrong("a read timed out without a deadline");
                }
                return true;
            }
            Err(_) if book.given_up.is_some() => {}
            Err(_) => book.failed = true,
        }
        matches!(answer, Ok(1..))
    }
}

impl WriterBook {
    /// Whether everything that was accepted is known.
    pub(crate) fn is_settled(&self) -> bool {
        !self.is_framed
    }
}

/// Polls once; `None` if it is not done.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| {
        Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Lets simulated time pass.
async fn sleep(duration: Duration) {
    let until = current().driver.backend().lock().now.after(duration);
    poll_fn(|cx| {
        let world = current();
        if world.driver.backend().lock().now >= until {
            return Poll::Ready(());
        }
        world.sleep(until, cx.waker());
        Poll::Pending
    })
    .await;
}
