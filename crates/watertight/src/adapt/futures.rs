//! The traits of `futures-io` (feature `futures`).

use crate::reader::PipeReader;
use crate::writer::PipeWriter;
use futures_io::{AsyncRead, AsyncWrite};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use watertight_core::Backend;

/// `poll_flush` waits until everything accepted is transferred; `poll_close` finishes.
impl<B: Backend> AsyncWrite for PipeWriter<B> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_some(buf, cx.waker())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flush_all(cx.waker())
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_finish(cx.waker())
    }
}

impl<B: Backend> AsyncRead for PipeReader<B> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_read_some(buf, cx.waker())
    }
}
