//! `std::io::Read` and `Write`: each call blocks as `.wait()` does.

use crate::reader::PipeReader;
use crate::wait::{Operation, Sealed, Wait};
use crate::writer::PipeWriter;
use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::{Backend, Cause, Error, ErrorKind, Verb};

/// Acceptance of a part of a message, as `write` promises it.
struct WriteSome<'a, B: Backend> {
    writer: &'a PipeWriter<B>,
    message: &'a [u8],
    id: u64,
}

impl<B: Backend> Sealed for WriteSome<'_, B> {}

impl<B: Backend> Operation for WriteSome<'_, B> {
    type Output = Result<u64, Error>;
    type Backend = B;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        let cell = self.writer.cell();
        cell.poll_accept_some(&mut self.id, &mut self.message, waker)
            .map_err(|cause| cause.during(Verb::Write, cell.ledger()))
    }

    fn expire(&mut self) -> Self::Output {
        Err(Cause::of(ErrorKind::TimedOut).during(Verb::Write, self.writer.ledger()))
    }

    fn forget(&mut self) {
        self.writer.cell().forget(self.id);
    }

    fn driver(&self) -> Option<&Arc<crate::driver::Driver<B>>> {
        Some(&self.writer.cell().driver)
    }
}

/// `write` accepts at least one byte, waiting for room; `flush` waits until everything accepted is transferred.
impl<B: Backend> io::Write for &PipeWriter<B> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let accepted = Wait::new(WriteSome {
            writer: self,
            message: buf,
            id: 0,
        })
        .wait()?;
        Ok(usize::try_from(accepted).expect("no more than the buffer"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(PipeWriter::flush(self).wait()?)
    }
}

impl<B: Backend> io::Write for PipeWriter<B> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(PipeWriter::flush(self).wait()?)
    }
}

impl<B: Backend> io::Read for &PipeReader<B> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(PipeReader::read(self, buf).wait()?)
    }
}

impl<B: Backend> io::Read for PipeReader<B> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(PipeReader::read(self, buf).wait()?)
    }
}
