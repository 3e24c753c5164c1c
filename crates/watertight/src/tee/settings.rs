//! What is asked of a transfer to several destinations before it is waited for.

use super::Tee;
use super::policy::{DeadDestination, SlowDestination};
use std::num::NonZeroU64;
use std::time::Duration;
use watertight_core::Backend;

impl<'a, B: Backend> Tee<'a, B> {
    /// Takes at most `bytes` bytes from the source, in all waits of this `Tee`, and never one more. No bound unless this says otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// source.send(b"header and body").wait()?;
    /// let mut tee = watertight::Tee::new(&from, [&to])?;
    /// let done = tee.bytes_max(6).transfer().wait()?;
    /// assert_eq!((done.bytes, done.has_ended), (6, false));
    /// let mut buf = [0; 16];
    /// let n = from.receive(&mut buf).wait()?;
    /// assert_eq!(&buf[..n], b" and body");
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn bytes_max(&mut self, bytes: u64) -> &mut Self {
        self.bytes_max = bytes;
        self
    }

    /// Copies inside the kernel wherever it can: also from pipes that others made, and to regular files (Linux). Elsewhere this changes
    /// nothing. It is for a source that nobody else reads while this `Tee` is waited for; nothing tells whether somebody does.
    ///
    /// From a regular file to others each of these gets the same range of it in turn (copy_file_range), and the source's position goes on when
    /// all have it. Holes stay holes, and blocks may be shared, as where [`transfer`](crate::transfer()) is asked for the same
    /// ([`in_kernel_everywhere`](crate::Wait::in_kernel_everywhere)).
    ///
    /// Any other source that is no pipe goes through the buffer all the same, and so does a file that is to go to anything but files, unless
    /// there is one destination. So does a pipe that is said to be one of packets
    /// ([`ReaderOptions::packets`](crate::ReaderOptions::packets)), and everything if one of the destinations takes nothing inside the kernel (a
    /// socket that others may have, a terminal, a file in append mode, or one of another file system than the source's file). If one takes no
    /// more inside the kernel in the middle (a full disk), everything goes through the buffer from there on, until one of them no longer counts.
    ///
    /// A move to a regular file, or from one, waits for its disk in the thread that makes it, so only a thread that waits with
    /// [`wait`](crate::Wait::wait) makes one. Under `.await` such a file takes nothing inside the kernel: everything goes through the buffer,
    /// and a thread of the library's waits for the disk. The next `wait()` of the same `Tee` moves inside the kernel again.
    ///
    /// **Bytes.** Whoever else reads the same pipe meanwhile, through another copy of its reading end, may take bytes between our copy of
    /// them and the moment at which they leave the pipe; what is behind them leaves it instead. So destinations differ, or all of them
    /// lack something, and no account can tell. A pipe that is written in packet mode (`O_DIRECT`) and was not said to be one passes its
    /// packets on as packets: a peer that reads one in pieces loses the rest of it. So does everybody if a bound cuts one, or a destination
    /// that takes a part of one. While a move waits for a file's disk, no deadline is looked at.
    ///
    /// Each copy of a file's range is made by itself, so destinations differ if somebody overwrites the source meanwhile. If it is cut after one
    /// had what others can no longer get, the transfer ends with an error of the source of the kind [`Reset`](crate::ErrorKind::Reset).
    ///
    /// # Examples
    ///
    /// ```
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// let (_copy, also_to) = watertight::pipe()?;
    /// source.send(b"to both").wait()?;
    /// source.finish().wait()?.into_result()?;
    /// let mut tee = watertight::Tee::new(&from, [&to, &also_to])?;
    /// let done = tee.in_kernel_everywhere().transfer().wait()?;
    /// assert_eq!((done.bytes, done.has_ended), (7, true));
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn in_kernel_everywhere(&mut self) -> &mut Self {
        self.is_everywhere = true;
        if !self.passage.has_inspector() {
            let from = self.from;
            self.branches.try_moving(from.cell());
        }
        self
    }

