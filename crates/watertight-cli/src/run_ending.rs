//! What ended a run.

use serde::Serialize;
use watertight::{EndedBy, Outcome};

/// What ended the run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunEnding {
    Deadline,
    DeadlineAfterExit,
    Failure,
    Interrupted,
    Itself,
    QuietAfterExit,
}

impl RunEnding {
    /// Whether the command ended by itself, so that its own exit code counts.
    pub(crate) const fn is_by_itself(self) -> bool {
        matches!(
            self,
            Self::DeadlineAfterExit | Self::Itself | Self::QuietAfterExit
        )
    }
}

/// How it ended, in one word.
pub(crate) fn ending(outcome: &Outcome) -> RunEnding {
    let known = [
        (EndedBy::Deadline, RunEnding::Deadline),
        (EndedBy::DeadlineAfterExit, RunEnding::DeadlineAfterExit),
        (EndedBy::Failure, RunEnding::Failure),
        (EndedBy::Request, RunEnding::Interrupted),
        (EndedBy::Quiet, RunEnding::QuietAfterExit),
    ];
    let found = known.into_iter().find(|(ended, _)| *ended == outcome.ended);
    found.map_or(RunEnding::Itself, |(_, ending)| ending)
}
