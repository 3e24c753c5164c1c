//! `watertight copy`, run as a program.

#[cfg(target_os = "linux")]
mod calls_unix;
#[cfg(target_os = "linux")]
mod capacity_unix;
#[cfg(target_os = "linux")]
mod commit_faults_unix;
#[cfg(target_os = "linux")]
mod cookbook_unix;
#[cfg(unix)]
mod copy_unix;
#[cfg(target_os = "linux")]
mod deadlines_unix;
#[cfg(target_os = "linux")]
mod descriptors_unix;
#[cfg(unix)]
mod diagnostics_unix;
#[cfg(target_os = "linux")]
mod empty_copy_unix;
mod everywhere;
#[path = "../harness/mod.rs"]
mod harness;
#[cfg(target_os = "linux")]
mod held_up_unix;
#[cfg(unix)]
mod hostile_unix;
#[cfg(target_os = "linux")]
mod kept_unix;
#[cfg(target_os = "linux")]
mod left_behind_unix;
#[cfg(unix)]
mod opening_unix;
#[cfg(target_os = "linux")]
mod other_tools_unix;
#[cfg(target_os = "linux")]
mod partial_unix;
#[cfg(windows)]
mod partial_windows;
#[cfg(target_os = "linux")]
mod progress_lines_unix;
#[cfg(target_os = "linux")]
mod report_to_unix;
#[cfg(unix)]
mod resume_unix;
mod seal;
#[cfg(unix)]
mod seal_unix;
#[cfg(target_os = "linux")]
mod several_unix;
#[cfg(target_os = "linux")]
mod signals_unix;
mod start_at;
#[cfg(target_os = "linux")]
mod sync_unix;
#[cfg(target_os = "linux")]
mod threads_unix;
#[cfg(target_os = "linux")]
mod unkillable_unix;
mod usage;
mod verdict;
#[cfg(target_os = "linux")]
mod verdict_unix;
#[cfg(unix)]
mod watching_unix;
#[cfg(target_os = "linux")]
mod ways_out_unix;
