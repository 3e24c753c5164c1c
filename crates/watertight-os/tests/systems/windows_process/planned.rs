//! System calls that fail for a child: nobody is left behind, and nothing is said that is not known.

use super::starts::step_of;
use super::*;
use watertight_core::OsCode;
use watertight_os::StartStep;
use watertight_os::fault::{self, Fault};
use windows_sys::Win32::Foundation as win;

/// A code that no system call says.
const CODE_OF_OURS: i32 = 31_337;

/// Has the next call of this name fail.
fn fail(name: &'static str, code: i32) {
    fault::plan(&[Fault {
        at: 1,
        only: Some(name),
        code: OsCode(code),
        times: 1,
    }]);
}

/// One that cannot be looked at is not said to be over.
#[test]
fn a_tree_that_nobody_sees_is_not_over() {
    take_turn();
    let _guard = fault::guard();
    let (process, streams) = start(WAITS, Grouping::Own);
    drop(streams.stdin);
    assert_ends(streams.stdout.unwrap());
    assert_eq!(status(&process).code(), Some(CODE));
    fail("QueryInformationJobObject (alive)", CODE_OF_OURS);
    let refused = process.look_at_tree().unwrap_err();
    let _ = fault::stop();
    assert_eq!(refused.raw_os_error(), Some(CODE_OF_OURS));
}

/// Else whoever was asked to end would be killed before its grace.
#[test]
fn a_tree_that_nobody_sees_has_somebody_left() {
    take_turn();
    let _guard = fault::guard();
    let (process, streams) = start(WAITS, Grouping::Own);
    assert!(process.is_tree_over());
    fail("QueryInformationJobObject (alive)", CODE_OF_OURS);
    assert!(!process.is_tree_over());
    let _ = fault::stop();
    drop(streams.stdin);
    assert_ends(streams.stdout.unwrap());
    assert_eq!(status(&process).code(), Some(CODE));
}

/// The child is named all the same, and so is what failed.
#[test]
fn a_tree_that_is_not_listed_is_killed() {
    take_turn();
    let _guard = fault::guard();
    let (process, streams) = start(HAS_A_CHILD, Grouping::Own);
    let mut stdout = BufReader::new(streams.stdout.unwrap());
    await_ready(&mut stdout, 2);
    fail("QueryInformationJobObject", CODE_OF_OURS);
    let end = process.kill_tree();
    let _ = fault::stop();
    let code = end.error.as_ref().and_then(std::io::Error::raw_os_error);
    assert_eq!(code, Some(CODE_OF_OURS));
    assert!(end.left.is_empty(), "{end:?}");
    let pids: Vec<u32> = end.signalled.iter().map(|one| one.pid).collect();
    assert_eq!(pids, [process.id()]);
    assert_ends(stdout);
    assert_eq!(status(&process).code(), Some(1));
    drop(streams.stdin);
}

/// Also what no test can have Wine say.
#[test]
fn what_the_system_says_of_a_start_is_told_as_its_step() {
    take_turn();
    for (code, step) in [
        (win::ERROR_ACCESS_DENIED, StartStep::Permission),
        (win::ERROR_BAD_EXE_FORMAT, StartStep::Format),
        (win::ERROR_FILENAME_EXCED_RANGE, StartStep::Arguments),
        (win::ERROR_FILE_NOT_FOUND, StartStep::Program),
        (win::ERROR_NOT_ENOUGH_MEMORY, StartStep::Resources),
        (win::ERROR_SHARING_VIOLATION, StartStep::Busy),
        (CODE_OF_OURS.cast_unsigned(), StartStep::Other),
    ] {
        let _guard = fault::guard();
        fail("spawn", code.cast_signed());
        let told = step_of(&mut child(WAITS));
        let _ = fault::stop();
        assert_eq!(told, step, "{code}");
    }
}

/// Each step between making the job and letting the child run fails: no child is left, or its output would not end.
#[test]
fn a_child_that_cannot_be_put_into_its_job_is_killed() {
    take_turn();
    let options = StartOptions {
        grouping: Grouping::Own,
        ends_with_us: true,
        ..StartOptions::default()
    };
    for (name, step) in [
        ("CreateJobObject", StartStep::Resources),
        ("SetInformationJobObject", StartStep::Resources),
        ("AssignProcessToJobObject", StartStep::Hold),
        ("NtResumeProcess", StartStep::Hold),
    ] {
        let _guard = fault::guard();
        let (mut output, into) = std::io::pipe().unwrap();
        let mut command = child(WAITS);
        command.stdout(into);
        fail(name, CODE_OF_OURS);
        let error =
            Process::start(&mut command, options, &mut EarlierStarts::default()).unwrap_err();
        let _ = fault::stop();
        assert_eq!(error.step, step);
        assert_eq!(error.error.raw_os_error(), Some(CODE_OF_OURS));
        drop(command);
        assert_ends(&mut output);
    }
}
