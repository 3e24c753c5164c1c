//! The one lock the driver is built from, in one place, so that a model checker's can take its place.

#[cfg(loom)]
use loom::sync as primitives;
#[cfg(shuttle)]
use shuttle::sync as primitives;
#[cfg(not(any(loom, shuttle)))]
use std::sync as primitives;

pub(crate) use primitives::MutexGuard;

#[cfg(loom)]
pub(crate) use loom::thread_local;
#[cfg(shuttle)]
pub(crate) use shuttle::thread_local;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::thread_local;

/// A mutex that a panic does not poison: no lock is held while calling out, so a panic under one is a broken invariant of
/// ours, and the ledger's own check is the better alarm.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(primitives::Mutex<T>);

/// The same for a `static`, which outlives every model: always the system's.
#[derive(Debug)]
pub(crate) struct StaticMutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(primitives::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl<T> Mutex<T> {
    /// Only if nobody has it: at the end of the process its owner may be a thread that is gone.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

impl<T> Mutex<T> {
    /// As [`lock`](Self::lock), unless somebody has it who will never release it: `is_elsewhere` says that this is a forked child, where the
    /// parent's threads are not.
    pub(crate) fn lock_unless(
        &self,
        is_elsewhere: impl FnOnce() -> bool,
    ) -> Option<MutexGuard<'_, T>> {
        // No model forks: there it is one lock.
        if cfg!(not(any(loom, shuttle))) {
            let guard = self.try_lock();
            if guard.is_some() || is_elsewhere() {
                return guard;
            }
        }
        Some(self.lock())
    }

    /// Whether somebody has it at this moment.
    pub(crate) fn is_held(&self) -> bool {
        self.try_lock().is_none()
    }
}

impl<T> StaticMutex<T> {
    /// As [`Mutex::lock_unless`].
    pub(crate) fn lock_unless(
        &self,
        is_elsewhere: impl FnOnce() -> bool,
    ) -> Option<std::sync::MutexGuard<'_, T>> {
        let guard = self.try_lock();
        if guard.is_some() || is_elsewhere() {
            return guard;
        }
        Some(self.lock())
    }

    /// As [`Mutex::try_lock`].
    pub(crate) fn try_lock(&self) -> Option<std::sync::MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn who_is_elsewhere_waits_for_no_lock() {
        let (lock, of_process) = (Mutex::new(1), StaticMutex::new(2));
        let held = (lock.lock(), of_process.lock());
        assert!(lock.lock_unless(|| true).is_none());
        assert!(of_process.lock_unless(|| true).is_none());
        drop(held);
        for is_elsewhere in [false, true] {
            let free = lock.lock_unless(|| is_elsewhere);
            assert_eq!(free.map(|value| *value), Some(1));
            let free = of_process.lock_unless(|| is_elsewhere);
            assert_eq!(free.map(|value| *value), Some(2));
        }
    }
}
