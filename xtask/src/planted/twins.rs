//! The broken twins of the driver's models: one for each, in the code the model is about.
//!
//! tidy: long because it is one table.

use super::{Bug, Check};
use crate::ci::run::Step;

/// A model and the bug it must notice.
struct Twin {
    model: &'static str,
    says: &'static str,
    why: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
}

const DRIVER: &str = "crates/watertight/src/driver.rs";
const READ: &str = "crates/watertight/src/pump_read.rs";
const SETTLE: &str = "crates/watertight/src/settle.rs";
const WAIT: &str = "crates/watertight/src/wait.rs";
const WRITE: &str = "crates/watertight/src/pump_write.rs";
const WRITE_HALF: &str = "crates/watertight-core/src/write.rs";

/// Somebody sleeps for ever.
const ASLEEP: &str = "deadlock";

const TWINS: [Twin; 41] = [
    Twin {
        model: "answers::an_answer_overtakes_its_submission",
        says: ASLEEP,
        why: "an answer cannot come while its submission is under way",
        file: WRITE,
        find: "self.change(|state| state.settle(kind, outcome));",
        replace: "self.change(|state| if !state.seat.is_inside() { state.settle(kind, outcome) });",
    },
    Twin {
        model: "answers::a_stop_meets_the_answer",
        says: "closed under an operation in flight",
        why: "a cancel is an outcome",
        file: DRIVER,
        find: "Cancelled::Requested => Answer::InFlight,",
        replace: "Cancelled::Requested => Answer::Settled(id.kind, Outcome::cancelled()),",
    },
    Twin {
        model: "answers::two_stops_meet_the_answer",
        says: "while it is used",
        why: "whoever has something to do goes inside",
        file: WRITE,
        find: "    fn next_step(&mut self, key: Key) -> Option<Step<B>> {
        if self.seat.is_inside() {
            return None;
        }",
        replace: "    fn next_step(&mut self, key: Key) -> Option<Step<B>> {",
    },
    Twin {
        model: "answers::a_drop_meets_the_answer",
        says: ASLEEP,
        why: "the driver's thread closes what is dropped: its answer will come",
        file: WRITE,
        find: "        self.change(|state| {
            state.seat.dropped = true;",
        replace: "        self.change_quietly(|state| {
            state.seat.dropped = true;",
    },
    Twin {
        model: "answers::a_failure_waits_for_the_other_operation",
        says: "closed under an operation in flight",
        why: "only the write is in flight",
        file: WRITE_HALF,
        find: "self.in_flight.is_some() || self.until_read.in_flight
    }",
        replace: "self.in_flight.is_some()
    }",
    },
    Twin {
        model: "answers::a_release_meets_the_answer",
        says: "while it is used",
        why: "nothing in flight means nobody inside",
        file: WRITE,
        find: "if state.seat.is_inside() || !state.half.release() {",
        replace: "if !state.half.release() {",
    },
    Twin {
        model: "answers::the_stop_bound_meets_the_answer",
        says: "a column never gives up more bytes than it holds",
        why: "a late answer is an answer like any other",
        file: WRITE_HALF,
        find: "        if self.quarantined {
            // S6: the account was final when the bound passed; this only releases.
            self.spent = Some(chunks);
            self.count_late(outcome.cause());
            return;
        }",
        replace: "",
    },
    Twin {
        model: "large::many_push_while_one_stops",
        says: ASLEEP,
        why: "the next in line is woken by the next answer",
        file: WRITE,
        find: "        state.wake_line(&mut wakes);
        drop(state);",
        replace: "        drop(state);",
    },
    Twin {
        model: "large::places_are_used_again_while_late_answers_come",
        says: "panicked",
        why: "the place says who it is",
        file: DRIVER,
        find: "(slot.generation == key.generation)
            .then(|| slot.pipe.clone())
            .flatten()",
        replace: "slot.pipe.clone()",
    },
    Twin {
        model: "large::everything_at_once",
        says: "out of turn",
        why: "an observer can listen to two at once",
        file: "crates/watertight/src/observer.rs",
        find: "self.observer.is_some() && !self.telling",
        replace: "self.observer.is_some()",
    },
    Twin {
        model: "observers::an_observer_panics_while_the_pipe_is_stopped",
        says: "right: (0, 1)",
        why: "the panic can be counted when all is done",
        file: WRITE,
        find: "            if panicked {
                // D3: before anybody hears that the pipe has left.
                self.driver.count_observer_panic();
            }
            let silenced = self.lock().watched.told(panicked);
            // The observer's own destructor may panic as well.
            self.driver.contain(|| drop((observer, silenced)));
            // Now that it has heard the end, the pipe may leave.
            self.change_quietly(|_| {});
            if panicked {",
        replace: "            let silenced = self.lock().watched.told(panicked);
            self.driver.contain(|| drop((observer, silenced)));
            self.change_quietly(|_| {});
            if panicked {
                self.driver.count_observer_panic();",
    },
    Twin {
        model: "observers::an_observer_panics_while_the_pipe_is_stopped",
        says: "left: (0, 2)",
        why: "an observer that panicked is not told anything more, so it is left where it is",
        file: "crates/watertight/src/observer.rs",
        find: "(panicked || self.ended)",
        replace: "self.ended",
    },
    Twin {
        model: "observers::settle_waits_until_the_observer_has_heard",
        says: "settled before it was told",
        why: "over is over",
        file: WRITE,
        find: "lingering: state.seat.dropped && !state.is_settled(),",
        replace: "lingering: state.seat.dropped && !state.half.is_over(),",
    },
    Twin {
        model: "observers::a_waker_panics_and_everybody_goes_on",
        says: ASLEEP,
        why: "the loop catches what a waker does",
        file: DRIVER,
        find: "self.0.into_iter().map(|waker| panics(|| waker.wake()));",
        replace: "self.0.into_iter().map(|waker| { waker.wake(); false });",
    },
    Twin {
        model: "observers::a_timers_waker_panics_and_the_others_ring",
        says: "FAILED",
        why: "a waker does not panic",
        file: DRIVER,
        find: "Timer::Wake(waker) => self.contain(|| waker.wake()),",
        replace: "Timer::Wake(waker) => waker.wake(),",
    },
    Twin {
        model: "queue::a_push_meets_the_answer_and_a_stop",
        says: "the driver accepts bytes only while the half is open",
        why: "the lock is not needed between the look and the act",
        file: WRITE,
        find: "        message.accept(0, len, &mut state.half);
        drop(state);",
        replace: "        drop(state);
        message.accept(0, len, &mut self.lock().half);",
    },
    Twin {
        model: "queue::a_push_meets_the_answer_and_a_stop",
        says: "left == right",
        why: "a stop gave the queue up already",
        file: WRITE_HALF,
        find: "            (Ok(WritePhase::Stopping), cause) => {
                self.give_up_queue();",
        replace: "            (Ok(WritePhase::Stopping), cause) => {",
    },
    Twin {
        model: "queue::a_push_while_somebody_is_inside_is_not_forgotten",
        says: ASLEEP,
        why: "with an operation in flight there is nothing more to do",
        file: WRITE,
        find: "            self.change_quietly(|state| state.absorb(answer));
        }",
        replace: "            let is_waiting = matches!(answer, Answer::InFlight);
            self.change_quietly(|state| state.absorb(answer));
            if is_waiting {
                return self.tell_observer();
            }
        }",
    },
    Twin {
        model: "queue::two_wait_in_line_for_room",
        says: "mixed",
        why: "whoever was served comes back at once for the next piece",
        file: WRITE,
        find: "            if !done {
                state.line.hold(turn);
            }",
        replace: "",
    },
    Twin {
        model: "queue::two_wait_in_line_for_room",
        says: ASLEEP,
        why: "the first in line is woken when there is more room than it needs",
        file: "crates/watertight/src/line.rs",
        find: "&& half.room() >= first.needs",
        replace: "&& half.room() > first.needs",
    },
    Twin {
        model: "queue::a_nudge_is_not_slept_through",
        says: ASLEEP,
        why: "wake it first, so that it is awake when the work is there",
        file: DRIVER,
        find: "        self.nudged.lock().push(key);
        self.backend.wake();",
        replace: "        self.backend.wake();
        self.nudged.lock().push(key);",
    },
    Twin {
        model: "reads::a_direct_read_meets_a_stop",
        says: ASLEEP,
        why: "only a wait leaves something to do",
        file: READ,
        find: "now == ReadNow::Wait || self.half.is_given_up()",
        replace: "now == ReadNow::Wait",
    },
    Twin {
        model: "reads::a_direct_read_meets_a_stop",
        says: "left == right",
        why: "a read that does not wait is nothing in flight",
        file: "crates/watertight-core/src/read.rs",
        find: "        self.in_flight.is_some() || self.direct
",
        replace: "        self.in_flight.is_some()
",
    },
    Twin {
        model: "reads::a_direct_read_waits_for_something_to_read",
        says: ASLEEP,
        why: "who reads is told of the end",
        file: READ,
        find: "Wanted::Bytes => idle || over,",
        replace: "Wanted::Bytes => idle && over,",
    },
    Twin {
        model: "reads::a_read_ahead_meets_a_stop",
        says: "left == right",
        why: "a cancelled read brings nothing",
        file: "crates/watertight-core/src/read.rs",
        find: "            Outcome::Data(data) => {
                self.ledger.accept(data.len() as u64);",
        replace: "            Outcome::Data(_) if self.is_going() => {}
            Outcome::Data(data) => {
                self.ledger.accept(data.len() as u64);",
    },
    Twin {
        model: "reads::a_dropped_reader_meets_the_answer",
        says: ASLEEP,
        why: "the answer closes what is dropped",
        file: READ,
        find: "            state.seat.dropped = true;
            state.half.abort();
        });
        self.pump();",
        replace: "            state.seat.dropped = true;
            state.half.abort();
        });",
    },
    Twin {
        model: "reads::a_wait_is_taken_back_while_its_answer_comes",
        says: "O2: an answer has its operation",
        why: "a wait has no bytes, so its cancel needs no answer",
        file: READ,
        find: "        let answer = self.driver.perform(step);
        self.change(|state| state.absorb(answer));
        self.pump();",
        replace: "        self.driver.perform(step);
        self.change(|state| {
            state.absorb(Answer::Settled(OpKind::WaitReadable, Outcome::cancelled()))
        });
        self.pump();",
    },
    Twin {
        model: "slots::a_late_packet_meets_the_next_in_its_place",
        says: "panicked",
        why: "the place says who it is",
        file: DRIVER,
        find: "(slot.generation == key.generation)
            .then(|| slot.pipe.clone())
            .flatten()",
        replace: "slot.pipe.clone()",
    },
    Twin {
        model: "slots::a_late_packet_meets_the_next_in_its_place",
        says: "panicked",
        why: "the generation changes when the place is taken again",
        file: DRIVER,
        find: "        slot.generation = slot.generation.wrapping_add(1);
",
        replace: "",
    },
    Twin {
        model: "slots::quarantine_ends_while_another_pipe_begins",
        says: "panicked",
        why: "what is over may leave",
        file: WRITE,
        find: "let may_leave = self.half.is_closed() && self.watched.is_silent();",
        replace: "let may_leave = self.half.is_over() && self.watched.is_silent();",
    },
    Twin {
        model: "slots::a_stale_timer_leaves_a_stop_alone",
        says: "left == right",
        why: "a timer of a pipe that is stopping is the stop's",
        file: "crates/watertight/src/seat.rs",
        find: "self.stop_due.is_some_and(|due| due <= now)",
        replace: "self.stop_due.is_some_and(|_| now >= Moment::default())",
    },
    Twin {
        model: "slots::the_census_meets_the_end_of_a_pipe",
        says: "left == right",
        why: "it is counted once it has left",
        file: DRIVER,
        find: "        let mut registry = self.registry.lock();
        registry.totals.count(ended.ledger);
        registry.totals.late += ended.late_bytes;
        registry.totals.late_failures += ended.late_failures;
        let pipe = registry.release(key);
        drop(registry);",
        replace: "        let pipe = self.registry.lock().release(key);
        let mut registry = self.registry.lock();
        registry.totals.count(ended.ledger);
        registry.totals.late += ended.late_bytes;
        registry.totals.late_failures += ended.late_failures;
        drop(registry);",
    },
    Twin {
        model: "slots::settle_meets_the_ends_it_waits_for",
        says: ASLEEP,
        why: "look first, and watch only if there is something to watch",
        file: SETTLE,
        find: "        if let Some(driver) = &self.driver {
            driver.watch_settling(&mut self.id, waker);
        }
        if self.lingering().is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }",
        replace: "        if self.lingering().is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Some(driver) = &self.driver {
            driver.watch_settling(&mut self.id, waker);
        }
        Poll::Pending",
    },
    Twin {
        model: "waiting::a_deadline_meets_the_failure",
        says: "panicked",
        why: "the deadline tells whoever waits",
        file: WRITE,
        find: "        if let Some(cause) = state.half.failure() {
            return Poll::Ready(Err(cause));
        }
        if let Some(why) = state.half.stopped_by() {",
        replace: "        if let Some(why) = state.half.stopped_by() {",
    },
    Twin {
        model: "waiting::a_deadline_meets_the_flush",
        says: "it was cancelled",
        why: "who gives up waiting gives up the bytes",
        file: "crates/watertight/src/writer.rs",
        find: "        let cause = Cause::of(ErrorKind::TimedOut);
        Err(cause.during(Verb::Flush, self.writer.ledger()))",
        replace: "        self.writer.cell.abort();
        let cause = Cause::of(ErrorKind::TimedOut);
        Err(cause.during(Verb::Flush, self.writer.ledger()))",
    },
    Twin {
        model: "waiting::a_timer_is_armed_again_while_it_fires",
        says: "it is waited for still",
        why: "a timer that is set anew is forgotten by itself",
        file: WAIT,
        find: "        if let Some(timer) = self.timer.take() {
            driver.forget_timer(timer);
        }",
        replace: "",
    },
    Twin {
        model: "waiting::an_earlier_timer_is_not_slept_through",
        says: ASLEEP,
        why: "it is the earliest if it is the first one found",
        file: DRIVER,
        find: "        let id = timers.add(moment, timer);
        let earliest = timers.first() == Some(moment);",
        replace: "        let earliest = timers.first() == Some(moment);
        let id = timers.add(moment, timer);",
    },
    Twin {
        model: "waiting::a_question_is_taken_back_while_another_asks",
        says: ASLEEP,
        why: "who asked takes the question back",
        file: WRITE,
        find: "            if !state.watchers.any(is_asked) {
                state.half.drop_until_read();
            }",
        replace: "            let _ = is_asked;
            state.half.drop_until_read();",
    },
    Twin {
        model: "waiting::a_wait_is_dropped_while_its_wake_comes",
        says: "a waker nobody waits with",
        why: "the next event clears up",
        file: WAIT,
        find: "        self.operation.forget();
",
        replace: "",
    },
    Twin {
        model: "waiting::a_waker_is_replaced_while_the_answer_comes",
        says: ASLEEP,
        why: "it waits already",
        file: DRIVER,
        find: "return Some(std::mem::replace(&mut known.waker, waker.clone()));",
        replace: "return Some(waker.clone());",
    },
    Twin {
        model: "waiting::a_waker_is_replaced_while_the_answer_comes",
        says: ASLEEP,
        why: "the lock is not needed between the look and the registration",
        file: WRITE,
        find: "        let replaced = state.watchers.watch(id, Wanted::Flushed(target), waker);
        drop(state);",
        replace: "        drop(state);
        let replaced = self.lock().watchers.watch(id, Wanted::Flushed(target), waker);",
    },
];

