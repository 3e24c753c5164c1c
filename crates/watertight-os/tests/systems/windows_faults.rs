//! The Nth-fault loop over the Windows backend: each fallible call of each scenario fails once and for ever with every code it
//! can say. Nothing hangs, leaks, is freed early (the tests' allocator) or is told wrong.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests state their expectations this way, in their helpers too"
)]

use crate::windows_lab::*;
use std::os::windows::io::OwnedHandle;
use std::time::{Duration, Instant};
use watertight_core::{
    Backend, Cancelled, Completion, Key, Moved, Op, OpId, OpKind, OsCode, Outcome, Submitted,
};
use watertight_os::classify::Call;
use watertight_os::fault::{self, Fault, Made, Trace};
use watertight_os::{Direction, Handle, Native};
use windows_sys::Win32::Foundation::{ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, WAIT_TIMEOUT};

/// How long anything may take before it is a hang. Never waited for when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one wait lasts at most.
const LOOK: Duration = Duration::from_millis(20);

/// After so many waits in vain the trouble ends: a backend that cannot be asked for answers has none.
const WAITS_MAX: usize = 5;

/// One run of a scenario.
struct Run {
    native: Native,
    answers: Vec<Completion>,
    told: Vec<OsCode>,
    trace: Option<Trace>,
    slots: u32,
    in_vain: usize,
    begin: Instant,
}

/// What a writer's operation came to.
struct Written {
    least: usize,
    most: usize,
}

impl Run {
    /// Nothing, if the backend could not be made.
    fn new(told: &mut Vec<OsCode>) -> Option<Self> {
        let native = Native::new().map_err(|failed| told.extend(failed.os));
        Some(Self {
            native: native.ok()?,
            answers: Vec::new(),
            told: Vec::new(),
            trace: None,
            slots: 0,
            in_vain: 0,
            begin: Instant::now(),
        })
    }

    fn end(&mut self, handle: Handle) -> End {
        self.slots += 1;
        End {
            handle: handle.into(),
            key: Key {
                slot: self.slots,
                generation: 0,
            },
        }
    }

    fn pipe(&mut self) -> Option<(End, End)> {
        let made = self.native.pipe();
        let (reading, writing) = made.map_err(|failed| self.told.extend(failed.os)).ok()?;
        Some((self.end(reading), self.end(writing)))
    }

    fn adopt(&mut self, handle: OwnedHandle, direction: Direction) -> Option<End> {
        let adopted = self.native.adopt(handle, direction);
        let adopted = adopted.map_err(|refused| self.told.extend(refused.error.os));
        Some(self.end(adopted.ok()?))
    }

    fn adopt_both(&mut self, (from, into): (OwnedHandle, OwnedHandle)) -> Option<(End, End)> {
        let reading = self.adopt(from, Direction::Read)?;
        let Some(writing) = self.adopt(into, Direction::Write) else {
            self.close(reading);
            return None;
        };
        Some((reading, writing))
    }

    fn submit(&mut self, end: &End, op: Op) -> Submitted {
        let id = end.id(op.kind());
        self.native.submit(&end.handle, id, op)
    }

    fn answer(&mut self, id: OpId) -> Outcome {
        loop {
            if let Some(place) = self.answers.iter().position(|answer| answer.id == id) {
                return self.answers.remove(place).outcome;
            }
            self.wait();
        }
    }

    /// Whichever answer comes next.
    fn any_answer(&mut self) -> (OpKind, Outcome) {
        let Some(first) = self.answers.first() else {
            self.wait();
            return self.any_answer();
        };
        let id = first.id;
        (id.kind, self.answer(id))
    }

    /// Waits for answers a while. After a few times in vain the trouble ends, if there was any.
    fn wait(&mut self) {
        let until = self.native.now().after(LOOK);
        let before = self.answers.len();
        let waited = self.native.wait(&mut self.answers, Some(until));
        self.told.extend(waited.err());
        if self.answers.len() == before {
            self.in_vain += 1;
            if self.in_vain >= WAITS_MAX && self.trace.is_none() && !fault::begun().is_empty() {
                self.trace = Some(fault::stop());
            }
        }
        assert!(self.begin.elapsed() < PATIENCE, "hang: no answer");
    }

    fn settle(&mut self, end: &End, kind: OpKind, submitted: Submitted) -> Outcome {
        let outcome = match submitted {
            Submitted::Done(outcome) => outcome,
            Submitted::InFlight => self.answer(end.id(kind)),
        };
        if let Outcome::Failed { os, .. } = &outcome {
            self.told.extend(*os);
        }
        outcome
    }

    fn written(&mut self, end: &End, submitted: Submitted, bytes: usize) -> Written {
        match self.settle(end, OpKind::Write, submitted) {
            Outcome::Transferred(n) => Written {
                least: n as usize,
                most: n as usize,
            },
            Outcome::Failed {
                moved: Moved::Exactly(n),
                ..
            } => Written {
                least: n as usize,
                most: n as usize,
            },
            Outcome::Failed { .. } => Written {
                least: 0,
                most: bytes,
            },
            other => panic!("{other:?} to a write"),
        }
    }

