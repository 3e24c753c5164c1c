//! Bytes that reach several destinations without leaving the kernel.
//!
//! Of the destinations that are at the source's front, each but the last gets copies of the first bytes, as many as it has room for. The last
//! one gets the bytes themselves, as far as all others have them, and so they leave the source. A copy always begins at the source's
//! front, so one that was cut short is not continued before the source has let go of what was copied. Out of a pipe the kernel makes no copies
//! to what is no pipe: they go to a private pipe, and what is in there is moved on. The accounts are as if there were no copies: a byte leaves
//! the source when all that count have accepted it.
//!
//! Out of a file the kernel makes copies to files, which leave the file's position where it is. The last one of a round moves it, by the move
//! of what all others have.

use super::branch::{Branch, BranchStep, Straight};
use super::branches::Branches;
use super::private::Round;
use bytes::BytesMut;
use watertight_core::{Backend, MoveNow, ReadNow};

/// The most that is read out of the source at once because nobody needs it any more.
const FRONT_BYTES_MAX: u64 = 64 * 1024;

/// What came of moving inside the kernel.
pub(super) enum RoundAnswer {
    /// So many bytes left the source, and there may be more to do at once.
    Again(u64),
    /// Not now: a read of the source tells.
    Buffer,
    /// Destinations are waited for, and the waker is left with them.
    Destination,
    /// The last destination takes nothing more inside the kernel now: at most so many bytes go to it the ordinary way, and their
    /// write is the wait for it.
    Page(u64),
    /// Nothing is in the source now.
    Source,
    /// Not between these, or not any more.
    Unavailable,
}

/// What was seen in a round.
#[derive(Default)]
struct RoundSeen {
    is_news: bool,
    /// So many bytes left the source.
    taken: u64,
    /// Somebody else has the source, or only an operation reads it.
    is_held: bool,
    /// Nothing is in the source.
    is_empty: bool,
    is_unavailable: bool,
    page: Option<u64>,
}

impl<B: Backend> Branches<'_, B> {
    /// Moves what can be moved at once. Nothing is read ahead.
    pub(super) fn move_on(&mut self, round: &Round<'_, B>, buffer: &mut BytesMut) -> RoundAnswer {
        let start = round.from.ledger().transferred();
        for branch in self.counting() {
            branch.drop_stale_copies(start);
        }
        // Whoever has everything before the front can take what is there away; one that is ahead cannot.
        let at_front = |branch: &Branch<'_, B>| branch.wants_copies(start);
        let last = self.all.iter().rposition(at_front);
        let Some(last) = last.or_else(|| self.all.iter().rposition(Branch::counts)) else {
            return RoundAnswer::Unavailable;
        };
        let mut seen = RoundSeen::default();
        for index in (0..self.all.len()).filter(|index| *index != last) {
            serve(&mut self.all[index], round, &mut seen);
        }
        self.serve_last(last, round, &mut seen);
        self.let_go_of_front(round, buffer, &mut seen);
        seen.answer(self.waited_for().is_some())
    }

    /// While what is read ahead waits for others: those that have copies of what is behind it get on with them. Whether there may be more
    /// to do at once.
    pub(super) fn move_copies(&mut self, round: &Round<'_, B>) -> bool {
        let (mut is_news, mut is_unavailable) = (false, false);
        for branch in self.counting().filter(|branch| branch.has_copies()) {
            branch.drop_stale_copies(round.from.ledger().transferred());
            match branch.move_copies(round) {
                // Idle: somebody else has read what was lent, and these copies were stale.
                BranchStep::Again | BranchStep::Idle => is_news = true,
                BranchStep::Unavailable => is_unavailable = true,
                BranchStep::Waits => {}
            }
        }
        if is_unavailable {
            self.stop_moving_in(round.may_block);
        }
        is_news || is_unavailable
    }

    /// The last one gets what all others have; if that is nothing, it gets copies too, so that it is not held up by one of them.
    fn serve_last(&mut self, last: usize, round: &Round<'_, B>, seen: &mut RoundSeen) {
        let start = round.from.ledger().transferred();
        let others = self.all.iter().enumerate();
        let others = others.filter(|(index, branch)| *index != last && branch.counts());
        let others_end = others.map(|(_, branch)| branch.position()).min();
        let is_behind = others_end.is_none_or(|end| end > start);
        let last = &mut self.all[last];
        if is_behind && last.is_at(start) {
            seen.see(last.move_straight(round, others_end));
        } else {
            serve(last, round, seen);
        }
    }

    /// What all have, and the last one got as a copy too, leaves the source.
    fn let_go_of_front(&self, round: &Round<'_, B>, buffer: &mut BytesMut, seen: &mut RoundSeen) {
        while self.behind(round.from.ledger().transferred()) > 0 {
            let bytes = |start| {
                let bytes = usize::try_from(self.behind(start).min(FRONT_BYTES_MAX));
                bytes.expect("a bound of ours fits a usize")
            };
            match round.from.drop_front(buffer, round.may_block, bytes) {
                Some(ReadNow::Data(n)) => {
                    seen.taken += n as u64;
                    continue;
                }
                // Somebody else has the source; or it is read by operations only, and these bytes are read ahead and given to nobody.
                None | Some(ReadNow::Unavailable) => seen.is_held = true,
                Some(ReadNow::EndOfStream | ReadNow::Failed(..)) => seen.is_news = true,
                Some(ReadNow::Wait) => seen.is_empty = true,
            }
            return;
        }
    }
}

