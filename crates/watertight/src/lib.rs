//! Asynchronous pipe I/O that accounts for every byte.
#![forbid(unsafe_code)]
