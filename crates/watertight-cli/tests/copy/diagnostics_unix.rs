//! What the program says, and where nobody listens: a standard error that is stuck, in non-blocking mode or a terminal, and a
//! standard output that is full.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, file, folder_with};
use std::fs;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::process::{Child, Command, Stdio};

/// What a full pipe is full of. No message begins with it.
pub(crate) const FILLER: u8 = b'.';

/// A pipe without room, in non-blocking mode where it is written.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let error = loop {
        if let Err(error) = writer.write(&[FILLER; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    (reader, writer)
}

fn start(arguments: &[&str], stderr: PipeWriter) -> Child {
    let mut command = Command::new(EXE);
    command.args(arguments).stderr(stderr);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    piped.spawn().unwrap()
}

/// Starts the program with a full pipe, in blocking mode, as its standard error. Nobody reads it.
pub(crate) fn start_stuck(arguments: &[&str]) -> (Child, PipeReader) {
    let (reader, writer) = full_pipe();
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (start(arguments, writer), reader)
}

#[test]
fn a_stuck_standard_error_does_not_hold_the_end() {
    let (folder, source, bytes) = folder_with(1000);
    let (source, account) = (file(&source), folder.path().join("account"));
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let missing = file(&folder.path().join("missing"));
    let by_themselves = [
        start_stuck(&["copy", "--report", "text", &source, &file(&one)]),
        start_stuck(&["copy", "--report", "json", &source, &file(&two)]),
        start_stuck(&["copy", "--idle", "100ms", "-", "-"]),
        start_stuck(&["copy", &missing, "-"]),
        start_stuck(&["copy"]),
        start_stuck(&["run", "--report", "text", "--", "sh", "-c", "exit 7"]),
    ];
    let on_a_signal = [
        start_stuck(&["copy", "-", "-"]),
        start_stuck(&["copy", "-q", "-", "-"]),
        start_stuck(&["copy", "--report-to", account.to_str().unwrap(), "-", "-"]),
        start_stuck(&["copy", "--progress", "always", "-", "-"]),
    ];
    let interrupted = on_a_signal.map(|(mut child, reader)| {
        // When these are through, the copy is under way.
        let mut seen = [0; 5];
        let stdin = child.stdin.as_mut().unwrap();
        stdin.write_all(b"hello").unwrap();
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_exact(&mut seen).unwrap();
        let pid = child.id().to_string();
        // The first asks for the account so far, which has nowhere to go.
        for signal in ["USR1", "TERM"] {
            let kill = Command::new("kill").args(["-s", signal, &pid]).status();
            assert!(kill.unwrap().success());
        }
        (child, reader)
    });
    for ((mut child, reader), code) in by_themselves.into_iter().zip([0, 0, 6, 3, 2, 7]) {
        // Its input stays open to the end.
        let stdin = child.stdin.take();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        drop((stdin, reader));
    }
    for (mut child, reader) in interrupted {
        let stdin = child.stdin.take();
        assert_eq!(child.wait().unwrap().code(), Some(143));
        drop((stdin, reader));
    }
    assert_eq!(fs::read(&one).unwrap(), bytes);
    let account = fs::read_to_string(&account).unwrap();
    assert!(account.contains("transferred  5 bytes"), "{account}");
}

/// Returns when the program has something to say: its thread for that is there, and finds no room.
#[cfg(target_os = "linux")]
fn wait_until_it_speaks(child: &mut Child) {
    let tasks = format!("/proc/{}/task", child.id());
    let speaks = || {
        let mut tasks = fs::read_dir(&tasks).into_iter().flatten().flatten();
        tasks.any(|task| {
            let name = fs::read_to_string(task.path().join("comm"));
            name.is_ok_and(|name| name == "diagnostics\n")
        })
    };
    while !speaks() {
        let ended = child.try_wait().unwrap();
        assert_eq!(ended, None, "it ended without its words");
        std::thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn words_for_a_full_pipe_in_nonblocking_mode_wait_for_its_reader() {
    let (folder, source, _) = folder_with(1000);
    let (source, target) = (file(&source), file(&folder.path().join("target")));
    let missing = file(&folder.path().join("missing").join("target"));
    for (arguments, code, first, last) in [
        (
            &["copy", "--report", "json", &source, &target][..],
            0,
            "{\"version\"",
            "}\n",
        ),
        (&["copy", &source, &missing][..], 3, "watertight: ", "\n"),
        (
            &["copy", &source, "/dev/full"][..],
            5,
            "watertight: ",
            "in doubt\n",
        ),
        (&["copy", "--nonsense"][..], 2, "error: ", "\n"),
    ] {
        let (mut reader, writer) = full_pipe();
        let mut child = start(arguments, writer);
        wait_until_it_speaks(&mut child);
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments:?}");
        let said = all.trim_start_matches(char::from(FILLER));
        assert!(said.starts_with(first), "{arguments:?}: {said}");
        assert!(said.ends_with(last), "{arguments:?}: {said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_full_standard_output_does_not_take_is_no_success() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["help"],
        &["copy", "--help"],
        &["man"],
        &["completions", "bash"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let mut command = Command::new(EXE);
        let output = command.args(arguments).stdout(full.unwrap()).output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.contains("cannot write to standard output: No space left"),
            "{arguments:?}: {said}"
        );
    }
}

/// A full disk, and in the same way a reader who is gone and a stream that was closed at the start.
#[cfg(target_os = "linux")]
#[test]
fn what_was_asked_for_and_cannot_be_written_is_no_success() {
    let (folder, _, bytes) = folder_with(1000);
    for (line, code) in [
        ("copy --report json source target", 1),
        ("copy --report text source target", 1),
        ("copy --hash source target", 1),
        ("copy --hash /dev/null target", 1),
        ("copy --progress json source target", 1),
        ("run --report json -- true", 125),
        ("run --report text -- true", 125),
        // That is told already.
        ("copy --report json missing target", 3),
        ("run --report json -- sh -c 'exit 7'", 7),
        // Nobody has asked for what is lost.
        ("copy source target", 0),
        ("copy --progress always source target", 0),
        ("copy --quiet --hash source target", 0),
        ("copy --hash --report-to account source target", 0),
        ("run -- true", 0),
    ] {
        for stderr in ["full", "closed", "left"] {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let to = match stderr {
                "full" => " 2>/dev/full",
                "closed" => " 2>&-",
                _ => "",
            };
            let mut command = Command::new("sh");
            command
                .args(["-c", &format!("exec \"$W\" {line}{to}")])
                .env("W", EXE)
                .current_dir(folder.path());
            let status = command.stdin(Stdio::null()).stderr(writer).status();
            let seen = status.unwrap().code();
            assert_eq!(seen, Some(code), "{line}, {stderr}");
            if code < 2 && line.contains("source") {
                let target = folder.path().join("target");
                assert!(fs::read(target).unwrap() == bytes, "{line}, {stderr}");
            }
        }
    }
}

/// With and without a progress line, which is gone by then. It comes after a tenth of a second: the copy takes longer.
#[cfg(target_os = "linux")]
#[test]
fn a_success_is_one_line_on_a_terminal() {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::io::{BufRead, BufReader};

    let (folder, source, _) = folder_with(1000);
    let (source, target) = (file(&source), file(&folder.path().join("target")));
    for when in ["auto", "never"] {
        let leading = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let leading = leading.unwrap();
        grantpt(&leading).unwrap();
        unlockpt(&leading).unwrap();
        let name = ptsname(&leading, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
        let mut command = Command::new(EXE);
        command
            .args(["copy", "--rate", "2k", "--progress", when])
            .args([&source, &target])
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stderr(terminal.try_clone().unwrap());
        let output = command.stdout(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(output.stdout, b"");
        let mut line = String::new();
        let mut shown = BufReader::new(fs::File::from(leading));
        shown.read_line(&mut line).unwrap();
        drop(terminal);
        let (erased, last) = line
            .trim_end()
            .rsplit_once('\r')
            .unwrap_or(("", line.as_str()));
        assert!(last.starts_with("watertight: 1.0 kB in "), "{line:?}");
        assert!(last.trim_end().ends_with("/s"), "{line:?}");
        assert_eq!(erased.is_empty(), when == "never", "{line:?}");
    }
}

/// `ulimit -f`: the kernel raises SIGXFSZ, which would end the program before it can say what is wrong.
#[test]
fn a_file_that_may_grow_no_more_is_a_failed_write() {
    let folder = tempfile::tempdir().unwrap();
    for line in [
        "$W --help >out",
        "$W man copy >out",
        "$W copy --report-to out /dev/null /dev/null",
    ] {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -f 0; {line}")])
            .env("W", EXE)
            .current_dir(folder.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(!output.stderr.is_empty(), "{line}");
    }
}
