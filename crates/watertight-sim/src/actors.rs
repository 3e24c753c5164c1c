//! The tasks of the program under test: they carry out scripts and write down what they are told.

use crate::backend::{Sim, SimHandle};
use crate::book::{Fate, HEAD_BYTES, WriterBook, framed};
use crate::chance::pattern;
use crate::listener::{Heard, Listener};
use crate::read_task::ReaderTask;
use crate::script::{Act, ReadAct, Watcher, WriterSetup};
use crate::timed::{Late, bounded, poll_and_see, poll_once, sleep};
use crate::transfers::{Limit, transfer};
use crate::world::{World, current};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use watertight::{PipeWriter, Receipt, Refused, WriterOptions};
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

impl WriterActor {
    pub(crate) fn has_panicked(&self) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.panicked
    }
}

/// Makes a writer and starts its tasks, the first of them with the source that it passes on.
pub(crate) fn spawn_writer(
    world: &World,
    end: usize,
    setup: &WriterSetup,
    mut source: Option<ReaderTask>,
) -> WriterActor {
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
        options = options.observer(Arc::new(Listener {
            end,
            linger: setup.linger,
            heard,
            panics_at,
        }));
    }
    let writer = Arc::new(PipeWriter::on(&world.driver, SimHandle(end), options));
    let book = Rc::new(RefCell::new(WriterBook {
        end,
        is_framed: setup.tasks.len() > 1 && setup.source.is_none(),
        is_shared: setup.tasks.len() > 1,
        is_watched: setup.watcher != Watcher::None,
        stop_within: setup.stop_within,
        linger: setup.linger,
        heard: heard.clone(),
        ..WriterBook::default()
    }));
    world.driver.backend().lock().ends[end].op_bytes_max = setup.op_bytes_max;
    for (task, acts) in setup.tasks.iter().enumerate() {
        let run = WriterTask {
            writer: Some(writer.clone()),
            book: book.clone(),
            queue_bytes_max: setup.queue_bytes_max,
            linger: setup.linger,
            source: source.take(),
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

struct WriterTask {
    writer: Option<Arc<PipeWriter<Sim>>>,
    book: Rc<RefCell<WriterBook>>,
    queue_bytes_max: u64,
    linger: Duration,
    source: Option<ReaderTask>,
    next: u16,
}

impl WriterTask {
    async fn run(mut self, acts: Vec<Act>) {
        for act in acts {
            let Some(writer) = self.writer.clone() else {
                break;
            };
            let end = self.book.borrow().end;
            let first = self.next;
            current()
                .driver
                .backend()
                .lock()
                .tell(|| format!("writer {end} after message {first}: {act:?}"));
            self.act(&writer, act).await;
            let unsettled = writer.ledger().unsettled();
            if unsettled > self.queue_bytes_max {
                let told = format!("{unsettled} bytes under way, more than the queue takes");
                self.book.borrow_mut().wrong(told);
            }
        }
        self.leave();
    }

    /// Drops its handle. With the last one the bound on lingering begins.
    fn leave(&mut self) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        let (world, end) = (current(), self.book.borrow().end);
        let before = world.now();
        let is_last = Arc::strong_count(&writer) == 1;
        if is_last {
            world.driver.backend().lock().ends[end].dropped_at = Some(before);
        }
        drop(writer);
        if is_last {
            let by = world.now().after(self.linger);
            world.driver.backend().lock().ends[end].gone_by = Some(by);
        }
    }

    async fn act(&mut self, writer: &Arc<PipeWriter<Sim>>, act: Act) {
        match act {
            Act::Write(len) => {
                let message = self.message(len);
                let answer = self.in_line(writer.send(&message)).await;
                self.booked(writer, &message, answer, false);
            }
            Act::WriteWithin(len, within) => {
                let message = self.message(len);
                let waiting = writer.send(&message).within(within);
                let answer = self.in_time(within, "a write", waiting).await;
                self.booked(writer, &message, answer, true);
            }
            Act::WriteOwned(len) => {
                let message = self.message(len);
                let owned = bytes::Bytes::from(message.clone());
                let answer = self.in_line(writer.send_bytes(owned)).await;
                if let Err(refused) = &answer
                    && refused.message != message
                {
                    self.book
                        .borrow_mut()
                        .wrong("an owned message came back changed");
                }
                self.booked(writer, &message, answer.map_err(without_message), false);
            }
            Act::WriteVectored(len, parts) => {
                let message = self.message(len);
                let slices: Vec<IoSlice<'_>> = message
                    .chunks(len.div_ceil(parts.max(1)).max(1))
                    .map(IoSlice::new)
                    .collect();
                let answer = self.in_line(writer.send_vectored(&slices)).await;
                self.booked(writer, &message, answer, false);
            }
            Act::Try(len) => {
                let message = self.message(len);
                let answer = writer.try_send(&message);
                self.booked(writer, &message, answer, true);
            }
            Act::GiveUpTransfer(most) => self.pass_on(writer, most, Limit::OnePoll).await,
            Act::Source(act) => self.act_on_source(act).await,
            Act::Transfer(most) => self.pass_on(writer, most, Limit::None).await,
            Act::TransferWithin(most, within) => {
                self.pass_on(writer, most, Limit::Within(within)).await;
            }
            Act::GiveUpWrite(len) => self.give_up(writer, len).await,
            Act::Flush => self.flush(writer, None).await,
            Act::FlushWithin(within) => self.flush(writer, Some(within)).await,
            Act::UntilRead => self.until_read(writer, None).await,
            Act::UntilReadWithin(within) => self.until_read(writer, Some(within)).await,
            Act::Abort
            | Act::AbortWithin(_)
            | Act::Finish
            | Act::FinishUnheard
            | Act::FinishWithin(_) => self.end(writer, act).await,
            // Its clone goes with this act.
            Act::Drop => {}
            Act::Sleep(duration) => sleep(duration).await,
        }
    }

    /// One of the ways to end it.
    async fn end(&self, writer: &Arc<PipeWriter<Sim>>, act: Act) {
        match act {
            Act::Finish => {
                self.asks_finish();
                self.over(writer.finish().await, false);
            }
            Act::FinishUnheard => {
                self.asks_finish();
                let mut waiting = writer.finish();
                let answer = poll_once(&mut waiting).await;
                drop(waiting);
                if let Some(answer) = answer {
                    self.over(answer, false);
                }
            }
            Act::FinishWithin(within) => {
                self.asks_finish();
                let waiting = writer.finish().within(within);
                let answer = self.in_time(within, "a finish", waiting).await;
                let late = answer.is_err();
                self.over(answer, true);
                if late {
                    let answer = self.abort(writer).await;
                    self.over(answer, false);
                }
            }
            Act::Abort => {
                let answer = self.abort(writer).await;
                self.over(answer, false);
            }
            Act::AbortWithin(within) => {
                let now = current().now();
                self.book.borrow_mut().abort_asked.get_or_insert(now);
                let waiting = writer.abort().within(within);
                let answer = self.in_time(within, "an abort", waiting).await;
                self.over(answer, true);
                let answer = self.abort(writer).await;
                self.over(answer, false);
            }
            Act::Drop
            | Act::Flush
            | Act::FlushWithin(_)
            | Act::GiveUpTransfer(_)
            | Act::GiveUpWrite(_)
            | Act::Sleep(_)
            | Act::Source(_)
            | Act::Transfer(_)
            | Act::TransferWithin(..)
            | Act::Try(_)
            | Act::UntilRead
            | Act::UntilReadWithin(_)
            | Act::Write(_)
            | Act::WriteOwned(_)
            | Act::WriteVectored(..)
            | Act::WriteWithin(..) => {}
        }
    }

    /// Nothing without a source.
    async fn pass_on(&self, writer: &Arc<PipeWriter<Sim>>, most: usize, limit: Limit) {
        if let Some(source) = &self.source
            && let Some(reader) = source.reader.clone()
        {
            let books = (&*source.book, &*self.book);
            transfer((&reader, writer), books, most, limit).await;
        }
    }

    /// Nothing without a source.
    async fn act_on_source(&mut self, act: ReadAct) {
        if let Some(source) = &mut self.source
            && let Some(reader) = source.reader.clone()
        {
            source.act(&reader, act).await;
        }
    }

    fn asks_finish(&self) {
        let number = current().number();
        let mut book = self.book.borrow_mut();
        book.is_finish_asked = true;
        book.finish_asked.get_or_insert(number);
    }

    /// S5: an abort is answered within its bound.
    async fn abort(&self, writer: &Arc<PipeWriter<Sim>>) -> Result<Receipt, Error> {
        let now = current().now();
        self.book.borrow_mut().abort_asked.get_or_insert(now);
        let stop_within = self.book.borrow().stop_within;
        bounded(stop_within, "an abort of a writer", writer.abort()).await
    }

    /// S4: under a deadline everything is answered by then, and "timed out" is not said before.
    async fn in_time<T: Late>(
        &self,
        within: Duration,
        what: &str,
        work: impl Future<Output = T> + Unpin,
    ) -> T {
        let due = current().now().after(within);
        let answer = bounded(within, what, work).await;
        if answer.is_late() && current().now() < due {
            let told = format!("S4: {what} timed out early");
            self.book.borrow_mut().wrong(told);
        }
        answer
    }

    /// Notes when a message of several tasks' began to wait, and when it had its place in the line (D4).
    async fn in_line<F: Future + Unpin>(&self, mut work: F) -> F::Output {
        let begun = current().number();
        let mut placed = None;
        let answer = poll_fn(|cx| {
            let (polled, waits) = poll_and_see(&mut work, cx);
            if waits {
                placed.get_or_insert_with(|| current().number());
            }
            polled
        })
        .await;
        let mut book = self.book.borrow_mut();
        book.turns.insert(self.next, (begun, placed));
        answer
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
    fn booked(
        &self,
        writer: &Arc<PipeWriter<Sim>>,
        message: &[u8],
        answer: Result<(), Refused>,
        may_wait: bool,
    ) {
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
            book.hear(&refused.error, writer.ledger());
            let is_time = matches!(kind, ErrorKind::TimedOut | ErrorKind::QueueFull);
            if is_time && !may_wait {
                book.wrong(format!("{kind:?} without a deadline"));
            }
            // L2: only a pipe that failed during the call keeps what the kernel had taken of it by then.
            let is_refusal = is_time || matches!(kind, ErrorKind::Aborted | ErrorKind::Closed);
            if accepted > 0 && is_refusal && message.len() as u64 <= self.queue_bytes_max {
                book.wrong(format!(
                    "D4: a message that fits the queue was accepted in part ({kind:?})"
                ));
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
        let mut waiting = writer.send(&message);
        let answer = poll_once(&mut waiting).await;
        drop(waiting);
        match answer {
            Some(answer) => self.booked(writer, &message, answer, false),
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
        self.book.borrow_mut().flushing.push(target);
        let answer = match within {
            Some(within) => {
                let waiting = writer.until_transferred().within(within);
                self.in_time(within, "a flush", waiting).await
            }
            None => writer.until_transferred().await,
        };
        self.book.borrow_mut().flushed(target);
        if let Err(error) = &answer {
            self.book.borrow_mut().hear(error, writer.ledger());
        }
        let kernel = current();
        let kernel = kernel.driver.backend().lock();
        let mut book = self.book.borrow_mut();
        let end = &kernel.ends[book.end];
        let in_pipe = kernel.pipes[end.pipe].own().len() as u64;
        if answer.is_ok() && (end.transferred < target || in_pipe < target) {
            let told = end.transferred;
            book.wrong(format!("G4: flushed {target} bytes, the kernel has {told}"));
        }
        check_time(&mut book, &answer, within.is_some());
    }

    async fn until_read(&self, writer: &Arc<PipeWriter<Sim>>, within: Option<Duration>) {
        let target = usize::try_from(writer.ledger().accepted()).unwrap_or(usize::MAX);
        let asked = current().number();
        self.book.borrow_mut().asking += 1;
        let answer = match within {
            Some(within) => {
                let waiting = writer.until_read().within(within);
                self.in_time(within, "a wait for the peer", waiting).await
            }
            None => writer.until_read().await,
        };
        let kernel = current();
        let kernel = kernel.driver.backend().lock();
        let mut book = self.book.borrow_mut();
        book.asking -= 1;
        if let Err(error) = &answer {
            book.check_question(error, asked, kernel.faults.told());
        }
        let read = kernel.pipes[kernel.ends[book.end].pipe].read_own();
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
            Ok(receipt) if book.is_settled() => {
                book.check_bound(&receipt, &kernel);
                book.check_receipt(&receipt, &kernel);
            }
            // Other tasks may still learn what became of their messages: checked at the end.
            Ok(receipt) => {
                book.check_bound(&receipt, &kernel);
                book.receipt = Some(receipt);
            }
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

impl WriterBook {
    fn flushed(&mut self, target: u64) {
        if let Some(at) = self.flushing.iter().position(|known| *known == target) {
            self.flushing.swap_remove(at);
        }
    }

    /// A question whether the peer has read was answered with an error.
    fn check_question(&mut self, error: &Error, asked: u64, faults: u64) {
        if error.kind == ErrorKind::Cancelled && faults == 0 {
            self.wrong("another's cancel was told to somebody who asked");
        }
        let was_first = self.finish_asked.is_some_and(|finish| asked < finish);
        let finished = |receipt: &Receipt| receipt.ending() == watertight::Ending::Finished;
        if error.kind == ErrorKind::Closed
            && was_first
            && self.receipt.as_ref().is_some_and(finished)
        {
            self.wrong("S2: a finish did not wait for a question that came before it");
        }
    }

    /// Whether everything that was accepted is known.
    pub(crate) fn is_settled(&self) -> bool {
        !self.is_shared
    }
}
