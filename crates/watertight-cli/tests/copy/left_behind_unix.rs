//! Whoever the commands of a copy have left behind when they ended lives on after a success, and is ended after everything else.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::terminal::until;
use crate::harness::{EXE, Run, is_running};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// `sh leave NAME` leaves a worker behind, who is there when this ends.
const LEAVE: &str = r#"mkfifo "there-$1"
sh worker "$1" >"there-$1" 2>/dev/null </dev/null &
read -r line <"there-$1"
"#;

/// The worker. It notes that it was asked to end, unless it is a stubborn one.
const WORKER: &str = r#"case $1 in
stubborn) trap '' TERM ;;
*) trap 'echo >"asked-$1"; kill $!; exit' TERM ;;
esac
echo $$ >"worker-$1"
echo there
sleep 1000 &
wait
"#;

const SOURCE: &str = "exec:sh -c 'sh leave source; echo x'";
/// More than is taken by whoever ends early.
const LARGE_SOURCE: &str = "exec:sh -c 'sh leave source; exec head -c 3000000 /dev/zero'";
const OTHER: &str = "exec:sh -c 'sh leave other; exec cat >/dev/null'";
const FAILS_AT_THE_END: &str = "exec:sh -c 'sh leave one; cat >/dev/null; exit 3'";
const FAILS_EARLY: &str = "exec:sh -c 'sh leave one; head -c 1 >/dev/null; exit 3'";
const ENDS_EARLY: &str = "exec:sh -c 'sh leave one; head -c 1 >/dev/null'";

/// A copy, and what becomes of the workers that its commands leave behind.
struct Case {
    arguments: &'static [&'static str],
    code: i32,
    ended: &'static [&'static str],
    alive: &'static [&'static str],
}

const CASES: [Case; 9] = [
    Case {
        arguments: &[SOURCE, OTHER],
        code: 0,
        ended: &[],
        alive: &["source", "other"],
    },
    Case {
        arguments: &[SOURCE, FAILS_AT_THE_END, OTHER],
        code: 8,
        ended: &["source", "one", "other"],
        alive: &[],
    },
    Case {
        arguments: &[
            SOURCE,
            "exec:sh -c 'sh leave stubborn; cat >/dev/null; exit 3'",
        ],
        code: 8,
        ended: &["source", "stubborn"],
        alive: &[],
    },
    Case {
        arguments: &[LARGE_SOURCE, FAILS_EARLY],
        code: 5,
        ended: &["source", "one"],
        alive: &[],
    },
    Case {
        arguments: &[LARGE_SOURCE, ENDS_EARLY],
        code: 5,
        ended: &["source", "one"],
        alive: &[],
    },
    Case {
        arguments: &["--dead", "drop", LARGE_SOURCE, FAILS_EARLY, OTHER],
        code: 5,
        ended: &["source", "one", "other"],
        alive: &[],
    },
    Case {
        arguments: &["--dead", "drop", LARGE_SOURCE, ENDS_EARLY, OTHER],
        code: 5,
        ended: &["source", "one", "other"],
        alive: &[],
    },
    Case {
        // Everything is well but the report.
        arguments: &["--report-to", "/dev/full", SOURCE, OTHER],
        code: 1,
        ended: &["source", "other"],
        alive: &[],
    },
    Case {
        // Whoever keeps what it got may not be done yet.
        arguments: &[
            "--on-failure",
            "end",
            "exec:sh -c 'sh leave source; exit 3'",
            OTHER,
        ],
        code: 8,
        ended: &["source"],
        alive: &["other"],
    },
];

impl Case {
    fn run(&self) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::write(folder.join("leave"), LEAVE).unwrap();
        fs::write(folder.join("worker"), WORKER).unwrap();
        // Without a terminal every command has a group of its own, in which its workers are found.
        let output = Command::new("setsid")
            .args([EXE, "copy", "--report", "json"])
            .args(self.arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output();
        Run::of(output.unwrap()).expect(self.code);
        for name in self.ended {
            let pid = worker(folder, name);
            assert!(!is_running(&pid), "{name} lives on: {:?}", self.arguments);
            let was_asked = folder.join(format!("asked-{name}")).exists();
            let obeys = *name != "stubborn";
            assert_eq!(was_asked, obeys, "{name}: {:?}", self.arguments);
        }
        for name in self.alive {
            let pid = worker(folder, name);
            assert!(is_running(&pid), "{name} is over: {:?}", self.arguments);
            let asked = Command::new("kill").arg(&pid).status().unwrap();
            assert!(asked.success());
            until("the worker's end", || !is_running(&pid));
        }
    }
}

/// The number of a worker that was left behind.
fn worker(folder: &Path, name: &str) -> String {
    let pid = fs::read_to_string(folder.join(format!("worker-{name}")));
    pid.unwrap().trim().to_owned()
}

#[test]
fn whoever_is_left_behind_is_ended_unless_all_is_well() {
    // Side by side, for one of them takes the whole grace.
    thread::scope(|scope| {
        for case in &CASES {
            scope.spawn(move || case.run());
        }
    });
}

/// That is known last of all.
#[test]
fn whoever_is_left_behind_is_ended_if_what_was_asked_for_cannot_be_written() {
    for to in ["2>/dev/full", "2>&-"] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::write(folder.join("leave"), LEAVE).unwrap();
        fs::write(folder.join("worker"), WORKER).unwrap();
        let line = format!("exec setsid \"$0\" copy --report json \"$@\" {to}");
        let status = Command::new("sh")
            .args(["-c", &line, EXE, SOURCE, OTHER])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        assert_eq!(status.unwrap().code(), Some(1), "{to}");
        for name in ["source", "other"] {
            assert!(!is_running(&worker(folder, name)), "{name}, {to}");
        }
    }
}
