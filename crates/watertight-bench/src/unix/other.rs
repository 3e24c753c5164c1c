//! Where the system does not tell or do what Linux does.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// Not known here.
pub(super) fn busy_time() -> Option<Duration> {
    None
}

/// Not possible here.
pub(super) fn stay_on_core(core: usize) -> Result<(), String> {
    stay_on_cores(&[core])
}

/// Not possible here.
pub(super) fn stay_on_cores(cores: &[usize]) -> Result<(), String> {
    Err(format!(
        "cores {cores:?}: threads cannot be kept on cores of this system"
    ))
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not possible here.
pub(super) fn set_capacity(_pipe: impl AsFd, _bytes: usize) -> io::Result<()> {
    unsupported()
}

/// Not known here.
pub(super) fn capacity(_pipe: impl AsFd) -> io::Result<u64> {
    unsupported()
}

/// Whether there is a [`splice`].
pub(super) const HAS_SPLICE: bool = false;

/// Not possible here.
pub(super) fn splice(_from: impl AsFd, _into: impl AsFd, _bytes_max: usize) -> io::Result<usize> {
    unsupported()
}

/// Not possible here.
pub(super) fn splice_now(
    _from: impl AsFd,
    _into: impl AsFd,
    _bytes_max: usize,
) -> io::Result<usize> {
    unsupported()
}

/// Not possible here.
pub(super) fn tee(_from: impl AsFd, _into: impl AsFd, _bytes_max: usize) -> io::Result<usize> {
    unsupported()
}

/// Not possible here.
pub(super) fn tee_now(_from: impl AsFd, _into: impl AsFd, _bytes_max: usize) -> io::Result<usize> {
    unsupported()
}

/// Not possible here.
pub(super) fn vmsplice(_into: impl AsFd, _memory: &'static [u8]) -> io::Result<usize> {
    unsupported()
}

/// Not made here.
pub(super) struct Stop;

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        unsupported()
    }

    pub(super) fn until_readable(&self, _from: impl AsFd) -> io::Result<()> {
        unsupported()
    }

    pub(super) fn until_writable(&self, _into: impl AsFd) -> io::Result<()> {
        unsupported()
    }
}

/// Not known here.
pub(super) fn memory_room(_folder: &Path) -> Option<u64> {
    None
}

/// Not known here.
pub(super) fn anonymous_bytes() -> io::Result<u64> {
    unsupported()
}

/// Not known here.
pub(super) fn resident_bytes_max() -> io::Result<u64> {
    unsupported()
}

/// Not known here.
pub(super) fn resident_bytes_max_of(_process: u32) -> io::Result<u64> {
    unsupported()
}

/// Not known here.
pub(super) fn threads_of(_process: u32) -> io::Result<u64> {
    unsupported()
}

/// Not known here.
pub(super) fn switches_of(_process: u32) -> io::Result<u64> {
    unsupported()
}

/// Not made here.
pub(super) struct Watch;

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        unsupported()
    }

    pub(super) fn add(&self, _from: impl AsFd, _number: usize) -> io::Result<()> {
        unsupported()
    }

    pub(super) fn wait(&self, _timeout: Option<Duration>) -> io::Result<Option<usize>> {
        unsupported()
    }
}