/// All of them, as bugs.
pub(crate) fn all() -> Vec<Bug> {
    let bug = |(at, twin): (usize, &Twin)| Bug {
        name: match TWINS[..at]
            .iter()
            .filter(|before| before.model == twin.model)
            .count()
        {
            0 => twin.model.to_owned(),
            before => format!("{}#{}", twin.model, before + 1),
        },
        why: twin.why,
        file: twin.file,
        find: twin.find,
        replace: twin.replace,
        check: check(twin.model, twin.says),
    };
    TWINS.iter().enumerate().map(bug).collect()
}

/// The large models are shuttle's. Fewer schedules than in the gate find a twin, too.
fn check(model: &str, says: &'static str) -> Check {
    let checker = if model.starts_with("large::") {
        "shuttle"
    } else {
        "loom"
    };
    // From the copy of the tree; not where the gate builds: cargo takes two trees in one folder for the same.
    let models = "test -p watertight --lib --profile models --target-dir ..";
    let step = |words: &str| {
        Step::cargo(&format!("{models}/{checker} {words}"))
            .env("RUSTFLAGS", format!("--cfg {checker}"))
            .env("RUST_BACKTRACE", "0")
            .env("WATERTIGHT_SCHEDULES", "2000")
    };
    Check {
        build: step("--no-run"),
        run: step(&format!("-- --exact models::{model}")),
        says,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted::patch;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    #[test]
    fn every_twin_still_finds_its_place() {
        for twin in &TWINS {
            let text = fs::read_to_string(root().join(twin.file)).unwrap();
            let patched = patch(&text, twin.find, twin.replace);
            assert!(
                patched.is_ok(),
                "{} in {}: {patched:?}",
                twin.model,
                twin.file
            );
        }
    }

    /// Every test of the models' files is a model.
    #[test]
    fn every_model_has_a_twin() {
        let twins: BTreeSet<String> = TWINS.iter().map(|twin| twin.model.to_owned()).collect();
        let folder = root().join("crates/watertight/src/models");
        let mut models = BTreeSet::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            for part in text.split("#[test]\n").skip(1) {
                let name = part.split(['(', ' ']).nth(1).unwrap();
                models.insert(format!("{file}::{name}"));
            }
        }
        assert_eq!(models, twins);
    }
}
