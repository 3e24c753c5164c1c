//! What the program does to what it opens and to what it was started with: nothing that would show outside.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

mod harness;

use harness::{Run, file, folder_with, strace};
use std::fs::{self, File};

/// As of a file over a network whose server does not answer: what a stream is, is not known. The stream is there all the same.
#[test]
fn a_standard_stream_that_cannot_be_looked_at_stays_open() {
    if !strace::may_trace() {
        return;
    }
    let (folder, _, bytes) = folder_with(1000);
    // As strace names it.
    let folder = folder.path().canonicalize().unwrap();
    let [source, target, messages, log] =
        ["source", "target", "messages", "calls"].map(|name| folder.join(name));
    let about = [source.to_str().unwrap(), messages.to_str().unwrap()];
    let mut command = strace::copy(&log, "?statx", &["?statx:error=EIO"], &about);
    command
        .args(["--idle", "20s", "-", &file(&target)])
        .stdin(File::open(&source).unwrap())
        .stderr(File::create(&messages).unwrap());
    let mut output = command.output().unwrap();
    if strace::failed(&log) == 0 {
        println!("skipped: std looks at files in another way here");
        return;
    }
    output.stderr = fs::read(&messages).unwrap();
    let run = Run::of(output).expect(0);
    assert_eq!(run.bytes_read(), 1000, "{}", run.report);
    assert!(run.report["sources"][0]["size_at_start"].is_null());
    assert_eq!(fs::read(&target).unwrap(), bytes);
}
