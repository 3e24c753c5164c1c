//! tokio's pipes and sockets, with and without tokio's `BufWriter`; and what is done through tokio's traits, which watertight
//! has too.

use super::at_rest::{Before, FIRST};
use super::{
    BUFFER_BYTES, CHUNK_BYTES, Deed, End, LENGTH_BYTES, MESSAGE_BYTES, With, Work, chunks, drain,
    input, lone_ends, not_with, output, runtime, share,
};
use crate::platform::text;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::Notify;

pub(super) fn run(work: Work, with: With, times: u64, begin: &mut Instant) -> Result<(), String> {
    let is_buffered = with == With::TokioBuffered;
    match work.deed {
        Deed::Small => small(work, is_buffered, times),
        Deed::Idle => idle(work.count, new_pipe),
        Deed::Polled => polled(work.count),
        Deed::Many => runtime()?.block_on(many(work.count, times, begin, new_pipe)),
        Deed::BulkRead
        | Deed::BulkWrite
        | Deed::Burst
        | Deed::Cycle
        | Deed::Frame
        | Deed::Lone
        | Deed::RoundTrip => runtime()?.block_on(async {
            if is_buffered {
                buffered(work, times).await
            } else {
                deed(work, times).await
            }
        }),
    }
    .map_err(text)
}

fn reader() -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(input()?)
}

fn writer() -> io::Result<pipe::Sender> {
    pipe::Sender::from_owned_fd(output()?)
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(fd);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

async fn deed(work: Work, times: u64) -> io::Result<()> {
    match work.deed {
        Deed::BulkRead => {
            let mut buf = vec![0; work.bytes];
            let mut from = reader()?;
            while from.read(&mut buf).await? > 0 {}
            Ok(())
        }
        Deed::BulkWrite => write_all(writer()?, work, chunks(times, work.bytes)).await,
        Deed::Burst => burst(work, times, reader()?, writer()?).await,
        Deed::Cycle => cycle(times).await,
        Deed::Frame => round_trips(times, LENGTH_BYTES, reader()?, writer()?).await,
        Deed::RoundTrip => round_trips(times, 0, reader()?, writer()?).await,
        Deed::Lone => {
            let (into, from) = lone_ends(work.end)?;
            let from = File::from(from);
            match work.end {
                End::Socket => lone(times, from, socket(into)?).await,
                End::Pipe | End::SharedPipe => {
                    lone(times, from, pipe::Sender::from_owned_fd(into)?).await
                }
            }
        }
        Deed::Idle | Deed::Many | Deed::Polled | Deed::Small => {
            Err(io::Error::other(not_with(work.deed)))
        }
    }
}

async fn buffered(work: Work, times: u64) -> io::Result<()> {
    let into = BufWriter::with_capacity(BUFFER_BYTES, writer()?);
    if work.deed == Deed::BulkWrite {
        return write_all(into, work, chunks(times, work.bytes)).await;
    }
    if work.deed == Deed::Burst {
        return burst(work, times, reader()?, into).await;
    }
    Err(io::Error::other(not_with(work.deed)))
}

async fn write_all(mut into: impl AsyncWrite + Unpin, work: Work, times: u64) -> io::Result<()> {
    let message = vec![7; work.bytes];
    for _ in 0..times {
        into.write_all(&message).await?;
    }
    into.flush().await
}

async fn lone(times: u64, mut from: File, mut into: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buf = vec![7; CHUNK_BYTES];
    for message in 0..times {
        into.write_all(&[7; MESSAGE_BYTES]).await?;
        drain(&mut from, message, &mut buf)?;
    }
    Ok(())
}

async fn burst(
    work: Work,
    times: u64,
    mut from: pipe::Receiver,
    mut into: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let message = vec![7; work.bytes];
    for _ in 0..times {
        for _ in 0..work.count {
            into.write_all(&message).await?;
        }
        into.flush().await?;
        from.read_exact(&mut [0]).await?;
    }
    Ok(())
}

async fn cycle(times: u64) -> io::Result<()> {
    let buf = vec![7; CHUNK_BYTES];
    for _ in 0..times {
        let (from, into) = io::pipe()?;
        let mut into = pipe::Sender::from_owned_fd(into.into())?;
        into.write_all(&buf).await?;
        let _ = into.try_write(&buf);
        drop(from);
    }
    Ok(())
}

/// Each producer has a thread, a runtime and a duplicate of the descriptor of its own.
fn small(work: Work, is_buffered: bool, times: u64) -> io::Result<()> {
    let produce = |times| {
        let runtime = runtime().map_err(io::Error::other)?;
        runtime.block_on(async {
            match (work.end, is_buffered) {
                (End::Socket, false) => write_all(socket(output()?)?, work, times).await,
                (End::Socket, true) => {
                    let into = BufWriter::with_capacity(BUFFER_BYTES, socket(output()?)?);
                    write_all(into, work, times).await
                }
                (End::Pipe | End::SharedPipe, false) => write_all(writer()?, work, times).await,
                (End::Pipe | End::SharedPipe, true) => {
                    let into = BufWriter::with_capacity(BUFFER_BYTES, writer()?);
                    write_all(into, work, times).await
                }
            }
        })
    };
    std::thread::scope(|scope| {
        let producers: Vec<_> = (0..work.count)
            .map(|producer| scope.spawn(move || produce(share(times, work.count, producer))))
            .collect();
        let mut ends = producers.into_iter().map(|producer| producer.join());
        ends.try_for_each(|end: Result<io::Result<()>, _>| end.expect("a producer does not panic"))
    })
}

/// Through tokio's traits. What comes back is read in two parts if the first of them has bytes.
pub(super) async fn round_trips(
    times: u64,
    first: usize,
    mut from: impl AsyncRead + Unpin,
    mut into: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buf = [7; MESSAGE_BYTES];
    for _ in 0..times {
        into.write_all(&buf).await?;
        if first > 0 {
            from.read_exact(&mut buf[..first]).await?;
        }
        from.read_exact(&mut buf[first..]).await?;
    }
    Ok(())
}

fn new_pipe() -> io::Result<(pipe::Receiver, pipe::Sender)> {
    let (from, into) = io::pipe()?;
    let from = pipe::Receiver::from_owned_fd(from.into())?;
    Ok((from, pipe::Sender::from_owned_fd(into.into())?))
}

/// The writing ends of many pipes, each with a task that waits for what comes out of it, and how the tasks say that it came.
async fn waiting_pipes<R, W>(
    count: usize,
    new_pipe: fn() -> io::Result<(R, W)>,
) -> io::Result<(Vec<W>, Arc<Notify>)>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let (begun, arrived) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let mut writers = Vec::with_capacity(count);
    for _ in 0..count {
        let (mut from, into) = new_pipe()?;
        writers.push(into);
        let (begun, arrived) = (Arc::clone(&begun), Arc::clone(&arrived));
        tokio::spawn(async move {
            // Before the task gives way, its first read waits.
            begun.fetch_add(1, Ordering::Relaxed);
            let mut buf = [0; MESSAGE_BYTES];
            while from.read_exact(&mut buf).await.is_ok() {
                arrived.notify_one();
            }
        });
    }
    while begun.load(Ordering::Relaxed) < count {
        tokio::task::yield_now().await;
    }
    Ok((writers, arrived))
}

