//! The system calls of both systems, driven by hand: what their codes mean, what their backends answer, and their children.

#[path = "../codes/mod.rs"]
mod codes;
mod corpus;
#[cfg(any(target_os = "linux", windows))]
mod itself;
mod turn;
#[cfg(unix)]
mod unix_backend;
#[cfg(unix)]
mod unix_children;
#[cfg(target_os = "linux")]
mod unix_hearing;
#[cfg(target_os = "linux")]
mod unix_new_child;
#[cfg(any(target_os = "android", target_os = "linux"))]
mod unix_positions;
#[cfg(unix)]
mod unix_process;
#[cfg(target_os = "linux")]
mod unix_process_linux;
#[cfg(target_os = "linux")]
mod unix_turn;
#[cfg(windows)]
mod windows_adopt;
#[cfg(windows)]
mod windows_backend;
#[cfg(windows)]
mod windows_blocking;
#[cfg(any(windows, feature = "tables"))]
mod windows_classify;
#[cfg(all(windows, feature = "fault"))]
mod windows_faults;
#[cfg(windows)]
mod windows_inherited;
#[cfg(windows)]
mod windows_lab;
#[cfg(windows)]
mod windows_leaks;
#[cfg(all(windows, feature = "fault"))]
mod windows_memory;
#[cfg(windows)]
mod windows_process;
