//! The rule in words, once more and in another order: every combination of what can be known, in every phase.

use super::*;

const NOW: Moment = Moment(1_000_000_000);
const LONG_AGO: Moment = Moment(400_000_000);
const PAST: Moment = Moment(900_000_000);
const SOON: Moment = Moment(1_005_000_000);
const LATER: Moment = Moment(2_000_000_000);

/// A silence that is over at `NOW` if nothing came since `PAST`.
const SHORT: Duration = Duration::from_millis(100);
/// One that lasts longer.
const LONG: Duration = Duration::from_millis(300);

const BOTH: [bool; 2] = [false, true];

/// Nothing has happened.
const NOTHING: Known = Known {
    now: NOW,
    exited_at: None,
    is_unheard: false,
    has_ended: false,
    is_past_bound: false,
    requests: 0,
    due: None,
    after_exit: AfterExit::ToEnd,
    is_read_out: false,
    is_held_up: false,
    heard_at: Moment(0),
};

/// Every combination.
fn all() -> Vec<Known> {
    let mut all = vec![NOTHING];
    let mut vary = |variants: &dyn Fn(Known) -> Vec<Known>| {
        all = all.iter().copied().flat_map(variants).collect();
    };
    vary(&|known| {
        let times = [None, Some(LONG_AGO), Some(PAST), Some(NOW)];
        times.map(|exited_at| Known { exited_at, ..known }).to_vec()
    });
    vary(&|known| {
        let variants = BOTH.map(|is_unheard| Known {
            is_unheard,
            ..known
        });
        variants.to_vec()
    });
    vary(&|known| BOTH.map(|has_ended| Known { has_ended, ..known }).to_vec());
    vary(&|known| {
        let variants = BOTH.map(|is_past_bound| Known {
            is_past_bound,
            ..known
        });
        variants.to_vec()
    });
    vary(&|known| {
        [0, 1, 2]
            .map(|requests| Known { requests, ..known })
            .to_vec()
    });
    vary(&|known| {
        let times = [None, Some(PAST), Some(NOW), Some(SOON), Some(LATER)];
        times.map(|due| Known { due, ..known }).to_vec()
    });
    vary(&|known| {
        let quiet = [Duration::ZERO, SHORT, LONG].map(AfterExit::Quiet);
        let rules = quiet.into_iter();
        let rules = rules.chain([AfterExit::ToDeadline, AfterExit::ToEnd]);
        rules
            .map(|after_exit| Known {
                after_exit,
                ..known
            })
            .collect()
    });
    vary(&|known| {
        let variants = BOTH.map(|is_read_out| Known {
            is_read_out,
            ..known
        });
        variants.to_vec()
    });
    vary(&|known| {
        let variants = BOTH.map(|is_held_up| Known {
            is_held_up,
            ..known
        });
        variants.to_vec()
    });
    vary(&|known| {
        let times = [Moment(0), PAST, NOW];
        times.map(|heard_at| Known { heard_at, ..known }).to_vec()
    });
    all
}

fn is_done(known: &Known) -> bool {
    (known.exited_at.is_some() || known.is_unheard) && known.has_ended
}

/// When the silence after the exit is over, if it counts.
fn silent_at(known: &Known) -> Option<Moment> {
    let counts = known.is_read_out && !known.is_held_up;
    let since = known.exited_at?.max(known.heard_at);
    let AfterExit::Quiet(quiet) = known.after_exit else {
        return None;
    };
    counts.then(|| since.after(quiet))
}

/// What a reason comes to. Once the child is over nobody is asked to end, unless whoever is left behind is a part of the run; and what the
/// child has written is read first, as far as it is told of in time.
fn ended(known: &Known, by: EndedBy, left: EndedBy) -> Next {
    let is_part_of_the_run = known.after_exit == AfterExit::ToEnd;
    match known.exited_at {
        Some(LONG_AGO) if !is_part_of_the_run => Next::Close(left),
        Some(_) if !is_part_of_the_run && known.is_read_out => Next::Close(left),
        Some(since) if !is_part_of_the_run => Next::Stay(Some(since.after(READ_OUT_WITHIN))),
        Some(_) | None => Next::Ask(by),
    }
}

