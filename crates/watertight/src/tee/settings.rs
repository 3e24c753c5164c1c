//! What is asked of a transfer to several destinations before it is waited for.

use super::Tee;
use super::policy::{DeadDestination, SlowDestination};
use watertight_core::Backend;

impl<B: Backend> Tee<'_, B> {
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
    /// A source that is no pipe goes through the buffer all the same, unless there is one destination. So does a pipe that is said to be one
    /// of packets ([`ReaderOptions::packets`](crate::ReaderOptions::packets)), and everything if one of the destinations takes nothing
    /// inside the kernel (a socket, a terminal, a file in append mode).
    ///
    /// **Bytes.** Whoever else reads the same pipe meanwhile, through another copy of its reading end, may take bytes between our copy of
    /// them and the moment at which they leave the pipe; what is behind them leaves it instead. So destinations differ, or all of them
    /// lack something, and no account can tell. A pipe that is written in packet mode (`O_DIRECT`) and was not said to be one passes its
    /// packets on as packets: a peer that reads one in pieces loses the rest of it. So does everybody if a bound cuts one, or a destination
    /// that takes a part of one. A regular file's disk is waited for in the calling thread: a deadline is looked at between two calls.
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
        let driver = self.driver();
        self.branches.try_moving(driver);
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
