//! Asks how many bytes of a destination's pipe its reader has not taken, and remembers when that was.
//!
//! The question is asked on a thread, for it may be held up: by a reader that splices out of this pipe and waits for room elsewhere, for
//! as long as it waits; or by our own source's thread that splices a file into it and waits for the disk. Each destination that is asked
//! about has its own thread, so that one that is held up hides no other; it is started by the first question. The last one is whether
//! everything was read: of a stranger, behind which the same thread ends the stream, for the close waits for the lock too; or of a command
//! that is to end. Never here: when to ask (`copy.rs`), and what an answer means (`unread.rs`).

use crate::event::{Event, Mailbox};
use crate::unread::Answer;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use watertight::{Error, ErrorKind, PipeWriter};

/// A question without an answer for so long is held up, and nobody else takes anything meanwhile. So is an end that is on its way. What
/// waits for nobody takes microseconds; a second is for a machine that is busy.
pub(crate) const HELD_UP_AFTER: Duration = Duration::from_secs(1);

/// The questions about one destination.
#[derive(Default)]
pub(crate) struct Asking {
    /// To the thread, once there is one. The writer goes with each question: the thread keeps none.
    questions: Option<Sender<Question>>,
    times: Times,
}

/// What the thread is to do.
enum Question {
    /// It asks how much is unread.
    Unread(Arc<PipeWriter>),
    /// It asks whether all was read, and ends the stream.
    Last(Arc<PipeWriter>),
    /// It asks whether all was read, and tells it there.
    WhetherRead(Arc<PipeWriter>, Sender<Option<bool>>),
}

/// When it was asked.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// The question that is not answered yet.
    open: Option<Instant>,
    /// The last one that was answered.
    answered: Option<Instant>,
    /// Who holds it up may be our own source's thread.
    may_be_ours: bool,
}

impl Asking {
    /// Asks, unless a question is open. The answer comes as an event.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn ask(
        &mut self,
        writer: &Arc<PipeWriter>,
        index: usize,
        mailbox: &Mailbox,
        now: Instant,
    ) -> io::Result<()> {
        if self.times.open.is_some() {
            return Ok(());
        }
        self.send(Question::Unread(writer.clone()), index, mailbox)?;
        self.times.open = Some(now);
        Ok(())
    }

    /// Asks whether the peer has read everything by now, and then ends the stream. The answer comes as an event, and the ending as another.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn ask_last(
        &mut self,
        writer: &Arc<PipeWriter>,
        index: usize,
        mailbox: &Mailbox,
    ) -> io::Result<()> {
        self.send(Question::Last(writer.clone()), index, mailbox)
    }

    /// Asks whether the peer has read everything by now. Whoever waits for the answer waits with a bound: the question may be held up.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn ask_whether_read(
        &mut self,
        writer: &Arc<PipeWriter>,
        index: usize,
        mailbox: &Mailbox,
    ) -> io::Result<Receiver<Option<bool>>> {
        let (tell, told) = channel();
        let question = Question::WhetherRead(writer.clone(), tell);
        self.send(question, index, mailbox)?;
        Ok(told)
    }

    fn send(&mut self, question: Question, index: usize, mailbox: &Mailbox) -> io::Result<()> {
        let questions = match self.questions.take() {
            Some(questions) => questions,
            None => start(index, mailbox.clone())?,
        };
        // The thread goes when this end of the channel does.
        let _ = questions.send(question);
        self.questions = Some(questions);
        Ok(())
    }

    /// It was answered.
    pub(crate) fn handle_answer(&mut self) {
        if let Some(asked_at) = self.times.open.take() {
            self.times.answered = Some(asked_at);
        }
    }

    /// Whether a question is open: it may be held up.
    pub(crate) fn is_open(&self) -> bool {
        self.times.open.is_some()
    }

    /// Whether a question has been open for so long.
    pub(crate) fn is_open_for(&self, duration: Duration, now: Instant) -> bool {
        let open = self.times.open;
        open.is_some_and(|asked| asked + duration <= now)
    }

    /// From now on our own source's thread may hold up a question, which then says nothing about the reader.
    pub(crate) fn note_ours(&mut self) {
        self.times.may_be_ours = true;
    }

    /// That thread is over. What waits for an answer waits for the reader from now on.
    pub(crate) fn forget_ours(&mut self, now: Instant) {
        self.times.forget_ours(now);
    }

    /// Whether our own source's thread may hold up a question, or an end.
    pub(crate) fn may_be_ours(&self) -> bool {
        self.times.may_be_ours
    }

    /// Whether the question that is open is held up.
    pub(crate) fn is_held_up(&self, now: Instant) -> bool {
        self.times.is_held_up(now)
    }

    /// Whether it is held up by the reader, who takes nothing meanwhile.
    pub(crate) fn is_held_up_by_reader(&self, now: Instant) -> bool {
        self.times.is_held_up_by_reader(now)
    }

    /// Since when nothing can be taken, if our own source's thread may be who holds it up.
    pub(crate) fn locked_since(&self, now: Instant) -> Option<Instant> {
        self.times.locked_since(now)
    }

    /// Whether it is known what was taken up to that moment. Of a reader who holds up a question it is known too: nothing.
    pub(crate) fn is_known_at(&self, at: Instant, now: Instant) -> bool {
        self.times.is_known_at(at, now)
    }

    /// When there is something to do: to ask, or to go on without an answer. `from`: nothing is of interest before.
    pub(crate) fn due(&self, from: Instant, every: Duration) -> Instant {
        self.times.due(from, every)
    }
}

