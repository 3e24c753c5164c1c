//! The one thing that needs `std` (feature `std`): our error as an `io::Error`, with ours kept inside.

use crate::error::{Error, ErrorKind, OsCode};
use std::io;
use std::string::{String, ToString};

impl From<Error> for io::Error {
    /// std's own kind for the system's code (`StorageFull` for `ENOSPC`), or the nearest one where no system call failed;
    /// and the error itself inside, which `get_ref` and `downcast` give back.
    ///
    /// std's `raw_os_error` knows no code of an error that holds another: the code is [`Error::os`] of the one inside.
    fn from(error: Error) -> Self {
        let by_code = error.os.map(|os| io::Error::from_raw_os_error(os.0).kind());
        let nearest = match error.kind {
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
            ErrorKind::Reset => io::ErrorKind::ConnectionReset,
            ErrorKind::Taken => io::ErrorKind::AlreadyExists,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
        };
        Self::new(by_code.unwrap_or(nearest), error)
    }
}

/// What the system says of a code.
pub(crate) fn words(os: OsCode) -> Option<String> {
    let text = io::Error::from_raw_os_error(os.0).to_string();
    let (words, _) = text.rsplit_once(" (os error ")?;
    (!words.is_empty()).then(|| words.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Cause, Verb};

    fn failed(kind: ErrorKind, code: i32) -> Error {
        let os = Some(OsCode(code));
        Error::without_bytes(Verb::Write, Cause { kind, os })
    }

    #[test]
    fn a_code_has_stds_own_kind_and_the_systems_words() {
        for code in 1..=40 {
            let theirs = io::Error::from(failed(ErrorKind::Os, code));
            let std = io::Error::from_raw_os_error(code);
            assert_eq!(theirs.kind(), std.kind(), "{code}");
            let inside = theirs.downcast::<Error>().unwrap();
            assert_eq!(inside.os, Some(OsCode(code)));
            let words = std.to_string();
            let (words, _) = words.split_once(" (os error").unwrap();
            assert!(inside.to_string().contains(words), "{inside}");
        }
    }

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
            (K::Reset, I::ConnectionReset),
            (K::Taken, I::AlreadyExists),
            (K::TimedOut, I::TimedOut),
            (K::Unsupported, I::Unsupported),
            (K::WrongProcess, I::Other),
        ];
        for (kind, nearest) in kinds {
            let ours = Error::without_bytes(Verb::Write, Cause::of(kind));
            let theirs = io::Error::from(ours);
            assert_eq!(theirs.kind(), nearest, "{kind:?}");
            assert_eq!(theirs.downcast::<Error>().unwrap(), ours);
        }
    }
}
