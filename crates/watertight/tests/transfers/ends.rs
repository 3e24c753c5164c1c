//! What the tests of transfers on Linux move between: pipes that are ours alone, and sockets. The other end is a program's that knows
//! nothing of this library.
#![allow(clippy::unwrap_used, reason = "it is only called by tests")]

use std::io::Read;
use std::os::unix::net::UnixStream;
use watertight::{PipeReader, PipeWriter, ReaderOptions, WriterOptions};

/// A source, and who writes into it.
pub(crate) fn source() -> (PipeReader, std::io::PipeWriter) {
    let (from, feed) = std::io::pipe().unwrap();
    let from = PipeReader::adopt_unshared(from, ReaderOptions::new()).unwrap();
    (from, feed)
}

/// A destination, and who reads from it.
pub(crate) fn destination() -> (std::io::PipeReader, PipeWriter) {
    let (sink, into) = std::io::pipe().unwrap();
    let to = PipeWriter::adopt_unshared(into, WriterOptions::new()).unwrap();
    (sink, to)
}

/// A destination that is full, and how many bytes are in it.
pub(crate) fn full() -> (std::io::PipeReader, PipeWriter, usize) {
    let (sink, into) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&into, true).unwrap();
    let mut bytes = 0;
    while let Ok(n) = rustix::io::write(&into, &[0; 4096]) {
        bytes += n;
    }
    rustix::io::ioctl_fionbio(&into, false).unwrap();
    let to = PipeWriter::adopt_unshared(into, WriterOptions::new()).unwrap();
    (sink, to, bytes)
}

/// The next bytes that come out.
pub(crate) fn took(sink: &mut std::io::PipeReader, bytes: usize) -> Vec<u8> {
    let mut data = vec![0; bytes];
    sink.read_exact(&mut data).unwrap();
    data
}

/// An end of a socket, and the other one.
pub(crate) fn socket(is_unshared: bool, is_nonblocking: bool) -> (PipeWriter, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(is_nonblocking).unwrap();
    let to = if is_unshared {
        PipeWriter::adopt_unshared(ours, WriterOptions::new())
    } else {
        PipeWriter::adopt(ours)
    };
    (to.unwrap(), theirs)
}
