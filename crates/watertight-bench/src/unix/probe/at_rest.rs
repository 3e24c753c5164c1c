//! What many pipes cost while nothing happens on them: memory, processor time and wake-ups. Said on standard error.

use crate::platform::{kernel, machine};
use std::io;
use std::time::Duration;

/// For so long nothing happens.
pub(super) const REST: Duration = Duration::from_secs(2);

/// The process before it has the pipes.
pub(super) struct Before {
    resident_bytes: u64,
}

/// The process with the pipes, a read waiting on each.
pub(super) struct AtRest {
    bytes_per_pipe: f64,
    cpu: Duration,
    switches: u64,
}

impl Before {
    pub(super) fn the_pipes() -> io::Result<Self> {
        let resident_bytes = kernel::resident_bytes()?;
        Ok(Self { resident_bytes })
    }

    pub(super) fn rest_begins(self, pipes: usize) -> io::Result<AtRest> {
        let more = kernel::resident_bytes()?.saturating_sub(self.resident_bytes);
        Ok(AtRest {
            bytes_per_pipe: more as f64 / pipes as f64,
            cpu: machine::cpu_time(),
            switches: kernel::switches()?,
        })
    }
}

impl AtRest {
    /// Bytes per pipe, nanoseconds of processor time, switches.
    pub(super) fn say(self) -> io::Result<()> {
        let switches = kernel::switches()?.saturating_sub(self.switches);
        let cpu = machine::cpu_time().saturating_sub(self.cpu);
        eprintln!("{} {} {switches}", self.bytes_per_pipe, cpu.as_nanos());
        Ok(())
    }
}
