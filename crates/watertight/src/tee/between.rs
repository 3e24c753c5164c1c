//! What can be said of single destinations between two waits: that one is left out, or gets nothing for a while.
//!
//! For a caller who knows more of a destination than its account tells.

use super::Tee;
use watertight_core::Backend;

impl<B: Backend> Tee<'_, B> {
    /// Leaves out the destination with this index, in the order in which [`new`](Tee::new) got them: from now on it gets no more bytes from
    /// here, and the others do not wait for it. Its error, of the kind [`Cancelled`](crate::ErrorKind::Cancelled), says so in
    /// [`destinations`](Tee::destinations). Nothing changes if it does not count any more, or if there is none with this index. If none is left,
    /// the next wait ends with the error of the one that was left out last.
    ///
    /// **Bytes.** Its writer is the caller's, to finish or to abort; what it has accepted is still sent. What it alone had not accepted leaves
    /// the source with the next wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use watertight::{ErrorKind, Tee};
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// let (_copy, unwanted) = watertight::pipe()?;
    /// source.send(b"for one").wait()?;
    /// source.finish().wait()?.into_result()?;
    /// let mut tee = Tee::new(&from, [&to, &unwanted])?;
    /// tee.leave_out(1);
    /// let done = tee.transfer().wait()?;
    /// assert_eq!((done.destinations[0].bytes, done.destinations[1].bytes), (7, 0));
    /// assert_eq!(done.destinations[1].error.map(|error| error.kind), Some(ErrorKind::Cancelled));
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn leave_out(&mut self, index: usize) -> &mut Self {
        self.branches.leave_out(index);
        self
    }

    /// Writes nothing to the destination with this index until [`resume`](Tee::resume): it counts as one that has no room. It is for a caller
    /// who knows that a write there would not come back: somebody may keep a pipe's lock, and then every call on that pipe waits in the kernel.
    /// The others go on as far as what is read ahead, through the buffer.
    ///
    /// A wait does not end, and nobody is woken, because a destination is paused: give it a deadline. As for any destination that takes nothing,
    /// the time of a [slow one](Tee::slow_destination) counts.
    ///
    /// **Bytes.** What it has accepted before is still sent, by its writer. What it has not accepted is in the source still.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// let (_copy, also_to) = watertight::pipe()?;
    /// source.send(b"for both").wait()?;
    /// source.finish().wait()?.into_result()?;
    /// let mut tee = watertight::Tee::new(&from, [&to, &also_to])?;
    /// let late = tee.pause(1).transfer().within(Duration::ZERO).wait().unwrap_err();
    /// assert_eq!((late.destinations[1].bytes, late.bytes), (0, 0));
    /// let done = tee.resume(1).transfer().wait()?;
    /// assert_eq!((done.destinations[1].bytes, done.has_ended), (8, true));
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn pause(&mut self, index: usize) -> &mut Self {
        self.branches.pause(index, true);
        self
    }

    /// Ends what [`pause`](Tee::pause) began. Nothing changes if that destination is not paused.
    ///
    /// # Examples
    ///
    /// ```
    /// let (from, source) = watertight::pipe()?;
    /// let (_sink, to) = watertight::pipe()?;
    /// source.finish().wait()?.into_result()?;
    /// let mut tee = watertight::Tee::new(&from, [&to])?;
    /// assert!(tee.pause(0).resume(0).transfer().wait()?.has_ended);
    /// # Ok::<(), watertight::Error>(())
    /// ```
    pub fn resume(&mut self, index: usize) -> &mut Self {
        self.branches.pause(index, false);
        self
    }
}
