//! Transfers of the program under test: what one is told, compared with the accounts of both ends and with what the kernel did.

use crate::backend::Sim;
use crate::book::{ReaderBook, WriterBook};
use crate::kernel::Kernel;
use crate::timed::{Late, bounded, poll_once};
use crate::world::current;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use watertight::{PipeReader, PipeWriter, TransferEnd, TransferError, Transferred};
use watertight_core::ErrorKind;

/// How long a transfer is waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    /// Until it is over.
    None,
    /// It is polled once and dropped.
    OnePoll,
    /// So long.
    Within(Duration),
}

/// How far both ends are.
#[derive(Clone, Copy, Debug)]
struct Stand {
    left: u64,
    accepted: u64,
    moved: u64,
}

/// Transfers at most `most` bytes, all there are for the largest number, and books what became of them at both ends. Whatever
/// ended it: what left the one is what the other accepted.
pub(crate) async fn transfer(
    (from, to): (&Arc<PipeReader<Sim>>, &Arc<PipeWriter<Sim>>),
    books: (&RefCell<ReaderBook>, &RefCell<WriterBook>),
    most: usize,
    limit: Limit,
) {
    let stand = || {
        let world = current();
        let kernel = world.driver.backend().lock();
        let moved = kernel.ends[books.1.borrow().end].moved;
        drop(kernel);
        Stand {
            left: from.ledger().transferred(),
            accepted: to.ledger().accepted(),
            moved,
        }
    };
    let before = stand();
    let mut waiting = watertight::transfer(from, to);
    if most < usize::MAX {
        waiting = waiting.bytes_max(most as u64);
    }
    let answer = match limit {
        Limit::None => Some(waiting.await),
        Limit::OnePoll => {
            let answer = poll_once(&mut waiting).await;
            drop(waiting);
            answer
        }
        Limit::Within(within) => {
            let due = current().now().after(within);
            let answer = bounded(within, "a transfer", waiting.within(within)).await;
            if answer.is_late() && current().now() < due {
                let told = "S4: a transfer timed out early";
                books.1.borrow_mut().wrong(told);
            }
            Some(answer)
        }
    };
    let after = stand();
    let world = current();
    let kernel = world.driver.backend().lock();
    let (mut read, mut written) = (books.0.borrow_mut(), books.1.borrow_mut());
    let bytes = after.accepted - before.accepted;
    if bytes != after.left - before.left || bytes > most as u64 {
        written.wrong(format!("G5: a transfer of {most}: {before:?}, {after:?}"));
    }
    let passed = usize::try_from(bytes).unwrap_or(usize::MAX);
    let data = read.pass(passed, &kernel);
    written.expected.extend_from_slice(&data);
    let told = answer.map(|answer| match answer {
        Ok(done) => {
            let in_kernel = after.moved - before.moved;
            let books = (&mut *read, &mut *written);
            check_done(&done, (in_kernel, most), books, &kernel);
            done.bytes
        }
        Err(failed) => {
            let may_wait = matches!(limit, Limit::Within(_));
            check_failed(&failed, may_wait, (&mut *read, &mut *written), to);
            failed.bytes
        }
    });
    if told.is_some_and(|told| told != bytes) {
        written.wrong(format!("G5: told {told:?} of {bytes} bytes transferred"));
    }
}

/// The kernel has all of it, and it was the end or the bound.
fn check_done(
    done: &Transferred,
    (in_kernel, most): (u64, usize),
    (read, written): (&mut ReaderBook, &mut WriterBook),
    kernel: &Kernel,
) {
    if done.in_kernel != in_kernel {
        let told = done.in_kernel;
        written.wrong(format!("{told} bytes in the kernel, it moved {in_kernel}"));
    }
    if done.has_ended {
        read.end(kernel);
    } else if done.bytes != most as u64 {
        written.wrong(format!("a transfer of {most} bytes ended early: {done:?}"));
    }
    let end = &kernel.ends[written.end];
    let target = written.expected.len();
    let in_pipe = kernel.pipes[end.pipe].own().len();
    if end.transferred < target as u64 || in_pipe < target {
        let told = end.transferred;
        written.wrong(format!(
            "G4: transferred {target} bytes, the kernel has {told}"
        ));
    }
}

/// It names the end that failed, with that end's failure.
fn check_failed(
    failed: &TransferError,
    may_wait: bool,
    (read, written): (&mut ReaderBook, &mut WriterBook),
    to: &PipeWriter<Sim>,
) {
    if failed.error.kind == ErrorKind::TimedOut && failed.error.os.is_none() {
        if !may_wait {
            written.wrong("a transfer timed out without a deadline");
        }
        return;
    }
    if failed.end == TransferEnd::Destination {
        written.hear(&failed.error, to.ledger());
    } else if read.given_up.is_none() {
        read.fail(&failed.error);
    }
}
