//! Commands of `watertight run` and of a copy at a terminal: they have it as if they had been started without us.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::harness::is_running;
use crate::harness::terminal::{Session, path, until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether the command is in our group, which is its parent's, and whether it has one of its own.
const GROUPS: &str = r#"
    read -r pid name state parent ours rest </proc/$PPID/stat
    read -r pid name state parent group rest </proc/$$/stat
    echo "ours $((group == ours)), its own $((group == $$))""#;

/// A folder with a script in it: within the quotes of an `exec:` address there is no room for others.
fn folder_with(script: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("script"), script).unwrap();
    folder
}

#[test]
fn a_command_is_in_our_group_at_a_terminal_and_else_in_its_own() {
    let folder = folder_with(GROUPS);
    for words in [
        "watertight run -- sh script",
        "watertight copy 'exec:sh script' -",
    ] {
        for at_terminal in [words.to_owned(), format!("set -m; {words} & wait $!")] {
            let session = Session::start("sh", folder.path(), &at_terminal, "");
            session.shows("ours 1, its own 0\r\n");
            assert_eq!(session.code(), Some(0), "{at_terminal}");
        }
        // A session of its own has no terminal.
        let mut command = Command::new("setsid");
        command
            .args(["sh", "-c", words])
            .env("PATH", path())
            .current_dir(folder.path())
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(output.stdout, b"ours 0, its own 1\n", "{output:?}");
    }
}

#[test]
fn a_command_may_read_the_terminal() {
    let command = r#"echo ready >/dev/tty; read -r line </dev/tty; echo "it read $line""#;
    for script in [
        r#"watertight run -- sh -c "$C""#,
        r#"printf x | watertight run -- sh -c "$C" | cat"#,
        r#"set -m; printf x | watertight run -- sh -c "$C" | cat"#,
        r#"watertight run --tty -- sh -c "$C""#,
    ] {
        let session = Session::start("sh", Path::new("."), script, command);
        session.shows("ready\r\n");
        session.types(b"typed\n");
        session.shows("it read typed\r\n");
        assert_eq!(session.code(), Some(0), "{script}");
    }
}

/// The shell around us may hear it too, and goes on.
#[test]
fn ctrl_c_reaches_a_command_once() {
    let command = r#"count=0
        trap 'count=$((count + 1)); echo "heard $count"' INT
        echo ready
        until read -r line; do :; done
        echo "after $line: $count"
        exit 7"#;
    for options in ["", "--within 1h", "--tty"] {
        let run = format!(r#"trap : INT; watertight run {options} -- sh -c "$C"; echo "code $?""#);
        let session = Session::start("sh", Path::new("."), &run, command);
        session.shows("ready\r\n");
        session.types(b"\x03");
        session.shows("heard 1\r\n");
        session.types(b"this\n");
        session.shows("after this: 1\r\n");
        // It ended by itself: nobody has asked it to.
        session.shows("code 7\r\n");
        assert_eq!(session.code(), Some(0));
    }
}

/// The command is over, and whoever holds its output ignores the key, as all whom a shell without job control has in the background. So the key is
/// for us, and ends the wait. What the holder says second is passed on behind the look that has found the command over.
#[test]
fn ctrl_c_ends_the_wait_for_whoever_holds_the_output() {
    let command = r#"(until grep -q ") Z " /proc/$$/stat; do :; done
            echo left
            read -r line </dev/tty
            echo "left $line"
            exec sleep 1000) &
        echo "holder $!"
        exit 3"#;
    let run = r#"trap : INT; watertight run --max-output 1M -- sh -c "$C"; echo "code $?""#;
    let session = Session::start("sh", Path::new("."), run, command);
    session.shows("holder ");
    let holder = session.shows("\r\n");
    session.shows("left\r\n");
    session.types(b"again\n");
    session.shows("left again\r\n");
    session.types(b"\x03");
    session.shows("code 130\r\n");
    assert!(!is_running(holder.trim()));
    assert_eq!(session.code(), Some(0));
}

/// Nobody has typed it: the command does not hear it, and we end that as on any other signal to us.
#[test]
fn an_interrupt_that_is_sent_to_a_run_in_the_foreground_ends_it() {
    let command = r#"trap 'echo heard' INT QUIT
        echo "ready $PPID"
        until read -r line; do :; done"#;
    let run = r#"watertight run -- sh -c "$C"; echo "code $?""#;
    for (signal, code) in [(Signal::INT, "130"), (Signal::QUIT, "131")] {
        let session = Session::start("sh", Path::new("."), run, command);
        session.shows("ready ");
        let pid = session.shows("\n").trim().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        let shown = session.shows(&format!("code {code}\r\n"));
        assert!(!shown.contains("heard"), "{shown}");
        assert_eq!(session.code(), Some(0));
    }
}

