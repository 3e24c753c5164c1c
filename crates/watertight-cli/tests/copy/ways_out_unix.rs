//! Every way out of a copy that is cut short ends the whole trees of its commands, the source's and the destinations'. (Commands that have
//! ended by then: `left_behind_unix.rs`.)
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::terminal::until;
use crate::harness::{Run, copy, insist, is_installed, is_running};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command};
use std::thread;

/// A reader that takes nothing. How much is in a plain pipe is told everywhere.
const TAKES_NOTHING: &str = "exec:sh -c 'exec sleep 1000',pipe";

/// What ends a copy whose source's command has started a worker, and has written a line.
struct WayOut {
    options: &'static [&'static str],
    /// What that command does then.
    goes_on: &'static str,
    destination: &'static str,
    /// The second one is repeated until it is heard as a request of its own.
    signals: &'static [&'static str],
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
        signals: &["-INT", "-TERM"],
        codes: &[143],
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
        let script = script(worker, self.signals, self.goes_on);
        let source = format!("exec:sh -c '{script}'");
        let mut command = copy(self.options);
        command.args([source.as_str(), self.destination]);
        let way = format!("{:?} to {}", self.options, self.destination);
        ends_the_worker(command, folder.path(), (self.signals, self.codes), &way)
    }
}

/// What a command does that has started a worker, who is noted, and a first line on its output. It goes on like this then.
fn script(worker: &str, signals: &[&str], goes_on: &str) -> String {
    // The first signal asks everybody to end, and gives them time.
    let stubborn = if signals.len() > 1 {
        "trap \"\" INT TERM; "
    } else {
        ""
    };
    format!("{stubborn}{worker} >/dev/null 2>&1 & echo $! >worker; echo first; {goes_on}")
}

/// Runs a copy in the folder, sends it the signals, and looks at its exit code and for the worker. Whether there was one.
fn ends_the_worker(
    mut command: Command,
    folder: &Path,
    (signals, codes): (&[&str], &[i32]),
    way: &str,
) -> bool {
    let mut child = command.current_dir(folder).spawn().unwrap();
    let reader = send(signals, &mut child);
    if signals.len() > 1 {
        insist(&mut child);
    }
    let run = Run::of(child.wait_with_output().unwrap());
    drop(reader);
    let way = format!("{way} {signals:?}");
    assert!(codes.contains(&run.code), "{way}: {}", run.stderr);
    // A second signal leaves no time for it.
    assert_eq!(run.report.is_null(), signals.len() > 1, "{way}");
    let pid = fs::read_to_string(folder.join("worker")).unwrap_or_default();
    let Some(pid) = pid.strip_suffix('\n') else {
        return false;
    };
    until(&format!("the worker's end: {way}"), || !is_running(pid));
    true
}

/// Sends the signals once the worker is there. Who reads from the copy stays until that is over.
fn send(signals: &[&str], child: &mut Child) -> Option<BufReader<ChildStdout>> {
    if signals.is_empty() {
        return None;
    }
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    for signal in signals {
        let pid = child.id().to_string();
        let sent = Command::new("kill").args([*signal, &pid]).status().unwrap();
        assert!(sent.success());
    }
    Some(stdout)
}

/// What ends a copy to a command that has started a worker. The source waits at the gate until that is so.
struct WayOutOfDestination {
    options: &'static [&'static str],
    /// What the source does then.
    source: &'static str,
    /// What the command does then.
    goes_on: &'static str,
    /// Where the bytes go besides.
    others: &'static [&'static str],
    signals: &'static [&'static str],
    codes: &'static [i32],
}

/// Little comes from the source, and neither it nor the command ends by itself.
const SILENT: WayOutOfDestination = WayOutOfDestination {
    options: &[],
    source: "echo x; exec sleep 1000",
    goes_on: "cat >/dev/null",
    others: &[],
    signals: &[],
    codes: &[],
};