/// One that counts gets copies, and what is in its private pipe.
fn serve<B: Backend>(branch: &mut Branch<'_, B>, round: &Round<'_, B>, seen: &mut RoundSeen) {
    if !branch.counts() {
        return;
    }
    let start = round.from.ledger().transferred();
    if branch.wants_copies(start) && !branch.needs_private() {
        return seen.see(branch.copy_straight(round));
    }
    copy(branch, round, seen);
    match branch.move_copies(round) {
        BranchStep::Again => seen.is_news = true,
        BranchStep::Idle | BranchStep::Waits => {}
        BranchStep::Unavailable => seen.is_unavailable = true,
    }
}

/// Copies the source's first bytes into the private pipe of one that has everything before them.
fn copy<B: Backend>(branch: &mut Branch<'_, B>, round: &Round<'_, B>, seen: &mut RoundSeen) {
    let start = round.from.ledger().transferred();
    if seen.is_empty || !branch.wants_copies(start) {
        return;
    }
    let Some(from) = round.from.begin_move(false) else {
        seen.is_held = true;
        return;
    };
    // Nobody else takes any now.
    let start = round.from.ledger().transferred();
    let copied = if branch.wants_copies(start) {
        branch.copy(&from, start, round)
    } else {
        MoveNow::Moved(0)
    };
    // O4: whoever comes next may close it.
    drop(from);
    round.from.end_duplicates(copied);
    match copied {
        MoveNow::EndOfStream | MoveNow::Moved(_) | MoveNow::ReadFailed(..) => seen.is_news = true,
        MoveNow::SourceWait | MoveNow::Wait => seen.is_empty = true,
        MoveNow::DestinationWait | MoveNow::Unavailable | MoveNow::WriteFailed(..) => {
            seen.is_unavailable = true;
        }
    }
}

impl RoundSeen {
    /// What came of going straight from the source to one of them.
    fn see(&mut self, straight: Straight) {
        match straight {
            Straight::Again => self.is_news = true,
            Straight::Held => self.is_held = true,
            Straight::Moved(bytes) => self.taken += bytes,
            Straight::Page(bytes) => self.page = Some(bytes),
            Straight::Unavailable => self.is_unavailable = true,
            Straight::Waits => {}
        }
    }

    fn answer(&self, is_destination_waited_for: bool) -> RoundAnswer {
        if self.is_news || self.taken > 0 {
            return RoundAnswer::Again(self.taken);
        }
        if self.is_unavailable {
            return RoundAnswer::Unavailable;
        }
        match self.page {
            Some(bytes) => RoundAnswer::Page(bytes),
            None if self.is_empty => RoundAnswer::Source,
            None if is_destination_waited_for && !self.is_held => RoundAnswer::Destination,
            None => RoundAnswer::Buffer,
        }
    }
}