    /// Takes at most so many bytes a second from the source, on average and in portions, in all waits of this `Tee`. No rate unless this
    /// says otherwise; said again it begins anew, with a whole portion.
    ///
    /// A portion is what the rate lets pass in 50 ms, and at least a byte. No second has more than the rate and one portion, at the source
    /// and at each destination, and what was not used is not saved up: after a pause one portion passes at once. No destination gets
    /// further ahead of another one than a portion. The clock wakes whoever waits once for each half of a portion, some 40 times a second,
    /// however high the rate is.
    ///
    /// **Bytes.** While it is held back nothing is taken from the source, and nothing is read ahead of what may pass (but a packet is read
    /// whole). The end of the stream is seen when the next bytes might pass. Bytes are still moved inside the kernel where that is
    /// offered, and each move and each copy is bounded by what may pass. Bytes count when every destination that counts has accepted
    /// them; what others write there does not. Deadlines pass meanwhile, and a stop of any end is seen at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::num::NonZeroU64;
    /// const MEGABYTE: NonZeroU64 = NonZeroU64::new(1_000_000).unwrap();
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// let (_copy, also_to) = watertight::pipe()?;
    /// source.send(b"within the first portion").wait()?;
    /// source.finish().wait()?.into_result()?;
    /// let mut tee = watertight::Tee::new(&from, [&to, &also_to])?;
    /// let done = tee.rate(MEGABYTE).transfer().wait()?;
    /// assert_eq!((done.bytes, done.has_ended), (24, true));
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn rate(&mut self, bytes_per_second: NonZeroU64) -> &mut Self {
        self.passage.set_rate(bytes_per_second);
        self
    }

    /// Gives up when nothing has moved for `duration` while there is more to come: the result then is a [`TeeError`](crate::TeeError)
    /// whose [`is_idle`](crate::TeeError::is_idle) is set, of the kind [`TimedOut`](crate::ErrorKind::TimedOut), which names the end that was
    /// waited for. However long the transfer takes, it goes on as long as bytes move. No such deadline unless this says otherwise.
    ///
    /// A movement is a byte that a destination that counts accepts, and one that the kernel takes from its queue, whoever sent it. So nothing
    /// moves if nothing comes from the source, or if all wait for one destination that takes nothing; while others still get what was
    /// read or copied already, it goes on. That a destination is dropped is no movement. The time counts in each wait anew, from the moment
    /// at which it is first looked at, and anew with each movement; not while [`rate`](Self::rate) holds it back. What the kernel takes from a
    /// queue counts from the moment at which this transfer sees it, which is `duration` later at most. What is there when the time is up
    /// still comes first. Zero looks once.
    ///
    /// **Bytes.** As with any deadline nothing is lost: the next wait goes on where this one stopped, at each destination.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// let (_copy, also_to) = watertight::pipe()?;
    /// source.send(b"and then silence").wait()?;
    /// let mut tee = watertight::Tee::new(&from, [&to, &also_to])?;
    /// let moving = tee.idle_within(Duration::from_millis(10)).transfer();
    /// let failed = moving.wait().unwrap_err();
    /// assert!(failed.is_idle);
    /// assert_eq!((failed.end, failed.bytes), (watertight::TeeEnd::Source, 16));
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn idle_within(&mut self, duration: Duration) -> &mut Self {
        self.passage.set_idle_within(duration);
        self
    }

    /// Each wait is over once every destination that counts has accepted everything, and does not wait until the kernel has it.
    ///
    /// **Bytes.** `Ok` then says of what is still in a destination's queue what it says of a [`send`](crate::PipeWriter::send): it is sent as
    /// soon as the peer takes it, and that destination's account and its ending tell what became of it. A failure that comes after that,
    /// or a slowness, is not told here.
    ///
    /// # Examples
    ///
    /// ```
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// let (_copy, also_to) = watertight::pipe()?;
    /// source.send(b"to be sent").wait()?;
    /// source.finish().wait()?.into_result()?;
    /// let mut tee = watertight::Tee::new(&from, [&to, &also_to])?;
    /// let done = tee.until_accepted().transfer().wait()?;
    /// assert_eq!((done.bytes, also_to.ledger().accepted()), (10, 10));
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn until_accepted(&mut self) -> &mut Self {
        self.is_done_once_accepted = true;
        self
    }

