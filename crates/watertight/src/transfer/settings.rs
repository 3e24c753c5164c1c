//! What is asked of a transfer before it begins.

use super::Transfer;
use crate::pump_read::MovesIn;
use crate::wait::Wait;
use std::num::NonZeroU64;
use std::time::Duration;
use watertight_core::Backend;

impl<'a, B: Backend> Wait<Transfer<'a, B>> {
    /// Takes at most `bytes` bytes from the source, and never one more. No bound unless this says otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// source.send(b"header and body").wait()?;
    /// let done = watertight::transfer(&from, &to).bytes_max(6).wait()?;
    /// assert_eq!((done.bytes, done.has_ended), (6, false));
    /// let mut buf = [0; 16];
    /// let n = from.receive(&mut buf).wait()?;
    /// assert_eq!(&buf[..n], b" and body");
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.operation_mut().left = bytes;
        self
    }

    /// Moves bytes inside the kernel wherever it can: from pipes that others made, from and to regular files, from one of these to
    /// another, where the file system copies, and from one to /dev/null, to a child's armed input, or to a socket that was adopted as unshared
    /// and in non-blocking mode, in which it is to stay (Linux). Elsewhere this changes nothing.
    ///
    /// A move with a regular file (or a block device) waits for its disk in the thread that makes it, so only a thread that waits with
    /// [`wait`](Wait::wait) makes one. Under `.await` a file's bytes go through the buffer, and its disk is waited for by a thread of the
    /// library's; from pipes to pipes, sockets and /dev/null bytes stay in the kernel. So a task that passes a file on to a file gets neither holes nor a
    /// reflink, of which more below: where these count, call `wait()` on a thread that may block (tokio's `spawn_blocking`).
    ///
    /// From one regular file to another holes stay holes, and count as the bytes that a read finds there: wherever the destination's position is
    /// at its end and it was opened neither to append nor with `O_DSYNC`. What is there already is overwritten with zeros. So are holes written as zeros where the
    /// bytes go through the buffer: without this, under `.await`, and where the file system does not copy (mostly, from one to another).
    ///
    /// Where a file system can (btrfs, XFS, bcachefs, NFS 4.2 on its server), the kernel may have both files share their blocks until one of
    /// them is overwritten (a reflink) instead of copying them.
    ///
    /// **Bytes.** A file that goes into a pipe or a socket is not copied: it gets the file's own pages, and until the peer has read them, whoever
    /// overwrites or cuts the file changes what the peer reads. While the call waits for the file's disk, no deadline is looked at, and an
    /// abort of either end waits for it. A pipe that is written in packet mode (`O_DIRECT`) passes its packets on as packets: a peer that reads
    /// one in pieces loses the rest of it, which no account can tell.
    ///
    /// # Examples
    ///
    /// ```
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// drop(source);
    /// let done = watertight::transfer(&from, &to).in_kernel_everywhere().wait()?;
    /// assert!(done.has_ended);
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn in_kernel_everywhere(mut self) -> Self {
        self.operation_mut().is_everywhere = true;
        self
    }

    /// Passes on at most so many bytes a second, on average and in portions. No rate unless this says otherwise.
    ///
    /// A portion is what the rate lets pass in 50 ms, and at least a byte. No second has more than the rate and one portion, and what was
    /// not used is not saved up: after a pause one portion passes at once. The clock wakes whoever waits once for each half of a
    /// portion, some 40 times a second, however high the rate is.
    ///
    /// **Bytes.** While it is held back nothing is taken from the source, and nothing is read ahead of what may pass (but a packet is read
    /// whole). The end of the stream is seen when the next bytes might pass. Bytes are still moved inside the kernel where that is
    /// offered, and each move is bounded by what may pass. Bytes count when the destination accepts them; what others write to it does
    /// not. Deadlines pass meanwhile, and a stop of either end is seen at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::num::NonZeroU64;
    /// const MEGABYTE: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// source.send(b"within the first portion").wait()?;
    /// source.finish().wait()?.into_result()?;
    /// let done = watertight::transfer(&from, &to).rate(MEGABYTE).wait()?;
    /// assert_eq!((done.bytes, done.has_ended), (24, true));
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn rate(mut self, bytes_per_second: NonZeroU64) -> Self {
        self.operation_mut().passage.set_rate(bytes_per_second);
        self
    }

    /// Gives up when nothing has moved for `duration` while there is more to come: the result then is a [`TransferError`](crate::TransferError)
    /// whose [`is_idle`](crate::TransferError::is_idle) is set, of the kind [`TimedOut`](crate::ErrorKind::TimedOut), which names the end that was
    /// waited for. However long the transfer takes, it goes on as long as bytes move.
    ///
    /// A movement is a byte that the destination accepts, and one that the kernel takes from its queue, whoever sent it: so a peer that
    /// reads little by little is not idle. The time counts from the moment at which this is first waited for, and anew with each movement;
    /// not while [`rate`](Self::rate) holds it back. What the kernel takes from the queue counts from the moment at which this transfer
    /// sees it, which is `duration` later at most. What is there when the time is up still comes first. Zero looks once.
    ///
    /// **Bytes.** As with any deadline nothing is lost: another transfer goes on where this one stopped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// source.send(b"and then silence").wait()?;
    /// let moving = watertight::transfer(&from, &to).idle_within(Duration::from_millis(10));
    /// let failed = moving.wait().unwrap_err();
    /// assert!(failed.is_idle);
    /// assert_eq!((failed.end, failed.bytes), (watertight::TransferEnd::Source, 16));
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn idle_within(mut self, duration: Duration) -> Self {
        self.operation_mut().passage.set_idle_within(duration);
        self
    }

    /// Is over once the destination has accepted everything, and does not wait until the kernel has it.
    ///
    /// **Bytes.** `Ok` then says of what is still in the destination's queue what it says of a [`send`](crate::PipeWriter::send): it is sent
    /// as soon as the peer takes it, and the destination's account and its ending tell what became of it. A failure that comes
    /// after that is not told here.
    ///
    /// # Examples
    ///
    /// ```
    /// let (from, source) = watertight::pipe()?;
    /// let (sink, to) = watertight::pipe()?;
    /// source.send(b"to be sent").wait()?;
    /// source.finish().wait()?.into_result()?;
    /// let done = watertight::transfer(&from, &to).until_accepted().wait()?;
    /// assert_eq!((done.bytes, to.ledger().accepted()), (10, 10));
    /// to.until_transferred().wait()?;
    /// let mut buf = [0; 16];
    /// assert_eq!(sink.receive(&mut buf).wait()?, 10);
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn until_accepted(mut self) -> Self {
        self.operation_mut().is_done_once_accepted = true;
        self
    }

    /// Shows `inspect` every byte that the destination accepts, once it has accepted it: in order, each exactly once, for a hash or a
    /// recording. It is called by whoever waits for the transfer, with no lock held. Of two functions the later one counts.
    ///
    /// **Bytes.** All of them go through the buffer: nothing is moved past it inside the kernel. A panic in `inspect` goes through to whoever
    /// waits: what it was shown is accepted, and in both accounts, and the next transfer goes on behind it.
    ///
    /// # Examples
    ///
    /// ```
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// source.send(b"abc").wait()?;
    /// source.finish().wait()?.into_result()?;
    /// let mut sum = 0_u64;
    /// let moving = watertight::transfer(&from, &to)
    ///     .inspect(|bytes| sum += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>());
    /// moving.wait()?;
    /// assert_eq!(sum, 97 + 98 + 99);
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn inspect(mut self, inspect: impl FnMut(&[u8]) + Send + 'a) -> Self {
        let transfer = self.operation_mut();
        transfer.passage.set_inspector(Box::new(inspect));
        transfer.moves_in = MovesIn::None;
        self
    }
}
