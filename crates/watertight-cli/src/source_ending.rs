//! How a copy's source ended.

use crate::extent::Extent;
use std::fs::File;
use std::time::Duration;
use watertight::{Child, PipeReader};

/// How the source ended.
#[derive(Debug, Default)]
pub(crate) struct SourceEnding {
    /// The end of the stream was reached.
    pub(crate) ended: bool,
    /// As many bytes as wanted were read, and none behind them was taken.
    pub(crate) limit_reached: bool,
    /// Why reading failed, if it did.
    pub(crate) error: Option<String>,
    /// It became shorter while it was read; that is the error.
    pub(crate) shrank: bool,
    /// How many bytes it had left at the start, if it is something that has a size.
    pub(crate) size_at_start: Option<u64>,
    /// The hash of all data, where it is wanted and known.
    pub(crate) hash: Option<[u8; 32]>,
    /// Bytes that were read and are no data: the seal's.
    pub(crate) seal_bytes: u64,
    /// Bytes that the system handed over and that nobody took, because reading was stopped.
    pub(crate) untaken: u64,
    /// It was not read to its end because a destination takes no more.
    pub(crate) is_destination_over: bool,
    /// These destinations take no more, and how they ended is on its way.
    pub(crate) destinations_over: Vec<usize>,
}

/// Closes our end: a producer that still writes learns of it now. Bounded by the library. How many bytes the system handed over
/// that nobody took. `child`: who may still write, if that is a child of ours.
pub(crate) fn untaken(reader: &PipeReader, child: Option<&Child>) -> u64 {
    note_tree(child);
    let receipt = reader.abort().wait();
    receipt.map_or(0, |receipt| {
        let ledger = receipt.ledger();
        ledger.accepted() - ledger.transferred()
    })
}

/// Has it remembered whom this child has started so far. Before its output is closed: that may end the child, and with it all that leads
/// to whoever is in a session of its own.
pub(crate) fn note_tree(child: Option<&Child>) {
    if let Some(child) = child {
        // Nobody is waited for: the look is how the wait begins.
        let _ = child.wait_tree().within(Duration::ZERO).wait();
    }
}

/// The source's end was reached. What there is to say if it had more at the start, and was cut since.
pub(crate) fn shrinkage(reader: &PipeReader, extent: Option<Extent>, read: u64) -> Option<String> {
    let at_start = extent?;
    // The first question spares most copies the second handle.
    let is_cut = at_start.is_short(read) && at_start.was_cut(read, extent_now(reader));
    is_cut.then(|| {
        let size = at_start.left();
        format!("the source became shorter: {size} bytes at the start, {read} read")
    })
}

/// What the source holds now.
fn extent_now(reader: &PipeReader) -> Option<Extent> {
    let handle = reader.try_clone_handle().ok()?;
    Extent::of(&File::from(handle))
}