/// The copy is over with that, and asks its command to end.
#[test]
fn ctrl_c_reaches_a_copys_command_once() {
    let folder = folder_with(
        r#"count=0
        trap 'count=$((count + 1))' INT
        trap 'echo "heard $count" >/dev/tty; exit 0' TERM
        echo ready >/dev/tty
        while :; do read -r line </dev/tty; done"#,
    );
    fs::write(folder.path().join("source"), "line\n").unwrap();
    for ends in ["'exec:sh script' target", "source 'exec:sh script'"] {
        let copy = format!(r#"trap : INT; watertight copy {ends}; echo "code $?""#);
        let session = Session::start("sh", folder.path(), &copy, "");
        session.shows("ready\r\n");
        session.types(b"\x03");
        session.shows("heard 1\r\n");
        session.shows("code 130\r\n");
        assert_eq!(session.code(), Some(0));
    }
}

/// What the shell says is what waitpid with WUNTRACED tells it.
#[test]
fn ctrl_z_stops_a_command_with_us_and_fg_lets_both_go_on() {
    let folder = folder_with(
        r#"trap 'echo going on >/dev/tty' CONT
        echo "ready $$" >/dev/tty
        until read -r line </dev/tty; do :; done
        echo "it read $line" >/dev/tty"#,
    );
    for words in ["run -- sh script", "copy 'exec:sh script' target"] {
        let script = format!(
            r#"set -m; watertight {words}; echo "code $?"; read -r line; fg; echo "code $?""#
        );
        let session = Session::start("sh", folder.path(), &script, "");
        session.shows("ready ");
        let pid = session.shows("\r\n");
        session.types(b"\x1a");
        session.shows(&format!("code {}\r\n", 128 + Signal::TSTP.as_raw()));
        until("the command to be stopped", || is_stopped(pid.trim()));
        session.types(b"for the shell\n");
        session.shows("going on\r\n");
        session.types(b"typed\n");
        session.shows("it read typed\r\n");
        session.shows("code 0\r\n");
        assert_eq!(session.code(), Some(0));
    }
}

fn is_stopped(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let behind_the_name = stat.rsplit(')').next().unwrap();
    behind_the_name.trim_start().starts_with('T')
}

/// No pipe of ours is in between.
#[test]
fn streams_that_no_option_sees_are_inherited_as_they_are() {
    let command = r#"for n in 0 1 2; do
            here=$(readlink /proc/$$/fd/$n)
            test -t $n && test "$here" = "$T" && echo "$n is it" >/dev/tty
        done"#;
    for options in [
        "",
        "--within 1h",
        "--grace 1s",
        "--report json",
        "--merge",
        "--merge --within 1h",
    ] {
        let script = format!(
            r#"export T=$(readlink /proc/$$/fd/0); watertight run {options} -- sh -c "$C"; echo over"#
        );
        let session = Session::start("sh", Path::new("."), &script, command);
        let shown = session.shows("over\r\n");
        let begins = "0 is it\r\n1 is it\r\n2 is it\r\n";
        assert!(shown.starts_with(begins), "{options}: {shown}");
        assert_eq!(session.code(), Some(0));
    }
}

/// It is in our group, as the other commands of a script may be, and holds nothing but the terminal.
#[test]
fn an_orphan_in_our_group_is_named_at_the_deadline_and_lives_on() {
    let command = r#"(sleep 1000 & echo "orphan $!"); sleep 1000"#;
    for (report, unseen) in [("none", ""), ("text", "watertight: not seen: ")] {
        let script = format!(
            r#"watertight run --no-cgroup --within 5s --grace 100ms --report {report} -- sh -c "$C"; echo "code $?"; read -r line"#
        );
        let session = Session::start("sh", Path::new("."), &script, command);
        session.shows("orphan ");
        let pid = session.shows("\r\n").trim().to_owned();
        session.shows(&format!("watertight: not ended: sleep ({pid})\r\n"));
        session.shows(unseen);
        session.shows("code 124\r\n");
        assert!(is_running(&pid));
        let orphan = Pid::from_raw(pid.parse().unwrap()).unwrap();
        kill_process(orphan, Signal::KILL).unwrap();
        session.types(b"\n");
        assert_eq!(session.code(), Some(0));
    }
}

/// It holds a pipe that was made for the command.
#[test]
fn an_orphan_in_our_group_whose_output_goes_through_us_is_ended_at_the_deadline() {
    let command = r#"(sleep 1000 2>/dev/null & echo "orphan $!"); sleep 1000"#;
    for options in ["--max-output 1M", "--merge --max-output 1M"] {
        let script = format!(
            r#"watertight run --no-cgroup {options} --within 5s --grace 100ms -- sh -c "$C"; echo "code $?"; read -r line"#
        );
        let session = Session::start("sh", Path::new("."), &script, command);
        session.shows("orphan ");
        let pid = session.shows("\r\n").trim().to_owned();
        let told = session.shows("code 124\r\n");
        assert!(!told.contains("not ended"), "{options}: {told}");
        assert!(!is_running(&pid), "{options}: {told}");
        session.types(b"\n");
        assert_eq!(session.code(), Some(0));
    }
}