    /// Cancels. If the system does not hear of it, the other end has to go first.
    fn cancel(&mut self, end: &End, kind: OpKind, other: End) -> Outcome {
        let cancelled = self.native.cancel(&end.handle, end.id(kind));
        self.close(other);
        match cancelled {
            Cancelled::Done(outcome) => outcome,
            Cancelled::Requested => self.answer(end.id(kind)),
        }
    }

    fn close(&mut self, end: End) {
        self.told.extend(self.native.close(end.handle, true).err());
    }

    /// A write, read by the peer to the end: what came is what was transferred.
    fn through(&mut self, (reading, writing): (End, End), bytes: usize) {
        let data: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
        let op = Op::Write(chunks([data.clone().into()]));
        let mut written = match self.submit(&writing, op) {
            Submitted::InFlight => None,
            done => Some(self.written(&writing, done, bytes)),
        };
        let mut writing = Some(writing);
        let (mut got, mut asked) = (Vec::new(), false);
        let ended = loop {
            // Answered, so that the end can come.
            if written.is_some()
                && let Some(writing) = writing.take()
            {
                self.close(writing);
            }
            let read = if asked {
                self.any_answer()
            } else {
                asked = true;
                match self.submit(&reading, Op::Read { bytes_max: 50_000 }) {
                    Submitted::InFlight => continue,
                    Submitted::Done(outcome) => (OpKind::Read, outcome),
                }
            };
            match read {
                (OpKind::Write, outcome) => {
                    let writing = writing.as_ref().expect("it is closed when it is answered");
                    written = Some(self.written(writing, Submitted::Done(outcome), bytes));
                    continue;
                }
                (_, Outcome::Data(data)) => got.extend_from_slice(&data),
                (_, Outcome::Ready) => {}
                (_, Outcome::EndOfStream) => break true,
                (_, outcome) => {
                    self.settle(&reading, OpKind::Read, Submitted::Done(outcome));
                    break false;
                }
            }
            asked = false;
        };
        self.close(reading);
        if let Some(writing) = writing.take() {
            let written_now = self.written(&writing, Submitted::InFlight, bytes);
            self.close(writing);
            written = Some(written_now);
        }
        let Written { least, most } = written.expect("it is answered");
        let came = got.len();
        assert!(
            data.starts_with(&got) && came <= most,
            "{came} bytes came, {most} transferred at most"
        );
        assert!(
            !ended || self.lies() || came >= least,
            "lost: {came} of {least} bytes came"
        );
    }

    /// Whether the plan has a read say that the stream ends.
    fn lies(&self) -> bool {
        let begun = self
            .trace
            .as_ref()
            .map_or_else(fault::begun, |trace| trace.begun.clone());
        begun.iter().any(|made| !is_told(made))
    }
}

/// Whether somebody is told of this failure.
fn is_told(made: &Made) -> bool {
    let code = made.failed.map_or(0, |code| code.0.cast_unsigned());
    match made.name {
        // A request (O3); repeated, or overtaken by the peer's leaving.
        "CancelIoEx" | "CancelSynchronousIo" => false,
        "PostQueuedCompletionStatus" => false,
        // A handle that keeps its secret; the size of a queue.
        "FilePipeInformation"
        | "FilePipeLocalInformation"
        | "FileIoCompletionNotificationInformation" => false,
        "GetQueuedCompletionStatusEx" => code != WAIT_TIMEOUT,
        // The end of the stream, which the kernel does not say by mistake.
        "ReadFile" | "ReadFile (blocking)" => code != ERROR_BROKEN_PIPE && code != ERROR_HANDLE_EOF,
        _ => true,
    }
}

/// The scenario that ends with an operation in flight.
const GOES: &str = "a backend that goes";

