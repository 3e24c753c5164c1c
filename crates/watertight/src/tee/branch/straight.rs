//! Bytes that go straight from the source to one of several destinations, inside the kernel: the bytes themselves, or copies of them.

use super::{Branch, BranchStep, PAGE_BYTES_MAX, Round, booked};
use crate::pump_read::MoveHow;
use std::task::Poll;
use watertight_core::{Backend, MoveNow};

/// The most that goes straight from the source at once: of a file's hole, for which nothing is carried. The backend has a bound of its own
/// for what is.
const MOVE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What came of it.
pub(in crate::tee) enum Straight {
    /// There may be more to do at once.
    Again,
    /// Somebody else has the source.
    Held,
    /// So many bytes left the source.
    Moved(u64),
    /// At most so many bytes have to go the ordinary way.
    Page(u64),
    /// Inside the kernel nothing goes there.
    Unavailable,
    /// The waker is left with the destination.
    Waits,
}

/// Which bytes.
#[derive(Clone, Copy)]
enum Takes {
    /// Those that all others have, up to there in the source's stream, or all there are: they leave the source.
    Away(Option<u64>),
    /// Copies of the first ones: they stay in the source.
    Copies,
}

impl<B: Backend> Branch<'_, B> {
    /// Moves bytes out of the source: those that all others have, up to `others_end` in its stream, or all there are.
    pub(in crate::tee) fn move_straight(
        &mut self,
        round: &Round<'_, B>,
        others_end: Option<u64>,
    ) -> Straight {
        self.go_straight(round, Takes::Away(others_end))
    }

    /// Copies the source's first bytes, as many as it has room for. It gets what is behind them once the source has let go of them.
    pub(in crate::tee) fn copy_straight(&mut self, round: &Round<'_, B>) -> Straight {
        self.go_straight(round, Takes::Copies)
    }

    fn go_straight(&mut self, round: &Round<'_, B>, takes: Takes) -> Straight {
        let bytes_for_it = |start: u64| match takes {
            Takes::Away(Some(end)) => end.saturating_sub(start).min(round.left),
            Takes::Away(None) | Takes::Copies => round.left,
        };
        if let Some(bytes) = self.full {
            return Straight::Page(bytes.min(round.left));
        }
        let source = round.from;
        let to = match self.begin_move(round) {
            Ok(to) => to,
            Err(BranchStep::Again) => return Straight::Again,
            Err(BranchStep::Idle) => {
                let start = source.ledger().transferred();
                return self.page_of(bytes_for_it(start), round);
            }
            Err(BranchStep::Unavailable) => return Straight::Unavailable,
            Err(BranchStep::Waits) => return Straight::Waits,
        };
        let cell = self.to.cell();
        let Some(from) = source.begin_move(false) else {
            drop(to);
            cell.end_move(0, None);
            return Straight::Held;
        };
        // Nobody else takes any now. If others were faster, the next step looks again.
        let start = source.ledger().transferred();
        let bytes = bytes_for_it(start);
        let is_late = bytes == 0 || self.behind(start) > 0;
        let how = MoveHow {
            bytes_max: usize::try_from(bytes.min(MOVE_BYTES_MAX)).expect("a bound of ours"),
            scope: round.scope(),
            asks: false,
        };
        let ends = (&*from, &*to);
        let answer = match takes {
            _ if is_late => MoveNow::Unavailable,
            Takes::Away(_) => source.move_to(round.may_block, ends, how),
            Takes::Copies => source.duplicate_to(round.may_block, ends, how, false),
        };
        // O4: whoever comes next may close them.
        drop((from, to));
        let (moved, failure) = booked(answer);
        // An observer of the destination's may look at the source.
        match takes {
            Takes::Away(_) => source.end_move(answer),
            Takes::Copies => source.end_duplicates(answer),
        }
        cell.end_move(moved, failure);
        if is_late {
            return Straight::Again;
        }
        self.gone_straight(answer, (start, bytes), takes, round)
    }

    /// What such a call, for at most `bytes` bytes from `start` on, came to.
    fn gone_straight(
        &mut self,
        answer: MoveNow,
        (start, bytes): (u64, u64),
        takes: Takes,
        round: &Round<'_, B>,
    ) -> Straight {
        match answer {
            MoveNow::Moved(n) => {
                let moved = n as u64;
                self.count_moved(start + moved, moved, round.now);
                match takes {
                    Takes::Away(_) => Straight::Moved(moved),
                    Takes::Copies => Straight::Again,
                }
            }
            // The next step finds it in the account of the end that has it.
            MoveNow::EndOfStream | MoveNow::ReadFailed(..) | MoveNow::WriteFailed(..) => {
                Straight::Again
            }
            MoveNow::Unavailable => match takes {
                Takes::Away(_) => Straight::Unavailable,
                Takes::Copies => {
                    self.needs_private = true;
                    Straight::Again
                }
            },
            MoveNow::DestinationWait | MoveNow::SourceWait | MoveNow::Wait => {
                self.page_of(bytes, round)
            }
        }
    }

    /// How much of the source's first bytes, of which so many are for it, is to go the ordinary way.
    fn page_of(&mut self, bytes: u64, round: &Round<'_, B>) -> Straight {
        if bytes == 0 {
            // Others were faster.
            return Straight::Again;
        }
        // Since when it is waited for stays, if it has room there: the kernel had none.
        let room = self.to.cell().poll_room(&mut self.wait, round.waker);
        match room {
            Poll::Pending => {
                self.wait_while(true, round.now);
                Straight::Waits
            }
            // The next step tells why.
            Poll::Ready(None) => Straight::Again,
            Poll::Ready(Some(room)) => {
                let bytes = bytes.min(room).min(PAGE_BYTES_MAX);
                self.full = Some(bytes);
                Straight::Page(bytes)
            }
        }
    }
}
