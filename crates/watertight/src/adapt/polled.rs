//! The polls that both asynchronous adapters are made of.

use crate::fairness;
use crate::joined;
use crate::pump_read::MayBlock;
use crate::pump_write::WriterCell;
use crate::reader::PipeReader;
use crate::writer::{PipeWriter, Turns};
use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Verb};

impl<B: Backend> PipeWriter<B> {
    /// Accepts as much as there is room for; for the traits.
    pub(crate) fn poll_write_some(
        &mut self,
        mut message: &[u8],
        waker: &Waker,
    ) -> Poll<io::Result<usize>> {
        // A flush that was given up before must not count for what is written now.
        let cell = self.cell().clone();
        let turn = self.trait_turn();
        turn.flush_target = None;
        let room = &mut turn.room;
        let answer =
            fairness::poll_fairly(waker, || cell.poll_accept_some(room, &mut message, waker));
        if answer.is_pending() {
            joined::send_all_of_task(waker);
        }
        answer.map(|accepted| match accepted {
            Ok(n) => Ok(usize::try_from(n).expect("no more than the message")),
            Err(cause) => Err(cause.during(Verb::Write, cell.ledger()).into()),
        })
    }

    /// Waits until everything accepted is transferred; for the traits.
    pub(crate) fn poll_flush_all(&mut self, waker: &Waker) -> Poll<io::Result<()>> {
        let cell = self.cell().clone();
        let turn = self.trait_turn();
        let answer = cell.poll_transferred(&mut turn.flush, &mut turn.flush_target, waker);
        if answer.is_ready() {
            turn.flush_target = None;
        } else {
            joined::send_all_of_task(waker);
        }
        answer.map_err(|cause| cause.during(Verb::UntilTransferred, cell.ledger()).into())
    }

    /// Finishes; for the traits. An incomplete ending is an error.
    pub(crate) fn poll_finish(&mut self, waker: &Waker) -> Poll<io::Result<()>> {
        let cell: Arc<WriterCell<B>> = self.cell().clone();
        cell.finish();
        joined::send_all_of_task(waker);
        cell.poll_over(&mut self.trait_turn().over, waker)
            .map(|receipt| match receipt.error() {
                Some(error) => Err(error.into()),
                None => Ok(()),
            })
    }

    fn trait_turn(&mut self) -> &mut Turns {
        self.trait_turn.get_or_insert_default()
    }
}

impl<B: Backend> PipeReader<B> {
    /// Reads; for the traits.
    pub(crate) fn poll_read_some(
        &mut self,
        buf: &mut [u8],
        waker: &Waker,
    ) -> Poll<io::Result<usize>> {
        let cell = self.cell().clone();
        let id = &mut self.trait_id;
        let answer = fairness::poll_fairly(waker, || cell.poll_read(id, buf, waker, MayBlock::No));
        if answer.is_pending() {
            joined::send_all_of_task(waker);
        }
        answer.map_err(|cause| cause.during(Verb::Read, cell.ledger()).into())
    }
}
