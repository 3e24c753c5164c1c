//! The one error type: what was being done, why it failed, the raw code, and where every byte was (rules E1 to E6).
//!
//! It must stay `Copy` and small: it holds a raw code, never an `io::Error`, and no text.

use crate::ledger::Ledger;
#[cfg(feature = "std")]
use crate::std_io::words;
use core::fmt;

/// What was being done when it failed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Verb {
    /// Stopping at once and accounting for the rest.
    Abort,
    /// Taking over a handle that somebody else opened.
    Adopt,
    /// Making a new pipe.
    Create,
    /// Sending the rest, then ending the stream.
    Finish,
    /// Reading.
    Read,
    /// Giving the handle back to the caller.
    Release,
    /// Feeding a child, taking its output and waiting for its end.
    Run,
    /// Waiting for the pipes that linger after their drop.
    Settle,
    /// Ending a child.
    Terminate,
    /// Waiting until the peer has read everything.
    UntilRead,
    /// Waiting until everything accepted is transferred.
    UntilTransferred,
    /// Waiting for a child's end.
    WaitExit,
    /// Waiting for the end of a child and its tree.
    WaitTree,
    /// Writing.
    Write,
}

impl Verb {
    /// What could not be done, for a person: the words that follow "cannot".
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Abort => "stop the pipe",
            Self::Adopt => "take over the handle",
            Self::Create => "make a pipe",
            Self::Finish => "end the stream",
            Self::Read => "read",
            Self::Release => "give the handle back",
            Self::Run => "run the child to its end",
            Self::Settle => "wait for the pipes that linger",
            Self::Terminate => "end the child",
            Self::UntilRead => "wait until the peer has read everything",
            Self::UntilTransferred => "wait until everything is transferred",
            Self::WaitExit => "wait for the child's end",
            Self::WaitTree => "wait for the end of the child and its tree",
            Self::Write => "write",
        }
    }
}

/// Why it failed. Few kinds; the raw code beside it keeps the detail.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The pipe was aborted on this side.
    Aborted,
    /// The peer is gone: nobody will read what is written.
    BrokenPipe,
    /// The other side is busy; trying again later can help.
    Busy,
    /// The operation was cancelled, by us or by somebody else.
    Cancelled,
    /// The pipe was finished or closed on this side before.
    Closed,
    /// The system does not permit it.
    Denied,
    /// The caller's argument, or the kind of handle, does not fit.
    InvalidInput,
    /// A limit of the system is reached: descriptors, memory, disk space.
    Limit,
    /// The pipe is not connected.
    NotConnected,
    /// There is no such thing.
    NotFound,
    /// An observer panicked; its pipe was stopped.
    ObserverPanicked,
    /// An error of the device or the network, or a code nobody knows.
    Os,
    /// No room in the queue now; nothing was accepted.
    QueueFull,
    /// The peer closed its end and threw away data that had not been read (reading: `ECONNRESET`).
    Reset,
    /// The name is taken.
    Taken,
    /// The deadline passed.
    TimedOut,
    /// It cannot be done, or cannot be known, on this system or this kind of handle.
    Unsupported,
    /// The pipe belongs to the process that made it; this is a forked child.
    WrongProcess,
}

impl ErrorKind {
    /// One clause for a person: what it means and, where there is one, the way out.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Aborted => "the pipe was aborted on this side",
            Self::BrokenPipe => "the peer closed its end",
            Self::Busy => "the other side is busy, try again later",
            Self::Cancelled => "the operation was cancelled",
            Self::Closed => "the pipe was finished or closed on this side before",
            Self::Denied => "the system does not permit it",
            Self::InvalidInput => "the argument or the kind of handle does not fit",
            Self::Limit => "a limit of the system is reached (descriptors, memory or disk space)",
            Self::NotConnected => "the pipe is not connected",
            Self::NotFound => "there is no such thing",
            Self::ObserverPanicked => "an observer panicked, so its pipe was stopped",
            Self::Os => "the operating system reported an error",
            Self::QueueFull => "no room in the queue, nothing of this call was accepted",
            Self::Reset => "the peer closed its end and threw data away",
            Self::Taken => "the name is taken",
            Self::TimedOut => "the deadline passed",
            Self::Unsupported => "it cannot be done or known on this system or this kind of handle",
            Self::WrongProcess => {
                "the pipe belongs to another process (this one was forked from it)"
            }
        }
    }
}

/// A raw code of the operating system: an `errno` on Unix, `GetLastError` on Windows.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct OsCode(pub i32);

impl fmt::Display for OsCode {
    /// The system's own words and the number, as in `No space left on device, os error 28`; the number alone without `std`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(words) = words(*self) {
            write!(f, "{words}, ")?;
        }
        write!(f, "os error {}", self.0)
    }
}

/// Without `std` nobody knows the system's words.
#[cfg(not(feature = "std"))]
fn words(_: OsCode) -> Option<&'static str> {
    None
}

/// The first thing that went wrong with a pipe. Latched; the account is stamped on the way out (rule E3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Cause {
    /// Why.
    pub kind: ErrorKind,
    /// The system's own code, if a system call said it.
    pub os: Option<OsCode>,
}

impl Cause {
    /// A cause that no system call reported.
    #[must_use]
    pub const fn of(kind: ErrorKind) -> Self {
        Self { kind, os: None }
    }

