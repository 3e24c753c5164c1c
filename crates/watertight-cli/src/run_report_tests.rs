//! The texts and the JSON of a run's report.

use super::*;
use crate::cli::{Cli, Task};
use clap::Parser;
use serde_json::{Value, json};
use watertight::{Command, EndedTree, Ledger, Limits};

fn flags() -> RunFlags {
    let cli = Cli::try_parse_from(["watertight", "run", "--", "command"]).unwrap();
    let Task::Run(flags) = cli.command else {
        panic!("not a run");
    };
    *flags
}

/// What comes of a command that ends well: this test binary, which lists its tests.
fn outcome() -> Outcome {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let run = command.arg("--list").output(Limits::new()).unwrap();
    run.wait().unwrap()
}

fn found(pid: u32, name: &str) -> Found {
    Found {
        pid,
        name: Some(name.into()),
    }
}

#[test]
fn who_was_asked_who_was_killed_and_who_is_left_is_told() {
    let mut outcome = outcome();
    let tree = outcome.tree.insert(EndedTree::default());
    tree.asked.extend([found(7, "sh"), found(8, "deaf")]);
    tree.killed.push(found(8, "deaf"));
    tree.left.push(found(9, "stuck"));
    let beside = Beside {
        outputs: OutputEnds::default(),
        unfed: None,
        discarded: Discarded::default(),
        out_of_memory: None,
        has_cgroup: true,
    };
    let mut report = RunReport::new(&flags(), &outcome, 0, Duration::ZERO, beside);
    let told: Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    let deaf = json!({ "pid": 8, "name": "deaf" });
    assert_eq!(told["asked"], json!([{ "pid": 7, "name": "sh" }, deaf]));
    assert_eq!(told["killed"], json!([deaf]));
    assert_eq!(told["left"], json!([{ "pid": 9, "name": "stuck" }]));
    assert_eq!(told["has_cgroup"], true);
    let text = report.to_text();
    for part in [
        "watertight: asked to end: sh (7), deaf (8)\n",
        "watertight: killed: deaf (8)\n",
        "watertight: not ended: stuck (9)\n",
    ] {
        assert!(text.contains(part), "{text}");
    }

    // Of the orphans one was left at first, and is over by now.
    let seen_off = SeenOff {
        asked: vec![found(10, "late")],
        killed: vec![found(9, "stuck"), found(10, "late")],
        left: vec![found(10, "late")],
        ..SeenOff::default()
    };
    report.add_seen_off(&seen_off);
    let pids = |list: &[Somebody]| list.iter().map(|one| one.pid).collect::<Vec<_>>();
    assert_eq!(pids(&report.asked), [7, 8, 10]);
    assert_eq!(pids(&report.killed), [8, 9, 10]);
    assert_eq!(pids(&report.left), [10]);
    assert!(report.notes().contains(&"not ended: late (10)".to_owned()));
}

/// And nothing, if nobody was to be ended or all are seen.
#[test]
fn a_report_on_an_ended_tree_says_who_is_not_seen() {
    let report = |outcome: &Outcome, flags: &RunFlags, has_cgroup: bool| {
        let beside = Beside {
            outputs: OutputEnds::default(),
            unfed: None,
            discarded: Discarded::default(),
            out_of_memory: None,
            has_cgroup,
        };
        RunReport::new(flags, outcome, 0, Duration::ZERO, beside)
    };
    let is_told = |report: &RunReport| {
        let told: Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        let is_in_json = told["unseen"].is_string();
        let is_in_text = report.to_text().contains("watertight: not seen: ");
        assert_eq!(is_in_json, is_in_text);
        assert!(!report.notes().iter().any(|note| note.contains("not seen")));
        is_in_json
    };
    let mut outcome = outcome();
    assert!(!is_told(&report(&outcome, &flags(), false)));
    outcome.tree = Some(EndedTree::default());
    assert_eq!(is_told(&report(&outcome, &flags(), false)), cfg!(unix));
    assert!(!is_told(&report(&outcome, &flags(), true)));
    let adopting = RunFlags {
        adopt_orphans: true,
        ..flags()
    };
    assert!(!is_told(&report(&outcome, &adopting, false)));
}

