//! Progress for programs: one JSON object a line on standard error, with numbers that need no taking apart.

use crate::diagnostics;
use crate::progress::{Awaited, CopyProgress, DestinationProgress};
use crate::units::per_second;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How often there is a line, unless the user says.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// The lines, and what the line before said.
pub(crate) struct ProgressLines {
    size: Option<u64>,
    begun: Instant,
    bytes: u64,
    told_at: Instant,
}

/// One line.
#[derive(Serialize)]
struct ProgressRecord<'a> {
    kind: &'static str,
    elapsed_seconds: f64,
    /// Of the slowest destination that is left.
    bytes: u64,
    bytes_read: u64,
    /// How many there will be, if that is known.
    size: Option<u64>,
    /// Bytes a second since the line before; in the last line since the beginning.
    rate: u64,
    /// What is left at the rate since the beginning.
    eta_seconds: Option<u64>,
    /// All bytes are through, and the ends wait for `waiting_for`.
    held: bool,
    waiting_for: Option<&'a str>,
    /// The command that is being ended.
    ending: Option<&'a str>,
    /// The bytes of those two in base64, if they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for_base64: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_base64: Option<&'a str>,
    destinations: &'a [DestinationProgress],
}

impl ProgressLines {
    pub(crate) fn new(size: Option<u64>, now: Instant) -> Self {
        Self {
            size,
            begun: now,
            bytes: 0,
            told_at: now,
        }
    }

    /// A line in between. Where standard error has no time for it, it is left out.
    pub(crate) fn tell(&mut self, progress: &CopyProgress, now: Instant) {
        let since = now.saturating_duration_since(self.told_at);
        let rate = per_second(progress.bytes.saturating_sub(self.bytes), since);
        diagnostics::offer_asked(&self.line(progress, now, rate));
        self.bytes = progress.bytes;
        self.told_at = now;
    }

    /// The last line.
    pub(crate) fn tell_last(&self, progress: &CopyProgress, now: Instant) {
        let since = now.saturating_duration_since(self.begun);
        let rate = per_second(progress.bytes, since);
        diagnostics::offer_asked(&self.line(progress, now, rate));
    }

    fn line(&self, progress: &CopyProgress, now: Instant, rate: u64) -> String {
        let elapsed = now.saturating_duration_since(self.begun);
        let left = self.size.map(|size| size.saturating_sub(progress.bytes));
        let average = per_second(progress.bytes, elapsed);
        let (waiting_for, ending) = match &progress.awaited {
            Awaited::Ending(command) => (None, Some(command)),
            Awaited::Held(command) => (Some(command), None),
            Awaited::Nobody => (None, None),
        };
        let record = ProgressRecord {
            kind: "progress",
            elapsed_seconds: elapsed.as_secs_f64(),
            bytes: progress.bytes,
            bytes_read: progress.bytes_read,
            size: self.size,
            rate,
            eta_seconds: left.and_then(|left| seconds_for(left, average)),
            held: waiting_for.is_some(),
            waiting_for: waiting_for.map(|command| command.text.as_str()),
            ending: ending.map(|command| command.text.as_str()),
            waiting_for_base64: waiting_for.and_then(|command| command.base64.as_deref()),
            ending_base64: ending.and_then(|command| command.base64.as_deref()),
            destinations: &progress.destinations,
        };
        let json = serde_json::to_string(&record).expect("texts and finite numbers are JSON");
        json + "\n"
    }
}

/// How long so many bytes take at this rate; nobody knows at none.
fn seconds_for(bytes: u64, rate: u64) -> Option<u64> {
    if bytes == 0 {
        return Some(0);
    }
    (rate > 0).then(|| bytes.div_ceil(rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy_ending::GivenUp;
    use crate::progress::{AwaitedCommand, DestinationState};
    use serde_json::Value;

    #[test]
    fn a_line_has_the_numbers_and_who_is_waited_for() {
        let begun = Instant::now();
        let mut lines = ProgressLines::new(Some(100), begun);
        lines.bytes = 10;
        let progress = CopyProgress {
            bytes_read: 50,
            bytes: 40,
            slowest: Some(0),
            destinations: vec![
                DestinationProgress {
                    address: "b\n".to_owned(),
                    transferred: 40,
                    not_accepted: 3,
                    queued: 6,
                    in_flight: 4,
                    live: true,
                    state: DestinationState::Behind,
                    ..DestinationProgress::default()
                },
                DestinationProgress {
                    state: DestinationState::Dropped,
                    given_up: Some(GivenUp::SlowDeadline),
                    ..DestinationProgress::default()
                },
            ],
            awaited: Awaited::Held(AwaitedCommand {
                text: "make".to_owned(),
                base64: None,
            }),
        };
        let text = lines.line(&progress, begun + Duration::from_secs(2), 15);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["kind"], "progress");
        assert_eq!(line["bytes"], 40);
        assert_eq!(line["rate"], 15);
        assert_eq!(line["eta_seconds"], 3);
        assert_eq!(line["held"], true);
        assert_eq!(line["waiting_for"], "make");
        assert!(line.get("waiting_for_base64").is_none());
        let [one, other] = [0_usize, 1].map(|index| &line["destinations"][index]);
        assert_eq!(
            (&one["queued"], &one["not_accepted"]),
            (&6.into(), &3.into())
        );
        assert_eq!(one["state"], "behind");
        assert!(one["given_up"].is_null() && one.get("address_base64").is_none());
        assert_eq!(other["state"], "dropped");
        assert_eq!(other["given_up"], "slow_deadline");
    }

    #[test]
    fn a_command_that_is_being_ended_is_named_by_its_bytes_too_if_they_are_no_text() {
        let begun = Instant::now();
        let progress = CopyProgress {
            bytes_read: 0,
            bytes: 0,
            slowest: None,
            destinations: Vec::new(),
            awaited: Awaited::Ending(AwaitedCommand {
                text: "a\u{fffd}".to_owned(),
                base64: Some("Yf8=".to_owned()),
            }),
        };
        let text = ProgressLines::new(None, begun).line(&progress, begun, 0);
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["ending"], "a\u{fffd}");
        assert_eq!(line["ending_base64"], "Yf8=");
        assert!(line["waiting_for"].is_null() && line.get("waiting_for_base64").is_none());
    }

    #[test]
    fn without_a_rate_there_is_no_estimate_and_the_end_is_now() {
        assert_eq!(seconds_for(5, 0), None);
        assert_eq!(seconds_for(0, 0), Some(0));
        assert_eq!(seconds_for(5, 2), Some(3));
    }
}
