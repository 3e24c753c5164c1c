//! tokio's traits (feature `tokio`). No tokio runtime is needed.

use crate::reader::PipeReader;
use crate::writer::PipeWriter;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use watertight_core::Backend;

/// `poll_flush` waits until everything accepted is transferred; `poll_shutdown` finishes: the peer sees the end.
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

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_finish(cx.waker())
    }
}

impl<B: Backend> AsyncRead for PipeReader<B> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self
            .get_mut()
            .poll_read_some(buf.initialize_unfilled(), cx.waker());
        read.map_ok(|n| buf.advance(n))
    }
}
