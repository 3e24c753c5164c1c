//! Starts: the step at which one fails, and the streams that a child has.

use super::*;
use std::fs::OpenOptions;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, RawHandle};
use watertight_os::{StartStep, output_pipe};
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_MODE_INFORMATION, FILE_SYNCHRONOUS_IO_NONALERT, FileModeInformation,
    NtQueryInformationFile,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

/// The most that a command line may have, in units of UTF-16, with the zero at its end.
const COMMAND_LINE_UNITS_MAX: usize = 32_767;

/// The step at which this start fails. What is told has the system's own words.
pub(super) fn step_of(command: &mut Command) -> StartStep {
    let options = StartOptions::default();
    let error = Process::start(command, options, &mut EarlierStarts::default()).unwrap_err();
    assert!(error.to_string().contains(&error.error.to_string()));
    error.step
}

#[test]
fn a_start_that_fails_says_at_which_step() {
    take_turn();
    assert_eq!(
        step_of(&mut Command::new("no-such-program")),
        StartStep::Program
    );
    for no_program in [r"C:\no\such\program.exe", r"C:\", "folder/", ""] {
        let step = step_of(&mut Command::new(no_program));
        assert_eq!(step, StartStep::Program, "{no_program}");
    }
    assert_eq!(
        step_of(child(WAITS).current_dir(r"C:\no\such\folder")),
        StartStep::Directory
    );
    assert_eq!(step_of(child(WAITS).arg("a\0b")), StartStep::Arguments);
    let name = format!("watertight-no-format-{}.exe", std::process::id());
    let no_program = std::env::temp_dir().join(name);
    std::fs::write(&no_program, "no program").unwrap();
    let mut options = OpenOptions::new();
    let held = options.write(true).share_mode(0).open(&no_program).unwrap();
    assert_eq!(step_of(&mut Command::new(&no_program)), StartStep::Busy);
    drop(held);
    assert_eq!(step_of(&mut Command::new(&no_program)), StartStep::Format);
    std::fs::remove_file(&no_program).unwrap();
}

#[test]
fn a_program_that_may_not_be_run_is_told_as_that() {
    take_turn();
    let step = step_of(&mut Command::new(r"C:\Windows"));
    if under_wine() {
        println!("skipped: of a folder Wine says an invalid handle, which is {step:?}");
    } else {
        assert_eq!(step, StartStep::Permission);
    }
}

#[test]
fn arguments_that_are_too_long_are_told_as_that() {
    take_turn();
    if under_wine() {
        println!("skipped: Wine cuts a command line that is too long, and starts the program");
        return;
    }
    let long = "x".repeat(COMMAND_LINE_UNITS_MAX);
    assert_eq!(step_of(child(WAITS).arg(long)), StartStep::Arguments);
}

/// Programs expect that: what they read and write without an OVERLAPPED would fail, or answer before it is done.
#[test]
fn calls_on_a_childs_streams_wait_for_their_answers() {
    take_turn();
    let (reading, writing) = output_pipe().unwrap();
    let mut command = child(TELLS);
    command.stderr(writing);
    let options = StartOptions::default();
    let (process, streams) =
        Process::start(&mut command, options, &mut EarlierStarts::default()).unwrap();
    let mut said = String::new();
    let mut stdout = streams.stdout.unwrap();
    stdout.read_to_string(&mut said).unwrap();
    assert!(said.contains("waits: [true, true, true]"), "{said}");
    assert_eq!(status(&process).code(), Some(CODE));
    drop((reading, streams.stdin));
}

/// What the child says that [`TELLS`].
pub(super) fn tell_of_streams() {
    let streams = [
        std::io::stdin().as_raw_handle(),
        std::io::stdout().as_raw_handle(),
        std::io::stderr().as_raw_handle(),
    ];
    println!("waits: {:?}", streams.map(waits));
}

/// Whether calls on a standard stream wait for their answers.
fn waits(stream: RawHandle) -> bool {
    let mut mode = FILE_MODE_INFORMATION::default();
    let mut block = IO_STATUS_BLOCK::default();
    let length = u32::try_from(size_of_val(&mode)).unwrap();
    // SAFETY: std keeps the stream open as long as the process; both records are ours, as long as is said, and live until the call, which is
    // synchronous on every handle, returns.
    let status = unsafe {
        NtQueryInformationFile(
            stream,
            &raw mut block,
            (&raw mut mode).cast(),
            length,
            FileModeInformation,
        )
    };
    assert!(status >= 0, "{status:#x}");
    mode.Mode & FILE_SYNCHRONOUS_IO_NONALERT != 0
}
