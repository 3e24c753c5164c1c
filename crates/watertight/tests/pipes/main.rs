//! One pipe or a few, on the system this runs on.

#[cfg(unix)]
mod armed;
mod before;
mod bounds;
#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "fault")]
mod construction;
mod lines;
mod observer;
mod spinning;
#[cfg(all(target_os = "linux", feature = "fault"))]
mod spliced_ends;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(all(unix, feature = "tokio"))]
mod timeouts;
#[cfg(all(unix, feature = "tokio"))]
mod tokio_reactor;
mod told;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
mod unix_ends;
#[cfg(unix)]
mod unix_shared;
#[cfg(all(feature = "futures", feature = "tokio"))]
mod waiting;
