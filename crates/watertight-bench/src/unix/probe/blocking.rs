//! The contenders with std's `Read` and `Write`: raw, std's `BufWriter`, and interprocess.

use super::at_rest::{Before, FIRST};
use super::{
    BUFFER_BYTES, CHUNK_BYTES, Deed, LENGTH_BYTES, MESSAGE_BYTES, With, Work, chunks, drain, input,
    lone_ends, not_with, output, share,
};
use crate::platform::{kernel, text};
use interprocess::unnamed_pipe;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Instant;

pub(super) fn run(work: Work, with: With, times: u64, begin: &mut Instant) -> Result<(), String> {
    match (with, work.deed) {
        (With::Raw, Deed::Cycle) => cycle(times),
        (With::Raw, Deed::Idle) => idle(work.count),
        (With::Raw, Deed::Many) => many(work.count, times, begin),
        (With::Raw, Deed::Small) => small(work, times),
        (With::Raw, _) => deed(work, times, File::from, File::from),
        (With::StdBuffered, Deed::BulkWrite | Deed::Burst | Deed::Small) => {
            let buffered = |fd: OwnedFd| BufWriter::with_capacity(BUFFER_BYTES, File::from(fd));
            deed(work, times, File::from, buffered)
        }
        (With::Interprocess, _) => deed(work, times, unnamed_pipe::Recver::from, |fd| {
            Unflushed(unnamed_pipe::Sender::from(fd))
        }),
        (_, deed) => return Err(not_with(deed)),
    }
    .map_err(text)
}

fn deed<R: Read, W: Write>(
    work: Work,
    times: u64,
    reader: fn(OwnedFd) -> R,
    writer: fn(OwnedFd) -> W,
) -> io::Result<()> {
    match work.deed {
        Deed::BulkRead => {
            let mut buf = vec![0; work.bytes];
            let mut from = reader(input()?);
            while from.read(&mut buf)? > 0 {}
            Ok(())
        }
        Deed::BulkWrite => write_all(&mut writer(output()?), work, chunks(times, work.bytes)),
        Deed::Small => write_all(&mut writer(output()?), work, times),
        Deed::Burst => burst(work, times, reader(input()?), writer(output()?)),
        Deed::Frame => round_trips(times, LENGTH_BYTES, reader(input()?), writer(output()?)),
        Deed::RoundTrip => round_trips(times, 0, reader(input()?), writer(output()?)),
        Deed::Lone => {
            let (into, from) = lone_ends(work.end)?;
            lone(times, File::from(from), writer(into))
        }
        Deed::Cycle | Deed::Idle | Deed::Many | Deed::Polled => {
            Err(io::Error::other(not_with(work.deed)))
        }
    }
}

fn write_all(into: &mut impl Write, work: Work, times: u64) -> io::Result<()> {
    let message = vec![7; work.bytes];
    for _ in 0..times {
        into.write_all(&message)?;
    }
    into.flush()
}

/// interprocess's flush is fsync, which a pipe refuses; nothing is buffered there.
struct Unflushed(unnamed_pipe::Sender);

impl Write for Unflushed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lone(times: u64, mut from: File, mut into: impl Write) -> io::Result<()> {
    let mut buf = vec![7; CHUNK_BYTES];
    for message in 0..times {
        into.write_all(&[7; MESSAGE_BYTES])?;
        drain(&mut from, message, &mut buf)?;
    }
    Ok(())
}

/// One file for all producers: what they write is short enough to be taken whole.
fn small(work: Work, times: u64) -> io::Result<()> {
    let into = File::from(output()?);
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..work.count)
            .map(|producer| {
                let mut into = &into;
                let times = share(times, work.count, producer);
                scope.spawn(move || write_all(&mut into, work, times))
            })
            .collect();
        let mut ends = producers.into_iter().map(|producer| producer.join());
        ends.try_for_each(|end| end.expect("a producer does not panic"))
    })
}

fn burst(work: Work, times: u64, mut from: impl Read, mut into: impl Write) -> io::Result<()> {
    let message = vec![7; work.bytes];
    for _ in 0..times {
        for _ in 0..work.count {
            into.write_all(&message)?;
        }
        into.flush()?;
        from.read_exact(&mut [0])?;
    }
    Ok(())
}

/// What comes back is read in two parts if the first of them has bytes.
fn round_trips(
    times: u64,
    first: usize,
    mut from: impl Read,
    mut into: impl Write,
) -> io::Result<()> {
    let mut buf = [7; MESSAGE_BYTES];
    for _ in 0..times {
        into.write_all(&buf)?;
        if first > 0 {
            from.read_exact(&mut buf[..first])?;
        }
        from.read_exact(&mut buf[first..])?;
    }
    Ok(())
}

fn cycle(times: u64) -> io::Result<()> {
    let buf = vec![7; CHUNK_BYTES];
    for _ in 0..times {
        let (_from, into) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK)?;
        rustix::io::write(&into, &buf)?;
        let full = rustix::io::write(&into, &buf);
        assert_eq!(full, Err(rustix::io::Errno::AGAIN));
    }
    Ok(())
}

/// Pipes whose reading ends one epoll watches.
struct Watched {
    writers: Vec<io::PipeWriter>,
    readers: Vec<io::PipeReader>,
    watch: kernel::Watch,
}

fn watched(count: usize) -> io::Result<Watched> {
    let (mut writers, mut readers) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let watch = kernel::Watch::new()?;
    for number in 0..count {
        let (from, into) = io::pipe()?;
        watch.add(&from, number)?;
        readers.push(from);
        writers.push(into);
    }
    Ok(Watched {
        writers,
        readers,
        watch,
    })
}

fn many(count: usize, times: u64, begin: &mut Instant) -> io::Result<()> {
    let mut pipes = watched(count)?;
    let mut buf = [0; MESSAGE_BYTES];
    *begin = Instant::now();
    for number in (0..count).cycle().take(times as usize) {
        pipes.writers[number].write_all(&[7; MESSAGE_BYTES])?;
        let ready = pipes.watch.wait(None)?;
        assert_eq!(ready, Some(number));
        pipes.readers[number].read_exact(&mut buf)?;
    }
    Ok(())
}

fn idle(count: usize) -> io::Result<()> {
    let _first = watched(FIRST)?;
    let before = Before::the_pipes()?;
    let pipes = watched(count)?;
    pipes.watch.add(io::stdin(), count)?;
    before.say(count)?;
    let ready = pipes.watch.wait(None)?;
    assert_eq!(ready, Some(count));
    Ok(())
}
