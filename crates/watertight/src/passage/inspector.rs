//! The caller's function that sees what passes.

use std::sync::{Mutex, PoisonError};

/// A function that is shown bytes.
pub(crate) type Inspect<'a> = dyn FnMut(&[u8]) + Send + 'a;

/// Such a function, if there is one. Its mutex is never locked: whoever calls has it to itself. With it a transfer can be shared
/// between threads as one without a function can.
#[derive(Default)]
pub(crate) struct Inspector<'a>(Mutex<Option<Box<Inspect<'a>>>>);

impl<'a> Inspector<'a> {
    pub(crate) fn set(&mut self, function: Box<Inspect<'a>>) {
        *self.slot() = Some(function);
    }

    pub(crate) fn forget(&mut self) {
        *self.slot() = None;
    }

    pub(crate) fn is_there(&mut self) -> bool {
        self.slot().is_some()
    }

    /// A panic in it is the caller's.
    pub(crate) fn show(&mut self, bytes: &[u8]) {
        if let Some(function) = self.slot() {
            function(bytes);
        }
    }

    fn slot(&mut self) -> &mut Option<Box<Inspect<'a>>> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}
