//! What a writer shows of itself.

use super::WriterCell;
use watertight_core::Backend;

impl<B: Backend> WriterCell<B> {
    /// Shows which pipe it is, where it is in its life, and its account.
    pub(crate) fn fmt_as(&self, name: &str, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct(name);
        let Some(state) = self.lock_here() else {
            return shown.finish_non_exhaustive();
        };
        let (phase, ledger) = (state.half.phase(), state.half.ledger());
        drop(state);
        match phase {
            Ok(phase) => shown.field("key", &self.key).field("phase", &phase),
            Err(cause) => shown.field("key", &self.key).field("failed", &cause),
        };
        shown.field("ledger", &ledger).finish_non_exhaustive()
    }
}

impl<B: Backend> std::fmt::Debug for WriterCell<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fmt_as("WriterCell", f)
    }
}
