//! What a destination's pipe holds and its reader has not taken: to the deadlines these are bytes to go, as those in our queue are.
//!
//! Nobody tells when a reader takes something, so it is asked for now and then. This is what the answers mean, and pure. Never here: when and
//! how it is asked, and what a deadline does.

/// What is known of the bytes in a pipe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum InPipe {
    /// All were read, there were none, or the system does not tell.
    Nothing,
    /// It was not asked since the last of them came, and those before had been read.
    Unasked,
    /// Some had not been read when it was last asked.
    Unread,
}

/// What was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    /// So many bytes had been transferred before the question.
    pub(crate) before: u64,
    /// So many had been behind it.
    pub(crate) after: u64,
    /// So many bytes in the pipe were unread; none if the system does not tell.
    pub(crate) unread: Option<u64>,
}

impl Answer {
    /// How many bytes the reader had taken when it was asked, if bytes did not come just then. Of those that the kernel has and our account
    /// has not yet it may be too few, which the next answer puts right. It wraps: what others have written in there counts as unread.
    fn taken(self) -> Option<u64> {
        let is_exact = self.before == self.after;
        let unread = self.unread.filter(|_| is_exact)?;
        Some(self.before.wrapping_sub(unread))
    }
}

/// What is known of the bytes in a pipe to which so many were transferred.
pub(crate) fn in_pipe(last: Option<Answer>, transferred: u64) -> InPipe {
    match last {
        _ if transferred == 0 => InPipe::Nothing,
        // More may have come by now: nobody has seen those before it being taken.
        Some(answer) if answer.unread.is_some_and(|bytes| bytes > 0) => InPipe::Unread,
        // The answer may be from before any of these came.
        Some(answer) if answer.before == transferred => InPipe::Nothing,
        None | Some(_) => InPipe::Unasked,
    }
}

/// Whether the reader may have taken something since the last answer. The first answer cannot exclude it, nor can one to a question during
/// which bytes came: its reader has its time from then on.
pub(crate) fn may_have_taken(last: Option<Answer>, answer: Answer) -> bool {
    let taken = answer.taken();
    let is_same = taken.is_some() && last.and_then(Answer::taken) == taken;
    answer.unread.is_some() && !is_same
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn answer(transferred: u64, unread: Option<u64>) -> Option<Answer> {
        during(transferred, transferred, unread)
    }

    /// Bytes came while it was asked.
    const fn during(before: u64, after: u64, unread: Option<u64>) -> Option<Answer> {
        Some(Answer {
            before,
            after,
            unread,
        })
    }

    #[test]
    fn what_is_known_of_a_pipe() {
        // (the last answer, how much was transferred by now; what is known)
        for (last, transferred, expected) in [
            (None, 0, InPipe::Nothing),
            // What others have written is nobody's to wait for here.
            (answer(0, Some(7)), 0, InPipe::Nothing),
            (None, 3, InPipe::Unasked),
            (answer(2, Some(0)), 3, InPipe::Unasked),
            // Those that came since have others before them.
            (answer(2, Some(2)), 3, InPipe::Unread),
            (during(2, 3, Some(1)), 3, InPipe::Unread),
            // The third may have come behind the answer.
            (during(2, 3, Some(0)), 3, InPipe::Unasked),
            (during(2, 3, None), 3, InPipe::Unasked),
            // It may tell another time: a lack of descriptors passes.
            (answer(2, None), 3, InPipe::Unasked),
            (answer(3, Some(3)), 3, InPipe::Unread),
            (answer(3, Some(1)), 3, InPipe::Unread),
            (answer(3, Some(0)), 3, InPipe::Nothing),
            (answer(3, None), 3, InPipe::Nothing),
        ] {
            let known = in_pipe(last, transferred);
            assert_eq!(known, expected, "{last:?}, {transferred}");
        }
    }

    #[test]
    fn a_byte_that_was_taken_or_may_have_been_is_progress() {
        // (the last answer, this one; whether the reader may have taken something)
        for (last, now, expected) in [
            (answer(3, Some(3)), answer(3, Some(3)), false),
            (answer(3, Some(3)), answer(3, Some(2)), true),
            (answer(3, Some(1)), answer(3, Some(0)), true),
            // Somebody else wrote: what the reader did cannot be told.
            (answer(3, Some(3)), answer(3, Some(4)), true),
            (None, answer(3, Some(3)), true),
            // One came, and none was taken.
            (answer(2, Some(2)), answer(3, Some(3)), false),
            (answer(9, Some(4)), answer(30, Some(25)), false),
            (answer(2, Some(2)), answer(3, Some(2)), true),
            (answer(2, Some(2)), answer(3, Some(0)), true),
            // What came during the question may have been counted or not.
            (answer(2, Some(2)), during(2, 3, Some(2)), true),
            (answer(2, Some(2)), during(2, 3, Some(3)), true),
            (during(2, 3, Some(3)), answer(3, Some(3)), true),
            // Others have written more than is transferred, and nobody takes anything.
            (answer(3, Some(9)), answer(4, Some(10)), false),
            (answer(2, Some(2)), during(2, 3, None), false),
            (answer(3, None), answer(3, Some(3)), true),
            // What the system does not tell puts nothing off.
            (None, answer(3, None), false),
            (answer(2, None), answer(3, None), false),
            (answer(3, Some(3)), answer(3, None), false),
        ] {
            let now = now.unwrap();
            assert_eq!(may_have_taken(last, now), expected, "{last:?}, {now:?}");
        }
    }
}
