//! `watertight run` hands on what it was started with: ignored signals, and descriptors. What the command has, /proc tells.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::harness::EXE;
use rustix::process::Signal;
use serde_json::Value;
use std::process::Command;

/// Signals that would end us, by their names for a shell and their numbers. A real-time one has no name there.
const ENDING: [(&str, u32); 7] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ALRM", 14),
    ("TERM", 15),
    ("PWR", 30),
    ("40", 40),
];

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
    for ignored in [
        "",
        "HUP",
        "INT",
        "INT QUIT",
        "HUP INT QUIT TERM",
        "ALRM PWR 40",
    ] {
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
        for (name, number) in ENDING {
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

/// An ignored SIGCHLD would take the command's status from us. We have a handler for it, and no handler outlives an exec.
#[test]
fn ends_of_children_that_were_ignored_at_the_start_are_at_their_default_in_the_command() {
    let look = "cat /proc/self/status";
    for (line, is_ignored) in [
        (format!("trap '' CHLD; exec {look}"), true),
        (format!("trap '' CHLD; exec \"$0\" run -- {look}"), false),
    ] {
        let mut command = Command::new("bash");
        let Ok(output) = command.args(["-c", &line, EXE]).output() else {
            println!("skipped: there is no bash");
            return;
        };
        let status = String::from_utf8(output.stdout).unwrap();
        let bit = 1_u64 << (Signal::CHILD.as_raw() - 1);
        assert_eq!(signals(&status, "SigIgn:") & bit != 0, is_ignored, "{line}");
    }
}

/// Uses all three streams, and then says what they are and which descriptors there are: in a file, and in shells within the shell, so that no
/// redirection shows.
const LOOK: &str = r#"read -r line; echo "out $line"; echo "err $line" >&2
for n in 0 1 2; do (readlink /proc/$$/fd/$n >>seen); done
(ls /proc/$$/fd >>seen)
exit 0"#;

/// As with `<&- >&- 2>&-` in a script of cron's: what is not asked for is the null device, and nothing of ours is in a closed one's place.
#[test]
fn a_command_has_its_streams_although_ours_are_closed() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().canonicalize().unwrap();
    let path = |name: &str| place.join(name);
    std::fs::write(path("in"), "a line\n").unwrap();
    let listed = shell("ls /proc/$$/fd; exit 0").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let null = || vec!["/dev/null".to_owned(); 3];
    let files = |names: [&str; 3]| names.map(|name| path(name).to_str().unwrap().to_owned());
    for (options, streams) in [
        ("", null()),
        (
            "--stdin in --stdout out --stderr err",
            files(["in", "out", "err"]).to_vec(),
        ),
        (
            "--stdin in --stdout out --merge",
            files(["in", "out", "out"]).to_vec(),
        ),
        (
            "--stdin in --stdout out --merge --max-output 1M",
            Vec::new(),
        ),
        // Through our hands to a closed one; typed from a closed one.
        ("--max-output 1M", Vec::new()),
        ("--tty", Vec::new()),
    ] {
        let line = format!("exec \"$0\" run {options} -- sh -c \"$LOOK\" <&- >&- 2>&-");
        let mut command = shell(&line);
        let status = command.env("LOOK", LOOK).current_dir(&place).status();
        assert!(status.unwrap().success(), "{options}");
        let seen = std::fs::read_to_string(path("seen")).unwrap();
        std::fs::remove_file(path("seen")).unwrap();
        let (links, numbers) = seen.split_at(seen.find("\n0\n").unwrap() + 1);
        // What a shell has without us: its streams, and what this test was started with.
        assert_eq!(numbers, listed, "{options}");
        if !streams.is_empty() {
            assert_eq!(links.lines().collect::<Vec<_>>(), streams, "{options}");
        }
        if options.contains("--stdout") {
            let is_merged = options.contains("--merge");
            let expected = if is_merged {
                "out a line\nerr a line\n"
            } else {
                "out a line\n"
            };
            assert_eq!(std::fs::read_to_string(path("out")).unwrap(), expected);
        }
    }
}

/// The null device takes all of it, and so the command is not told.
#[test]
fn what_the_command_writes_to_a_closed_stream_of_ours_is_told_to_be_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let command = "sh -c 'echo printed; echo said >&2'";
    for (options, streams, output, stderr) in [
        ("", ">out 2>err", false, false),
        ("", ">&- 2>err", true, false),
        ("", ">out 2>&-", false, true),
        ("--merge", ">&- 2>err", true, true),
        ("--merge", ">out 2>&-", false, false),
        ("--stdout to", ">&- 2>err", false, false),
        ("--stdout to --stderr fd:1", ">&- 2>err", false, true),
        ("--max-output 1M", ">out 2>&-", false, true),
        ("--max-output 1M", ">&- 2>err", true, false),
        ("--merge --max-output 1M", ">&- 2>err", true, true),
        ("--tty", "</dev/null >&- 2>err", true, true),
    ] {
        let what = format!("{options} {streams}");
        let options = format!("--report json --report-to account {options}");
        let line = format!("exec \"$0\" run {options} -- {command} {streams}");
        let status = shell(&line).current_dir(&folder).status().unwrap();
        assert!(status.success(), "{what}");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let account: Value = serde_json::from_str(&read("account")).unwrap();
        assert_eq!(account["output_discarded"], output, "{what}");
        assert_eq!(account["stderr_discarded"], stderr, "{what}");
        if streams.ends_with("err") {
            let told = "watertight: what it prints is discarded: standard output is closed";
            assert_eq!(read("err").contains(told), output, "{what}");
        }
    }
}

/// As make's job server has it, whether the command's streams are its own or go through our hands.
#[test]
fn a_descriptor_from_3_on_is_the_commands_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "there and back\n").unwrap();
    for options in ["", "--max-output 1M", "--merge --within 1000s"] {
        let line = format!("exec \"$0\" run {options} -- sh -c 'cat <&3 >&4' 3<in 4>out");
        let output = shell(&line).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let back = std::fs::read_to_string(folder.path().join("out"));
        assert_eq!(back.unwrap(), "there and back\n", "{options}");
    }
}

/// What systemd hands to a service on sockets: the descriptors reach the command, and LISTEN_PID says that they are for its parent, unless
/// the command is told otherwise right before it runs.
#[test]
fn listen_fds_reach_the_command_and_listen_pid_names_us() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "there\n").unwrap();
    let look = r#"echo "$LISTEN_FDS $((LISTEN_PID == PPID)) $((LISTEN_PID == $$))"; cat <&3"#;
    for (line, said) in [
        ("sh -c \"$LOOK\"", "1 1 0\nthere\n"),
        (
            "sh -c 'LISTEN_PID=$$ exec sh -c \"$LOOK\"'",
            "1 0 1\nthere\n",
        ),
    ] {
        let line = format!("export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" run -- {line} 3<in");
        let mut command = shell(&line);
        let output = command.env("LOOK", look).current_dir(&folder).output();
        let output = output.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), said, "{output:?}");
    }
}

/// `<(...)`, which is a descriptor with a high number.
#[test]
fn what_a_shell_has_in_place_of_a_file_is_the_commands_too() {
    let line = "exec \"$0\" run -- cat <(echo through a pipe)";
    let output = Command::new("bash").args(["-c", line, EXE]).output();
    let Ok(output) = output else {
        println!("skipped: there is no bash");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "through a pipe\n", "{output:?}");
}
