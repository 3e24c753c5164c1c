//! The demonstration of the README: messages under timeouts, with a reader that is slow. Elsewhere a timeout cuts a message and
//! its head stays in the stream; here a message goes whole or not at all.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::take_turn;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Duration;

const MESSAGES: u8 = 40;
const BYTES: usize = 10_000;
/// What the reader takes between two messages.
const TAKEN: usize = 4_096;
const TIMEOUT: Duration = Duration::from_millis(5);

/// How many messages of a stream are whole, and how many are torn. Each has its number in every byte.
fn count(stream: &[u8]) -> (usize, usize) {
    let runs: Vec<usize> = stream.chunk_by(|a, b| a == b).map(<[u8]>::len).collect();
    let whole = runs.iter().filter(|bytes| **bytes == BYTES).count();
    (whole, runs.len() - whole)
}

/// Sends each message by `send`, and takes a little in between; then all there is.
async fn exchange(mut reader: std::io::PipeReader, mut send: impl AsyncFnMut(&[u8])) -> Vec<u8> {
    let mut stream = Vec::new();
    for number in 0..MESSAGES {
        send(&[number; BYTES]).await;
        let mut buf = [0; TAKEN];
        let n = reader.read(&mut buf).unwrap();
        stream.extend_from_slice(&buf[..n]);
    }
    drop(send);
    reader.read_to_end(&mut stream).unwrap();
    stream
}

#[test]
fn a_message_under_a_timeout_goes_whole_or_not_at_all() {
    take_turn();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (from, into) = std::io::pipe().unwrap();
        let mut sender =
            tokio::net::unix::pipe::Sender::from_owned_fd_unchecked(nonblocking(into)).unwrap();
        let stream = exchange(from, async move |message| {
            let write = tokio::io::AsyncWriteExt::write_all(&mut sender, message);
            let _ = tokio::time::timeout(TIMEOUT, write).await;
        })
        .await;
        let (whole, torn) = count(&stream);
        println!("tokio's pipe::Sender: {whole} whole, {torn} torn");
        assert!(torn > 0, "a timeout no longer cuts a message there");

        let (from, into) = std::io::pipe().unwrap();
        let writer = watertight::PipeWriter::adopt(into).unwrap();
        let mut accepted = 0;
        let sent = &mut accepted;
        // With the closure the writer goes: the rest is sent in the background, then the stream ends.
        let stream = exchange(from, async move |message| {
            *sent += usize::from(writer.send(message).within(TIMEOUT).await.is_ok());
        })
        .await;
        let (whole, torn) = count(&stream);
        println!("watertight: {whole} whole of {accepted} accepted, {torn} torn");
        assert_eq!((whole, torn), (accepted, 0));
    });
}

/// tokio wants the flag set on what it adopts.
fn nonblocking(fd: impl Into<OwnedFd>) -> OwnedFd {
    let fd = fd.into();
    let flags = rustix::fs::fcntl_getfl(&fd).unwrap();
    rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    fd
}
