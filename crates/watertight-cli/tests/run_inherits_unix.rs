//! `watertight run` hands on what it was started with: ignored signals, and descriptors. What the command has, /proc tells.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

mod harness;

use harness::EXE;
use std::process::Command;

/// Signals that ask to end, by their names and numbers (Linux: the same everywhere).
const ASKING: [(&str, u32); 4] = [("HUP", 1), ("INT", 2), ("QUIT", 3), ("TERM", 15)];

/// Runs a shell's line, in which `$0` is the program.
fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line, EXE]);
    command
}

/// The signals that a process ignores or handles, as its status in /proc has them: a bit for each, the first signal's the lowest.
fn signals(status: &str, which: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
}

/// With `nohup` a command outlives its terminal, and a shell's job in the background hears no Ctrl-C, through us as without us.
#[test]
fn a_signal_that_was_ignored_at_the_start_is_ignored_by_us_and_by_the_command() {
    // A test that is itself run by nohup can make nobody hear it.
    let here = std::fs::read_to_string("/proc/self/status").unwrap();
    let here = signals(&here, "SigIgn:");
    for ignored in ["", "HUP", "INT", "INT QUIT", "HUP INT QUIT TERM"] {
        let trap = if ignored.is_empty() {
            String::new()
        } else {
            format!("trap '' {ignored};")
        };
        // The command's parent is the program.
        let look = "cat /proc/self/status; echo; cat /proc/$PPID/status";
        let line = format!("{trap} exec \"$0\" run -- sh -c '{look}'");
        let output = shell(&line).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let (command, us) = text.split_once("\n\n").unwrap();
        for (name, number) in ASKING {
            let bit = 1_u64 << (number - 1);
            let is_ignored = here & bit != 0 || ignored.split(' ').any(|one| one == name);
            let in_command = signals(command, "SigIgn:") & bit != 0;
            assert_eq!(in_command, is_ignored, "{name} of {ignored:?}");
            assert_eq!(signals(us, "SigIgn:") & bit != 0, is_ignored, "{name}");
            assert_eq!(signals(us, "SigCgt:") & bit != 0, !is_ignored, "{name}");
        }
        // What is neither ignored nor handled is at its default.
        assert_eq!(signals(command, "SigCgt:"), 0, "{ignored:?}");
    }
}
