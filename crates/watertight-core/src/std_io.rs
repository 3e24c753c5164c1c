//! The one thing that needs `std` (feature `std`): our error as an `io::Error`, with ours kept inside.

use crate::error::{Error, ErrorKind};
use std::io;

impl From<Error> for io::Error {
    /// The nearest kind of the standard library, and the error itself inside: `get_ref` and `downcast` give it back.
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Aborted | ErrorKind::Cancelled => io::ErrorKind::ConnectionAborted,
            ErrorKind::BrokenPipe => io::ErrorKind::BrokenPipe,
            ErrorKind::Busy => io::ErrorKind::ResourceBusy,
            ErrorKind::Closed | ErrorKind::NotConnected => io::ErrorKind::NotConnected,
            ErrorKind::Denied => io::ErrorKind::PermissionDenied,
            ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
            ErrorKind::Limit => io::ErrorKind::QuotaExceeded,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::ObserverPanicked | ErrorKind::Os | ErrorKind::WrongProcess => {
                io::ErrorKind::Other
            }
            ErrorKind::QueueFull => io::ErrorKind::WouldBlock,
            ErrorKind::Taken => io::ErrorKind::AlreadyExists,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Cause, OsCode, Verb};

    #[test]
    fn an_io_error_keeps_ours_inside() {
        let cause = Cause {
            kind: ErrorKind::BrokenPipe,
            os: Some(OsCode(32)),
        };
        let ours = Error::without_bytes(Verb::Write, cause);
        let theirs = io::Error::from(ours);
        assert_eq!(theirs.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(theirs.downcast::<Error>().unwrap(), ours);
    }
}