impl Times {
    fn forget_ours(&mut self, now: Instant) {
        if std::mem::take(&mut self.may_be_ours) {
            self.open = self.open.map(|asked| asked.max(now));
        }
    }

    fn is_held_up(self, now: Instant) -> bool {
        self.open.is_some_and(|asked| asked + HELD_UP_AFTER <= now)
    }

    fn is_held_up_by_reader(self, now: Instant) -> bool {
        self.is_held_up(now) && !self.may_be_ours
    }

    fn locked_since(self, now: Instant) -> Option<Instant> {
        let is_locked = self.is_held_up(now) && self.may_be_ours;
        self.open.filter(|_| is_locked)
    }

    fn is_known_at(self, at: Instant, now: Instant) -> bool {
        self.is_held_up_by_reader(now) || self.answered.is_some_and(|asked| asked >= at)
    }

    fn due(self, from: Instant, every: Duration) -> Instant {
        match self.open {
            Some(asked) => asked + HELD_UP_AFTER,
            None => self.answered.map_or(from, |asked| asked.max(from)) + every,
        }
    }
}

fn start(index: usize, mailbox: Mailbox) -> io::Result<Sender<Question>> {
    let (sender, receiver) = channel();
    let name = "unread".to_owned();
    let thread = std::thread::Builder::new().name(name);
    thread.spawn(move || answer_all(&receiver, index, &mailbox))?;
    Ok(sender)
}

fn answer_all(questions: &Receiver<Question>, index: usize, mailbox: &Mailbox) {
    while let Ok(question) = questions.recv() {
        match question {
            Question::Unread(writer) => {
                let answer = answer(&writer);
                // Before anybody hears of it.
                drop(writer);
                mailbox.post(Event::Unread(index, answer));
            }
            Question::Last(writer) => {
                mailbox.post(Event::ReadByPeer(index, is_all_read(&writer)));
                finish(&writer);
            }
            Question::WhetherRead(writer, tell) => {
                let answer = is_all_read(&writer);
                drop(writer);
                // Too late, nobody is left to hear it.
                let _ = tell.send(answer);
            }
        }
    }
}

/// Asks once, without waiting for the peer, whether it has read everything; none if that cannot be known.
pub(crate) fn is_all_read(writer: &PipeWriter) -> Option<bool> {
    knowledge(writer.until_read().within(Duration::ZERO).wait())
}

