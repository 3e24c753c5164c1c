//! What no verdict can reach: a sender that is killed, behind a plain pipe. The seal is missing, and the consumer commits nothing.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, Run, copy};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// It commits if and only if it sees a clean end.
const CONSUMER: &str = "exec:sh -c \"cat >part && mv part final\"";

fn committed(folder: &Path) -> Option<String> {
    std::fs::read_to_string(folder.join("final")).ok()
}

/// A sender whose standard output is a plain pipe, with its standard input in our hands.
fn sender(arguments: &[&str]) -> Child {
    let mut command = Command::new(EXE);
    command
        .args(["copy", "--seal", "--quiet"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A receiver behind the sender's pipe, with the consumer.
fn receiver(folder: &Path, sender: &mut Child) -> Child {
    copy(["--sealed", "-", CONSUMER])
        .current_dir(folder)
        .stdin(Stdio::from(sender.stdout.take().unwrap()))
        .spawn()
        .unwrap()
}

/// Sends a first line, and comes back when the consumer has it.
fn send_first_line(folder: &Path, sender: &mut Child) {
    let stdin = sender.stdin.as_mut().unwrap();
    stdin.write_all(b"first\n").unwrap();
    // It is in the file as soon as the consumer has it: nothing tells that but looking.
    while std::fs::read(folder.join("part")).map_or(0, |part| part.len()) < 6 {
        std::thread::yield_now();
    }
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([name, &pid]).status().unwrap();
    assert!(sent.success());
}

#[track_caller]
fn refuses(receiver: Child, why: &str) {
    let run = Run::of(receiver.wait_with_output().unwrap()).expect(4);
    let error = run.report["sources"][0]["error"].as_str().unwrap();
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_whole_sealed_stream_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let mut sender = sender(&["exec:echo whole", "-"]);
    let receiver = receiver(folder.path(), &mut sender);
    Run::of(receiver.wait_with_output().unwrap()).expect(0);
    assert_eq!(sender.wait().unwrap().code(), Some(0));
    assert_eq!(committed(folder.path()).as_deref(), Some("whole\n"));
}

#[test]
fn a_sender_that_is_killed_leaves_no_whole_stream() {
    let folder = tempfile::tempdir().unwrap();
    let mut sender = sender(&["-", "-"]);
    let receiver = receiver(folder.path(), &mut sender);
    send_first_line(folder.path(), &mut sender);
    signal(&sender, "-KILL");
    assert_eq!(sender.wait().unwrap().signal(), Some(9));
    refuses(
        receiver,
        "without its seal: the sender failed or was cut off; 6 bytes came",
    );
    assert_eq!(committed(folder.path()), None);
}

/// A sender that is stopped in order says so, if it is to end its streams at all.
#[test]
fn a_sender_that_is_interrupted_leaves_no_whole_stream() {
    for (policy, why) in [
        ("kill", "without its seal"),
        ("end", "says that the stream is cut"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut sender = sender(&["--on-failure", policy, "-", "-"]);
        let receiver = receiver(folder.path(), &mut sender);
        send_first_line(folder.path(), &mut sender);
        // Waiting for it would close its input, and with that end it in order.
        let stdin = sender.stdin.take();
        signal(&sender, "-TERM");
        assert_eq!(sender.wait().unwrap().code(), Some(143));
        drop(stdin);
        refuses(receiver, why);
        assert_eq!(committed(folder.path()), None);
    }
}

#[test]
fn a_producer_that_fails_after_its_output_is_told_to_the_receiver() {
    let folder = tempfile::tempdir().unwrap();
    let mut sender = sender(&["exec:sh -c \"echo first; exec >&-; exit 1\"", "-"]);
    let receiver = receiver(folder.path(), &mut sender);
    refuses(receiver, "says that the stream is cut");
    assert_eq!(sender.wait().unwrap().code(), Some(8));
    assert_eq!(committed(folder.path()), None);
}

#[test]
fn a_stream_that_was_never_sealed_is_not_committed() {
    let folder = tempfile::tempdir().unwrap();
    let mut plain = Command::new("echo");
    let mut plain = plain.arg("whole").stdout(Stdio::piped()).spawn().unwrap();
    let receiver = receiver(folder.path(), &mut plain);
    refuses(receiver, "no sealed stream");
    plain.wait().unwrap();
    assert_eq!(committed(folder.path()), None);
}

/// The middle one of two hops is killed: it has no end mark to give.
#[test]
fn a_hop_that_is_killed_leaves_no_whole_stream() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = sender(&["-", "-"]);
    let mut hop = Command::new(EXE)
        .args(["copy", "--sealed", "--seal", "--quiet", "-", "-"])
        .stdin(Stdio::from(first.stdout.take().unwrap()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let receiver = receiver(folder.path(), &mut hop);
    send_first_line(folder.path(), &mut first);
    signal(&hop, "-KILL");
    assert_eq!(hop.wait().unwrap().signal(), Some(9));
    refuses(receiver, "without its seal");
    assert_eq!(committed(folder.path()), None);
    drop(first.stdin.take());
    // Its reader is gone, and its end mark has nobody to go to.
    assert_eq!(first.wait().unwrap().code(), Some(5));
}