    /// Has bytes that a destination does not take at once queued there, within its own
    /// [`queue_bytes_max`](crate::WriterOptions::queue_bytes_max), so that the others go on meanwhile, and so that the source is read on when
    /// none of them takes any. Unless this says so, that comes to pass only where bytes go through the buffer: where the kernel moves them, all
    /// wait for the slowest one.
    ///
    /// As long as something is queued at one of them, what comes behind goes through the buffer, to all. Once all queues are empty the kernel
    /// moves the bytes again, where it did before. But it moves none from a regular file or to one, whatever
    /// [`in_kernel_everywhere`](Self::in_kernel_everywhere) asks for: the thread would wait for that file's disk, and the others with it. If one of
    /// the ends is such a file, all goes through the buffer.
    ///
    /// **Bytes.** A destination is ahead of the slowest one by as much as without this, and by what that one has queued. What is queued has
    /// left the source: if its destination is given up, its receipt tells how much it was.
    ///
    /// # Examples
    ///
    /// ```
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// let (_copy, also_to) = watertight::pipe()?;
    /// source.send(b"nobody reads this yet").wait()?;
    /// source.finish().wait()?.into_result()?;
    /// let mut tee = watertight::Tee::new(&from, [&to, &also_to])?;
    /// let done = tee.fill_queues().until_accepted().transfer().wait()?;
    /// assert_eq!((done.bytes, done.has_ended), (21, true));
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn fill_queues(&mut self) -> &mut Self {
        self.fills_queues = true;
        self
    }

    /// Shows `inspect` every byte that is taken from the source, once every destination that counts has accepted it: in order, each exactly
    /// once, in all waits of this `Tee`, for a hash or a recording. It is called by whoever waits for the transfer, with no lock held. Of two
    /// functions the later one counts.
    ///
    /// **Bytes.** All of them go through the buffer: nothing is moved past it inside the kernel, whatever
    /// [`in_kernel_everywhere`](Self::in_kernel_everywhere) asks for. What only some have accepted is in the source still, and is shown when
    /// the others have it too. A panic in `inspect` goes through to whoever waits: what it was shown is accepted, and in all accounts, and the
    /// next wait goes on behind it.
    ///
    /// # Examples
    ///
    /// ```
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// let (_copy, also_to) = watertight::pipe()?;
    /// source.send(b"abc").wait()?;
    /// source.finish().wait()?.into_result()?;
    /// let mut sum = 0_u64;
    /// let mut tee = watertight::Tee::new(&from, [&to, &also_to])?;
    /// tee.inspect(|bytes| sum += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>());
    /// tee.transfer().wait()?;
    /// drop(tee);
    /// assert_eq!(sum, 97 + 98 + 99);
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn inspect(&mut self, inspect: impl FnMut(&[u8]) + Send + 'a) -> &mut Self {
        self.passage.set_inspector(Box::new(inspect));
        self.branches.stop_moving();
        self
    }

    /// Shows the bytes to nobody any more, so that those of the next waits may be moved inside the kernel; where, is to be said again behind
    /// this ([`in_kernel_everywhere`](Self::in_kernel_everywhere)).
    #[doc(hidden)]
    pub fn inspect_nothing(&mut self) -> &mut Self {
        self.passage.forget_inspector();
        self
    }

    /// What a destination that accepts nothing any more means for the others. Unless this says otherwise the transfer ends with its error.
    ///
    /// # Examples
    ///
    /// ```
    /// use watertight::{DeadDestination, ErrorKind, Tee};
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// let (_copy, aborted) = watertight::pipe()?;
    /// let _ = aborted.abort().wait()?;
    /// source.send(b"for one").wait()?;
    /// source.finish().wait()?.into_result()?;
    /// let mut tee = Tee::new(&from, [&to, &aborted])?;
    /// let done = tee.dead_destination(DeadDestination::Drop).transfer().wait()?;
    /// assert_eq!((done.destinations[0].bytes, done.destinations[0].error), (7, None));
    /// assert_eq!(done.destinations[1].error.map(|error| error.kind), Some(ErrorKind::Aborted));
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn dead_destination(&mut self, dead: DeadDestination) -> &mut Self {
        self.branches.dead = dead;
        self
    }

    /// What a destination that makes no progress means for the others. Unless this says otherwise all wait for it. The time is counted in
    /// each wait anew.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use watertight::{SlowDestination, Tee};
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// source.finish().wait()?.into_result()?;
    /// let mut tee = Tee::new(&from, [&to])?;
    /// tee.slow_destination(SlowDestination::DropAfter(Duration::from_secs(5)));
    /// assert!(tee.transfer().wait()?.has_ended);
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn slow_destination(&mut self, slow: SlowDestination) -> &mut Self {
        self.branches.slow = slow;
        self
    }
}
