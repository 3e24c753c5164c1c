//! Children on Unix, most of them where there are `/proc` and pidfds.
#![cfg(unix)]

#[cfg(target_os = "linux")]
mod accounted;
#[cfg(target_os = "linux")]
mod alone;
#[cfg(target_os = "linux")]
mod capacity;
#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(all(target_os = "linux", feature = "fault"))]
mod closed;
#[path = "../common/mod.rs"]
mod common;
mod ended;
mod endurance;
#[cfg(target_os = "linux")]
mod in_our_group;
#[cfg(target_os = "linux")]
mod late;
#[cfg(target_os = "linux")]
mod left;
#[cfg(target_os = "linux")]
mod numbers;
#[cfg(target_os = "linux")]
mod refused;
#[cfg(target_os = "linux")]
mod run_as;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(all(target_os = "linux", feature = "tokio"))]
mod tokio_reactor;
#[cfg(target_os = "linux")]
mod tree_waits;
mod trees;
#[cfg(all(target_os = "linux", feature = "fault"))]
mod unheard;
#[cfg(all(target_os = "linux", feature = "fault"))]
mod unmade;
