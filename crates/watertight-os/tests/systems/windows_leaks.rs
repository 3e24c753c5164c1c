//! Guarantees G1 and G2 on Windows: everything is released once, on every path, and construction is whole or not at all.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests state their expectations this way, in their helpers too"
)]

use crate::windows_lab::*;
use watertight_core::{Backend, Class, Moved, Op, OpKind, Outcome};
use watertight_os::{Direction, Native};

const CYCLES: usize = 1000;

/// One life of a pipe with a write that pends: cancelled, broken by the reader, or read to the end.
fn cycle(lab: &mut Lab, number: usize) {
    let (reading, writing) = lab.pipe();
    assert_in_flight(&lab.submit_write(&writing, vec![1; TOO_MANY]));
    assert_eq!(Native::operations_alive(), 1);
    match number % 4 {
        0 => {
            lab.native
                .cancel(&writing.handle, writing.id(OpKind::Write));
            // The cancel is a request. Until somebody takes the packet out of the port the memory is the kernel's.
            assert_eq!(Native::operations_alive(), 1);
            let outcome = lab.answer(writing.id(OpKind::Write));
            assert_failed(&outcome, Class::Aborted, Some(995), Moved::Unknown);
        }
        1 => {
            lab.close(reading);
            assert_eq!(Native::operations_alive(), 1);
            let outcome = lab.answer(writing.id(OpKind::Write));
            assert_failed(&outcome, Class::Gone, Some(109), Moved::Unknown);
            lab.close(writing);
            return;
        }
        2 => {
            lab.read_all(&reading, TOO_MANY);
            assert_transferred(&lab.answer(writing.id(OpKind::Write)), TOO_MANY as u64);
        }
        _ => {
            lab.read_all(&reading, TOO_MANY);
            assert_transferred(&lab.answer(writing.id(OpKind::Write)), TOO_MANY as u64);
            assert_in_flight(&lab.submit_read(&reading));
            let outcome = lab.cancel(&reading, OpKind::Read);
            assert_failed(&outcome, Class::Aborted, Some(995), Moved::Exactly(0));
        }
    }
    assert_eq!(Native::operations_alive(), 0);
    lab.close(writing);
    lab.close(reading);
}

#[test]
fn a_thousand_pipes_leave_nothing_behind() {
    if !has_process_to_itself(module_path!(), "a_thousand_pipes_leave_nothing_behind") {
        return;
    }
    let mut lab = Lab::new();
    for number in 0..8 {
        cycle(&mut lab, number);
    }
    let before = handles_open();
    assert!(before > 0);
    for number in 0..CYCLES {
        cycle(&mut lab, number);
        // Every packet came exactly once.
        lab.assert_quiet();
    }
    assert_eq!(Native::operations_alive(), 0);
    assert_no_leak(before);
}

#[test]
fn a_hundred_blocking_pipes_leave_no_thread_and_no_handle() {
    if !has_process_to_itself(
        module_path!(),
        "a_hundred_blocking_pipes_leave_no_thread_and_no_handle",
    ) {
        return;
    }
    let mut lab = Lab::new();
    let mut before = None;
    for number in 0..100 {
        let (reading, writing) = blocking_pipe();
        let reading = lab.native.adopt(reading, Direction::Read).unwrap();
        let writing = lab.native.adopt(writing, Direction::Write).unwrap();
        let (reading, writing) = (lab.end(reading), lab.end(writing));
        assert_in_flight(&lab.submit_read(&reading));
        if number % 2 == 0 {
            lab.cancel(&reading, OpKind::Read);
            lab.close(writing);
        } else {
            lab.close(writing);
            assert_end(&lab.answer(reading.id(OpKind::Read)));
        }
        lab.close(reading);
        lab.assert_quiet();
        if number == 4 {
            before = Some(handles_open());
        }
    }
    assert_no_leak(before.unwrap());
}

#[test]
fn a_backend_that_goes_takes_what_is_in_flight_with_it() {
    if !has_process_to_itself(
        module_path!(),
        "a_backend_that_goes_takes_what_is_in_flight_with_it",
    ) {
        return;
    }
    // The first use of threads and locks makes handles that stay.
    end_with_everything_in_flight();
    let before = handles_open();
    end_with_everything_in_flight();
    assert_eq!(Native::operations_alive(), 0);
    assert_no_leak(before);
}

fn end_with_everything_in_flight() {
    let mut lab = Lab::new();
    let (reading, writing) = lab.pipe();
    let (idle, _idle_writing) = lab.pipe();
    let (blocked, _blocked_writing) = blocking_pipe();
    let blocked = lab.native.adopt(blocked, Direction::Read).unwrap();
    let blocked = lab.end(blocked);
    assert_in_flight(&lab.submit_write(&writing, vec![1; TOO_MANY]));
    assert_in_flight(&lab.submit(&writing, Op::UntilRead));
    assert_in_flight(&lab.submit_read(&idle));
    assert_in_flight(&lab.submit_read(&blocked));
    assert_eq!(Native::operations_alive(), 2);
    // The handles' owner is gone before the backend: only the operations keep them open.
    drop((reading, writing, idle, blocked));
    drop(lab);
}

