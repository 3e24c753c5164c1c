//! Transfers between pipes, to one destination and to several, on the system this runs on.

#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
mod ends;
mod tee;
#[cfg(target_os = "linux")]
mod tee_blocking;
#[cfg(target_os = "linux")]
mod tee_everywhere;
#[cfg(target_os = "linux")]
mod tee_files;
mod tee_queues;
mod transfer;
#[cfg(target_os = "linux")]
mod transfer_blocking;
mod transfer_calls;
#[cfg(target_os = "linux")]
mod transfer_devices;
#[cfg(target_os = "linux")]
mod transfer_holes;
#[cfg(target_os = "linux")]
mod transfer_polled;
#[cfg(target_os = "linux")]
mod transfer_reflink;
#[cfg(target_os = "linux")]
mod transfer_sockets;
