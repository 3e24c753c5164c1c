//! What many pipes cost in memory while nothing happens on them. Said on standard error; then the probe rests until its standard
//! input ends. How often its threads are switched meanwhile is counted by who started it (`rest.rs`): it wakes nobody by that.

use crate::platform::kernel;
use std::io;

/// So many pipes are made before those that are counted: they start threads, and bring what there is only once into memory.
pub(super) const FIRST: usize = 16;

/// The process before it has the pipes.
pub(super) struct Before {
    anonymous_bytes: u64,
}

impl Before {
    pub(super) fn the_pipes() -> io::Result<Self> {
        let anonymous_bytes = kernel::anonymous_bytes()?;
        Ok(Self { anonymous_bytes })
    }

    /// It has so many pipes now, and a read waits on each: how many bytes it has more for each. The rest begins.
    pub(super) fn say(self, pipes: usize) -> io::Result<()> {
        let more = kernel::anonymous_bytes()?.saturating_sub(self.anonymous_bytes);
        eprintln!("{}", more as f64 / pipes as f64);
        Ok(())
    }
}
