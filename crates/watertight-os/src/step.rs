//! The steps of a construction (guarantee G2). Each of them can be made to fail in a test: `fault.rs`.

use crate::fault;
use core::fmt;
use watertight_core::{Cause, Class, OsCode};

/// Which way the bytes of one end go.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Direction {
    /// Out of the pipe.
    Read,
    /// Into the pipe.
    Write,
}

/// One step of making a backend, a pipe or an end of one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Step {
    /// Have the peer see a reset unless the stream is ended in order (Unix, TCP).
    Arm,
    /// Bind the handle to our completion port (Windows).
    AssociatePort,
    /// Mark the descriptor close-on-exec (Unix), or the handle as not inheritable (Windows).
    CloseOnExec,
    /// Make the pipe.
    CreatePipe,
    /// Make the thing that waits for all pipes: epoll or kqueue, or the completion port.
    CreatePoller,
    /// Write out what `print!` still holds.
    FlushStandardOutput,
    /// Give the handle back to the caller.
    HandBack,
    /// Ask what kind of thing the handle is.
    Inspect,
    /// Check that it may be read or written, as asked.
    InspectAccess,
    /// Open our own end of the new pipe (Windows).
    OpenEnd,
    /// Make a second descriptor of an inherited stream.
    Duplicate,
    /// Open the pipe file system's root (Windows).
    OpenRoot,
    /// Open the same pipe again, for flags of our own (Unix).
    Reopen,
    /// Set O_NONBLOCK on a pipe that nobody shares (Unix).
    SetNonblocking,
    /// Start the driver's thread.
    StartDriver,
    /// Start a thread for a handle that can only block: at its adoption (Windows), or with its first operation (Unix).
    StartHelper,
    /// Take a number for the poller that no handle had before (Unix).
    TakeNumber,
}

impl Step {
    /// What the step does, for a person.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Arm => "arming the stream",
            Self::AssociatePort => "binding the handle to the completion port",
            Self::CloseOnExec => "keeping the handle from being inherited",
            Self::CreatePipe => "making the pipe",
            Self::FlushStandardOutput => "writing out what standard output holds",
            Self::CreatePoller => "making the poller",
            Self::Duplicate => "duplicating the inherited descriptor",
            Self::HandBack => "giving the handle back",
            Self::Inspect => "asking what kind of thing the handle is",
            Self::InspectAccess => "checking which way the handle may be used",
            Self::OpenEnd => "opening our end of the pipe",
            Self::OpenRoot => "opening the pipe file system",
            Self::Reopen => "opening the same pipe again",
            Self::SetNonblocking => "switching the pipe to non-blocking mode",
            Self::StartDriver => "starting the driver's thread",
            Self::StartHelper => "starting a helper thread",
            Self::TakeNumber => "giving the handle a number of its own",
        }
    }
}

/// A step that failed: nothing was made, nothing is left behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StepError {
    /// Which step.
    pub step: Step,
    /// What the failure means.
    pub class: Class,
    /// The raw code, if a system call gave one.
    pub os: Option<OsCode>,
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = Cause {
            kind: self.class.kind(),
            os: self.os,
        };
        write!(f, "{} failed: {cause}", self.step.explanation())
    }
}

impl core::error::Error for StepError {}

/// An adoption that failed, with the handle it was given, untouched and still usable.
#[derive(Debug)]
pub struct Refused {
    /// What failed.
    pub error: StepError,
    /// The caller's handle.
    pub handle: crate::OsHandle,
}

/// Runs one step of a construction, unless a test makes it fail.
pub(crate) fn step<T>(
    step: Step,
    run: impl FnOnce() -> Result<T, (Class, Option<OsCode>)>,
) -> Result<T, StepError> {
    let fail = |(class, os)| StepError { step, class, os };
    if let Some(code) = fault::planned(step) {
        return Err(fail((Class::Limit, Some(code))));
    }
    run().map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_step_says_what_it_does_and_a_failure_says_why() {
        let steps = [
            Step::Arm,
            Step::AssociatePort,
            Step::CloseOnExec,
            Step::CreatePipe,
            Step::CreatePoller,
            Step::Duplicate,
            Step::FlushStandardOutput,
            Step::HandBack,
            Step::Inspect,
            Step::InspectAccess,
            Step::OpenEnd,
            Step::OpenRoot,
            Step::Reopen,
            Step::SetNonblocking,
            Step::StartDriver,
            Step::StartHelper,
            Step::TakeNumber,
        ];
        let told: HashSet<&str> = steps.map(Step::explanation).into_iter().collect();
        assert_eq!(told.len(), steps.len(), "two steps say the same");
        let class = Class::Limit;
        for step in steps {
            let what = step.explanation();
            let os = Some(OsCode(24));
            let text = StepError { step, class, os }.to_string();
            // With `std` the system's words stand before the number.
            assert!(
                text.starts_with(&format!("{what} failed: {} (", class.kind().explanation())),
                "{text}"
            );
            assert!(text.ends_with("os error 24)"), "{text}");
            let os = None;
            let text = StepError { step, class, os }.to_string();
            assert_eq!(
                text,
                format!("{what} failed: {}", class.kind().explanation())
            );
        }
    }
}
