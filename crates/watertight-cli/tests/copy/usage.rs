//! The program's own manners: what it refuses, what it prints and where, on every system.

use crate::harness::{EXE, Run, copy, file, folder_with, run};
use std::fs;
use std::process::{Command, Stdio};

#[test]
fn a_destination_that_is_the_source_is_refused_and_unchanged() {
    let (folder, source, bytes) = folder_with(1000);
    let dotted = folder.path().join(".").join("source");
    for (from, to) in [
        (file(&source), file(&source)),
        (file(&source), file(&dotted)),
        (file(&source), file(&source) + ",append"),
    ] {
        let run = run([from, to]).expect(3);
        assert!(run.stderr.contains("same file"), "{}", run.stderr);
        assert_eq!(fs::read(&source).unwrap(), bytes);
    }
    let mut command = copy(["-", &file(&source)]);
    let run = Run::of(
        command
            .stdin(fs::File::open(&source).unwrap())
            .output()
            .unwrap(),
    )
    .expect(3);
    assert!(run.stderr.contains("same file"), "{}", run.stderr);
    assert_eq!(fs::read(&source).unwrap(), bytes);
    // The report's file is no better.
    let report = ["--report-to", source.to_str().unwrap(), &file(&source), "-"];
    let run = crate::harness::run(report).expect(3);
    assert!(run.stderr.contains("same file"), "{}", run.stderr);
    assert_eq!(fs::read(&source).unwrap(), bytes);
}

#[test]
fn two_destinations_that_are_one_file_are_refused() {
    let (folder, source, _) = folder_with(1000);
    let target = folder.path().join("target");
    let dotted = folder.path().join(".").join("target");
    let run = run([file(&source), file(&target), file(&dotted)]).expect(3);
    assert!(run.stderr.contains("same file"), "{}", run.stderr);
}

#[test]
fn a_missing_program_is_named_and_nothing_is_overwritten() {
    let (folder, source, _) = folder_with(1000);
    let target = folder.path().join("target");
    fs::write(&target, "precious").unwrap();
    let run = run([
        file(&source),
        file(&target),
        "exec:no-such-program-here x".to_owned(),
    ])
    .expect(3);
    let error = run.destination(1)["error"].as_str().unwrap();
    assert!(
        error.contains("\"no-such-program-here\"") && error.contains("PATH"),
        "{error}"
    );
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(run.report["ending"], "not_opened");
}

#[test]
fn a_source_that_cannot_be_opened_leaves_no_destination() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    for source in [folder.path().to_owned(), folder.path().join("missing")] {
        run([file(&source), file(&target)]).expect(3);
        assert!(!target.exists());
    }
    let run = run([file(folder.path()), file(&target)]).expect(3);
    assert!(run.stderr.contains("directory"), "{}", run.stderr);
}

#[test]
fn a_start_that_fails_leaves_no_new_file() {
    let (folder, source, _) = folder_with(1000);
    let (fresh, old) = (folder.path().join("fresh"), folder.path().join("old"));
    fs::write(&old, "").unwrap();
    let missing = folder.path().join("missing").join("target");
    for failing in ["exec:no-such-program-here".to_owned(), file(&missing)] {
        for option in ["", ",append", ",exclusive"] {
            let fresh_one = file(&fresh) + option;
            run([&file(&source), &fresh_one, &file(&old), &failing]).expect(3);
            assert!(!fresh.exists(), "{failing} {option}");
            assert!(old.exists());
        }
    }
    let account = folder.path().join("account");
    let text = Command::new(EXE)
        .args(["copy", "--report-to", account.to_str().unwrap()])
        .args([&file(&source), &file(&missing)])
        .output()
        .unwrap();
    assert_eq!(text.status.code(), Some(3));
    let account = fs::read_to_string(&account).unwrap();
    assert!(account.contains("\n  not opened\n"), "{account}");
    assert!(!account.contains("all that were accepted"), "{account}");
}

#[test]
fn options_of_files_are_kept() {
    let (folder, source, bytes) = folder_with(1000);
    let target = folder.path().join("target");
    let with = |option: &str| run([file(&source), file(&target) + option]);
    with(",create=no").expect(3);
    assert!(!target.exists());
    with(",exclusive").expect(0);
    with(",exclusive").expect(3);
    with(",append").expect(0);
    assert_eq!(
        fs::read(&target).unwrap(),
        [bytes.clone(), bytes.clone()].concat()
    );
    with(",create=no").expect(0);
    assert_eq!(fs::read(&target).unwrap(), bytes);
}

