//! Taking over the standard streams: the test starts itself as a child and watches its streams from outside.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests state their expectations this way, in their helpers too"
)]

use crate::itself::test_name;
use crate::windows_lab::*;
use std::io::{Read, Write};
use std::os::windows::io::{AsHandle, AsRawHandle, OwnedHandle};
use std::process::{Command, Stdio};
use watertight_core::Class;
use watertight_os::{Direction, Step, inherited, keep_standard_streams_from_children};

/// Set in the child.
const CHILD: &str = "WATERTIGHT_INHERITED_CHILD";

#[test]
fn an_inherited_stream_is_taken_over_and_borrows_of_it_stay_good() {
    if std::env::var_os(CHILD).is_some() {
        be_the_child();
    }
    let test = "an_inherited_stream_is_taken_over_and_borrows_of_it_stay_good";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test_name(module_path!(), test), "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();

    stdin.write_all(b"to the child").unwrap();
    let mut all = Vec::new();
    drop(stdin);
    stdout.read_to_end(&mut all).unwrap();
    let text = String::from_utf8_lossy(&all);
    assert!(text.ends_with("buffered, got: to the child"), "{text:?}");
    assert_eq!(child.wait().unwrap().code(), Some(42));
}

#[expect(clippy::exit, reason = "the test harness must not go on in the child")]
fn be_the_child() -> ! {
    let mut lab = Lab::new();
    print!("buffered, ");
    // Safe code may hold this for as long as it likes: its number must never become somebody else's.
    let borrowed = std::io::stdout();
    let borrowed = borrowed.as_handle();
    let stdin = inherited(0, Direction::Read).unwrap();
    let stdout = inherited(1, Direction::Write).unwrap();
    // These go to the null device now, and do not fail.
    println!("nowhere");
    assert_eq!(std::io::stdin().read(&mut [0; 8]).unwrap(), 0);

    let others: Vec<_> = (0..50).map(|_| event()).collect();
    let is_taken = |other: &OwnedHandle| other.as_raw_handle() == borrowed.as_raw_handle();
    assert!(
        !others.iter().any(is_taken),
        "a borrow means another object now"
    );
    borrowed.try_clone_to_owned().unwrap();

    let reading = lab.native.adopt(stdin, Direction::Read).unwrap();
    let writing = lab.native.adopt(stdout, Direction::Write).unwrap();
    let (reading, writing) = (lab.end(reading), lab.end(writing));
    let heard = lab.read_all(&reading, 12);
    assert_transferred(&lab.write(&writing, "got: "), 5);
    assert_transferred(&lab.write(&writing, heard), 12);
    lab.close(writing);
    assert_end(&lab.read(&reading));
    std::process::exit(42)
}

#[test]
fn there_are_no_other_inherited_numbers() {
    let error = inherited(3, Direction::Read).unwrap_err();
    assert_eq!(
        (error.step, error.class, error.os),
        (Step::Duplicate, Class::Unsupported, None)
    );
    assert!(inherited(u32::MAX, Direction::Write).is_err());
}

/// Set in the child that keeps its streams from children, and, to [`SPEAKS`], in the child of that.
const KEEPS: &str = "WATERTIGHT_KEEPS_CHILD";
const SPEAKS: &str = "speaks";

/// std gives a child that is to have them duplicates of its own.
#[test]
fn streams_are_kept_from_children_and_given_to_those_that_are_to_have_them() {
    match std::env::var(KEEPS) {
        Ok(role) if role == SPEAKS => println!("given"),
        Ok(_) => keep_the_streams(),
        Err(_) => {
            let output = keeping("keeps").stdin(Stdio::piped()).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains("given"), "{text}{errors}");
            assert_eq!(output.status.code(), Some(42), "{text}{errors}");
        }
    }
}

fn keeping(role: &str) -> Command {
    let test = "streams_are_kept_from_children_and_given_to_those_that_are_to_have_them";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &test_name(module_path!(), test), "--nocapture"])
        .env(KEEPS, role);
    command
}

#[expect(clippy::exit, reason = "the test harness must not go on in the child")]
fn keep_the_streams() -> ! {
    let inherited = || {
        [
            is_inherited(&std::io::stdin()),
            is_inherited(&std::io::stdout()),
            is_inherited(&std::io::stderr()),
        ]
    };
    assert_eq!(inherited(), [true; 3]);
    keep_standard_streams_from_children().unwrap();
    assert_eq!(inherited(), [false; 3]);
    let status = keeping(SPEAKS).status().unwrap();
    assert!(status.success(), "{status}");
    std::process::exit(42)
}
