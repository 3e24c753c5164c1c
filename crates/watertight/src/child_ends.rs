//! A child's standard streams, of std's and of tokio's making, become ends of ours.
//!
//! Their other ends are the child's, and nobody else has these: they are adopted as unshared. So are those that a `Command` of ours has made.

use crate::handle::{self, AdoptError, HandleError, Origin, OsHandle};
use crate::options::{ReaderOptions, WriterOptions};
use crate::reader::PipeReader;
use crate::writer::PipeWriter;
use std::process;
use watertight_os::Direction;

impl PipeWriter {
    /// Takes over our end of a child's input pipe.
    pub(crate) fn adopt_piped(
        handle: impl Into<OsHandle>,
        options: WriterOptions,
    ) -> Result<Self, AdoptError> {
        Self::adopt_as(handle.into(), Origin::Piped, options)
    }

    /// Takes over our end of an armed pair.
    pub(crate) fn adopt_armed(
        handle: OsHandle,
        options: WriterOptions,
    ) -> Result<Self, AdoptError> {
        let (driver, handle) = handle::adopt(handle, Direction::Write, Origin::Unshared)?;
        handle.holds_a_byte();
        // The orderly end is a half-close.
        Ok(Self::on(&driver, handle, options.half_close(true)))
    }
}

impl PipeReader {
    /// Takes over our end of a child's output pipe.
    pub(crate) fn adopt_piped(
        handle: impl Into<OsHandle>,
        options: ReaderOptions,
    ) -> Result<Self, AdoptError> {
        let (driver, handle) = handle::adopt(handle.into(), Direction::Read, Origin::Piped)?;
        Ok(Self::made(&driver, handle, options))
    }
}

/// ```
/// # #[cfg(unix)] {
/// use std::process::{Command, Stdio};
/// use watertight::{PipeReader, PipeWriter};
/// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let input = PipeWriter::try_from(child.stdin.take().expect("piped"))?;
/// let output = PipeReader::try_from(child.stdout.take().expect("piped"))?;
/// input.send(b"there and back").wait()?;
/// input.finish().wait()?.into_result()?;
/// let mut back = Vec::new();
/// output.receive_to_end(&mut back, 1024).wait()?;
/// assert_eq!(back, b"there and back");
/// # child.wait()?;
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A failure gives the stream back.
impl TryFrom<process::ChildStdin> for PipeWriter {
    type Error = HandleError<process::ChildStdin>;

    fn try_from(stream: process::ChildStdin) -> Result<Self, Self::Error> {
        Self::adopt_unshared(stream, WriterOptions::new()).map_err(HandleError::map)
    }
}

/// A failure gives the stream back.
impl TryFrom<process::ChildStdout> for PipeReader {
    type Error = HandleError<process::ChildStdout>;

    fn try_from(stream: process::ChildStdout) -> Result<Self, Self::Error> {
        Self::adopt_unshared(stream, ReaderOptions::new()).map_err(HandleError::map)
    }
}

/// A failure gives the stream back.
impl TryFrom<process::ChildStderr> for PipeReader {
    type Error = HandleError<process::ChildStderr>;

    fn try_from(stream: process::ChildStderr) -> Result<Self, Self::Error> {
        Self::adopt_unshared(stream, ReaderOptions::new()).map_err(HandleError::map)
    }
}

impl<H> HandleError<H> {
    fn map<T: From<H>>(self) -> HandleError<T> {
        HandleError {
            step: self.step,
            error: self.error,
            handle: self.handle.into(),
        }
    }
}

/// tokio gives its end up first: out of the runtime's hands, and in blocking mode.
#[cfg(all(feature = "tokio", not(any(loom, shuttle))))]
mod tokio {
    use super::{HandleError, PipeReader, PipeWriter, ReaderOptions, WriterOptions};
    use crate::handle::{AdoptError, OsHandle};
    use std::io;
    use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
    use watertight_core::{Cause, Class, Error, OsCode, Verb};
    use watertight_os::Step;

    /// What tokio gave up, or nothing: it closes a stream that it cannot give up.
    type FromTokioError = HandleError<Option<OsHandle>>;

    fn adopted<T>(
        given_up: io::Result<OsHandle>,
        adopt: impl FnOnce(OsHandle) -> Result<T, AdoptError>,
    ) -> Result<T, FromTokioError> {
        match given_up {
            Ok(handle) => adopt(handle).map_err(HandleError::map),
            Err(error) => {
                let cause = Cause {
                    kind: Class::Io.kind(),
                    os: error.raw_os_error().map(OsCode),
                };
                Err(HandleError {
                    step: Step::HandBack,
                    error: Error::without_bytes(Verb::Adopt, cause),
                    handle: None,
                })
            }
        }
    }

    macro_rules! from_tokio {
        ($stream:ty, $end:ty, $options:expr) => {
            /// A failure gives the handle back, unless it was tokio's: then tokio has closed the stream.
            impl TryFrom<$stream> for $end {
                type Error = FromTokioError;

                fn try_from(stream: $stream) -> Result<Self, Self::Error> {
                    #[cfg(unix)]
                    let given_up = stream.into_owned_fd();
                    #[cfg(windows)]
                    let given_up = stream.into_owned_handle();
                    adopted(given_up, |handle| Self::adopt_unshared(handle, $options))
                }
            }
        };
    }

    from_tokio!(ChildStdin, PipeWriter, WriterOptions::new());
    from_tokio!(
        ChildStdout,
        PipeReader,
        ReaderOptions::new().tokio_reactor(true)
    );
    from_tokio!(
        ChildStderr,
        PipeReader,
        ReaderOptions::new().tokio_reactor(true)
    );
}
