//! What a command prints and nobody gets, because a standard stream of ours cannot have it: why, and how a report tells it.

use serde::{Serialize, Serializer};
use std::fmt::Write;

/// Why what a command writes to its standard output and its standard error goes nowhere, if it does. JSON has only whether it does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Discarded {
    #[serde(rename = "output_discarded", serialize_with = "whether")]
    pub(crate) output: Option<&'static str>,
    #[serde(rename = "stderr_discarded", serialize_with = "whether")]
    pub(crate) stderr: Option<&'static str>,
}

impl Discarded {
    /// Its lines in a text report.
    pub(crate) fn write_text(self, out: &mut String) -> std::fmt::Result {
        for (stream, why) in [("output", self.output), ("stderr", self.stderr)] {
            if let Some(why) = why {
                writeln!(out, "  {stream:<12} discarded: {why}")?;
            }
        }
        Ok(())
    }
}

/// Why that goes nowhere which is for a standard stream of ours that was closed at the start.
pub(crate) fn closed(number: u32) -> &'static str {
    match number {
        0 => "standard input is closed",
        1 => "standard output is closed (`>printed` keeps it)",
        _ => "standard error is closed (`2>messages` keeps it)",
    }
}

fn whether<S: Serializer>(why: &Option<&'static str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(why.is_some())
}
