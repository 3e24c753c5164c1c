//! The end comes after the verdict, on every system. Every command here is the program itself.
//!
//! The consumer is a copy to a file: the file gets its name if and only if the consumer sees a clean end of its input. Its input is armed
//! where the system has that, and a plain pipe elsewhere (Windows), in which every end is a clean one.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::harness::{EXE, file, folder_with, itself, partial, run};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What a producer puts out.
const BYTES: usize = 1000;
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
