//! The standard traits, each a thin skin over the same calls.

mod blocking;
#[cfg(feature = "futures")]
mod futures;
#[cfg(any(feature = "futures", feature = "tokio"))]
mod polled;
#[cfg(feature = "tokio")]
mod tokio;
