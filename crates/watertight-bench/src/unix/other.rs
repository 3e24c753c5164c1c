//! Where the system does not tell or do what Linux does.

use std::time::Duration;

/// Not known here.
pub(super) fn busy_time() -> Option<Duration> {
    None
}

/// Not possible here.
pub(super) fn stay_on_core(core: usize) -> Result<(), String> {
    Err(format!(
        "core {core}: threads cannot be kept on a core of this system"
    ))
}
