//! What can be told of a source without a read.

/// What a source will bring.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outlook {
    /// Nothing: a read would find its end.
    Ended,
    /// Nobody knows: it is a pipe in which nothing is yet.
    #[cfg_attr(
        not(target_os = "linux"),
        allow(dead_code, reason = "nobody tells there")
    )]
    Silent,
    /// Something, or only a read can tell.
    Unknown,
}
