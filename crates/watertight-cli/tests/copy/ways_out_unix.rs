//! Every way out of a copy that ends before its source does ends the whole tree of the source's command.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::terminal::until;
use crate::harness::{Run, copy, is_installed, is_running};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command};

/// A reader that takes nothing. How much is in a plain pipe is told everywhere.
const TAKES_NOTHING: &str = "exec:sh -c 'exec sleep 1000',pipe";

/// What ends a copy whose source's command has started a worker, and has written a line.
struct WayOut {
    options: &'static [&'static str],
    /// What that command does then.
    goes_on: &'static str,
    destination: &'static str,
    signals: &'static [&'static str],
    /// Of two signals either may be heard first.
    codes: &'static [i32],
}

/// The command says nothing more, and takes nothing.
const PLAIN: WayOut = WayOut {
    options: &[],
    goes_on: "wait",
    destination: "-",
    signals: &[],
    codes: &[],
};

const WAYS_OUT: [WayOut; 11] = [
    WayOut {
        signals: &["-INT"],
        codes: &[130],
        ..PLAIN
    },
    WayOut {
        signals: &["-TERM"],
        codes: &[143],
        ..PLAIN
    },
    WayOut {
        signals: &["-HUP"],
        codes: &[129],
        ..PLAIN
    },
    WayOut {
        // Nobody has time to act on the first one.
        signals: &["-STOP", "-INT", "-TERM", "-CONT"],
        codes: &[130, 143],
        ..PLAIN
    },
    WayOut {
        destination: "/dev/full",
        codes: &[5],
        ..PLAIN
    },
    WayOut {
        // It is ended by the close of its pipe, and then nothing leads from it to the worker.
        goes_on: "exec yes",
        destination: "exec:head -c 10",
        codes: &[5],
        ..PLAIN
    },
    WayOut {
        options: &["--buffer", "64k"],
        goes_on: "exec yes",
        destination: "exec:head -c 10",
        codes: &[5],
        ..PLAIN
    },
    WayOut {
        options: &["--limit", "3"],
        goes_on: "exec yes",
        codes: &[0],
        ..PLAIN
    },
    WayOut {
        options: &["--slow", "fail", "--slow-after", "200ms"],
        destination: TAKES_NOTHING,
        codes: &[6],
        ..PLAIN
    },
    WayOut {
        options: &["--drain-within", "200ms"],
        goes_on: "exec >&-; wait",
        destination: TAKES_NOTHING,
        codes: &[6],
        ..PLAIN
    },
    WayOut {
        options: &["--limit", "3"],
        codes: &[0],
        ..PLAIN
    },
];

/// Nothing moves for so long. It counts from the beginning, when nobody may be there yet: then the next one is taken.
const IDLE: [&[&str]; 3] = [&["--idle", "1s"], &["--idle", "10s"], &["--idle", "60s"]];

impl WayOut {
    /// Takes it, and looks for the worker. Whether there was one.
    fn take(&self, worker: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let is_second = self.signals.len() > 1;
        // The first signal asks everybody to end, and gives them time.
        let stubborn = if is_second {
            "trap \"\" INT TERM; "
        } else {
            ""
        };
        let goes_on = self.goes_on;
        let script =
            format!("{stubborn}{worker} >/dev/null 2>&1 & echo $! >worker; echo first; {goes_on}");
        let source = format!("exec:sh -c '{script}'");
        let mut command = copy(self.options);
        command.args([source.as_str(), self.destination]);
        let mut child = command.current_dir(folder.path()).spawn().unwrap();
        let reader = self.send(&mut child);
        let run = Run::of(child.wait_with_output().unwrap());
        drop(reader);
        let way = (self.options, self.destination, self.signals);
        assert!(self.codes.contains(&run.code), "{way:?}: {}", run.stderr);
        // A second signal leaves no time for it.
        assert_eq!(run.report.is_null(), is_second, "{way:?}");
        let pid = fs::read_to_string(folder.path().join("worker")).unwrap_or_default();
        let Some(pid) = pid.strip_suffix('\n') else {
            return false;
        };
        until(&format!("the worker's end: {way:?}"), || !is_running(pid));
        true
    }

    /// Sends the signals once the worker is there. Who reads from the copy stays until that is over.
    fn send(&self, child: &mut Child) -> Option<BufReader<ChildStdout>> {
        if self.signals.is_empty() {
            return None;
        }
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "first\n");
        for signal in self.signals {
            let pid = child.id().to_string();
            let sent = Command::new("kill").args([*signal, &pid]).status().unwrap();
            assert!(sent.success());
            let is_stop = *signal == "-STOP";
            let stat = format!("/proc/{pid}/stat");
            until("the stop", || {
                !is_stop || fs::read_to_string(&stat).unwrap().contains(") T ")
            });
        }
        Some(stdout)
    }
}

/// The worker is in a session of its own: only who knows the tree finds it.
#[test]
fn every_way_out_ends_the_tree_of_the_sources_command() {
    let worker = if is_installed("setsid") {
        "setsid sleep 1000"
    } else {
        println!("skipped: a worker in a session of its own, for there is no setsid");
        "sleep 1000"
    };
    // The deadlines pass side by side.
    std::thread::scope(|scope| {
        for way in &WAYS_OUT {
            // Who ignores hang-ups, as under `nohup`, is not ended by one.
            if way.signals == ["-HUP"] && watertight::is_signal_ignored(1) {
                println!("skipped: hang-ups are ignored here");
                continue;
            }
            scope.spawn(move || assert!(way.take(worker), "nobody was there"));
        }
        scope.spawn(move || {
            let mut ways = IDLE.into_iter().map(|options| WayOut {
                options,
                codes: &[6],
                ..PLAIN
            });
            assert!(ways.any(|way| way.take(worker)), "nobody was there");
        });
    });
}
