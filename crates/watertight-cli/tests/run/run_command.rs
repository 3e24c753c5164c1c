//! `watertight run`: exit codes, limits, and what it says, on every system. The command is the program itself, or this test binary.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]
#![allow(clippy::exit, reason = "a command ends without the harness")]

use crate::harness::{EXE, file, pattern};
use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long anything may take before it is a hang. Never waited for when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(arguments: &[&str]) -> Command {
    let mut command = Command::new(EXE);
    command
        .arg("run")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn stderr(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// Runs it with this input.
fn fed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeding = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = feeding.join().unwrap();
    output
}

#[test]
fn a_commands_streams_and_exit_code_are_its_own() {
    let bytes = pattern(1 << 20);
    for options in [&["--"][..], &["--max-output", "10M", "--"]] {
        let mut command = run(options);
        command.args([EXE, "copy", "--quiet", "-", "-"]);
        let output = fed(&mut command, &bytes);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(output.stdout == bytes, "{options:?}");
        assert_eq!(stderr(&output), "");
    }
    // Its own usage error.
    let output = run(&["--", EXE, "copy"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage"));
}

#[test]
fn a_missing_command_is_127_and_named() {
    let output = run(&["--", "no-such-program-here"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(stderr(&output).contains("no-such-program-here"));
}

#[test]
fn a_deadline_ends_the_command_and_is_124() {
    for options in [&[][..], &["--max-output", "1M"]] {
        let mut command = run(&["--within", "300ms", "--grace", "10ms"]);
        command
            .args(options)
            .args(["--", EXE, "copy", "--quiet", "-", "-"]);
        // Its input stays open: it would never end.
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        assert_eq!(output.status.code(), Some(124));
        assert!(stderr(&output).contains("deadline"));
    }
}

#[test]
fn output_past_the_bound_is_counted_and_dropped() {
    let bytes = pattern(1 << 20);
    let mut command = run(&["--max-output", "1000", "--report", "json", "--"]);
    command.args([EXE, "copy", "--quiet", "-", "-"]);
    let output = fed(&mut command, &bytes);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(output.stdout, bytes[..1000]);
    let report: serde_json::Value = serde_json::from_str(stderr(&output).trim()).unwrap();
    assert_eq!(report["ending"], "itself");
    assert_eq!(report["stdout"]["passed_on"], 1000);
    assert_eq!(report["stdout"]["discarded"], (1 << 20) - 1000);
    assert_eq!(report["exit_code"], 0);
}

#[test]
fn a_report_is_saved_where_it_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let path = path.to_str().unwrap();
    let output = run(&[
        "--report",
        "json",
        "--report-to",
        path,
        "--",
        EXE,
        "--version",
    ])
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.starts_with(b"watertight "));
    assert_eq!(stderr(&output), "");
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(
        (&report["code"], &report["ending"]),
        (&0.into(), &"itself".into())
    );
    // A place that cannot be written is said before anything runs.
    let nowhere = folder.path().join("no").join("such");
    let output = run(&[
        "--report",
        "json",
        "--report-to",
        nowhere.to_str().unwrap(),
        "--",
        EXE,
        "--version",
    ])
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(output.stdout.is_empty());
}

#[test]
fn streams_come_from_and_go_to_where_they_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let bytes = pattern(1 << 20);
    fs::write(&from, &bytes).unwrap();
    let (from_text, to_text) = (file(&from), file(&to));
    for options in [&[][..], &["--max-output", "10M"]] {
        // It is longer than what comes, and emptied.
        fs::write(&to, vec![b'x'; 2 << 20]).unwrap();
        let mut command = run(&["--stdin", &from_text, "--stdout", &to_text]);
        command
            .args(["--report", "json"])
            .args(options)
            .args(["--", EXE, "copy", "--quiet", "-", "-"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
        assert!(fs::read(&to).unwrap() == bytes, "{options:?}");
        let report: serde_json::Value = serde_json::from_str(stderr(&output).trim()).unwrap();
        assert_eq!(report["stdin_from"], from_text);
        assert_eq!(report["stdout_to"], to_text);
        assert!(report["stderr_to"].is_null());
        assert!(report["usage"]["user_seconds"].is_number(), "{report}");
        for count in [
            "page_faults",
            "page_faults_major",
            "context_switches_voluntary",
            "context_switches_involuntary",
            "blocks_read",
            "blocks_written",
        ] {
            let is_told = report["usage"][count].is_number();
            assert!(is_told || cfg!(not(target_os = "linux")), "{report}");
        }
        assert!(report["out_of_memory"].is_null());
    }
}

#[test]
fn a_command_that_does_not_start_leaves_no_new_file_and_empties_none() {
    let folder = tempfile::tempdir().unwrap();
    let (fresh, old) = (folder.path().join("fresh"), folder.path().join("old"));
    for option in ["", ",append", ",exclusive"] {
        let to = file(&fresh) + option;
        let output = run(&["--stdout", &to, "--", "no-such-program-here"]).output();
        assert_eq!(output.unwrap().status.code(), Some(127));
        assert!(!fresh.exists(), "{option}");
    }
    fs::write(&old, "precious").unwrap();
    let (old_text, missing) = (file(&old), file(&folder.path().join("no").join("such")));
    for arguments in [
        ["--stdout", &old_text, "--stderr", &missing],
        ["--stdout", &old_text, "--stdin", &missing],
    ] {
        let output = run(&arguments).args(["--", EXE, "--version"]).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
        assert!(stderr(&output).contains("such"), "{}", stderr(&output));
        assert_eq!(fs::read(&old).unwrap(), b"precious");
    }
}

/// An old report must not pass for this one's.
#[test]
fn a_command_that_is_not_run_has_a_report_in_place_of_an_old_one() {
    const MISSING: &str = "no-such-program-here";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report");
    let nowhere = file(&folder.path().join("no").join("such"));
    for (options, program, code, words) in [
        (&[][..], MISSING, 127, MISSING),
        (
            &["--stdout", &nowhere][..],
            EXE,
            125,
            "the command was not run",
        ),
    ] {
        let json = [&["--report", "json"][..], options].concat();
        let printed = run(&json).args(["--", program]).output().unwrap();
        assert_eq!(printed.status.code(), Some(code), "{}", stderr(&printed));
        for old in [None, Some("{\"stale\":1}".repeat(1000))] {
            if let Some(old) = old {
                fs::write(&path, old).unwrap();
            }
            let mut command = run(&json);
            command.arg("--report-to").arg(&path).args(["--", program]);
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
            assert!(stderr(&output).contains(words), "{}", stderr(&output));
            let saved = fs::read_to_string(&path).unwrap();
            for report in [saved, stderr(&printed)] {
                let report: serde_json::Value = serde_json::from_str(report.trim()).unwrap();
                assert_eq!(report["ending"], "not_started", "{report}");
                assert_eq!(report["exit_code"], code, "{report}");
                assert_eq!(report["command"][0], program, "{report}");
                let error = report["errors"][0].as_str().unwrap();
                assert!(error.contains(words), "{report}");
            }
            fs::remove_file(&path).unwrap();
        }
        let text = [&["--report", "text"][..], options].concat();
        let output = run(&text).args(["--", program]).output().unwrap();
        let told = stderr(&output);
        assert!(told.starts_with("watertight: ") && told.contains(words));
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

/// Also if something else fails before it is opened.
#[test]
fn no_report_is_written_into_a_stream_of_a_command_that_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("one");
    fs::write(&one, "precious").unwrap();
    let (one_text, path) = (file(&one), one.to_str().unwrap());
    let nowhere = file(&folder.path().join("no").join("such"));
    for stream in ["--stdin", "--stdout"] {
        let mut command = run(&[stream, &one_text, "--stderr", &nowhere]);
        command.args(["--report", "json", "--report-to", path, "--", EXE]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
        assert!(stderr(&output).contains("same file"), "{}", stderr(&output));
        assert_eq!(fs::read(&one).unwrap(), b"precious");
    }
}

#[test]
fn a_file_that_would_destroy_itself_is_refused_and_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("one");
    let other = folder.path().join(".").join("one");
    fs::write(&one, "precious").unwrap();
    let path = one.to_str().unwrap();
    let (one_text, other_text) = (file(&one), file(&other));
    let other_appended = file(&other) + ",append";
    for arguments in [
        &["--stdin", &one_text, "--stdout", &other_text][..],
        &["--stdin", &one_text, "--stderr", &other_appended],
        &["--stdout", &one_text, "--stderr", &other_appended],
        &["--stdout", &one_text, "--report-to", path],
        &["--stdin", &one_text, "--report-to", path],
    ] {
        let mut command = run(arguments);
        command.args(["--report", "json", "--", EXE, "--version"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        assert!(stderr(&output).contains("same file"), "{arguments:?}");
        assert_eq!(fs::read(&one).unwrap(), b"precious");
    }
}

#[test]
fn wrong_usage_is_told_and_nothing_runs() {
    for arguments in [
        &[][..],
        &["--no-such-option", "--", EXE],
        &["--within", "soon", "--", EXE],
        &["--report-to", "x", "--", EXE],
        &["--merge", "--stderr", "x", "--", EXE],
        &["--tty", "--stderr", "x", "--", EXE],
        &["--tty", "--stdin", "x", "--", EXE],
        &["--stdin", "exec:cat", "--", EXE],
        &["--stdin", "x,append", "--", EXE],
        &["--after-exit", "never", "--within", "1s", "--", EXE],
        &["--after-exit", "deadline", "--", EXE],
        &["--after-exit", "end", "--quiet-after-exit", "1s", "--", EXE],
    ] {
        let output = run(arguments).output().unwrap();
        // No code of the command's: that may be 2 as well.
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let helped = run(&["--help"]).output().unwrap();
    assert_eq!(helped.status.code(), Some(0));
    // Where there is no command, it is as it was.
    for arguments in [&["--no-such-option", "run"][..], &["copy"], &["walk"]] {
        let output = Command::new(EXE).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

/// Makes this test binary a command that does this, and nothing else.
const DEED: &str = "WATERTIGHT_COMMAND";
const DEED_ARGUMENTS: [&str; 4] = ["--exact", "run_command::deed", "--nocapture", "--quiet"];

/// No test of its own: what the command does that leaves somebody behind, and what that one does. A number is what it ends with.
#[test]
fn deed() {
    let Ok(deed) = std::env::var(DEED) else {
        return;
    };
    match deed.as_str() {
        "leave" => {
            let mut command = watertight::Command::new(std::env::current_exe().unwrap());
            command.args(DEED_ARGUMENTS).env(DEED, "stay");
            // Dropped, it goes on.
            drop(command.spawn().unwrap());
        }
        // One that says nothing, and ends with its input.
        "leave a holder" => {
            let mut command = watertight::Command::new("cmd.exe");
            command.args(["/d", "/c", "set /p x="]);
            println!("left {}", command.spawn().unwrap().id());
        }
        "stay" => {
            std::io::stdin().read_to_string(&mut String::new()).unwrap();
            eprintln!("stayed");
        }
        code => std::process::exit(code.parse().unwrap()),
    }
    std::process::exit(0);
}

/// Has it do this.
fn add_deed(command: &mut Command, deed: &str) {
    command
        .arg(std::env::current_exe().unwrap())
        .args(DEED_ARGUMENTS)
        .env(DEED, deed);
}

/// Its job ends with us (Windows), but not when the command has ended by itself.
#[test]
fn whoever_the_command_leaves_behind_lives_on() {
    let (from, into) = std::io::pipe().unwrap();
    let (mut said, theirs) = std::io::pipe().unwrap();
    let mut command = run(&["--"]);
    add_deed(&mut command, "leave");
    command.stdin(from).stdout(Stdio::null()).stderr(theirs);
    let status = command.status().unwrap();
    // It has both handles, too.
    drop(command);
    assert_eq!(status.code(), Some(0));
    // Only then is anything said.
    drop(into);
    let mut last = String::new();
    said.read_to_string(&mut last).unwrap();
    assert!(last.contains("stayed"), "{last}");
}

/// It has another one; but on Windows a child gets whatever is inheritable, and we were started with a standard output that is.
#[test]
fn whoever_the_command_leaves_behind_does_not_hold_our_output() {
    let folder = tempfile::tempdir().unwrap();
    let to = file(&folder.path().join("to"));
    let (from, into) = std::io::pipe().unwrap();
    let (mut ours, stdout) = std::io::pipe().unwrap();
    let (mut said, theirs) = std::io::pipe().unwrap();
    let mut command = run(&["--stdout", &to, "--"]);
    add_deed(&mut command, "leave");
    command.stdin(from).stdout(stdout).stderr(theirs);
    let status = command.status().unwrap();
    // It has the handles, too.
    drop(command);
    assert_eq!(status.code(), Some(0));
    let (tell, told) = channel();
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        let read = ours.read_to_end(&mut all);
        tell.send(read.map(|_| all)).unwrap();
    });
    let read = told.recv_timeout(PATIENCE);
    // With that it ends.
    drop(into);
    let mut last = String::new();
    said.read_to_string(&mut last).unwrap();
    assert!(last.contains("stayed"), "{last}");
    reading.join().unwrap();
    let all = read.expect("it holds our standard output").unwrap();
    assert!(all.is_empty());
}

/// std's `ExitCode` has room for a byte.
#[cfg(windows)]
#[test]
fn a_commands_code_has_all_its_bits() {
    for code in [256, 259, i32::MAX, -1, 0xC000_0005_u32.cast_signed()] {
        for options in [&[][..], &["--max-output", "1M"]] {
            let mut command = run(&["--report", "json"]);
            command.args(options).arg("--");
            add_deed(&mut command, &code.to_string());
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
            let report: serde_json::Value = serde_json::from_str(stderr(&output).trim()).unwrap();
            assert_eq!(report["code"], code);
            assert_eq!(report["exit_code"], code);
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("running 1 test"), "{said}");
        }
    }
}

/// The system shows who of its tree is alive, and not who has a pipe.
#[cfg(windows)]
#[test]
fn who_of_its_tree_may_hold_its_output_is_named() {
    for report in ["json", "text"] {
        let (from, into) = std::io::pipe().unwrap();
        let mut command = run(&["--quiet-after-exit", "200ms", "--report", report, "--"]);
        add_deed(&mut command, "leave a holder");
        let output = command.stdin(from).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let said = String::from_utf8_lossy(&output.stdout);
        let left = said.lines().find_map(|line| line.strip_prefix("left "));
        let left: u32 = left.expect("all of it is there").parse().unwrap();
        let told = stderr(&output);
        if report == "json" {
            let report: serde_json::Value = serde_json::from_str(told.trim()).unwrap();
            assert_eq!(report["ending"], "quiet_after_exit");
            let holders = report["holders"].as_array().unwrap();
            assert!(holders.iter().any(|one| one["pid"] == left), "{report}");
        } else {
            assert!(told.contains("its output may be held by"), "{told}");
            assert!(told.contains(&format!("cmd.exe ({left})")), "{told}");
        }
        // With that it ends.
        drop((command, into));
    }
}

/// As CreateProcess would, and std does not.
#[cfg(windows)]
#[test]
fn a_program_in_the_current_folder_is_not_started_by_its_bare_name() {
    let folder = tempfile::tempdir().unwrap();
    let planted = folder.path().join("watertight-planted.exe");
    fs::copy(EXE, &planted).unwrap();
    let code = |name: &str| {
        let mut command = run(&["--", name, "--version"]);
        let output = command.current_dir(&folder).output().unwrap();
        output.status.code()
    };
    assert_eq!(code("watertight-planted"), Some(127));
    assert_eq!(code("watertight-planted.exe"), Some(127));
    let script = folder.path().join("watertight-script.bat");
    fs::write(&script, "@exit /b 0\r\n").unwrap();
    assert_eq!(code("watertight-script"), Some(127));
    assert_eq!(code("watertight-script.bat"), Some(127));
    // By their paths they are.
    for path in [planted, script] {
        assert_eq!(code(path.to_str().unwrap()), Some(0));
    }
}

#[cfg(windows)]
#[test]
fn a_terminal_is_refused_with_its_reason() {
    let output = run(&["--tty", "--", EXE, "--version"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("ConPTY"), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
}
