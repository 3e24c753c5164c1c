//! The seam: what a kernel, real or simulated, has to offer (rules O1 to O7 and O9 to O13).
//!
//! Change this file and `op.rs` only in commits of their own.

use crate::error::OsCode;
use crate::op::{
    Cancelled, Completion, Moment, MoveNow, MoveScope, Op, OpId, ReadNow, Submitted, WriteNow,
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// A kernel.
///
/// The driver keeps these promises: at most one operation of a kind is in flight per pipe (O1); `close` is called once,
/// with nothing in flight and no call on that handle running (O4).
pub trait Backend: Send + Sync + Sized + 'static {
    /// One end of a pipe, whatever the system calls it.
    type Handle: Send + Sync + 'static;

    /// The time by this backend's clock.
    fn now(&self) -> Moment;

    /// Gives the kernel an operation and does not wait for it.
    ///
    /// O2: after [`Submitted::InFlight`] exactly one completion with this id comes out of [`Backend::wait`], after
    /// [`Submitted::Done`] none does.
    fn submit(&self, handle: &Arc<Self::Handle>, id: OpId, op: Op) -> Submitted;

    /// Reads what is there into the caller's memory and does not wait.
    fn read_now(&self, handle: &Self::Handle, buf: &mut [u8]) -> ReadNow;

    /// Writes what the kernel takes at once out of the caller's memory and does not wait. At most
    /// [`WriteLimits::op_bytes_max`](crate::WriteLimits::op_bytes_max) bytes.
    fn write_now(&self, handle: &Self::Handle, data: &[u8]) -> WriteNow {
        let _ = (handle, data);
        WriteNow::Unavailable
    }

    /// Moves at most `bytes_max` bytes from one handle to another inside the kernel and does not wait for either end (O10). How many
    /// it were is known at the answer only (O11).
    ///
    /// Only such as `scope` asks for. Where a move differs from a read and a write, see the transfer that asks for it.
    ///
    /// The caller has a direct read of `from` and a direct write to `to` going on, so that nobody closes them meanwhile (O10).
    fn move_now(
        &self,
        from: &Self::Handle,
        to: &Self::Handle,
        bytes_max: usize,
        scope: MoveScope,
    ) -> MoveNow {
        let _ = (from, to, bytes_max, scope);
        MoveNow::Unavailable
    }

    /// After [`MoveNow::Wait`]: which of the two is waited for, as a [`MoveNow`] that moved nothing.
    ///
    /// O12: it is the destination only if there is something in the source, for a full destination must not hide the source's end.
    /// The caller still has the direct read and the direct write of the move going on.
    fn who_waits(&self, from: &Self::Handle, to: &Self::Handle) -> MoveNow {
        let _ = (from, to);
        MoveNow::Wait
    }

    /// A pipe for [`duplicate_now`](Self::duplicate_now), as large as that of `from`: its reading end and its writing end. The caller
    /// closes both. `None`: nothing goes out of this handle through such a pipe, or not now. `everywhere`: also where others may read from it.
    fn private_pipe(
        &self,
        from: &Self::Handle,
        everywhere: bool,
    ) -> Option<(Self::Handle, Self::Handle)> {
        let _ = (from, everywhere);
        None
    }

    /// O9: copies at most `bytes_max` of the first bytes in `from`, inside the kernel, and does not wait for either end: into a
    /// [`private_pipe`](Self::private_pipe) that is empty, or into a destination. They stay in `from`, so that the next call begins with
    /// the same ones: [`MoveNow::Moved`] says how many were copied. Only such as `scope` asks for. Of a pipe none is
    /// [`MoveScope::Alike`] where others may read from the same pipe: they would take what is copied. Elsewhere that is the business of the
    /// transfer that asks for it.
    ///
    /// The caller has a direct read of `from` going on, and a direct write to a destination's, so that nobody closes them meanwhile.
    fn duplicate_now(
        &self,
        from: &Self::Handle,
        into: &Self::Handle,
        bytes_max: usize,
        scope: MoveScope,
    ) -> MoveNow {
        let _ = (from, into, bytes_max, scope);
        MoveNow::Unavailable
    }

    /// Blocks the calling thread until there may be something to read, at most for `timeout`, or until somebody wakes this
    /// thread. It says nothing about what is there: read again. `false`: not offered for this handle, or not now.
    ///
    /// The caller has a direct read of its own going on, so that nobody closes the handle meanwhile (O7).
    fn block_until_readable(&self, handle: &Self::Handle, timeout: Option<Duration>) -> bool {
        let _ = (handle, timeout);
        false
    }

    /// How many small messages go by themselves after a pause before those that follow densely are joined. `None`: none is ever
    /// joined, for [`wait`](Self::wait) may return much later than the few microseconds for which they wait.
    fn joins_after(&self) -> Option<u16> {
        None
    }

    /// Whether the calling thread may spin, which is to repeat for a moment a call that found nothing: another processor is there
    /// for whoever is to bring something. `false`: there is none, or nobody knows.
    fn may_spin(&self) -> bool {
        false
    }

    /// Gives the rest of the calling thread's time to whoever is ready to run on its processor. It comes back at once if nobody is.
    /// How long that took; `None`: not offered.
    fn yield_now(&self) -> Option<Duration> {
        None
    }

    /// As [`Backend::block_until_readable`], until one of these handles may take something.
    ///
    /// The caller is the one that makes calls for each of these halves, so that nobody writes to the handles or closes them meanwhile (O7).
    fn block_until_writable(&self, handles: &[&Self::Handle], timeout: Option<Duration>) -> bool {
        let _ = (handles, timeout);
        false
    }

    /// Gives the pipe more room, as much as is measured to pay, where that can be done. O13: it says nothing, for the pipe goes on as
    /// it is otherwise, and never makes a pipe smaller.
    ///
    /// The caller is the one that makes calls for this half, so that nobody closes the handle meanwhile.
    fn enlarge(&self, handle: &Self::Handle) {
        let _ = handle;
    }

    /// Asks the kernel to stop an operation.
    ///
    /// Does not wait. O3: a request, never an outcome. Unless it answers [`Cancelled::Done`], the completion still comes. Calling it for
    /// an operation that is just completing is allowed.
    fn cancel(&self, handle: &Arc<Self::Handle>, id: OpId) -> Cancelled;

    /// Closes the handle. `end_of_stream` asks for an end that the peer sees even if the handle is shared (a socket's
    /// half-close).
    ///
    /// # Errors
    /// What the system said to the closing. The handle is gone all the same.
    fn close(&self, handle: Arc<Self::Handle>, end_of_stream: bool) -> Result<(), OsCode>;

    /// Waits until an operation is answered, [`Backend::wake`] is called or `until` has come, and adds the answers to
    /// `completions`. Called by one thread at a time.
    ///
    /// # Errors
    /// The waiting itself failed. The driver then waits on its own timer and tries again.
    fn wait(&self, completions: &mut Vec<Completion>, until: Option<Moment>) -> Result<(), OsCode>;

    /// Lets `duration` of this backend's time pass: what the driver does after a [`Backend::wait`] that failed.
    fn rest(&self, duration: Duration);

    /// Makes a running or the next [`Backend::wait`] return.
    fn wake(&self);

    /// Up to how many bytes this handle keeps one write whole among those of others who may write into the same pipe; `None`
    /// where nobody else can, or nothing is kept whole.
    fn atomic_bytes_max(&self, handle: &Self::Handle) -> Option<u64> {
        let _ = handle;
        None
    }

    /// Whether a read would bring something now: bytes, the end or a failure. `false` too where an operation in flight takes bytes as they
    /// come, so that they are not seen in the pipe.
    ///
    /// Asked under the pipe's lock, so that nobody closes the handle meanwhile: it does not wait.
    fn is_readable(&self, handle: &Self::Handle) -> bool {
        let _ = handle;
        false
    }

    /// How many bytes a file has from its position on, as far as the system tells now. While some of those are left, a move that moved nothing
    /// waits for the destination, without a question each time ([`who_waits`](Self::who_waits)). `None`: it cannot be told, or it is no file.
    ///
    /// The caller still has the direct read of the move going on.
    fn bytes_ahead(&self, from: &Self::Handle) -> Option<u64> {
        let _ = from;
        None
    }

    /// Whether it is a regular file. Of one, copies are made for others alone ([`duplicate_now`](Self::duplicate_now)).
    ///
    /// Asked under the pipe's lock, so that nobody closes the handle meanwhile: it makes no call.
    fn is_file(&self, handle: &Self::Handle) -> bool {
        let _ = handle;
        false
    }

    /// Whether closing this handle throws away what the peer has not read (a pseudo-terminal's leading end).
    fn close_discards(&self, handle: &Self::Handle) -> bool {
        let _ = handle;
        false
    }

    /// Whether this process was forked from the one that the pipes belong to (rule C4).
    fn is_elsewhere(&self) -> bool {
        false
    }
}
