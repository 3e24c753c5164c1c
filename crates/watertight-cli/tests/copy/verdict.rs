//! The end comes after the verdict, on every system. Every command here is the program itself, or this test binary.
//!
//! The consumer is a copy to a file: the file gets its name if and only if the consumer sees a clean end of its input. Its input is armed
//! where the system has that, and a plain pipe elsewhere (Windows), in which every end is a clean one.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::exit, reason = "a command ends without the harness")]

use crate::harness::{EXE, Run, copy, file, folder_with, itself, partial, run};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use watertight::{Input, Output};

/// How long anything may take before the test calls it a hang. Never waited for when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a producer puts out.
const BYTES: usize = 1000;
/// More than a pipe takes with nobody reading.
const LARGE: usize = 3_000_001;
/// Likewise, and the library has room for the rest.
const LESS: usize = 300_000;
/// How many bytes are expected in vain.
const TOO_MANY: &str = "1001";

/// A folder with a source, and a file in it that is not there yet.
fn with_target() -> (TempDir, PathBuf, PathBuf, Vec<u8>) {
    let (folder, source, bytes) = folder_with(BYTES);
    let target = folder.path().join("target");
    (folder, source, target, bytes)
}

/// Ends with 0.
fn producer(source: &Path) -> String {
    itself(&format!("copy --quiet \"{}\" -", file(source)))
}

/// Puts out the same, and ends with 7.
fn failing(source: &Path) -> String {
    let source = file(source);
    itself(&format!(
        "copy --quiet --expect-bytes {TOO_MANY} \"{source}\" -"
    ))
}

fn consumer(target: &Path) -> String {
    itself(&format!("copy --quiet - \"{}\"", file(target)))
}

/// A consumer that another command has started.
fn grandchild(target: &Path) -> String {
    let target = file(target);
    itself(&format!("run -- \"{EXE}\" copy --quiet - \"{target}\""))
}

#[track_caller]
fn expect_ended_by_itself(destination: &Value) {
    assert_eq!(destination["ending"], "finished", "{destination}");
    assert_eq!(destination["child"]["ended_by"], "itself", "{destination}");
    assert_eq!(destination["child"]["code"], 0, "{destination}");
}

#[test]
fn a_command_has_the_end_of_a_whole_stream() {
    for consumer in [consumer, grandchild] {
        let (_folder, source, target, bytes) = with_target();
        let run = run([producer(&source), consumer(&target)]).expect(0);
        assert!(fs::read(&target).unwrap() == bytes);
        expect_ended_by_itself(run.destination(0));
    }
}

#[test]
fn a_command_has_no_end_of_a_stream_that_is_known_to_be_cut() {
    for consumer in [consumer, grandchild] {
        for (is_failing, code) in [(true, 8), (false, 7)] {
            let (_folder, source, target, _) = with_target();
            let arguments = if is_failing {
                vec![failing(&source), consumer(&target)]
            } else {
                let expecting = ["--expect-bytes", TOO_MANY].map(str::to_owned);
                let ends = [producer(&source), consumer(&target)];
                expecting.into_iter().chain(ends).collect()
            };
            let run = run(&arguments).expect(code);
            assert!(!target.exists(), "{arguments:?}");
            let destination = run.destination(0);
            assert_eq!(destination["given_up"], "cut_short", "{destination}");
            assert_eq!(destination["child"]["stopped"], true, "{destination}");
        }
    }
}

#[test]
fn a_producers_status_is_told_and_may_be_called_good() {
    let (folder, source, target, bytes) = with_target();
    let kept = folder.path().join("kept");
    let meant = failing(&source) + ",ok=0,7";
    let run = run([meant, consumer(&target), file(&kept)]).expect(0);
    let child = &run.report["sources"][0]["child"];
    assert_eq!((&child["code"], &child["good"]), (&7.into(), &true.into()));
    assert!(fs::read(&target).unwrap() == bytes);
    assert!(fs::read(&kept).unwrap() == bytes);
    expect_ended_by_itself(run.destination(0));
    assert_eq!(run.destination(1)["how"], "renamed");
    // Another one is as bad as ever.
    let (_folder, source, target, _) = with_target();
    let other = failing(&source) + ",ok=0,1";
    let run = crate::harness::run([other, consumer(&target)]).expect(8);
    assert_eq!(run.report["sources"][0]["child"]["good"], false);
    assert!(!target.exists());
}

#[test]
fn on_request_a_command_has_the_end_of_a_cut_stream_too() {
    for (is_failing, code) in [(true, 8), (false, 7)] {
        let (_folder, source, target, bytes) = with_target();
        let mut arguments = ["--on-failure", "end"].map(str::to_owned).to_vec();
        if is_failing {
            arguments.push(failing(&source));
        } else {
            arguments.extend(["--expect-bytes", TOO_MANY].map(str::to_owned));
            arguments.push(producer(&source));
        }
        arguments.push(consumer(&target));
        let run = run(&arguments).expect(code);
        assert!(fs::read(&target).unwrap() == bytes, "{arguments:?}");
        expect_ended_by_itself(run.destination(0));
    }
}

