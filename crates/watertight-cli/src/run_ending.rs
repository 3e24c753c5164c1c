//! What ended a run.

use serde::Serialize;
use watertight::{EndedBy, Outcome};

/// What ended the run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunEnding {
    Deadline,
    Failure,
    Interrupted,
    Itself,
    QuietAfterExit,
}

/// How it ended, in one word.
pub(crate) fn ending(outcome: &Outcome) -> RunEnding {
    let known = [
        (EndedBy::Deadline, RunEnding::Deadline),
        (EndedBy::Failure, RunEnding::Failure),
        (EndedBy::Request, RunEnding::Interrupted),
        (EndedBy::Quiet, RunEnding::QuietAfterExit),
    ];
    let found = known.into_iter().find(|(ended, _)| *ended == outcome.ended);
    found.map_or(RunEnding::Itself, |(_, ending)| ending)
}
