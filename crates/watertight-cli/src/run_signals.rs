//! Signals to `watertight run`: which of them are for us, and what they come to.
//!
//! Never here: what the system says of a signal (the platform's files), and what is done when somebody has asked us to end (`supervise.rs`).

use crate::event::{Inbox, Mailbox, mailbox};
use crate::orphans::{Adoption, Asked};
use crate::platform;
use crate::report_to;
use crate::requests::{Requests, Signal};
use std::io;
use std::sync::Arc;
use std::time::Instant;
use watertight::EndRequest;

/// What signals to us come to.
pub(crate) struct Heard {
    /// Ends the command.
    pub(crate) request: EndRequest,
    /// They end the opening of streams by this.
    pub(crate) mailbox: Mailbox,
    pub(crate) inbox: Inbox,
}

impl Heard {
    fn new() -> Self {
        let (mailbox, inbox) = mailbox();
        Self {
            request: EndRequest::new(),
            mailbox,
            inbox,
        }
    }
}

/// From now on a signal to us ends the opening of the streams, and then the command. `leave` ends the process at once, for another one when
/// nothing but the report is left.
pub(crate) fn listen(
    is_in_our_group: bool,
    adoption: &Adoption,
    leave: fn(i32),
) -> io::Result<Heard> {
    let heard = Heard::new();
    let mut signals = RunSignals::new(&heard, adoption.asked(), is_in_our_group, leave);
    // One that would end us and that nobody heard would leave the command without its deadline, and with --tty our terminal as it has it.
    platform::watch_signals(move |signal| signals.handle(signal, Instant::now()))?;
    Ok(heard)
}

/// The signals to a run.
struct RunSignals {
    requests: Requests,
    mailbox: Mailbox,
    request: EndRequest,
    asked: Arc<Asked>,
    /// The command is in our group.
    is_in_our_group: bool,
    /// Ends the process at once.
    leave: fn(i32),
}

impl RunSignals {
    fn new(heard: &Heard, asked: Arc<Asked>, is_in_our_group: bool, leave: fn(i32)) -> Self {
        Self {
            requests: Requests::default(),
            mailbox: heard.mailbox.clone(),
            request: heard.request.clone(),
            asked,
            is_in_our_group,
            leave,
        }
    }

    fn handle(&mut self, signal: Signal, now: Instant) {
        let is_reporting = report_to::is_due();
        let is_heard_there = self.is_in_our_group && self.asked.is_command_there();
        if signal.is_typed && is_heard_there && !is_reporting {
            // The command has heard the key as we have. So that is no request to us, and what comes at once with it is no part of one.
            return;
        }
        let is_ending = self.asked.times() > 0;
        if !self.requests.is_new(signal, now, is_ending) {
            return;
        }
        if is_reporting && is_ending {
            // The command is over, and who is to take the report may take his time.
            (self.leave)(128 + signal.number);
        }
        self.asked.note(signal.number);
        self.mailbox.interrupt(signal.number);
        // Sent again, it leaves no grace.
        self.request.send();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const TERMINATE: Signal = Signal {
        number: 15,
        is_typed: false,
        is_asking: true,
    };
    const HANG_UP: Signal = Signal {
        number: 1,
        ..TERMINATE
    };
    const KEY: Signal = Signal {
        number: 2,
        is_typed: true,
        ..TERMINATE
    };
    const TIMER: Signal = Signal {
        number: 27,
        is_asking: false,
        ..TERMINATE
    };

    /// To a command in our group. It tells who has asked us to end, too.
    fn signals(adoption: &Adoption) -> RunSignals {
        RunSignals::new(&Heard::new(), adoption.asked(), true, |_| {
            panic!("there is no report")
        })
    }

    /// As GNU timeout sends one, and as a terminal that is closed and whoever supervises its session send two. The second request leaves the
    /// command no grace.
    #[test]
    fn signals_that_come_at_once_are_one_request_to_a_run() {
        let adoption = Adoption::new();
        let (asked, mut signals) = (adoption.asked(), signals(&adoption));
        let now = Instant::now();
        for signal in [TERMINATE, TERMINATE, HANG_UP] {
            signals.handle(signal, now);
        }
        assert_eq!(asked.times(), 1);
        assert_eq!(asked.signal(), Some(TERMINATE.number));
        let later = now + Duration::from_secs(1);
        // A timer asks nobody.
        signals.handle(TIMER, later);
        assert_eq!(asked.times(), 1);
        signals.handle(HANG_UP, later);
        assert_eq!(asked.times(), 2);
        assert_eq!(asked.signal(), Some(HANG_UP.number));
    }

    /// Before the command is there, nobody else has it. While it is there it has it, and what a program above us sends for it at once is not
    /// taken for a part of it. Behind the command's end it is for us again.
    #[test]
    fn a_key_is_for_us_unless_the_command_is_there_to_hear_it() {
        let now = Instant::now();
        let adoption = Adoption::new();
        let (asked, mut before) = (adoption.asked(), signals(&adoption));
        before.handle(KEY, now);
        assert_eq!(asked.signal(), Some(KEY.number));

        let adoption = Adoption::new();
        let (asked, mut signals) = (adoption.asked(), signals(&adoption));
        adoption.command_begins();
        signals.handle(KEY, now);
        assert_eq!((asked.times(), asked.signal()), (0, None));
        signals.handle(TERMINATE, now);
        assert_eq!(asked.times(), 1);
        assert_eq!(asked.signal(), Some(TERMINATE.number));
        adoption.command_is_over();
        signals.handle(KEY, now + Duration::from_secs(1));
        assert_eq!(asked.times(), 2);
        assert_eq!(asked.signal(), Some(KEY.number));
    }

    /// What was typed before was for the command.
    #[test]
    fn a_timer_ends_a_run_whose_command_has_heard_keys() {
        let adoption = Adoption::new();
        let (asked, mut signals) = (adoption.asked(), signals(&adoption));
        adoption.command_begins();
        signals.handle(KEY, Instant::now());
        assert_eq!(asked.times(), 0);
        signals.handle(TIMER, Instant::now());
        assert_eq!(asked.times(), 1);
        assert_eq!(asked.signal(), Some(TIMER.number));
    }
}
