//! `std::io::Read` and `Write`: each call blocks as `.wait()` does.

use crate::reader::PipeReader;
use crate::writer::PipeWriter;
use std::io;
use watertight_core::Backend;

/// A `write` accepts at most this part of the queue, so that it waits for little room and in line with all others.
const WRITES_PER_QUEUE: u64 = 4;

/// `write` accepts at least one byte, waiting for room; `flush` waits until everything accepted is transferred.
impl<B: Backend> io::Write for &PipeWriter<B> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let most = (self.queue_bytes_max() / WRITES_PER_QUEUE).max(1);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let now = &buf[..buf.len().min(most)];
        self.send(now).wait()?;
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.until_transferred().wait()?)
    }
}

impl<B: Backend> io::Write for PipeWriter<B> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.until_transferred().wait()?)
    }
}

impl<B: Backend> io::Read for &PipeReader<B> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.receive(buf).wait()?)
    }
}

impl<B: Backend> io::Read for PipeReader<B> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.receive(buf).wait()?)
    }
}