/// What the answer says about the peer's reading.
pub(crate) fn knowledge(answer: Result<(), Error>) -> Option<bool> {
    match answer {
        Ok(()) => Some(true),
        Err(error) => (error.kind == ErrorKind::BrokenPipe).then_some(false),
    }
}

/// Asking is enough: the ending arrives as an event.
pub(crate) fn finish(writer: &PipeWriter) {
    let _ = writer.finish().within(Duration::ZERO).wait();
}

/// Likewise.
pub(crate) fn abort(writer: &PipeWriter) {
    let _ = writer.abort().within(Duration::ZERO).wait();
}

/// The account on both sides of the question: only if it is the same one, the answer is about it.
fn answer(writer: &PipeWriter) -> Answer {
    let before = writer.ledger().transferred();
    let unread = writer.unread_bytes();
    let after = writer.ledger().transferred();
    Answer {
        before,
        after,
        unread,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_reader_is_known_up_to_the_last_answered_question() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        // (asked and not answered, asked and answered, the deadline, now; whether it may count)
        for (open, answered, deadline, now, expected) in [
            (None, None, 500, 500, false),
            (None, Some(499), 500, 501, false),
            (None, Some(500), 500, 501, true),
            // It is on its way, and is waited for.
            (Some(500), Some(400), 500, 1499, false),
            (Some(500), None, 500, 500, false),
            // It is held up, and so is the reader.
            (Some(500), Some(400), 500, 1500, true),
            (Some(100), None, 5000, 5000, true),
        ] {
            let times = Times {
                open: open.map(at),
                answered: answered.map(at),
                may_be_ours: false,
            };
            let is_known = times.is_known_at(at(deadline), at(now));
            assert_eq!(
                is_known, expected,
                "{open:?}, {answered:?}, {deadline}, {now}"
            );
        }
    }

    /// The reader may have taken everything, and wait for us.
    #[test]
    fn a_question_that_our_own_source_may_hold_up_says_nothing_about_the_reader() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let times = Times {
            open: Some(at(500)),
            answered: Some(at(400)),
            may_be_ours: true,
        };
        assert!(times.is_held_up(at(1500)));
        assert!(!times.is_held_up_by_reader(at(1500)));
        assert!(!times.is_known_at(at(500), at(9000)));
        assert!(times.is_known_at(at(400), at(9000)), "that was answered");
        // Whoever has the lock: nothing was taken since the question, and nothing came.
        assert_eq!(times.locked_since(at(1499)), None);
        assert_eq!(times.locked_since(at(1500)), Some(at(500)));
        let readers = Times {
            may_be_ours: false,
            ..times
        };
        assert!(readers.is_known_at(at(500), at(1500)));
        assert_eq!(readers.locked_since(at(1500)), None);
    }

    /// The source's thread is over, and the question goes on waiting.
    #[test]
    fn a_question_is_the_readers_to_hold_up_once_our_own_source_is_over() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut times = Times {
            open: Some(at(500)),
            answered: None,
            may_be_ours: true,
        };
        times.forget_ours(at(9000));
        assert_eq!(times.locked_since(at(20_000)), None);
        assert!(!times.is_held_up_by_reader(at(9999)), "it was ours so far");
        assert!(times.is_held_up_by_reader(at(10_000)));
        // It is not put off again.
        times.forget_ours(at(10_000));
        assert!(times.is_held_up_by_reader(at(10_000)));
    }

    #[test]
    fn it_is_asked_again_after_the_answer_and_gone_on_without_one() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        for (open, answered, from, expected) in [
            (None, None, 20, 120),
            (None, Some(50), 20, 150),
            (None, Some(50), 70, 170),
            (Some(300), Some(50), 70, 1300),
        ] {
            let times = Times {
                open: open.map(at),
                answered: answered.map(at),
                may_be_ours: false,
            };
            let due = times.due(at(from), Duration::from_millis(100));
            assert_eq!(due, at(expected), "{open:?}, {answered:?}, {from}");
        }
    }
}
