//! Scenarios of children that a limit of `communicate` ends: a deadline, a bound, a request. What they had written is kept.

use super::children::{hear, hear_streams, start};
use super::stage::{Stage, rest};
use std::io::Read;
use std::time::Duration;
use watertight::{AtBound, Command, EndRequest, EndedBy, Input, Limits, Outcome, Output, fault};

/// A shell that writes something, says that it is there, and becomes one that goes on as long as its input does.
const WRITES: &str = "echo partial >&2; echo ready; exec cat >/dev/null";

/// What that is.
const WRITTEN: &[u8] = b"partial\n";

/// Who is asked to end has so long.
const GRACE: Duration = Duration::from_millis(20);

/// It is asked to end, and does.
pub(crate) fn by_deadline(s: &mut Stage<'_>) {
    let limits = Limits::new().within(Duration::ZERO).grace(GRACE);
    run(s, WRITES, limits, (EndedBy::Deadline, WRITTEN));
}

/// It is killed at once.
pub(crate) fn by_bound(s: &mut Stage<'_>) {
    let limits = Limits::new().output_bytes_max(3).at_bound(AtBound::End);
    let limits = limits.grace(Duration::ZERO);
    run(s, WRITES, limits, (EndedBy::Bound, &WRITTEN[..3]));
}

/// It is asked to end, does not, and is killed.
pub(crate) fn by_request(s: &mut Stage<'_>) {
    let request = EndRequest::new();
    request.send();
    let limits = Limits::new().end_on(&request).grace(GRACE);
    let script = format!("trap '' TERM; {WRITES}");
    run(s, &script, limits, (EndedBy::Request, WRITTEN));
}

/// Runs a shell to that end, with so much of its output.
fn run(s: &mut Stage<'_>, script: &str, limits: Limits, expected: (EndedBy, &[u8])) {
    let (from, into) = std::io::pipe().unwrap();
    let (mut says, theirs) = std::io::pipe().unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .stdin(Input::from_handle(from))
        .stdout(Output::from_handle(theirs))
        .stderr(Output::piped());
    let Some(child) = start(s, shell) else {
        return;
    };
    let mut ready = [0; 6];
    says.read_exact(&mut ready).unwrap();
    let mut into = Some(into);
    // Whose output cannot be read comes to no bound: it ends with its input.
    let look = || {
        if fault::begun().iter().any(|made| made.name.contains("read")) {
            drop(into.take());
        }
        rest();
    };
    if let Some(outcome) = s.drive_beside(child.communicate(limits), look) {
        check(s, &outcome.expect("no forked child"), expected);
    }
    // So does whoever could not be ended.
    drop(into);
}

/// Whatever failed: what came is what was written.
fn check(s: &mut Stage<'_>, outcome: &Outcome, (ended, kept): (EndedBy, &[u8])) {
    hear_streams(s, outcome);
    s.hear(outcome.failure.and_then(|failure| failure.os));
    let tree = outcome.tree.as_ref();
    if let Some(error) = tree.and_then(|tree| tree.error.as_ref()) {
        hear(s, error);
    }
    let came = &outcome.stderr.bytes[..];
    assert!(kept.starts_with(came), "not what was written: {came:?}");
    s.expect(came == kept, "what it had written is kept");
    s.expect(outcome.ended == ended, "it is ended by what was to end it");
    s.expect(tree.is_some(), "its tree is ended");
    s.expect(outcome.exit.is_some(), "its end is told");
}