#[test]
fn wrong_usage_is_told_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let target = file(&target);
    for (arguments, word) in [
        (vec![], "required"),
        (vec!["-"], "required"),
        (vec!["", &target], "empty address"),
        (vec!["-", ""], "empty address"),
        (vec!["-", "-", "foo:bar"], "file:foo:bar"),
        (vec!["-", "unix:/x"], "not in this version"),
        (vec!["-", "-", "-"], "named twice"),
        (vec!["--rate", "0", "-", &target], "--rate"),
        (vec!["--buffer", "0", "-", &target], "--buffer"),
        (vec!["--idle", "0", "-", &target], "--idle"),
        (
            vec!["--report", "none", "--report-to", "x", "-", &target],
            "--report-to",
        ),
        (vec!["exec:", &target], "command is empty"),
    ] {
        let mut command = Command::new(EXE);
        let output = command
            .arg("copy")
            .args(&arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(word), "{arguments:?}: {stderr}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_report_goes_where_it_is_told() {
    let (folder, source, _) = folder_with(1000);
    let target = file(&folder.path().join("target"));
    let report = folder.path().join("report");
    fs::write(&report, "x".repeat(10_000)).unwrap();
    let to = report.to_str().unwrap();
    let quiet = run(["--report-to", to, &file(&source), &target]).expect(0);
    assert_eq!(quiet.stderr, "");
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
    crate::harness::check(&json);
    assert_eq!(
        run(["--quiet", &file(&source), &target]).expect(0).stderr,
        ""
    );

    let nowhere = folder.path().join("missing").join("report");
    let arguments = [
        "--report-to",
        nowhere.to_str().unwrap(),
        &file(&source),
        &target,
    ];
    assert!(
        run(arguments)
            .expect(1)
            .stderr
            .contains("cannot save the report")
    );
    // Silence is for reports, not for errors.
    let arguments = ["--quiet", "--expect-bytes", "7", &file(&source), &target];
    assert!(run(arguments).expect(7).stderr.contains("--expect-bytes"));
}

#[test]
fn a_success_says_nothing_unless_it_is_asked_and_a_failure_says_all() {
    let (folder, source, _) = folder_with(1000);
    let target = file(&folder.path().join("target"));
    let said = |options: &[&str]| {
        let mut command = Command::new(EXE);
        command.arg("copy").args(options);
        let output = command.args([&file(&source), &target]).output().unwrap();
        assert_eq!(output.stdout, b"");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(said(&[]), "");
    for (options, headline) in [
        (&["--report", "text"][..], "finished"),
        (&["--hash"][..], "finished"),
        (&["--expect-bytes", "1001"][..], "exit code 7"),
    ] {
        let text = said(options);
        assert!(
            text.contains(headline) && text.contains("transferred  1000 bytes"),
            "{text}"
        );
    }
}

#[test]
fn progress_is_shown_if_it_must_and_not_on_a_pipe_by_itself() {
    let (folder, source, _) = folder_with(1000);
    let target = file(&folder.path().join("target"));
    assert!(
        run([&file(&source), &target])
            .expect(0)
            .stderr
            .starts_with('{')
    );
    let run = run([
        "--progress",
        "always",
        "--rate",
        "5k",
        &file(&source),
        &target,
    ])
    .expect(0);
    assert!(
        run.stderr.contains('\r') && run.stderr.contains("kB"),
        "{:?}",
        run.stderr
    );
}

/// By itself it would change nothing: whoever is slow is waited for.
#[test]
fn help_completions_and_the_manual_are_one_definition() {
    let output = |arguments: &[&str]| {
        let output = Command::new(EXE).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let help = output(&["copy", "--help"]);
    let page = output(&["man", "copy"]).replace("\\-", "-");
    let script = output(&["completions", "bash"]);
    for flag in [
        "--drain-within",
        "--expect-bytes",
        "--slow-after",
        "--report-to",
    ] {
        assert!(
            help.contains(flag) && page.contains(flag) && script.contains(flag),
            "{flag}"
        );
    }
    assert!(help.contains("130, 131, 143") && page.contains("130, 131, 143"));
    assert!(output(&["man"]).contains("watertight"));
    let unknown = Command::new(EXE).args(["man", "nothing"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

/// Nobody would be slow, whatever the time is.
#[test]
fn a_time_after_which_one_is_slow_needs_a_policy() {
    let (folder, source, _) = folder_with(10);
    let target = folder.path().join("target");
    let run = run(["--slow-after", "3s", &file(&source), &file(&target)]).expect(2);
    assert!(run.stderr.contains("--slow <POLICY>"), "{}", run.stderr);
    assert!(!target.exists());
    for policy in ["wait", "drop", "fail"] {
        let slow = ["--slow", policy, "--slow-after", "1h", &file(&source)];
        crate::harness::run(slow.into_iter().chain([file(&target).as_str()])).expect(0);
    }
}
