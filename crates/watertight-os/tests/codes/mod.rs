//! What must hold for every code of every call, known or not: a class, always the same, and never good news that the call
//! did not bring. A fuzz target includes this file.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects"
)]

#[cfg(all(unix, not(windows)))]
mod unix;
#[cfg(any(windows, feature = "tables"))]
mod windows;
#[cfg(not(any(windows, feature = "tables")))]
mod windows {
    /// Windows' table is not here without its feature.
    pub(super) fn check(_: u8, _: u32, _: [u8; 4]) {}
}

/// Bytes: a call, a code, and what came with it.
pub(crate) fn check(bytes: &[u8]) {
    let mut all = [0; 9];
    let len = bytes.len().min(all.len());
    all[..len].copy_from_slice(&bytes[..len]);
    let [call, a, b, c, d, rest @ ..] = all;
    let code = u32::from_le_bytes([a, b, c, d]);
    #[cfg(all(unix, not(windows)))]
    unix::check(call, code);
    windows::check(call, code, rest);
}