#[test]
fn many_operations_at_once_are_each_answered_once() {
    take_turn();
    let mut lab = Lab::new();
    let pipes: Vec<(End, End)> = (0..100).map(|_| lab.pipe()).collect();
    for (reading, _) in &pipes {
        assert_in_flight(&lab.submit_read(reading));
    }
    assert_eq!(Native::operations_alive(), 100);
    for (index, (_, writing)) in pipes.iter().enumerate() {
        if index % 2 == 0 {
            assert_transferred(&lab.write(writing, "x"), 1);
        }
    }
    for (index, (reading, _)) in pipes.iter().enumerate() {
        if index % 2 == 0 {
            assert_data(&lab.answer(reading.id(OpKind::Read)), b"x");
        } else {
            let outcome = lab.cancel(reading, OpKind::Read);
            assert!(matches!(
                outcome,
                Outcome::Failed {
                    class: Class::Aborted,
                    ..
                }
            ));
        }
    }
    assert_eq!(Native::operations_alive(), 0);
    lab.assert_quiet();
}

#[cfg(feature = "fault")]
mod construction {
    use super::*;
    use std::os::windows::io::OwnedHandle;
    use watertight_core::OsCode;
    use watertight_os::{Step, StepError, fault};

    const CODE: OsCode = OsCode(1450);

    fn planned(step: Step) -> StepError {
        StepError {
            step,
            class: Class::Limit,
            os: Some(CODE),
        }
    }

    #[test]
    fn a_pipe_is_whole_or_not_at_all() {
        if !has_process_to_itself(module_path!(), "a_pipe_is_whole_or_not_at_all") {
            return;
        }
        let lab = Lab::new();
        drop(lab.native.pipe().unwrap());
        let before = handles_open();
        for step in [
            Step::OpenRoot,
            Step::CreatePipe,
            Step::OpenEnd,
            Step::AssociatePort,
        ] {
            assert!(!fault::fail_next(step, CODE));
            assert_eq!(lab.native.pipe().unwrap_err(), planned(step));
            assert_eq!(handles_open(), before, "{step:?}");
        }
        assert!(!fault::fail_next(Step::CreatePoller, CODE));
        assert_eq!(Native::new().unwrap_err(), planned(Step::CreatePoller));
        assert_eq!(handles_open(), before);
        assert!(!fault::clear());
    }

    #[test]
    fn a_refused_handle_comes_back_usable() {
        if !has_process_to_itself(module_path!(), "a_refused_handle_comes_back_usable") {
            return;
        }
        let mut lab = Lab::new();
        for step in [Step::Inspect, Step::InspectAccess, Step::StartHelper] {
            let (reading, writing) = blocking_pipe();
            refuse(&lab, &writing, step);
            let before = handles_open();
            let handle = refuse(&lab, &writing, step);
            assert_eq!(handles_open(), before + 1, "{step:?}: only what came back");

            // The very same handle is adopted at the second attempt, and works.
            drop(writing);
            let writing = lab.native.adopt(handle, Direction::Write).unwrap();
            let reading = lab.native.adopt(reading, Direction::Read).unwrap();
            let (reading, writing) = (lab.end(reading), lab.end(writing));
            assert_transferred(&lab.write(&writing, "usable"), 6);
            lab.close(writing);
            assert_data(&lab.read(&reading), b"usable");
            assert_end(&lab.read(&reading));
        }
        assert!(!fault::clear());
    }

    #[test]
    fn a_handle_that_could_not_be_bound_can_be_bound_later() {
        take_turn();
        let mut lab = Lab::new();
        let mut child = std::process::Command::new("cmd")
            .args(["/c", "echo bound"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // A child's output as std makes it: overlapped, and bound to nothing yet.
        let output = OwnedHandle::from(child.stdout.take().unwrap());
        assert!(!fault::fail_next(Step::AssociatePort, CODE));
        let refused = lab.native.adopt(output, Direction::Read).unwrap_err();
        assert_eq!(refused.error, planned(Step::AssociatePort));
        let reading = lab.native.adopt(refused.handle, Direction::Read).unwrap();
        let reading = lab.end(reading);
        assert_eq!(lab.read_all(&reading, 7), b"bound\r\n");
        assert_end(&lab.read(&reading));
        child.wait().unwrap();
    }

    /// Has a duplicate of `writing` refused, and gives it back.
    fn refuse(lab: &Lab, writing: &OwnedHandle, step: Step) -> OwnedHandle {
        assert!(!fault::fail_next(step, CODE));
        let refused = lab
            .native
            .adopt(duplicate(writing), Direction::Write)
            .unwrap_err();
        assert_eq!(refused.error, planned(step));
        refused.handle
    }
}
