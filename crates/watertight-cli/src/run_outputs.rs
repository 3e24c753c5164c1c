//! The outputs of `watertight run`'s command that go through our hands: where they go on to, how long the rest may take on its way from us
//! when the command is over, and what became of it.

use crate::address::Address;
use crate::orphans::Asked;
use crate::run_ending::{RunEnding, ending};
use crate::run_flags::RunFlags;
use crate::units::shown_duration;
use std::sync::Arc;
use std::time::{Duration, Instant};
use watertight::{Error, ErrorKind, Ledger, Outcome, PipeWriter, Receipt};

/// How often it is looked whether a signal came, while the rest of the output is on its way from us.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where the command's outputs go on to, if they go through our hands.
#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) stdout: Option<Arc<PipeWriter>>,
    pub(crate) stderr: Option<Arc<PipeWriter>>,
}

/// How the outputs ended that went through our hands.
#[derive(Debug, Default)]
pub(crate) struct OutputEnds {
    pub(crate) stdout: Option<OutputEnd>,
    pub(crate) stderr: Option<OutputEnd>,
}

/// How one output ended.
#[derive(Debug)]
pub(crate) struct OutputEnd {
    /// The account of the pipe that it went on to.
    pub(crate) ledger: Ledger,
    /// Why not all of it got through, in words.
    pub(crate) error: Option<String>,
}

impl Streams {
    /// Ends them in order, as far as patience goes.
    pub(crate) fn end(&self, flags: &RunFlags, mut patience: Patience) -> OutputEnds {
        let mut end = |writer: &Option<Arc<PipeWriter>>, to: &Option<Address>, ours: &str| {
            let writer = writer.as_ref()?;
            let (ended, given_up) = patience.end(writer);
            let (ledger, error) = match ended {
                Ok(receipt) => (receipt.ledger(), receipt.error()),
                Err(error) => (error.ledger, Some(error)),
            };
            let name = to.as_ref().map_or(ours, |address| address.text.as_str());
            let error = error.map(|error| {
                let why = match given_up {
                    Some(why) if error.kind == ErrorKind::Aborted => {
                        let why = given_up_in_words(why, flags);
                        format!("{why} before its reader had taken the rest; {ledger}")
                    }
                    Some(_) | None => error.to_string(),
                };
                format!("{name} did not get all of it: {why}")
            });
            Some(OutputEnd { ledger, error })
        };
        OutputEnds {
            stdout: end(&self.stdout, &flags.stdout, "our standard output"),
            stderr: end(&self.stderr, &flags.stderr, "our standard error"),
        }
    }
}

impl OutputEnds {
    /// Whether all that was passed on got through.
    pub(crate) fn is_all_through(&self) -> bool {
        let mut both = self.stdout.iter().chain(&self.stderr);
        both.all(|end| end.error.is_none())
    }
}

/// How long the rest of the output may take on its way from us. A consumer that takes nothing is waited for, but not beyond the
/// deadline, and not when we are asked to end: then there is the grace, and after a second signal nothing.
pub(crate) struct Patience {
    asked: Arc<Asked>,
    /// When the deadline passes.
    due: Option<Instant>,
    grace: Duration,
    /// When what is left is given up, and why.
    until: Option<(Instant, RunEnding)>,
}

impl Patience {
    pub(crate) fn new(
        flags: &RunFlags,
        begun: Instant,
        outcome: &Outcome,
        asked: Arc<Asked>,
    ) -> Self {
        let ending = ending(outcome);
        let mut patience = Self {
            asked,
            due: flags.within.and_then(|within| begun.checked_add(within)),
            grace: flags.grace,
            until: None,
        };
        // A command that we ended is not followed by a wait without end.
        if !ending.is_by_itself() {
            patience.end_after_grace(Instant::now(), ending);
        }
        patience
    }

    /// Ends a stream in order. What is left when the time is over is given up, and in the receipt; then the second says why.
    fn end(&mut self, writer: &PipeWriter) -> (Result<Receipt, Error>, Option<RunEnding>) {
        loop {
            match writer.finish().within(LOOK_EVERY).wait() {
                Err(error) if error.kind == ErrorKind::TimedOut => {}
                ended => return (ended, None),
            }
            if let Some(why) = self.why_over(Instant::now()) {
                // Else the end of the program would wait for it once more.
                return (writer.abort().wait(), Some(why));
            }
        }
    }

    /// Why the time is over, if it is.
    fn why_over(&mut self, now: Instant) -> Option<RunEnding> {
        let times = self.asked.times();
        if times > 0 {
            self.end_after_grace(now, RunEnding::Interrupted);
        } else if self.due.is_some_and(|due| due <= now) {
            self.end_after_grace(now, RunEnding::Deadline);
        }
        if times > 1 {
            return Some(RunEnding::Interrupted);
        }
        let over = self.until.filter(|(until, _)| *until <= now);
        over.map(|(_, why)| why)
    }

    /// From now on there is the grace, unless it runs already.
    fn end_after_grace(&mut self, now: Instant, why: RunEnding) {
        let until = || now.checked_add(self.grace).map(|until| (until, why));
        self.until = self.until.or_else(until);
    }
}

fn given_up_in_words(why: RunEnding, flags: &RunFlags) -> String {
    match why {
        RunEnding::Failure => "the wait for the command failed".to_owned(),
        RunEnding::Interrupted => "a signal to us came".to_owned(),
        RunEnding::Deadline
        | RunEnding::DeadlineAfterExit
        | RunEnding::Itself
        | RunEnding::NotStarted
        | RunEnding::QuietAfterExit => {
            let within = flags.within.map(shown_duration);
            let within = within.map_or_else(String::new, |within| format!(" (--within {within})"));
            format!("the deadline{within} passed")
        }
    }
}
