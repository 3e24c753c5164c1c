//! Children on every system.

// On Windows the system's pool of threads waits for children, and lets go of a handle some seconds after the last one. So the tests that
// count handles without such a wait come first: the harness goes by names.
mod adopted;
mod alike;
mod armed;
#[path = "../common/mod.rs"]
mod common;
mod life;
mod streaming;
#[cfg(any(target_os = "linux", windows))]
mod tree;
