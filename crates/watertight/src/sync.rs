//! The one lock the driver is built from, in one place, so that a model checker's can take its place.

pub(crate) use std::sync::MutexGuard;

/// A mutex that a panic does not poison: no lock is held while calling out, so a panic under one is a broken invariant of
/// ours, and the ledger's own check is the better alarm.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
