//! In the background of a terminal nobody is stopped but whoever reads it, and nothing is drawn: its mode and what is typed there are the
//! shell's.
//!
//! Nobody lets a job go on that was stopped there but `fg` and `bg`, and the shell's `wait` tells it. So a run that ends without has not been
//! stopped.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::harness::terminal::Session;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command that ends when a line comes through the FIFO `go`. Its parent is the program.
const ENDS_BY_FIFO: &str = r#"echo "ready $PPID"; read -r line <go; echo "it read $line"; exit 3"#;

/// A command that ends when it has read a line. Its parent is the program.
const ENDS_BY_LINE: &str = r#"echo "ready $PPID"; read -r line; echo "it read $line"; exit 3"#;

fn folder_with_fifo() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("go");
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    folder
}

/// Sends a signal to the program, whose number the session is about to show.
fn send(session: &Session, signal: Signal) {
    session.shows("ready ");
    let pid = session.shows("\n").trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Stops the program. Then the shell has the terminal, in the mode that it needs.
fn stop(session: &Session) {
    send(session, Signal::STOP);
    session.shows(&format!("code {}", 128 + Signal::STOP.as_raw()));
    session.shows("restored\r\n");
}

/// A line is typed before the command is let go on, and the shell reads it when the run is over: nobody else has.
fn end_behind_a_typed_line(session: &Session, folder: &Path) {
    session.types(b"typed\n");
    // The echo.
    session.shows("typed\r\n");
    fs::write(folder.join("go"), "now\n").unwrap();
    session.shows("it read now\r");
    session.shows("code 3\r\n");
    session.shows("the shell read typed\r\n");
}

#[test]
fn a_run_in_the_background_is_not_stopped_and_leaves_the_terminal_alone() {
    let folder = folder_with_fifo();
    for options in ["", "--tty"] {
        let script = format!(
            r#"set -m
            watertight run {options} -- sh -c "$C" &
            wait $!; echo "code $?"
            read -r line; echo "the shell read $line""#
        );
        let session = Session::start("sh", folder.path(), &script, ENDS_BY_FIFO);
        let modes = session.modes();
        session.shows("ready ");
        assert_eq!(session.modes(), modes, "{options}");
        end_behind_a_typed_line(&session, folder.path());
        assert_eq!(session.modes(), modes, "{options}");
        assert_eq!(session.code(), Some(0));
    }
}

/// As one job, as it is without us: the shell hears of the stop, and its `fg` reaches both.
#[test]
fn a_command_that_reads_the_terminal_in_the_background_is_stopped_with_us_and_fg_lets_both_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let reads = r#"read -r line </dev/tty; echo "it read $line" >/dev/tty"#;
    for (name, text) in [
        ("script", reads.to_owned()),
        ("consumer", format!("cat >consumed; {reads}")),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    for words in [
        "run -- sh script",
        "copy 'exec:sh script' target",
        "copy script 'exec:sh consumer'",
    ] {
        let script = format!(
            r#"set -m
            watertight {words} &
            wait $!; echo "code $?"
            read -r line; echo "the shell read $line"
            fg; echo "code $?""#
        );
        let session = Session::start("sh", folder.path(), &script, "");
        session.shows(&format!("code {}\r\n", 128 + Signal::TTIN.as_raw()));
        session.types(b"first\n");
        session.shows("the shell read first\r\n");
        session.types(b"second\n");
        session.shows("it read second\r\n");
        session.shows("code 0\r\n");
        assert_eq!(session.code(), Some(0), "{words}");
    }
}

/// What is typed reaches both from then on, and is for the command.
#[test]
fn ctrl_c_reaches_a_command_that_came_to_the_foreground_once() {
    let command = r#"count=0
        trap 'count=$((count + 1)); echo "heard $count"' INT
        until read -r line; do :; done
        echo "it read $line"
        until read -r line; do :; done
        echo "after $line: $count"
        exit 7"#;
    let script = r#"set -m
        watertight run -- sh -c "$C" &
        wait $!; echo "code $?"
        fg; echo "code $?""#;
    let session = Session::start("sh", Path::new("."), script, command);
    session.shows(&format!("code {}\r\n", 128 + Signal::TTIN.as_raw()));
    session.types(b"this\n");
    session.shows("it read this\r\n");
    session.types(b"\x03");
    session.shows("heard 1\r\n");
    session.types(b"that\n");
    session.shows("after that: 1\r\n");
    session.shows("code 7\r\n");
    assert_eq!(session.code(), Some(0));
}

/// Nobody has typed it: the command does not hear it, and we do.
#[test]
fn an_interrupt_that_is_sent_to_a_run_in_the_background_ends_it() {
    let folder = folder_with_fifo();
    let script = r#"set -m
        watertight run -- sh -c "$C" &
        wait $!; echo "code $?""#;
    let session = Session::start("sh", folder.path(), script, ENDS_BY_FIFO);
    send(&session, Signal::INT);
    session.shows("code 130\r\n");
    assert_eq!(session.code(), Some(0));
}

/// Also without a SIGCONT: bash sends none to a job that runs.
#[test]
fn a_run_that_comes_to_the_foreground_takes_the_terminal_up() {
    let script = r#"set -m
        watertight run --tty -- sh -c "$C" &
        read -r line; echo "the shell read $line"
        fg; echo "code $?""#;
    for shell in ["sh", "bash"] {
        if !is_there(shell) {
            println!("skipped: there is no {shell}");
            continue;
        }
        let session = Session::start(shell, Path::new("."), script, ENDS_BY_LINE);
        let modes = session.modes();
        session.shows("ready ");
        session.types(b"first\n");
        session.shows("the shell read first\r\n");
        session.until_raw();
        session.types(b"second\n");
        session.shows("it read second\r\n");
        session.shows("code 3\r\n");
        assert_eq!(session.modes(), modes, "{shell}");
        assert_eq!(session.code(), Some(0));
    }
}

#[test]
fn a_run_that_goes_on_in_the_foreground_after_a_stop_takes_the_terminal_up_again() {
    let script = r#"saved=$(stty -g); set -m
        watertight run --tty -- sh -c "$C"
        echo "code $?"; stty "$saved"; echo restored
        read -r line; echo "the shell read $line"
        fg; echo "code $?""#;
    let session = Session::start("sh", Path::new("."), script, ENDS_BY_LINE);
    let modes = session.modes();
    stop(&session);
    session.types(b"first\n");
    session.shows("the shell read first\r\n");
    session.until_raw();
    session.types(b"second\n");
    session.shows("it read second\r\n");
    session.shows("code 3\r\n");
    assert_eq!(session.modes(), modes);
    assert_eq!(session.code(), Some(0));
}

#[test]
fn a_run_that_goes_on_in_the_background_after_a_stop_leaves_the_terminal_alone() {
    let folder = folder_with_fifo();
    let script = r#"saved=$(stty -g); set -m
        watertight run --tty -- sh -c "$C"
        echo "code $?"; stty "$saved"; echo restored
        bg; wait %1; echo "code $?"
        read -r line; echo "the shell read $line""#;
    let session = Session::start("sh", folder.path(), script, ENDS_BY_FIFO);
    let modes = session.modes();
    stop(&session);
    end_behind_a_typed_line(&session, folder.path());
    assert_eq!(session.modes(), modes);
    assert_eq!(session.code(), Some(0));
}

/// In the foreground the same copy draws it.
#[test]
fn a_copy_in_the_background_draws_no_progress() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("source"), [0_u8; 60_000]).unwrap();
    // It takes half a second.
    let copy = "watertight copy --rate 100k source target";
    for (script, is_drawn) in [
        (format!("{copy}; echo over"), true),
        (format!("set -m; {copy} & wait $!; echo over"), false),
    ] {
        let session = Session::start("sh", folder.path(), &script, "");
        let shown = session.shows("over\r\n");
        assert_eq!(shown.contains("% eta "), is_drawn, "{shown}");
        assert!(shown.contains("watertight: 60.0 kB in "), "{shown}");
        assert_eq!(session.code(), Some(0));
    }
}

fn is_there(shell: &str) -> bool {
    let mut command = Command::new(shell);
    command.args(["-c", ":"]).stdin(Stdio::null());
    command.status().is_ok()
}
