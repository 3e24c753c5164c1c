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
    /// There was no command: it could not be started, or its streams could not be opened.
    NotStarted,
    QuietAfterExit,
}

/// Why nothing is known of a command but this: in most cases it was not started.
pub(crate) struct NoOutcome {
    pub(crate) ending: RunEnding,
    pub(crate) exit_code: i32,
    pub(crate) error: String,
    /// The report's file is a stream of the command's, or of ours: nothing may be written there.
    pub(crate) is_report_refused: bool,
}

impl NoOutcome {
    pub(crate) fn new(ending: RunEnding, exit_code: i32, error: String) -> Self {
        Self {
            ending,
            exit_code,
            error,
            is_report_refused: false,
        }
    }
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