#[test]
fn a_file_is_replaced_by_a_whole_copy_and_kept_by_a_cut_one() {
    let (_folder, source, target, bytes) = with_target();
    let beside = partial(&target);
    fs::write(&target, "old").unwrap();
    let cut = run([failing(&source), file(&target)]).expect(8);
    let destination = cut.destination(0);
    assert_eq!(destination["how"], "partial", "{destination}");
    assert_eq!(destination["partial"], beside.to_str().unwrap());
    assert_eq!(fs::read(&target).unwrap(), b"old");
    assert!(fs::read(&beside).unwrap() == bytes);
    fs::remove_file(&beside).unwrap();
    let whole = run([producer(&source), file(&target)]).expect(0);
    let destination = whole.destination(0);
    assert_eq!(destination["how"], "renamed", "{destination}");
    assert!(destination["partial"].is_null(), "{destination}");
    assert!(fs::read(&target).unwrap() == bytes);
    assert!(!beside.exists());
}

/// A copy of a file to our pipe, which takes only a part of it until somebody reads, and to a consumer.
fn with_one_behind(options: &[&str], source: &Path, target: &Path) -> Child {
    let mut command = copy(options);
    command
        .args([file(source).as_str(), "-", &consumer(target)])
        .spawn()
        .unwrap()
}

#[test]
fn the_end_waits_for_a_destination_that_is_behind() {
    let (folder, source, bytes) = folder_with(LARGE);
    let target = folder.path().join("target");
    let lines = ["--progress", "json", "--progress-every", "10ms"];
    let options = [&["--buffer=8M"][..], &lines].concat();
    let mut child = with_one_behind(&options, &source, &target);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < PATIENCE, "no end is held");
        let mut line = String::new();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended");
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["destinations"][1]["state"] == "held" {
            assert_eq!(line["destinations"][0]["state"], "behind");
            break;
        }
    }
    assert!(!target.exists());
    // Beside us, so that neither stream is full while we read the other one.
    let mut stdout = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut seen = Vec::new();
        stdout.read_to_end(&mut seen).unwrap();
        seen
    });
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(reading.join().unwrap() == bytes);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    assert!(fs::read(&target).unwrap() == bytes);
}

#[test]
fn on_request_the_end_waits_for_no_other_destination() {
    for (option, len) in [("--buffer=8M", LARGE), ("--dead=fail", LESS)] {
        let (folder, source, bytes) = folder_with(len);
        let target = folder.path().join("target");
        let child = with_one_behind(&["--on-failure", "end", option], &source, &target);
        let begin = Instant::now();
        // It has its name as soon as the consumer has seen the end, and we have read nothing by then.
        while !target.exists() {
            assert!(
                begin.elapsed() < PATIENCE,
                "{option}: the consumer has no end"
            );
            std::thread::yield_now();
        }
        let run = Run::of(child.wait_with_output().unwrap()).expect(0);
        assert!(run.stdout == bytes, "{option}");
        assert!(fs::read(&target).unwrap() == bytes, "{option}");
        expect_ended_by_itself(run.destination(1));
    }
}

/// Makes this test binary a command that does this, and nothing else.
const DEED: &str = "WATERTIGHT_COMMAND";
const DEED_ARGUMENTS: [&str; 4] = ["--exact", "verdict::deed", "--nocapture", "--quiet"];
/// Where a process that stays waits for a word.
const ADDRESS: &str = "WATERTIGHT_ADDRESS";
/// What it says when it waits there.
const WAITS: &str = "it waits";

/// No test of its own: what the command does that leaves somebody behind, and what that one does.
#[test]
fn deed() {
    let Ok(deed) = std::env::var(DEED) else {
        return;
    };
    if deed == "leave" {
        let read = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        assert_eq!(read.unwrap(), BYTES as u64);
        let mut command = watertight::Command::new(std::env::current_exe().unwrap());
        command.args(DEED_ARGUMENTS).env(DEED, "stay");
        command.stdin(Input::null()).stderr(Output::null());
        // It goes on when this process ends.
        let child = command.stdout(Output::piped()).spawn().unwrap();
        let mut lines = child.stdout.as_ref().unwrap().lines(1024);
        loop {
            let line = lines.receive().wait().unwrap();
            if line.expect("it is there").content() == WAITS.as_bytes() {
                break;
            }
        }
    } else {
        let mut stream = TcpStream::connect(std::env::var(ADDRESS).unwrap()).unwrap();
        println!("{WAITS}");
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(b"stayed").unwrap();
    }
    std::process::exit(0);
}

/// On Windows its job ends with the copy, but not when all is well.
#[test]
fn whoever_a_copys_command_leaves_behind_lives_on() {
    let (_folder, source, _) = folder_with(BYTES);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let program = std::env::current_exe().unwrap();
    let words = DEED_ARGUMENTS.join(" ");
    let leaving = format!("exec:\"{}\" {words}", program.display()).replace(',', ",,");
    let status = copy([file(&source), leaving])
        .env(DEED, "leave")
        .env(ADDRESS, listener.local_addr().unwrap().to_string())
        // It may have inherited them.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    // It was there before the command ended, and only now is anything said to it.
    let (mut stream, _) = listener.accept().unwrap();
    let mut said = String::new();
    let told = stream.write_all(b"!");
    let heard = stream.read_to_string(&mut said);
    assert_eq!(said, "stayed", "{told:?} {heard:?}");
}
