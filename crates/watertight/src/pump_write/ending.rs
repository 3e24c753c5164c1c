//! How a writer ended: its receipt, and what is lost.

use super::State;
use crate::loss::Loss;
use crate::receipt::{Ending, Receipt};
use watertight_core::{Backend, Cause, ErrorKind};

impl<B: Backend> State<B> {
    /// What is lost and nobody was told of; asked once it is over.
    pub(super) fn loss(&mut self) -> Option<Loss> {
        if !self.handle.dropped || !self.half.is_over() || self.is_told {
            return None;
        }
        self.is_told = true;
        let ledger = self.half.ledger();
        let cause = match (self.half.failure(), self.half.stopped_by()) {
            // What a forked child has a copy of is the parent's to send.
            (Some(cause), _) if cause.kind == ErrorKind::WrongProcess => return None,
            (Some(cause), _) => cause,
            (None, Some(ErrorKind::TimedOut)) => Cause::of(ErrorKind::TimedOut),
            // Whoever stopped it was told (`settle`), or asked for it.
            (None, _) => return None,
        };
        (ledger.transferred() < ledger.accepted()).then(|| Loss::of(cause, ledger))
    }

    pub(super) fn receipt(&self) -> Receipt {
        let (in_doubt, unsent) = self.half.remains();
        let ending = match (self.half.failure(), self.half.stopped_by()) {
            (Some(cause), _) => Ending::Failed(cause),
            (None, Some(ErrorKind::TimedOut)) => Ending::LingerExpired,
            (None, Some(_)) => Ending::Aborted,
            (None, None) if self.half.is_released() => Ending::Released,
            (None, None) => Ending::Finished,
        };
        let account = (self.half.ledger(), self.half.messages());
        Receipt::new(ending, account, in_doubt, unsent)
    }
}
