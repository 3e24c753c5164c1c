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
    fn every_kind_has_its_nearest_and_keeps_ours_inside() {
        use ErrorKind as K;
        use io::ErrorKind as I;
        let kinds = [
            (K::Aborted, I::ConnectionAborted),
            (K::BrokenPipe, I::BrokenPipe),
            (K::Busy, I::ResourceBusy),
            (K::Cancelled, I::ConnectionAborted),
            (K::Closed, I::NotConnected),
            (K::Denied, I::PermissionDenied),
            (K::InvalidInput, I::InvalidInput),
            (K::Limit, I::QuotaExceeded),
            (K::NotConnected, I::NotConnected),
            (K::NotFound, I::NotFound),
            (K::ObserverPanicked, I::Other),
            (K::Os, I::Other),
            (K::QueueFull, I::WouldBlock),
            (K::Taken, I::AlreadyExists),
            (K::TimedOut, I::TimedOut),
            (K::Unsupported, I::Unsupported),
            (K::WrongProcess, I::Other),
        ];
        for (kind, nearest) in kinds {
            let os = Some(OsCode(32));
            let ours = Error::without_bytes(Verb::Write, Cause { kind, os });
            let theirs = io::Error::from(ours);
            assert_eq!(theirs.kind(), nearest, "{kind:?}");
            assert_eq!(theirs.downcast::<Error>().unwrap(), ours);
        }
    }
}
