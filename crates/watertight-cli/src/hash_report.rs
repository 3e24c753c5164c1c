//! What the closing report says of the hash of the bytes read.

use serde::Serialize;

/// A hash of the bytes read.
#[derive(Debug, Serialize)]
pub(crate) struct HashReport {
    pub(crate) algorithm: &'static str,
    pub(crate) hex: String,
}

/// Why there is no hash of the bytes read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NoHash {
    /// Some of them were had by some of several destinations only, when these were over: what is hashed is what all have that count.
    LeftOut,
    /// Nothing was copied.
    NotBegun,
    /// The source did not stop when it was told to, and its thread has the hash.
    SourceHangs,
}

impl NoHash {
    pub(crate) fn explanation(self) -> &'static str {
        match self {
            Self::LeftOut => {
                "some of the bytes read were had only by some destinations when the copy ended"
            }
            Self::NotBegun => "nothing was copied",
            Self::SourceHangs => "the source did not stop",
        }
    }
}
