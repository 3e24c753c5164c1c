//! Thousands of children, started, killed and waited for: nothing of them is left.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::PATIENCE;
use crate::common::children::accounted;
use std::os::unix::process::ExitStatusExt;
use watertight::{Command, Exit, Group, Input, Output};

const CHILDREN: u32 = 10_000;

/// What it was killed by.
const SIGKILL: i32 = 9;

#[test]
fn ten_thousand_children_leave_nothing() {
    let _accounted = accounted();
    let mut command = Command::new("cat");
    command.stdin(Input::piped()).stdout(Output::piped());
    for round in 0..CHILDREN {
        // In turn: in our group and in one of its own; killed alone, with its tree, dropped, and let go.
        command.group(if round % 2 == 0 {
            Group::Own
        } else {
            Group::Shared
        });
        let mut child = command.spawn().unwrap();
        match round % 4 {
            0 => assert!(child.kill().unwrap()),
            1 => assert!(child.kill_tree().left.is_empty()),
            2 => {
                drop(child);
                continue;
            }
            _ => drop(child.stdin.take()),
        }
        let exit = child.wait().within(PATIENCE).wait().unwrap();
        let Exit::Status(status) = exit else {
            panic!("somebody else took the status of child {round}");
        };
        let expected = if round % 4 == 3 { None } else { Some(SIGKILL) };
        assert_eq!(status.signal(), expected, "{round}: {status}");
        // Its number is free, and may be somebody else's by now: nobody is signalled.
        assert!(!child.kill().unwrap());
    }
    // Those that were dropped are reaped by the library's thread, a moment after their ends.
    #[cfg(target_os = "linux")]
    while crate::common::held()
        .iter()
        .any(|one| one.starts_with("child") || one.contains("pidfd"))
    {
        std::thread::yield_now();
    }
}
