//! `watertight copy` with a limit, progress for programs, and names that are no text.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, Run, copy, file, folder_with, itself, number, run};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a line of shell in which `$W` is the program.
fn shell(folder: &Path, line: &str) -> std::process::Output {
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("W", EXE).current_dir(folder);
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_limit_leaves_the_next_byte_to_the_next_reader() {
    for line in [
        "printf 0123456789abcdef | { $W copy --limit 10 - out && cat >rest; }",
        "printf 0123456789abcdef >whole; { $W copy --limit 10 - out && cat >rest; } <whole",
        // The bytes come one by one, so that reads are short.
        "{ for c in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do printf $c; done; } | { $W copy --limit 10 - out && cat >rest; }",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = shell(folder.path(), line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("out"), "0123456789", "{line}");
        assert_eq!(read("rest"), "abcdef", "{line}");
    }
}

#[test]
fn a_limit_is_a_good_end_and_is_told() {
    let (folder, source, bytes) = folder_with(1000);
    let target = folder.path().join("target");
    let limited = run(["--limit", "300", &file(&source), &file(&target)]).expect(0);
    assert_eq!(fs::read(&target).unwrap(), bytes[..300]);
    let report = &limited.report["sources"][0];
    assert_eq!(
        (
            number(report, "bytes_read"),
            number(report, "bytes_untaken")
        ),
        (300, 0)
    );
    assert_eq!(
        (&report["limit_reached"], &report["ended"]),
        (&Value::Bool(true), &Value::Bool(false))
    );
    // One that is not reached changes nothing.
    let whole = run(["--limit", "2000", &file(&source), &file(&target)]).expect(0);
    assert_eq!(fs::read(&target).unwrap(), bytes);
    let report = &whole.report["sources"][0];
    assert_eq!(
        (&report["limit_reached"], &report["ended"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    // The number of bytes is as it should be, or it is not.
    let expecting = ["--limit", "300", "--expect-bytes", "301"];
    run(expecting.into_iter().chain([file(&source).as_str(), "-"])).expect(7);
}

/// The source would go on for ever, whoever moves its bytes. Nobody commits what it got.
#[test]
fn a_copy_ends_at_the_first_byte_that_is_too_many() {
    const CONSUMER: &str = "exec:sh -c 'cat >part && mv part final'";
    let expecting = ["--expect-bytes", "10"];
    for option in ["--dead=fail", "--stable", "--buffer=1M"] {
        for destinations in [&["target"][..], &[CONSUMER], &["target", CONSUMER]] {
            let folder = tempfile::tempdir().unwrap();
            let mut command = copy([option]);
            command.args(expecting).arg("exec:yes").args(destinations);
            let run = Run::of(command.current_dir(folder.path()).output().unwrap()).expect(7);
            let way = format!("{option} {destinations:?}: {}", run.report);
            assert_eq!(run.report["ending"], "too_many_bytes", "{way}");
            assert_eq!(run.bytes_read(), 11, "{way}");
            let source = &run.report["sources"][0];
            assert_eq!(source["child"]["stopped"], true, "{way}");
            assert_eq!(source["limit_reached"], false, "{way}");
            assert!(!folder.path().join("final").exists(), "{way}");
            if destinations[0] == "target" {
                let partial = fs::read(folder.path().join("target.partial"));
                assert_eq!(partial.unwrap(), b"y\ny\ny\ny\ny\ny", "{way}");
                assert!(!folder.path().join("target").exists(), "{way}");
            }
        }
    }
    // No command is there to be ended; of a sealed stream the data count.
    let sealing = itself("copy --quiet --seal /dev/zero -");
    for source in [&["/dev/zero"][..], &["--sealed", &sealing]] {
        let arguments = expecting.iter().chain(source).chain(&["/dev/null"]);
        let run = run(arguments).expect(7);
        assert_eq!(run.report["ending"], "too_many_bytes", "{}", run.report);
    }
}

/// A command that would write for ever is ended, which is no failure of its own, whoever moves the bytes; the consumer sees a clean end.
#[test]
fn a_limit_ends_the_sources_command() {
    for options in [&["--stable"][..], &["--buffer=1M"], &[]] {
        let ends = [
            "--limit",
            "10",
            "exec:yes",
            "exec:sh -c 'cat && echo whole'",
        ];
        let run = run(options.iter().chain(&ends)).expect(0);
        assert_eq!(run.stdout, b"y\ny\ny\ny\ny\nwhole\n", "{options:?}");
        assert_eq!(run.report["sources"][0]["child"]["stopped"], true);
        assert_eq!(run.report["ending"], "finished");
    }
}

/// Whether it ends before we have seen that it has given enough is chance.
#[test]
fn who_has_given_enough_may_end_as_it_likes() {
    for options in [&["--stable"][..], &["--buffer=1M"], &[]] {
        for ending in ["exit 1", "kill -KILL $$", "exec yes"] {
            let source = format!("exec:sh -c 'printf enough; {ending}'");
            let consumer = "exec:sh -c 'cat && echo \" is whole\"'";
            let ends = ["--limit", "6", source.as_str(), consumer];
            let run = run(options.iter().chain(&ends)).expect(0);
            assert_eq!(run.stdout, b"enough is whole\n", "{options:?} {ending}");
        }
    }
}

#[test]
fn progress_for_programs_is_one_object_a_line() {
    let (folder, source, _) = folder_with(1000);
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let options = [
        "--progress",
        "json",
        "--progress-every",
        "10ms",
        "--rate",
        "5k",
    ];
    let ends = [file(&source), file(&one), file(&two)];
    let run = run(options.into_iter().chain(ends.iter().map(String::as_str))).expect(0);
    let lines: Vec<Value> = run
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (report, lines) = lines.split_last().unwrap();
    assert_eq!(report["ending"], "finished");
    assert!(lines.len() > 1, "{}", run.stderr);
    assert!(lines.iter().all(|line| line["kind"] == "progress"));
    assert!(lines.iter().map(|line| number(line, "bytes")).is_sorted());
    let last = lines.last().unwrap();
    assert_eq!((number(last, "bytes"), number(last, "size")), (1000, 1000));
    assert_eq!(
        (number(last, "eta_seconds"), &last["held"]),
        (0, &Value::Bool(false))
    );
    for destination in last["destinations"].as_array().unwrap() {
        assert_eq!(number(destination, "transferred"), 1000);
        assert_eq!(number(destination, "queued"), 0);
        assert_eq!(number(destination, "not_accepted"), 0);
        assert_eq!(destination["state"], "ended");
        assert!(destination["given_up"].is_null() && destination["error"].is_null());
    }
}

/// The source's output has ended, and the source has not: its command is named, by its bytes too if they are no text.
#[test]
fn while_the_end_is_held_the_progress_says_for_whom() {
    // It ends when its input does; its output has ended before.
    let script = "sh -c 'echo all; exec >&-; read go <gate'";
    let held = held_for(script.as_bytes());
    assert_eq!(held["waiting_for"], script);
    assert!(held.get("waiting_for_base64").is_none(), "{held}");
    let command = [script.as_bytes(), b" a\xffb"].concat();
    let held = held_for(&command);
    assert_eq!(held["waiting_for"], format!("{script} a\u{fffd}b"));
    let told = "c2ggLWMgJ2VjaG8gYWxsOyBleGVjID4mLTsgcmVhZCBnbyA8Z2F0ZScgYf9i";
    assert_eq!(held["waiting_for_base64"], told);
}

/// Copies from a command, and returns the line of progress that says that the end is held. The copy ends well.
fn held_for(command: &[u8]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    assert!(
        Command::new("mkfifo")
            .arg(&gate)
            .status()
            .unwrap()
            .success()
    );
    let mut child = copy(["--progress", "json", "--progress-every", "10ms"])
        .arg(OsString::from_vec([b"exec:".as_slice(), command].concat()))
        .arg("exec:cat")
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let held = loop {
        let mut line = String::new();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended");
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["held"] == true {
            break line;
        }
    };
    assert_eq!(number(&held, "bytes"), 4);
    assert_eq!(held["destinations"][0]["state"], "held");
    fs::write(&gate, "go\n").unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    held
}

#[test]
fn names_that_are_no_text_are_in_the_report_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let name = OsString::from_vec(b"a\xffb".to_vec());
    if fs::write(folder.path().join(&name), b"12345").is_err() {
        println!("skipped: no such name in this file system");
        return;
    }
    let run_in = |arguments: &[&OsStr]| {
        let output = copy(arguments).current_dir(folder.path()).output();
        Run::of(output.unwrap())
    };
    let run = run_in(&[&name, OsStr::new("target")]).expect(0);
    let source = &run.report["sources"][0];
    assert_eq!(source["address"], "a\u{fffd}b");
    assert_eq!(source["address_base64"], "Yf9i");
    assert!(run.destination(0).get("address_base64").is_none());
    let run = run_in(&[OsStr::new("missing"), &name]).expect(3);
    assert_eq!(run.destination(0)["address_base64"], "Yf9i");

    let mut command = Command::new(EXE);
    command
        .args(["run", "--report", "json", "--", "echo"])
        .arg(&name);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.stdout, [name.as_bytes(), b"\n"].concat());
    let report: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(report["command"][1], "a\u{fffd}b");
    assert_eq!(report["command_base64"][0], "ZWNobw==");
    assert_eq!(report["command_base64"][1], "Yf9i");
}

#[test]
fn what_lies_beside_a_file_is_named_by_its_bytes_if_they_are_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let name = OsString::from_vec(b"a\xffb".to_vec());
    if fs::write(folder.path().join(&name), "").is_err() {
        println!("skipped: no such name in this file system");
        return;
    }
    fs::remove_file(folder.path().join(&name)).unwrap();
    for (name, shown, bytes) in [
        (
            name.as_os_str(),
            "a\u{fffd}b.partial",
            Some("Yf9iLnBhcnRpYWw="),
        ),
        (OsStr::new("text"), "text.partial", None),
    ] {
        let mut command = copy(["exec:sh -c 'printf cut; exit 1'"]);
        command.arg(name).current_dir(folder.path());
        let run = Run::of(command.output().unwrap()).expect(8);
        let destination = run.destination(0);
        assert_eq!(destination["partial"], shown);
        let told = destination.get("partial_base64").and_then(Value::as_str);
        assert_eq!(told, bytes);
    }
}

/// On Linux a process is called as its program's file is.
#[cfg(target_os = "linux")]
#[test]
fn a_process_is_named_by_its_bytes_if_they_are_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join(OsStr::from_bytes(b"a\xffb"));
    if fs::write(&program, "#!/bin/sh\nwhile :; do sleep 1000; done\n").is_err() {
        println!("skipped: no such name in this file system");
        return;
    }
    let of_the_shell = fs::metadata("/bin/sh").unwrap().permissions();
    fs::set_permissions(&program, of_the_shell).unwrap();
    // Into a file: the shell, too, may say something on standard error.
    let report = folder.path().join("report");
    let mut command = Command::new(EXE);
    command.args(["run", "--within", "100ms", "--report", "json"]);
    command
        .arg("--report-to")
        .arg(&report)
        .arg("--")
        .arg(&program);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(124));
    let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    let ended = report["asked"].as_array().unwrap();
    assert_eq!(ended[0]["name"], "a\u{fffd}b", "{report}");
    assert_eq!(ended[0]["name_base64"], "Yf9i");
    let others = &ended[1..];
    assert!(
        others.iter().all(|one| one.get("name_base64").is_none()),
        "{report}"
    );
}
