//! The two ends of a pipe in each contender's hands. What stands in these loops is what is compared.

use super::cell::{Contender, ReaderKind};
use bytes::Bytes;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::runtime::Runtime;
use watertight::Receipt;

/// What a reader asks for at a time.
const READ_BYTES: usize = 64 * 1024;
/// What a writer's private buffer holds.
const BUFFER_BYTES: usize = 64 * 1024;

/// The writing end.
pub(super) enum Writer {
    PrivateBuffer(io::PipeWriter),
    Raw(io::PipeWriter),
    Tokio(Runtime, pipe::Sender),
    TokioBuffered(Runtime, pipe::Sender),
    Watertight(watertight::PipeWriter),
    WatertightBytes(watertight::PipeWriter),
}

/// The reading end.
pub(super) enum Reader {
    Raw(io::PipeReader),
    Tokio(Runtime, pipe::Receiver),
    Watertight(watertight::PipeReader),
}

/// A new pipe of the system's default capacity; nobody's is changed.
pub(super) fn make(contender: Contender, reader: ReaderKind) -> Result<(Writer, Reader), String> {
    let (from, into) = io::pipe().map_err(text)?;
    let writer = match contender {
        Contender::PrivateBuffer => Writer::PrivateBuffer(into),
        Contender::Raw => Writer::Raw(into),
        Contender::Tokio => tokio_writer(into, Writer::Tokio)?,
        Contender::TokioBuffered => tokio_writer(into, Writer::TokioBuffered)?,
        Contender::Watertight => Writer::Watertight(adopt(into)?),
        Contender::WatertightBytes => Writer::WatertightBytes(adopt(into)?),
    };
    let reader = match (reader, contender) {
        (ReaderKind::Raw, _) | (ReaderKind::Own, Contender::PrivateBuffer | Contender::Raw) => {
            Reader::Raw(from)
        }
        (ReaderKind::Own, Contender::Tokio | Contender::TokioBuffered) => tokio_reader(from)?,
        (ReaderKind::Own, Contender::Watertight | Contender::WatertightBytes) => {
            let reader = watertight::PipeReader::adopt(OwnedFd::from(from)).map_err(text)?;
            Reader::Watertight(reader)
        }
    };
    Ok((writer, reader))
}

fn adopt(into: io::PipeWriter) -> Result<watertight::PipeWriter, String> {
    watertight::PipeWriter::adopt(OwnedFd::from(into)).map_err(text)
}

fn tokio_writer(
    into: io::PipeWriter,
    kind: fn(Runtime, pipe::Sender) -> Writer,
) -> Result<Writer, String> {
    let runtime = runtime()?;
    let inside = runtime.enter();
    let sender = pipe::Sender::from_owned_fd(into.into()).map_err(text)?;
    drop(inside);
    Ok(kind(runtime, sender))
}

fn tokio_reader(from: io::PipeReader) -> Result<Reader, String> {
    let runtime = runtime()?;
    let inside = runtime.enter();
    let receiver = pipe::Receiver::from_owned_fd(from.into()).map_err(text)?;
    drop(inside);
    Ok(Reader::Tokio(runtime, receiver))
}

/// Each end has a runtime of its own, as each has a thread of its own.
fn runtime() -> Result<Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(text)
}

impl Writer {
    /// Writes the message so many times, one call each, and ends the stream.
    pub(super) fn write(self, message: &Bytes, messages: u64) -> Result<(), String> {
        match self {
            Writer::PrivateBuffer(into) => {
                let mut into = io::BufWriter::with_capacity(BUFFER_BYTES, into);
                write_blocking(&mut into, message, messages)
            }
            Writer::Raw(mut into) => write_blocking(&mut into, message, messages),
            Writer::Tokio(runtime, mut into) => runtime
                .block_on(write_async(&mut into, message, messages))
                .map_err(text),
            Writer::TokioBuffered(runtime, into) => {
                let mut into = tokio::io::BufWriter::with_capacity(BUFFER_BYTES, into);
                runtime
                    .block_on(write_async(&mut into, message, messages))
                    .map_err(text)
            }
            Writer::Watertight(into) => {
                for _ in 0..messages {
                    into.send(message).wait().map_err(text)?;
                }
                finish(&into, message.len() as u64 * messages)
            }
            Writer::WatertightBytes(into) => {
                for _ in 0..messages {
                    into.send_bytes(message.clone()).wait().map_err(text)?;
                }
                finish(&into, message.len() as u64 * messages)
            }
        }
    }
}

fn write_blocking(into: &mut impl Write, message: &[u8], messages: u64) -> Result<(), String> {
    for _ in 0..messages {
        into.write_all(message).map_err(text)?;
    }
    into.flush().map_err(text)
}

/// The end is the caller's: it drops what it lent.
async fn write_async(
    into: &mut (impl AsyncWriteExt + Unpin),
    message: &[u8],
    messages: u64,
) -> io::Result<()> {
    for _ in 0..messages {
        into.write_all(message).await?;
    }
    into.flush().await
}

fn finish(into: &watertight::PipeWriter, bytes: u64) -> Result<(), String> {
    let receipt: Receipt = into.finish().wait().map_err(text)?;
    if receipt.is_complete() && receipt.ledger().transferred() == bytes {
        return Ok(());
    }
    Err(format!(
        "{bytes} bytes were written; {:?}, {:?}",
        receipt.ending(),
        receipt.ledger()
    ))
}

impl Reader {
    /// Reads to the end of the stream and says how many bytes there were.
    pub(super) fn read_to_end(self) -> Result<u64, String> {
        let mut buf = vec![0; READ_BYTES];
        match self {
            Reader::Raw(mut from) => count(|| from.read(&mut buf)),
            Reader::Tokio(runtime, mut from) => runtime.block_on(count_async(&mut from, &mut buf)),
            Reader::Watertight(from) => count(|| from.receive(&mut buf).wait()),
        }
    }
}

fn count<E: Display>(mut read: impl FnMut() -> Result<usize, E>) -> Result<u64, String> {
    let mut bytes = 0;
    loop {
        match read().map_err(text)? {
            0 => return Ok(bytes),
            n => bytes += n as u64,
        }
    }
}

async fn count_async(from: &mut pipe::Receiver, buf: &mut [u8]) -> Result<u64, String> {
    let mut bytes = 0;
    loop {
        match from.read(buf).await.map_err(text)? {
            0 => return Ok(bytes),
            n => bytes += n as u64,
        }
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}