/// One message at a time, through tokio's traits.
pub(super) async fn many<R, W>(
    count: usize,
    times: u64,
    begin: &mut Instant,
    new_pipe: fn() -> io::Result<(R, W)>,
) -> io::Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Unpin,
{
    let (mut writers, arrived) = waiting_pipes(count, new_pipe).await?;
    *begin = Instant::now();
    for number in (0..count).cycle().take(times as usize) {
        writers[number].write_all(&[7; MESSAGE_BYTES]).await?;
        arrived.notified().await;
    }
    Ok(())
}

/// Many pipes with a task waiting for what comes out of each, and nothing else.
pub(super) fn idle<R, W>(count: usize, new_pipe: fn() -> io::Result<(R, W)>) -> io::Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let runtime = runtime().map_err(io::Error::other)?;
    runtime.block_on(async {
        let end = reader()?;
        let first = waiting_pipes(FIRST, new_pipe).await?;
        let before = Before::the_pipes()?;
        let others = waiting_pipes(count, new_pipe).await?;
        before.say(count)?;
        until_end(end).await?;
        drop((first, others));
        Ok(())
    })
}

/// Many pipes with a read waiting on each that was polled once: no task waits for it. tokio's read keeps nothing of its own.
fn polled(count: usize) -> io::Result<()> {
    let runtime = runtime().map_err(io::Error::other)?;
    // Not in `block_on`, where tokio answers only so many polls in a row.
    let entered = runtime.enter();
    let end = reader()?;
    let first = polled_pipes(FIRST)?;
    let before = Before::the_pipes()?;
    let others = polled_pipes(count)?;
    before.say(count)?;
    drop(entered);
    runtime.block_on(until_end(end))?;
    drop((first, others));
    Ok(())
}

fn polled_pipes(count: usize) -> io::Result<Vec<(pipe::Receiver, pipe::Sender)>> {
    let mut pipes = Vec::with_capacity(count);
    let mut nobody = Context::from_waker(Waker::noop());
    for _ in 0..count {
        let (mut from, into) = new_pipe()?;
        let mut buf = [0; MESSAGE_BYTES];
        let polled = Pin::new(&mut from).poll_read(&mut nobody, &mut ReadBuf::new(&mut buf));
        assert!(polled.is_pending(), "a pipe at rest has nothing to read");
        pipes.push((from, into));
    }
    Ok(pipes)
}

async fn until_end(mut from: pipe::Receiver) -> io::Result<()> {
    let read = from.read(&mut [0]).await?;
    assert_eq!(read, 0, "the rest ends with the standard input");
    Ok(())
}