/// The first row that applies.
#[test]
fn what_goes_on_is_ended_by_the_first_reason_there_is() {
    for known in all() {
        let silent_at = silent_at(&known);
        let is_due = known.due.is_some_and(|due| due <= NOW);
        let looks = known.due.into_iter().chain(silent_at).min();
        let rows = [
            (known.is_unheard, Next::Kill(EndedBy::Failure)),
            (is_done(&known), Next::Close(EndedBy::Itself)),
            (
                known.is_past_bound,
                ended(&known, EndedBy::Bound, EndedBy::Bound),
            ),
            (
                known.requests > 0,
                ended(&known, EndedBy::Request, EndedBy::Request),
            ),
            (
                is_due,
                ended(&known, EndedBy::Deadline, EndedBy::DeadlineAfterExit),
            ),
            (
                silent_at.is_some_and(|due| due <= NOW),
                Next::Close(EndedBy::Quiet),
            ),
            (true, Next::Stay(looks)),
        ];
        let (_, expected) = rows.into_iter().find(|(applies, _)| *applies).unwrap();
        assert_eq!(next(Phase::Going, &known), expected, "{known:?}");
    }
}

/// Its grace is its own: nothing shortens it but the second request and an end that nobody tells, and nothing but its tree keeps one
/// that is over.
#[test]
fn who_is_asked_to_end_has_its_grace() {
    for known in all() {
        for due in [PAST, NOW, SOON, LATER] {
            let is_over = due <= NOW || known.requests > 1 || known.is_unheard;
            let look = due.min(NOW.after(LOOK_EVERY));
            let rows = [
                (is_over, Next::Kill(EndedBy::Deadline)),
                (is_done(&known), Next::LookAtTree(EndedBy::Deadline, look)),
                (true, Next::Stay(Some(due))),
            ];
            let (_, expected) = rows.into_iter().find(|(applies, _)| *applies).unwrap();
            let phase = Phase::Asked(EndedBy::Deadline, due);
            assert_eq!(next(phase, &known), expected, "{due:?} {known:?}");
        }
    }
}

/// Once killed, only its end or the bound on reading matters.
#[test]
fn who_was_killed_is_read_to_its_end_or_the_bound() {
    for known in all() {
        for due in [PAST, NOW, SOON, LATER] {
            let expected = if is_done(&known) || due <= NOW {
                Next::Close(EndedBy::Bound)
            } else {
                Next::Stay(Some(due))
            };
            let phase = Phase::Killed(EndedBy::Bound, due);
            assert_eq!(next(phase, &known), expected, "{due:?} {known:?}");
        }
    }
}

/// Whatever else is known: a success is not followed by a signal, unless whoever is left behind is a part of the run.
#[test]
fn nobody_is_signalled_once_the_child_has_ended_by_itself() {
    let is_told = |known: &Known| known.exited_at.is_some() && !known.is_unheard;
    for known in all().iter().filter(|known| is_told(known)) {
        let next = next(Phase::Going, known);
        if known.after_exit != AfterExit::ToEnd {
            let is_let_be = matches!(next, Next::Close(_) | Next::Stay(_));
            assert!(is_let_be, "{next:?} {known:?}");
        }
    }
}

#[test]
fn what_is_being_closed_stays_so() {
    for known in all() {
        let phase = Phase::Closing(EndedBy::Quiet);
        assert_eq!(next(phase, &known), Next::Stay(None), "{known:?}");
    }
}

/// Nobody looks at a moment that has passed, which would be a spin, and somebody always looks when a time has to pass.
#[test]
fn a_look_is_ahead_and_never_forgotten() {
    let phases = [
        Phase::Going,
        Phase::Asked(EndedBy::Request, SOON),
        Phase::Killed(EndedBy::Request, LATER),
    ];
    for known in all() {
        for phase in phases {
            match next(phase, &known) {
                Next::Stay(Some(look)) | Next::LookAtTree(_, look) => {
                    assert!(look > NOW, "{phase:?} {known:?}");
                }
                Next::Stay(None) => {
                    let waits_for_events = known.due.is_none() && silent_at(&known).is_none();
                    let is_going = phase == Phase::Going;
                    assert!(is_going && waits_for_events, "{phase:?} {known:?}");
                }
                Next::Ask(_) | Next::Close(_) | Next::Kill(_) => {}
            }
        }
    }
}