/// Where /proc shows nobody, for one: `--adopt-orphans`, which sees more elsewhere, is refused there.
#[test]
fn of_a_tree_that_cannot_be_looked_at_whoever_is_outside_the_group_is_not_seen() {
    let told = |outcome: &Outcome| {
        let beside = Beside {
            outputs: OutputEnds::default(),
            unfed: None,
            discarded: Discarded::default(),
            out_of_memory: None,
            has_cgroup: false,
        };
        RunReport::new(&flags(), outcome, 0, Duration::ZERO, beside).to_text()
    };
    let mut outcome = outcome();
    outcome.ended = EndedBy::Request;
    let tree = outcome.tree.insert(EndedTree::default());
    tree.error = Some(io::Error::other("not shown"));
    let text = told(&outcome);
    let may_be_left = "watertight: somebody of its tree may be left: not shown\n";
    assert!(text.contains(may_be_left), "{text}");
    let outside = "watertight: not seen: whoever has left the command's process group\n";
    assert_eq!(text.contains(outside), cfg!(unix), "{text}");
    // Whoever is left is named.
    let tree = outcome.tree.as_mut().unwrap();
    tree.left.push(found(9, "stuck"));
    let text = told(&outcome);
    let is_left = "watertight: not everybody could be ended: not shown\n";
    assert!(text.contains(is_left), "{text}");
}

/// Also when the system does not show who it is: a process of another user's, or any where there is no /proc.
#[test]
fn that_somebody_holds_the_output_is_told() {
    const UNSEEN: &str = "its output is held by somebody who cannot be seen";
    let told = |outcome: &Outcome| {
        let stdout = OutputEnd {
            ledger: Ledger::default(),
            error: None,
        };
        let beside = Beside {
            outputs: OutputEnds {
                stdout: Some(stdout),
                stderr: None,
            },
            unfed: None,
            discarded: Discarded::default(),
            out_of_memory: None,
            has_cgroup: true,
        };
        RunReport::new(&flags(), outcome, 0, Duration::ZERO, beside).to_text()
    };
    let mut outcome = outcome();
    assert!(!told(&outcome).contains("held by"));
    outcome.stdout.has_ended = false;
    for (ended, is_told) in [
        (EndedBy::Deadline, true),
        (EndedBy::Request, true),
        // "Somebody holds its output still."
        (EndedBy::Quiet, false),
    ] {
        outcome.ended = ended;
        let text = told(&outcome);
        assert_eq!(text.contains(UNSEEN), is_told, "{text}");
        assert!(is_told || text.contains("somebody holds"), "{text}");
    }
    outcome.holders.push(found(7, "daemon"));
    outcome.ended = EndedBy::Deadline;
    let text = told(&outcome);
    assert!(
        !text.contains(UNSEEN) && text.contains("by daemon (7)"),
        "{text}"
    );
}

#[test]
fn what_the_system_has_counted_is_told() {
    let all = UsageReport {
        user_seconds: 0.25,
        system_seconds: 0.5,
        memory_bytes_max: Some(1_000_000),
        page_faults: Some(13),
        page_faults_major: Some(2),
        context_switches_voluntary: Some(4),
        context_switches_involuntary: Some(5),
        blocks_read: Some(8),
        blocks_written: Some(9),
    };
    assert_eq!(
        all.counts_in_words().unwrap(),
        "page faults: 13, 2 major; context switches: 4 voluntary, 5 involuntary; blocks: 8 read, 9 written"
    );
    let faults_alone = UsageReport {
        page_faults_major: None,
        context_switches_voluntary: None,
        context_switches_involuntary: None,
        blocks_read: None,
        blocks_written: None,
        ..all
    };
    let told = faults_alone.counts_in_words();
    assert_eq!(told.unwrap(), "page faults: 13");
    let nothing = UsageReport {
        page_faults: None,
        ..faults_alone
    };
    assert_eq!(nothing.counts_in_words(), None);
}

/// A command that ended by itself is followed by no end of its tree, unless that could not be let go.
#[test]
fn a_tree_that_could_not_be_let_go_is_told_as_that() {
    let error = io::Error::other("it is refused");
    let tree = EndedTree::default();
    for (ended, is_of_let_go) in [
        (EndedBy::Itself, true),
        (EndedBy::Quiet, true),
        (EndedBy::DeadlineAfterExit, true),
        (EndedBy::Deadline, false),
        (EndedBy::Request, false),
    ] {
        let told = not_ended_well(ended, &tree, &error);
        assert_eq!(told.contains("let go"), is_of_let_go, "{told}");
        assert!(told.ends_with(": it is refused"), "{told}");
    }
}
