//! watertight with blocking waits, `.wait()`: borrowed bytes (`send`) and owned ones (`send_bytes`).

use super::at_rest::{Before, FIRST};
use super::{
    CHUNK_BYTES, Deed, End, MESSAGE_BYTES, With, Work, chunks, drain, input, lone_ends, not_with,
    output, share, tokio,
};
use crate::platform::text;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;
use watertight::{Bytes, PipeReader, PipeWriter, ReaderOptions, Receipt, WriterOptions};

pub(super) fn run(work: Work, with: With, times: u64) -> Result<(), String> {
    match work.deed {
        Deed::BulkRead => bulk_read(work, with),
        Deed::BulkWrite => {
            let (into, times) = (writer(work.end)?, chunks(times, work.bytes));
            if with == With::WaitBytes {
                send_bytes_all(&into, work, times)?;
            } else {
                send_all(&into, work, times)?;
            }
            whole(&into.finish().wait().map_err(text)?)
        }
        Deed::Burst => burst(work, with, times),
        Deed::Cycle => cycle(times),
        Deed::Lone => lone(work, times),
        Deed::Idle => tokio::idle(work.count, new_pipe).map_err(text),
        Deed::Polled => polled(work.count),
        Deed::RoundTrip => round_trips(with, times),
        Deed::Small => small(work, with, times),
        Deed::Frame | Deed::Many => Err(not_with(work.deed)),
    }
}

pub(super) fn whole(receipt: &Receipt) -> Result<(), String> {
    let is_complete = receipt.is_complete().then_some(());
    is_complete.ok_or_else(|| format!("{:?}", receipt.ending()))
}

fn reader(with: With) -> Result<PipeReader, String> {
    let spin = if with == With::WaitSpinning {
        ReaderOptions::SPIN_MAX
    } else {
        Duration::ZERO
    };
    let options = ReaderOptions::new().spin(spin);
    PipeReader::adopt_unshared(input().map_err(text)?, options).map_err(text)
}

pub(super) fn writer(end: End) -> Result<PipeWriter, String> {
    let fd = output().map_err(text)?;
    match end {
        End::Pipe | End::Socket => PipeWriter::adopt_unshared(fd, WriterOptions::new()),
        End::SharedPipe => PipeWriter::adopt(fd),
    }
    .map_err(text)
}

/// Messages without a pause between them are none that are lone, so they may be joined only where that is to be counted.
pub(super) fn our_lone_ends(work: Work) -> Result<(PipeWriter, File), String> {
    let (into, from) = lone_ends(work.end).map_err(text)?;
    let options = WriterOptions::new().join(work.join);
    let into = PipeWriter::adopt_unshared(into, options).map_err(text)?;
    Ok((into, from.into()))
}

fn bulk_read(work: Work, with: With) -> Result<(), String> {
    let mut buf = vec![0; work.bytes];
    let from = reader(with)?;
    while from.receive(&mut buf).wait().map_err(text)? > 0 {}
    Ok(())
}

fn send_all(into: &PipeWriter, work: Work, times: u64) -> Result<(), String> {
    let message = vec![7; work.bytes];
    for _ in 0..times {
        into.send(&message).wait().map_err(text)?;
    }
    Ok(())
}

fn send_bytes_all(into: &PipeWriter, work: Work, times: u64) -> Result<(), String> {
    let message = Bytes::from(vec![7_u8; work.bytes]);
    for _ in 0..times {
        into.send_bytes(message.clone()).wait().map_err(text)?;
    }
    Ok(())
}

/// One writer for all producers.
fn small(work: Work, with: With, times: u64) -> Result<(), String> {
    let into = writer(work.end)?;
    let send = if with == With::WaitBytes {
        send_bytes_all
    } else {
        send_all
    };
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..work.count)
            .map(|producer| {
                let into = &into;
                let times = share(times, work.count, producer);
                scope.spawn(move || send(into, work, times))
            })
            .collect();
        let mut ends = producers.into_iter().map(|producer| producer.join());
        ends.try_for_each(|end| end.expect("a producer does not panic"))
    })?;
    whole(&into.finish().wait().map_err(text)?)
}

fn lone(work: Work, times: u64) -> Result<(), String> {
    let mut buf = vec![7; CHUNK_BYTES];
    let (into, mut from) = our_lone_ends(work)?;
    for message in 0..times {
        into.send(&[7; MESSAGE_BYTES]).wait().map_err(text)?;
        drain(&mut from, message, &mut buf).map_err(text)?;
    }
    Ok(())
}

fn burst(work: Work, with: With, times: u64) -> Result<(), String> {
    let (from, into) = (reader(with)?, writer(work.end)?);
    let message = vec![7; work.bytes];
    for _ in 0..times {
        for _ in 0..work.count {
            into.send(&message).wait().map_err(text)?;
        }
        receive_exact(&from, &mut [0])?;
    }
    Ok(())
}

fn round_trips(with: With, times: u64) -> Result<(), String> {
    let (from, into) = (reader(with)?, writer(End::Pipe)?);
    let mut buf = [7; MESSAGE_BYTES];
    for _ in 0..times {
        into.send(&buf).wait().map_err(text)?;
        receive_exact(&from, &mut buf)?;
    }
    Ok(())
}

fn receive_exact(from: &PipeReader, buf: &mut [u8]) -> Result<(), String> {
    let mut filled = 0;
    while filled < buf.len() {
        match from.receive(&mut buf[filled..]).wait().map_err(text)? {
            0 => return Err("the other end is gone".into()),
            more => filled += more,
        }
    }
    Ok(())
}

fn cycle(times: u64) -> Result<(), String> {
    let buf = vec![7; CHUNK_BYTES];
    for _ in 0..times {
        let (_from, into) = watertight::pipe().map_err(text)?;
        into.send(&buf).wait().map_err(text)?;
        into.send(&buf).wait().map_err(text)?;
        let _ = into.abort().wait().map_err(text)?;
    }
    Ok(())
}

/// For tasks that wait with the library's own thread.
fn new_pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let pipe = watertight::pipe();
    pipe.map_err(text).map_err(io::Error::other)
}

/// Many pipes with a read waiting on each that was polled once: no task and no thread waits for it. The memory that is read into
/// is the caller's, and not counted.
fn polled(count: usize) -> Result<(), String> {
    let mut bufs = vec![[7; MESSAGE_BYTES]; FIRST + count];
    let (first, others) = bufs.split_at_mut(FIRST);
    while_polled(first, || {
        let before = Before::the_pipes().map_err(text)?;
        while_polled(others, || {
            before.say(count).map_err(text)?;
            io::stdin().read(&mut [0]).map(drop).map_err(text)
        })
    })
}

/// Makes a pipe for each buffer, polls a read into that once, and keeps both during the rest.
fn while_polled(
    bufs: &mut [[u8; MESSAGE_BYTES]],
    rest: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let mut pipes = Vec::with_capacity(bufs.len());
    for _ in 0..bufs.len() {
        pipes.push(watertight::pipe().map_err(text)?);
    }
    let mut reads = Vec::with_capacity(bufs.len());
    let mut nobody = Context::from_waker(Waker::noop());
    for ((from, _into), buf) in pipes.iter().zip(bufs) {
        let mut read = from.receive(buf);
        let polled = Pin::new(&mut read).poll(&mut nobody);
        if polled.is_ready() {
            return Err("there is something to read in a pipe at rest".into());
        }
        reads.push(read);
    }
    rest()
}