    /// Adds what was being done and the account, which makes it an [`Error`].
    #[must_use]
    pub const fn during(self, verb: Verb, ledger: Ledger) -> Error {
        Error {
            verb,
            kind: self.kind,
            os: self.os,
            ledger,
        }
    }
}

impl fmt::Display for Cause {
    /// One clause: what it means, and beside it what the system said. An error that only the system can explain is told in the
    /// system's words, as in `Input/output error (os error 5)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(os) = self.os else {
            return f.write_str(self.kind.explanation());
        };
        match words(os) {
            Some(words) if self.kind == ErrorKind::Os => write!(f, "{words} (os error {})", os.0),
            Some(_) | None => write!(f, "{} ({os})", self.kind.explanation()),
        }
    }
}

/// A failure, with the account of the pipe at the moment it was reported.
///
/// **Bytes.** [`Error::ledger`] says where every byte was. Bytes that were accepted and not transferred come back with the
/// receipt of `abort`, or from the call that refused them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Error {
    /// What was being done.
    pub verb: Verb,
    /// Why it failed.
    pub kind: ErrorKind,
    /// The raw code, if the system reported one.
    pub os: Option<OsCode>,
    /// Where every byte was.
    pub ledger: Ledger,
}

impl Error {
    /// An error about something that carries no bytes yet, or none at all.
    #[must_use]
    pub fn without_bytes(verb: Verb, cause: Cause) -> Self {
        cause.during(verb, Ledger::default())
    }
}

impl fmt::Display for Error {
    /// One line: what could not be done, why, and the account if there are bytes in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = Cause {
            kind: self.kind,
            os: self.os,
        };
        write!(f, "cannot {}: {cause}", self.verb.explanation())?;
        if self.ledger.accepted() > 0 {
            write!(f, "; {}", self.ledger)?;
        }
        Ok(())
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn an_error_is_copy_and_64_bytes() {
        fn copy<T: Copy + Send + Sync>() {}
        copy::<Error>();
        assert_eq!(size_of::<Error>(), 64);
    }

    #[test]
    fn every_kind_is_explained_in_words_of_its_own() {
        use ErrorKind as K;
        let kinds = [
            (K::Aborted, "aborted"),
            (K::BrokenPipe, "the peer closed"),
            (K::Busy, "busy"),
            (K::Cancelled, "cancelled"),
            (K::Closed, "finished or closed"),
            (K::Denied, "not permit"),
            (K::InvalidInput, "argument"),
            (K::Limit, "limit"),
            (K::NotConnected, "not connected"),
            (K::NotFound, "no such thing"),
            (K::ObserverPanicked, "observer"),
            (K::Os, "operating system"),
            (K::QueueFull, "no room"),
            (K::Reset, "threw data away"),
            (K::Taken, "taken"),
            (K::TimedOut, "deadline"),
            (K::Unsupported, "cannot be done"),
            (K::WrongProcess, "forked"),
        ];
        for (kind, words) in kinds {
            let told = Error::without_bytes(Verb::Read, Cause::of(kind)).to_string();
            assert!(told.contains(words), "{told}");
            assert!(told.starts_with("cannot read: ") && !told.contains('\n'));
        }
    }

    #[test]
    fn every_verb_says_something_of_its_own() {
        let verbs = [
            Verb::Abort,
            Verb::Adopt,
            Verb::Create,
            Verb::Finish,
            Verb::Read,
            Verb::Release,
            Verb::Run,
            Verb::Settle,
            Verb::Terminate,
            Verb::UntilRead,
            Verb::UntilTransferred,
            Verb::WaitExit,
            Verb::WaitTree,
            Verb::Write,
        ];
        for (at, verb) in verbs.iter().enumerate() {
            let words = verb.explanation();
            assert!(!words.is_empty());
            let before = &verbs[..at];
            assert!(before.iter().all(|other| other.explanation() != words));
        }
    }

    /// An error that only the system can explain; the number is told without `std`, too.
    #[test]
    fn an_unknown_code_is_told_in_the_systems_words() {
        let cause = Cause {
            kind: ErrorKind::Os,
            os: Some(OsCode(5)),
        };
        let told = cause.during(Verb::Read, Ledger::default()).to_string();
        assert!(told.starts_with("cannot read: "), "{told}");
        assert!(told.ends_with("(os error 5)"), "{told}");
        let words = cfg!(feature = "std");
        assert_eq!(told.contains("the operating system reported"), !words);
    }

    #[test]
    fn display_is_one_line_with_cause_code_and_account() {
        let mut ledger = Ledger::default();
        ledger.accept(900);
        ledger.submit(512);
        ledger.transfer(512);
        ledger.discard_queued();
        let cause = Cause {
            kind: ErrorKind::BrokenPipe,
            os: Some(OsCode(32)),
        };
        let told = cause.during(Verb::Write, ledger).to_string();
        // With `std` the system's words stand before the number.
        let (before, after) = told.split_once("os error 32").unwrap();
        assert!(before.starts_with("cannot write: the peer closed its end ("));
        assert_eq!(
            after,
            "); of 900 bytes accepted, 512 transferred, 388 discarded, 0 in doubt"
        );
        assert_eq!(
            Error::without_bytes(Verb::Adopt, Cause::of(ErrorKind::InvalidInput)).to_string(),
            "cannot take over the handle: the argument or the kind of handle does not fit"
        );
    }
}
