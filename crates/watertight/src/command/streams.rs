//! What a child's standard streams are.

use crate::handle::OsHandle;
use bytes::Bytes;
use std::io;
use std::process::Stdio;
use watertight_os::{duplicate, output_pipe};

/// What a child reads as its standard input.
#[derive(Debug)]
pub struct Input(pub(super) Feed);

#[derive(Debug)]
pub(super) enum Feed {
    Armed,
    Bytes(Bytes),
    Handle(OsHandle),
    Inherited,
    Null,
    Piped,
}

impl Input {
    /// A pipe: [`Child::stdin`] is its writing end.
    ///
    /// [`Child::stdin`]: crate::Child::stdin
    #[must_use]
    pub const fn piped() -> Self {
        Self(Feed::Piped)
    }

    /// A stream that looks cut to the child unless it is ended in order: [`Child::stdin`] is its writing end, and nothing but its
    /// `finish`, or a drop that sent everything, makes the child read a normal end. After an abort, a panic, a failure, even when
    /// this process is killed, the child reads all that was sent, and then an error (`ECONNRESET`), so that it does not take half
    /// for the whole.
    ///
    /// It is a pair of local sockets, and as fast as a pipe for large inputs (docs/performance.md, Children). A [`transfer`](crate::transfer()) goes
    /// there inside the kernel. What to know: programs that do not look at read
    /// errors commit all the same (`openssl enc`, Perl's `<STDIN>`, the shell's `read`); one that opens `/dev/stdin` again cannot
    /// (a socket is not opened); `bash` without `SHLVL` in its environment takes a socket for a remote shell and reads its `.bashrc`.
    ///
    /// **Platform differences.** Linux. Elsewhere a trial decides, and where the system has no such sign the start fails with
    /// [`StartStep::Other`] and says so: [`piped`](Self::piped) is the way then.
    ///
    /// [`Child::stdin`]: crate::Child::stdin
    /// [`StartStep::Other`]: crate::StartStep::Other
    #[must_use]
    pub const fn armed() -> Self {
        Self(Feed::Armed)
    }

    /// This process's own standard input.
    #[must_use]
    pub const fn inherited() -> Self {
        Self(Feed::Inherited)
    }

    /// Nothing: the end of the stream at once.
    #[must_use]
    pub const fn null() -> Self {
        Self(Feed::Null)
    }

    /// These bytes, and then the end of the stream. They are sent in the background from the start on; [`Child::stdin`] is the
    /// writer that does it, finishing, and says how far it got.
    ///
    /// [`Child::stdin`]: crate::Child::stdin
    #[must_use]
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Feed::Bytes(bytes.into()))
    }

    /// Something that is open: a file, a pipe's end ([`PipeReader::into_handle`]), a socket. The command keeps it for further starts, and
    /// with that it stays open here: drop the command when it is not started again.
    ///
    /// [`PipeReader::into_handle`]: crate::PipeReader::into_handle
    #[must_use]
    pub fn from_handle(handle: impl Into<OsHandle>) -> Self {
        Self(Feed::Handle(handle.into()))
    }
}

/// What a child writes to as its standard output or standard error.
#[derive(Debug)]
pub struct Output(pub(super) Sink);

#[derive(Debug)]
pub(super) enum Sink {
    Handle(OsHandle),
    Inherited,
    Null,
    Piped,
    Stdout,
}

impl Output {
    /// A pipe: [`Child::stdout`] or [`Child::stderr`] is its reading end.
    ///
    /// [`Child::stdout`]: crate::Child::stdout
    /// [`Child::stderr`]: crate::Child::stderr
    #[must_use]
    pub const fn piped() -> Self {
        Self(Sink::Piped)
    }

    /// This process's own stream of the same name.
    #[must_use]
    pub const fn inherited() -> Self {
        Self(Sink::Inherited)
    }

    /// Nowhere.
    #[must_use]
    pub const fn null() -> Self {
        Self(Sink::Null)
    }

    /// Something that is open: a file, a pipe's end ([`PipeWriter::into_handle`]), a socket. The command keeps it for further starts, and
    /// with that it stays open here (a pipe does not end): drop the command when it is not started again.
    ///
    /// [`PipeWriter::into_handle`]: crate::PipeWriter::into_handle
    #[must_use]
    pub fn from_handle(handle: impl Into<OsHandle>) -> Self {
        Self(Sink::Handle(handle.into()))
    }

    /// For standard error: wherever standard output goes, through the same pipe. It is the only way to see both in the exact order
    /// in which the child wrote them. For standard output: the same as [`Output::piped`].
    #[must_use]
    pub const fn to_stdout() -> Self {
        Self(Sink::Stdout)
    }
}

/// What std is told of an output.
pub(super) fn stdio(sink: &Sink) -> io::Result<Stdio> {
    Ok(match sink {
        Sink::Handle(handle) => duplicate(handle)?.into(),
        Sink::Inherited => Stdio::inherit(),
        Sink::Null => Stdio::null(),
        Sink::Piped | Sink::Stdout => Stdio::piped(),
    })
}

/// Where both outputs go: our end, if it is a pipe, and the child's.
pub(super) fn merge(out: &Sink) -> io::Result<(Option<OsHandle>, OsHandle)> {
    match out {
        Sink::Handle(handle) => Ok((None, duplicate(handle)?)),
        Sink::Inherited => Ok((None, own_stdout()?)),
        Sink::Null => Ok((None, null()?)),
        Sink::Piped | Sink::Stdout => {
            let (ours, theirs) = output_pipe()?;
            Ok((Some(ours), theirs))
        }
    }
}

#[cfg(unix)]
fn own_stdout() -> io::Result<OsHandle> {
    use std::os::fd::AsFd;
    io::stdout().as_fd().try_clone_to_owned()
}

#[cfg(windows)]
fn own_stdout() -> io::Result<OsHandle> {
    use std::os::windows::io::AsHandle;
    io::stdout().as_handle().try_clone_to_owned()
}

fn null() -> io::Result<OsHandle> {
    let path = if cfg!(windows) { "NUL" } else { "/dev/null" };
    let file = std::fs::OpenOptions::new().write(true).open(path)?;
    Ok(file.into())
}
