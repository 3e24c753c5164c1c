//! The rule in words, once more and in another order: every combination of what can be known, in every phase.

use super::*;

const NOW: Moment = Moment(1_000_000_000);
const PAST: Moment = Moment(900_000_000);
const SOON: Moment = Moment(1_005_000_000);
const LATER: Moment = Moment(2_000_000_000);

/// When the grace of whoever was asked is over.
const DUES: [Moment; 4] = [PAST, NOW, SOON, LATER];

/// Every combination.
fn all() -> Vec<Known> {
    let trees = [None, Some(false), Some(true)];
    let known = |is_over| {
        trees.map(|is_tree_over| Known {
            now: NOW,
            is_over,
            is_tree_over,
        })
    };
    [false, true].into_iter().flat_map(known).collect()
}

fn is_left(known: Known) -> bool {
    known.is_tree_over == Some(false)
}

/// The first row that applies.
#[test]
fn who_was_asked_has_its_grace_and_is_killed_then() {
    for known in all() {
        for due in DUES {
            let is_child_alone = known.is_tree_over.is_none();
            let has_grace = due > NOW;
            let look = due.min(NOW.after(LOOK_EVERY));
            let rows = [
                (is_child_alone && known.is_over, Next::Reap),
                (!has_grace, Next::Kill),
                (!known.is_over, Next::Stay(Some(due))),
                (is_left(known), Next::Stay(Some(look))),
                (true, Next::Kill),
            ];
            let (_, expected) = rows.into_iter().find(|(applies, _)| *applies).unwrap();
            assert_eq!(
                next(Phase::Asked(due), known),
                expected,
                "{due:?} {known:?}"
            );
        }
    }
}

/// Once killed, only the child's end matters.
#[test]
fn who_was_killed_is_waited_for() {
    for known in all() {
        let expected = if known.is_over {
            Next::Reap
        } else {
            Next::Stay(None)
        };
        assert_eq!(next(Phase::Killed, known), expected, "{known:?}");
    }
}

/// Nobody is killed twice, and a tree is killed before its child is reaped, however the ending goes.
#[test]
fn a_tree_is_killed_once_before_its_child_is_reaped() {
    for known in all().into_iter().filter(|known| known.is_over) {
        for due in DUES {
            let mut phase = Phase::Asked(due);
            let mut kills = 0;
            let has_ended = loop {
                match next(phase, known) {
                    Next::Kill => {
                        kills += 1;
                        phase = Phase::Killed;
                    }
                    Next::Reap => break true,
                    Next::Stay(_) => break false,
                }
            };
            let is_waited_for = due > NOW && is_left(known);
            let is_tree = known.is_tree_over.is_some();
            assert_eq!(has_ended, !is_waited_for, "{due:?} {known:?}");
            assert_eq!(kills, i32::from(is_tree && has_ended), "{due:?} {known:?}");
        }
    }
}

/// Nobody looks at a moment that has passed, which would be a spin, and somebody always looks while a grace goes on.
#[test]
fn a_look_is_ahead_and_never_forgotten() {
    for known in all() {
        for phase in DUES.map(Phase::Asked).into_iter().chain([Phase::Killed]) {
            match next(phase, known) {
                Next::Stay(Some(look)) => assert!(look > NOW, "{phase:?} {known:?}"),
                Next::Stay(None) => {
                    let waits_for_end = phase == Phase::Killed && !known.is_over;
                    assert!(waits_for_end, "{phase:?} {known:?}");
                }
                Next::Kill | Next::Reap => {}
            }
        }
    }
}

#[test]
fn who_cannot_be_asked_has_no_grace() {
    for grace in [Duration::ZERO, LOOK_EVERY, Duration::MAX] {
        let asked = begun(true, NOW, grace);
        assert_eq!(asked, Phase::Asked(NOW.after(grace)));
        assert_eq!(begun(false, NOW, grace), Phase::Asked(NOW));
    }
}
