//! Taking over the standard streams: the test starts itself as a child and watches its streams from outside.
#![cfg(windows)]
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests state their expectations this way, in their helpers too"
)]

mod windows_lab;

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use watertight_core::Class;
use watertight_os::{Direction, Step, inherited};
use windows_lab::*;

/// Set in the child.
const CHILD: &str = "WATERTIGHT_INHERITED_CHILD";

#[test]
fn ending_an_inherited_stream_ends_it_for_the_reader() {
    if std::env::var_os(CHILD).is_some() {
        be_the_child();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "ending_an_inherited_stream_ends_it_for_the_reader",
            "--nocapture",
        ])
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
    // The child lives until its stdin ends, so this returns only if the stream itself was ended.
    stdout.read_to_end(&mut all).unwrap();
    let text = String::from_utf8_lossy(&all);
    assert!(text.ends_with("buffered, got: to the child"), "{text:?}");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(42));
}

#[expect(clippy::exit, reason = "the test harness must not go on in the child")]
fn be_the_child() -> ! {
    let mut lab = Lab::new();
    print!("buffered, ");
    let stdin = inherited(0, Direction::Read).unwrap();
    let stdout = inherited(1, Direction::Write).unwrap();
    // These go to the null device now, and do not fail.
    println!("nowhere");
    assert_eq!(std::io::stdin().read(&mut [0; 8]).unwrap(), 0);

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
