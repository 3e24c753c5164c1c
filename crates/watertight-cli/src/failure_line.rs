//! What went wrong with a destination, in one line, for those who do not get the whole report.

use crate::copy_ending::GivenUp;
use crate::report::DestinationReport;

impl DestinationReport {
    /// One that was given up is told as that. What its pipe says once we have ended its command is a consequence.
    pub(crate) fn failure(&self) -> Option<String> {
        let is_told = |why: &GivenUp| why.is_deadline() || self.is_failure_ours;
        let Some(why) = self.given_up.filter(is_told) else {
            return self.error.clone();
        };
        let why = format!("given up: {}", why.explanation());
        let counters = self.counters;
        Some(match &self.error {
            Some(error) if !self.is_failure_ours => format!("{why}; {error}"),
            Some(_) | None => format!(
                "{why}; of {} bytes accepted, {} transferred, {} discarded, {} in doubt",
                counters.accepted, counters.transferred, counters.discarded, counters.in_doubt
            ),
        })
    }
}
