//! The primitives the driver is built from, so that a model checker can take their place. Nothing else belongs here.

#[cfg(loom)]
pub(crate) use loom::sync::MutexGuard;
#[cfg(not(loom))]
pub(crate) use std::sync::MutexGuard;

#[cfg(loom)]
use loom::sync::Mutex as Raw;
#[cfg(not(loom))]
use std::sync::Mutex as Raw;

/// A mutex that a panic does not poison: no lock is held while calling out, so a panic under one is a broken invariant of
/// ours, and the ledger's own check is the better alarm.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(Raw<T>);

impl<T> Mutex<T> {
    #[cfg(not(loom))]
    pub(crate) const fn constant(value: T) -> Self {
        Self(Raw::new(value))
    }

    pub(crate) fn new(value: T) -> Self {
        Self(Raw::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