type Scenario = (&'static str, fn(&mut Run));

const SCENARIOS: &[Scenario] = &[
    ("making a backend", |_| {}),
    ("a pipe", |run| {
        if let Some((reading, writing)) = run.pipe() {
            run.close(reading);
            run.close(writing);
        }
    }),
    ("a write and its end", |run| {
        if let Some(ends) = run.pipe() {
            run.through(ends, 3000);
        }
    }),
    ("a write that pends", |run| {
        if let Some(ends) = run.pipe() {
            run.through(ends, TOO_MANY);
        }
    }),
    ("a write and its end, blocking", |run| {
        if let Some(ends) = run.adopt_both(blocking_pipe()) {
            run.through(ends, 3000);
        }
    }),
    ("a write and its end, adopted", |run| {
        if let Some(ends) = run.adopt_both(named_pipe(0)) {
            run.through(ends, 3000);
        }
    }),
    ("a write that is cancelled", |run| {
        let Some((reading, writing)) = run.pipe() else {
            return;
        };
        let op = Op::Write(chunks([vec![1; TOO_MANY].into()]));
        match run.submit(&writing, op) {
            Submitted::InFlight => {
                run.cancel(&writing, OpKind::Write, reading);
            }
            done => {
                run.written(&writing, done, TOO_MANY);
                run.close(reading);
            }
        }
        run.close(writing);
    }),
    ("a read that is cancelled", |run| cancelled_read(run, false)),
    ("a blocking read that is cancelled", |run| {
        cancelled_read(run, true);
    }),
    (GOES, |run| {
        let Some((reading, writing)) = run.pipe() else {
            return;
        };
        if let done @ Submitted::Done(_) = run.submit(&reading, Op::Read { bytes_max: 100 }) {
            run.settle(&reading, OpKind::Read, done);
        }
        run.close(writing);
    }),
    ("a peer that leaves", |run| {
        let Some((reading, writing)) = run.pipe() else {
            return;
        };
        let op = Op::Write(chunks([vec![1; TOO_MANY].into()]));
        let submitted = run.submit(&writing, op);
        run.close(reading);
        run.written(&writing, submitted, TOO_MANY);
        run.close(writing);
    }),
    ("until it is read", |run| {
        let Some((reading, writing)) = run.pipe() else {
            return;
        };
        let op = Op::Write(chunks([vec![1; 500].into()]));
        let submitted = run.submit(&writing, op);
        let written = run.written(&writing, submitted, 500);
        let asked = run.submit(&writing, Op::UntilRead);
        if written.least == 500 {
            let read = run.submit(&reading, Op::Read { bytes_max: 500 });
            run.settle(&reading, OpKind::Read, read);
        }
        // Should nothing have been read: now it never is.
        run.close(reading);
        run.settle(&writing, OpKind::UntilRead, asked);
        run.close(writing);
    }),
];

fn cancelled_read(run: &mut Run, blocking: bool) {
    let ends = if blocking {
        run.adopt_both(blocking_pipe())
    } else {
        run.pipe()
    };
    let Some((reading, writing)) = ends else {
        return;
    };
    match run.submit(&reading, Op::Read { bytes_max: 100 }) {
        Submitted::InFlight => {
            let outcome = run.cancel(&reading, OpKind::Read, writing);
            if let Outcome::Failed { os, .. } = outcome {
                run.told.extend(os);
            }
        }
        done => {
            run.settle(&reading, OpKind::Read, done);
            run.close(writing);
        }
    }
    run.close(reading);
}

/// One run and everything that must hold after it. Says what calls there were.
fn run_one(&(name, scenario): &Scenario, faults: &[Fault], handles: usize) -> Trace {
    let mut told = Vec::new();
    fault::plan(faults);
    let mut trace = None;
    if let Some(mut run) = Run::new(&mut told) {
        scenario(&mut run);
        told.append(&mut run.told);
        trace = run.trace.take();
    }
    let trace = trace.unwrap_or_else(fault::stop);
    assert_eq!(Native::operations_alive(), 0, "{name}: {:?}", trace.begun);
    assert_eq!(fault::kernels().len(), 0, "{name}: {:?}", trace.begun);
    assert_no_leak(handles);
    // A backend that goes has nobody left to tell.
    let heard = |made: &&Made| is_told(made) && !(name == GOES && made.call == Call::Wait);
    if let Some(made) = trace.begun.iter().find(heard) {
        let code = made.failed.unwrap();
        assert!(
            told.contains(&code),
            "{name}: swallowed: {} said {code}",
            made.name
        );
    }
    trace
}

/// How often a call fails that fails "for ever".
fn times(name: &str) -> u64 {
    match name {
        // It is tried three times; should all fail, the wake is heard 10 seconds late, which is too long for this test.
        "PostQueuedCompletionStatus" => 2,
        // A backend that goes cannot take back for ever what it cannot ask for.
        "GetQueuedCompletionStatusEx" => 20,
        _ => Fault::FOR_EVER,
    }
}

#[test]
fn every_call_may_fail_with_every_code() {
    if !has_process_to_itself(module_path!(), "every_call_may_fail_with_every_code") {
        return;
    }
    let (begin, mut faulted, mut not_reached) = (Instant::now(), 0, 0);
    for scenario in SCENARIOS {
        // The first use of threads and locks makes handles that stay.
        run_one(scenario, &[], usize::MAX);
        let handles = handles_open();
        let calls = run_one(scenario, &[], handles).calls;
        for (index, made) in calls.iter().enumerate() {
            let of_name = calls[..=index].iter().filter(|one| one.name == made.name);
            let at = of_name.count() as u64;
            for &code in fault::allowed(made.call) {
                for times in [1, times(made.name)] {
                    let fault = Fault {
                        at,
                        only: Some(made.name),
                        code: OsCode(code.cast_signed()),
                        times,
                    };
                    println!(
                        "{}: {} #{at} says {code}, {times} times",
                        scenario.0, made.name
                    );
                    let reached = !run_one(scenario, &[fault], handles).begun.is_empty();
                    faulted += u32::from(reached);
                    not_reached += u32::from(!reached);
                }
            }
        }
    }
    eprintln!(
        "{} scenarios, {faulted} faulted runs in {:.1?} ({not_reached} more whose fault was not reached)",
        SCENARIOS.len(),
        begin.elapsed()
    );
    assert!(faulted > 1000, "{faulted}");
}
