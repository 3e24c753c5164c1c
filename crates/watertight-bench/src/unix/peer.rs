//! A probe's other end: in the parent, with raw calls, and not counted.

use super::kernel;
use super::probe::{CHUNK_BYTES, Deed, End, MESSAGE_BYTES, Probe};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

/// The probe's standard input and output, and this side of them.
pub(super) struct Ends {
    pub(super) stdin: Stdio,
    pub(super) stdout: Stdio,
    pub(super) peer: Peer,
}

/// This side.
pub(super) struct Peer {
    into: File,
    from: File,
}

pub(super) fn ends(probe: Probe) -> io::Result<Ends> {
    let (stdin, into) = io::pipe()?;
    let (from, stdout): (OwnedFd, OwnedFd) = if probe.work.end == End::Socket {
        let (from, stdout) = UnixStream::pair()?;
        (from.into(), stdout.into())
    } else {
        let (from, stdout) = io::pipe()?;
        (from.into(), stdout.into())
    };
    if let Some(bytes) = probe.work.capacity {
        kernel::set_capacity(&into, bytes)?;
        kernel::set_capacity(&from, bytes)?;
    }
    Ok(Ends {
        stdin: stdin.into(),
        stdout: stdout.into(),
        peer: Peer {
            into: OwnedFd::from(into).into(),
            from: from.into(),
        },
    })
}

impl Peer {
    /// Until the probe has what it needs, or is gone.
    pub(super) fn run(self, probe: Probe) -> io::Result<()> {
        let Self { mut into, mut from } = self;
        let work = probe.work;
        let mut buf = vec![7; CHUNK_BYTES];
        match work.deed {
            Deed::BulkRead => {
                for _ in 0..probe.times * ((1 << 20) / CHUNK_BYTES as u64) {
                    into.write_all(&buf)?;
                }
            }
            Deed::RoundTrip if work.peer_spins => {
                // This end's description is nobody else's.
                rustix::io::ioctl_fionbio(&from, true)?;
                for _ in 0..probe.times {
                    read_exact_spinning(&from, &mut buf[..MESSAGE_BYTES])?;
                    into.write_all(&buf[..MESSAGE_BYTES])?;
                }
            }
            Deed::Frame | Deed::RoundTrip => {
                for _ in 0..probe.times {
                    from.read_exact(&mut buf[..MESSAGE_BYTES])?;
                    into.write_all(&buf[..MESSAGE_BYTES])?;
                }
            }
            Deed::Burst => {
                for _ in 0..probe.times {
                    from.read_exact(&mut buf[..work.bytes * work.count])?;
                    into.write_all(&[7])?;
                }
            }
            Deed::BulkWrite
            | Deed::Cycle
            | Deed::Idle
            | Deed::Lone
            | Deed::Many
            | Deed::Polled
            | Deed::Small => while from.read(&mut buf)? > 0 {},
        }
        Ok(())
    }
}

/// Reads again and again until the bytes are there.
fn read_exact_spinning(mut from: &File, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match from.read(buf) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(more) => buf = &mut buf[more..],
            Err(error) if is_no_failure(error.kind()) => std::hint::spin_loop(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_no_failure(kind: io::ErrorKind) -> bool {
    [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock].contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spins_gets_the_bytes_and_is_told_of_the_end() {
        let (from, mut into) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&from, true).unwrap();
        let from = File::from(OwnedFd::from(from));
        let other = std::thread::spawn(move || {
            into.write_all(b"ab").unwrap();
            into.write_all(b"cd").unwrap();
        });
        let mut buf = [0; 4];
        read_exact_spinning(&from, &mut buf).unwrap();
        assert_eq!(&buf, b"abcd");
        other.join().unwrap();
        let end = read_exact_spinning(&from, &mut buf).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }
}
