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

/// What the answers so far say of the reader.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The most that it is known to have taken. It may be negative: what others have written in there counts as unread.
    most: Option<i128>,
    /// What the last answer said to be unread.
    unread: Option<u64>,
}

impl Seen {
    /// Takes an answer in. Whether the reader may have taken something since the ones before. The first cannot exclude it, nor can one to a
    /// question during which bytes came: its reader has its time from then on.
    ///
    /// Bytes that the kernel has and our account has not yet look like fewer taken for a while, and so do those that others write: that this
    /// passes is no progress. But whatever was written, there is less in the pipe only if somebody took it.
    pub(crate) fn may_have_taken(&mut self, answer: Answer) -> bool {
        let Some(unread) = answer.unread else {
            return false;
        };
        let taken = |transferred: u64| i128::from(transferred) - i128::from(unread);
        let (at_least, at_most) = (taken(answer.before), taken(answer.after));
        let is_less = self.unread.is_some_and(|before| unread < before);
        let is_new = self.most.is_none_or(|most| at_most > most);
        self.most = self.most.max(Some(at_least));
        self.unread = Some(unread);
        is_less || is_new
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
            // Somebody else wrote.
            (answer(3, Some(3)), answer(3, Some(4)), false),
            (None, answer(3, Some(3)), true),
            // One came, and none was taken.
            (answer(2, Some(2)), answer(3, Some(3)), false),
            (answer(9, Some(4)), answer(30, Some(25)), false),
            (answer(2, Some(2)), answer(3, Some(2)), true),
            (answer(2, Some(2)), answer(3, Some(0)), true),
            // What came during the question may have been counted or not.
            (answer(2, Some(2)), during(2, 3, Some(2)), true),
            (answer(2, Some(2)), during(2, 3, Some(3)), false),
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
            let mut seen = Seen::default();
            if let Some(last) = last {
                seen.may_have_taken(last);
            }
            let is_progress = seen.may_have_taken(now.unwrap());
            assert_eq!(is_progress, expected, "{last:?}, {now:?}");
        }
    }

    #[test]
    fn what_only_looked_like_less_is_no_progress_when_that_passes() {
        // (what is said in turn; whether the last one is progress)
        for (answers, expected) in [
            // One byte was in the pipe, and not in our account yet.
            ([(3, 3), (3, 4), (4, 4)], false),
            ([(9, 4), (9, 6), (12, 7)], false),
            ([(3, 3), (3, 4), (4, 3)], true),
            // Others wrote ten, and somebody took five of all those.
            ([(3, 3), (3, 13), (3, 8)], true),
            ([(3, 3), (3, 13), (4, 14)], false),
        ] {
            let mut seen = Seen::default();
            let told = answers.map(|(transferred, unread)| {
                let answer = answer(transferred, Some(unread));
                seen.may_have_taken(answer.unwrap())
            });
            assert_eq!(told, [true, false, expected], "{answers:?}");
        }
    }
}