const WAYS_OUT_OF_DESTINATION: [WayOutOfDestination; 10] = [
    WayOutOfDestination {
        signals: &["-INT"],
        codes: &[130],
        ..SILENT
    },
    WayOutOfDestination {
        signals: &["-TERM"],
        codes: &[143],
        ..SILENT
    },
    WayOutOfDestination {
        signals: &["-HUP"],
        codes: &[129],
        ..SILENT
    },
    WayOutOfDestination {
        signals: &["-INT", "-TERM"],
        codes: &[143],
        ..SILENT
    },
    WayOutOfDestination {
        source: "echo x; exit 1",
        codes: &[8],
        ..SILENT
    },
    WayOutOfDestination {
        options: &["--expect-bytes", "7"],
        source: "echo x",
        codes: &[7],
        ..SILENT
    },
    WayOutOfDestination {
        source: "exec cat /dev/zero",
        others: &["/dev/full"],
        codes: &[5],
        ..SILENT
    },
    WayOutOfDestination {
        options: &["--slow", "fail", "--slow-after", "200ms"],
        source: "exec cat /dev/zero",
        goes_on: "wait",
        codes: &[6],
        ..SILENT
    },
    WayOutOfDestination {
        options: &["--slow", "drop", "--slow-after", "200ms"],
        source: "exec head -c 3000000 /dev/zero",
        goes_on: "wait",
        others: &["/dev/null"],
        codes: &[6],
        ..SILENT
    },
    WayOutOfDestination {
        options: &["--drain-within", "200ms"],
        source: "echo x",
        goes_on: "cat >/dev/null; wait",
        codes: &[6],
        ..SILENT
    },
];

impl WayOutOfDestination {
    /// Takes it, and looks for the worker. Whether there was one.
    fn take(&self, worker: &str) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let gate = folder.path().join("gate");
        assert!(Command::new("mkfifo").arg(gate).status().unwrap().success());
        let source = format!("exec:sh -c 'read -r go <gate; {}'", self.source);
        let goes_on = format!("echo go >gate; {}", self.goes_on);
        let script = script(worker, self.signals, &goes_on);
        let destination = format!("exec:sh -c '{script}'");
        let mut command = copy(self.options);
        command.args([source, destination]).args(self.others);
        let way = format!("{:?} from {}", self.options, self.source);
        ends_the_worker(command, folder.path(), (self.signals, self.codes), &way)
    }
}

/// Who ignores hang-ups, as under `nohup`, is not ended by one.
fn is_ignored(signals: &[&str]) -> bool {
    let is_ignored = signals == ["-HUP"] && watertight::is_signal_ignored(1);
    if is_ignored {
        println!("skipped: hang-ups are ignored here");
    }
    is_ignored
}

/// The worker is in a session of its own: only who knows the tree finds it.
fn worker() -> &'static str {
    if is_installed("setsid") {
        "setsid sleep 1000"
    } else {
        println!("skipped: a worker in a session of its own, for there is no setsid");
        "sleep 1000"
    }
}

#[test]
fn every_way_out_ends_the_tree_of_the_sources_command() {
    let worker = worker();
    // The deadlines pass side by side.
    thread::scope(|scope| {
        for way in WAYS_OUT.iter().filter(|way| !is_ignored(way.signals)) {
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

#[test]
fn every_way_out_ends_the_tree_of_a_destinations_command() {
    let worker = worker();
    thread::scope(|scope| {
        let ways = WAYS_OUT_OF_DESTINATION.iter();
        for way in ways.filter(|way| !is_ignored(way.signals)) {
            scope.spawn(move || assert!(way.take(worker), "nobody was there"));
        }
        scope.spawn(move || {
            let mut ways = IDLE.into_iter().map(|options| WayOutOfDestination {
                options,
                codes: &[6],
                ..SILENT
            });
            assert!(ways.any(|way| way.take(worker)), "nobody was there");
        });
    });
}
