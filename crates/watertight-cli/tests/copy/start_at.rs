//! `--start-at`: destinations get nothing before there is enough, and then all of it.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, Run, check, copy, file, folder_with, number, pattern};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStderr, Command, Stdio};

/// Reads what the program tells of its progress, until it has read so many bytes and transferred so many.
#[track_caller]
fn wait_until(told: &mut BufReader<ChildStderr>, read: u64, transferred: u64) {
    loop {
        let mut line = String::new();
        assert!(told.read_line(&mut line).unwrap() > 0, "it has ended");
        let progress: Value = serde_json::from_str(&line).unwrap();
        let destination = &progress["destinations"][0];
        let waiting = number(destination, "queued") + number(destination, "in_flight");
        let passed = number(destination, "transferred");
        // Never more than this may pass before the next bytes are given.
        assert!(passed + waiting <= transferred, "{progress}");
        if (number(&progress, "bytes_read"), passed) == (read, transferred) {
            return;
        }
    }
}

#[test]
fn nothing_passes_before_the_share_is_full_and_again_after_it_has_run_empty() {
    let bytes = pattern(2410);
    let mut command = Command::new(EXE);
    command.args(["copy", "--report", "json", "--start-at", "80%"]);
    command.args(["--buffer", "1000", "--progress", "json"]);
    let mut child = command
        .args(["--progress-every", "1ms", "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut passed = Vec::new();
    for round in 0..3_u64 {
        let before = round * 800;
        let from = usize::try_from(before).unwrap();
        // One byte less than the share: the program has it, and nobody else.
        stdin.write_all(&bytes[from..from + 799]).unwrap();
        wait_until(&mut told, before + 799, before);
        stdin.write_all(&bytes[from + 799..from + 800]).unwrap();
        let mut run = [0; 800];
        stdout.read_exact(&mut run).unwrap();
        passed.extend(run);
        // The program knows, too, that all of it has gone.
        wait_until(&mut told, before + 800, before + 800);
    }
    // What is left at the end is less than the share.
    stdin.write_all(&bytes[2400..]).unwrap();
    wait_until(&mut told, 2410, 2400);
    drop(stdin);
    stdout.read_to_end(&mut passed).unwrap();
    assert!(passed == bytes);
    // To the end of its words first: it waits until somebody has them.
    let last = told.lines().last().unwrap().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let report: Value = serde_json::from_str(&last).unwrap();
    check(&report);
    assert_eq!(report["destinations"][0]["transferred"], 2410);
}

#[test]
fn every_byte_gets_through_whatever_the_share() {
    let (folder, source, bytes) = folder_with(300_001);
    let targets = ["one", "two"].map(|name| folder.path().join(name));
    for share in ["1%", "50%", "100%"] {
        for options in [
            &["--buffer", "10"][..],
            &["--buffer", "4097"],
            &[],
            &["--buffer", "10M"],
            &["--rate", "100M", "--limit", "200k"],
        ] {
            // A few bytes at a time, and few of them.
            let wanted = match options.last() {
                Some(&"10") => &bytes[..2000],
                Some(&"200k") => &bytes[..200_000],
                Some(_) | None => &bytes[..],
            };
            fs::write(&source, wanted).unwrap();
            let mut command = copy(["--start-at", share]);
            command.args(options);
            command.arg(file(&source)).arg("-");
            command.args(targets.each_ref().map(|target| file(target)));
            let run = Run::of(command.output().unwrap()).expect(0);
            assert!(run.stdout == wanted, "{share} {options:?}");
            for target in &targets {
                assert!(fs::read(target).unwrap() == wanted, "{share} {options:?}");
            }
        }
    }
}

#[test]
fn a_share_of_nothing_or_of_more_than_all_is_refused() {
    for share in ["0%", "101%", "much"] {
        let mut command = copy(["--start-at", share, "-", "-"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{share}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("from 1% to 100%"), "{told}");
    }
}
