//! The one way in which this folder's files lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. A panic elsewhere cannot leave these half changed: each is changed in one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
