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
