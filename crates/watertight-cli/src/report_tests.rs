//! The exit code and the texts of a report.

use super::*;
use crate::topics::{COPY_EXIT_STATUS, in_help};

fn finished() -> Report {
    Report {
        version: "0",
        ending: CopyEnding::Finished,
        exit_code: 0,
        signal: None,
        elapsed_seconds: 1.0,
        expected_bytes: Some(10),
        sources: vec![SourceReport {
            address: "a".to_owned(),
            bytes_read: 10,
            ended: true,
            ..SourceReport::default()
        }],
        destinations: vec![DestinationReport {
            address: "b".to_owned(),
            address_base64: None,
            ending: PipeEnding::Finished,
            given_up: None,
            error: None,
            is_failure_ours: false,
            counters: Counters {
                accepted: 10,
                transferred: 10,
                ..Counters::default()
            },
            sealed: false,
            seal_bytes: 0,
            resumed_at: None,
            verified_bytes: 0,
            not_accepted: 0,
            read_by_peer: None,
            how: None,
            in_place_reason: None,
            partial: None,
            partial_base64: None,
            input: None,
            looks_whole: false,
            discarded: Discarded::default(),
            child: None,
        }],
        hash: None,
        no_hash: None,
    }
}

fn code(change: impl FnOnce(&mut Report)) -> u8 {
    let mut report = finished();
    change(&mut report);
    report.conclude().exit_code
}

#[test]
fn zero_only_if_everything_went_well() {
    assert_eq!(code(|_| {}), 0);
    assert_eq!(code(|report| report.sources[0].ended = false), 1);
    assert_eq!(
        code(|report| report.destinations[0].counters.transferred = 9),
        5
    );
    assert_eq!(
        code(|report| report.destinations[0].ending = PipeEnding::Failed),
        5
    );
    assert_eq!(
        code(|report| report.destinations[0].read_by_peer = Some(false)),
        5
    );
    assert_eq!(code(|report| report.expected_bytes = Some(11)), 7);
    assert_eq!(
        code(|report| report.destinations[0].partial = Some(String::new())),
        1
    );
    assert_eq!(
        code(|report| report.sources[0].error = Some(String::new())),
        4
    );
    assert_eq!(code(|report| report.ending = CopyEnding::IdleDeadline), 6);
    assert_eq!(
        code(|report| report.destinations[0].given_up = Some(GivenUp::SlowDeadline)),
        6
    );
    assert_eq!(code(|report| report.ending = CopyEnding::NotOpened), 3);
    assert_eq!(code(|report| report.signal = Some(15)), 143);
}

#[test]
fn a_signals_exit_code_says_which_it_was() {
    for signal in [1, 15, 27, 64] {
        let mut report = finished();
        report.signal = Some(signal);
        let text = report.conclude().to_text();
        let end = format!("; exit code {}", 128 + signal);
        assert!(text.lines().next().unwrap().ends_with(&end), "{text}");
    }
}

#[test]
fn a_limit_that_was_reached_is_as_good_as_the_end() {
    let limited = |report: &mut Report| {
        report.sources[0].ended = false;
        report.sources[0].limit_reached = true;
    };
    assert_eq!(code(limited), 0);
    // Whoever has given enough may end as it likes, and nobody else.
    let bad = || Some(ChildStatus::default());
    let of_source = |report: &mut Report| {
        limited(report);
        report.sources[0].child = bad();
    };
    assert_eq!(code(of_source), 0);
    let of_destination = |report: &mut Report| {
        limited(report);
        report.destinations[0].child = bad();
    };
    assert_eq!(code(of_destination), 8);
    let mut report = finished();
    limited(&mut report);
    let text = report.conclude().to_text();
    assert!(text.contains(", limit reached\n"), "{text}");
}

#[test]
fn a_child_counts_unless_we_stopped_it() {
    let bad = ChildStatus {
        code: Some(1),
        ..ChildStatus::default()
    };
    let stopped = ChildStatus {
        stopped: true,
        ..bad.clone()
    };
    let copied = bad.clone();
    assert_eq!(code(|report| report.sources[0].child = Some(copied)), 8);
    assert_eq!(code(|report| report.destinations[0].child = Some(bad)), 8);
    assert_eq!(
        code(|report| report.destinations[0].child = Some(stopped)),
        0
    );
    assert_eq!(
        code(|report| report.destinations[0].child = Some(ChildStatus::default())),
        8
    );
}

#[test]
fn of_several_reasons_the_first_of_the_documented_list_counts() {
    let mut report = finished();
    let mut codes = Vec::new();
    let steps: [fn(&mut Report); 6] = [
        |report| report.expected_bytes = Some(11),
        |report| report.destinations[0].child = Some(ChildStatus::default()),
        |report| report.destinations[0].ending = PipeEnding::Aborted,
        |report| report.destinations[0].given_up = Some(GivenUp::DrainDeadline),
        |report| report.sources[0].error = Some(String::new()),
        |report| report.signal = Some(2),
    ];
    for step in steps {
        step(&mut report);
        codes.push(exit_code(&report));
    }
    assert_eq!(codes, [7, 8, 5, 6, 4, 130]);
    // The help text has them in the same order, most important first.
    let list = in_help(&[COPY_EXIT_STATUS]);
    let at = |code: &str| list.find(&format!("\n  {code} ")).unwrap();
    let places = ["4", "6", "5", "8", "7"].map(at);
    assert!(places.is_sorted());
}

#[test]
fn the_text_tells_where_the_bytes_are() {
    let mut report = finished();
    report.destinations[0].counters = Counters {
        accepted: 10,
        transferred: 6,
        discarded: 3,
        in_doubt: 1,
        ..Counters::default()
    };
    report.destinations[0].error = Some("cannot write".to_owned());
    let text = report.conclude().to_text();
    assert!(
        text.contains("transferred  6 bytes of 10 accepted; 3 discarded, 1 in doubt"),
        "{text}"
    );
    assert!(
        text.contains("exit code 5: bytes are missing at a destination"),
        "{text}"
    );
    assert!(text.contains("error        cannot write"), "{text}");
}

#[test]
fn the_json_has_the_counters_beside_the_address() {
    let json: serde_json::Value =
        serde_json::from_str(&finished().conclude().to_json().unwrap()).unwrap();
    assert_eq!(json["destinations"][0]["accepted"], 10);
    assert_eq!(json["destinations"][0]["ending"], "finished");
    assert_eq!(json["sources"][0]["bytes_read"], 10);
    assert!(json["hash"].is_null());
}

#[test]
fn what_a_child_prints_and_nobody_gets_is_told_in_one_line_too() {
    let discarded = Discarded {
        output: Some("why"),
        stderr: Some("because"),
    };
    let good = ChildStatus {
        code: Some(0),
        good: true,
        ..ChildStatus::default()
    };
    let mut report = finished();
    report.note_discarded(discarded);
    assert_eq!(report.to_text().matches("discarded: ").count(), 0);
    report.sources[0].child = Some(good.clone());
    report.destinations[0].child = Some(good);
    report.note_discarded(discarded);
    let report = report.conclude();
    assert_eq!(report.exit_code, 0);
    let line = "b: what it prints is discarded: why";
    assert_eq!(report.errors(), [line]);
    let success = report.to_line();
    assert!(
        success.ends_with(&format!("\nwatertight: {line}\n")),
        "{success}"
    );
    let text = report.to_text();
    for words in [
        "  output       discarded: why\n",
        "  stderr       discarded: because\n",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    let told = |end: &str| {
        let end = &json[end][0];
        (
            end["output_discarded"].clone(),
            end["stderr_discarded"].clone(),
        )
    };
    assert_eq!(told("sources"), (false.into(), true.into()));
    assert_eq!(told("destinations"), (true.into(), true.into()));
}

#[test]
fn a_copy_to_the_end_that_lacks_bytes_says_both() {
    let mut report = finished();
    report.destinations[0].ending = PipeEnding::Failed;
    let report = report.conclude();
    assert_eq!(report.ending, CopyEnding::Incomplete);
    assert_eq!(report.exit_code, 5);
    let text = report.to_text();
    assert!(
        text.starts_with("watertight: finished, but bytes are missing at a destination,"),
        "{text}"
    );
    assert_eq!(finished().conclude().ending, CopyEnding::Finished);
}

#[test]
fn a_text_report_has_no_lines_but_its_own() {
    let mut report = finished();
    report.sources[0].address = "a\nb".to_owned();
    report.destinations[0].address = "c\rd".to_owned();
    report.destinations[0].error = Some("e\nf".to_owned());
    let text = report.conclude().to_text();
    for name in ["a\\nb\n", "c\\rd\n", "e\\nf\n"] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn a_source_that_became_shorter_failed() {
    let cut = |report: &mut Report| {
        report.ending = CopyEnding::SourceShrank;
        report.sources[0].error = Some("the source became shorter".to_owned());
        report.sources[0].ended = false;
    };
    assert_eq!(code(cut), 4);
    let mut report = finished();
    cut(&mut report);
    let text = report.conclude().to_text();
    assert!(
        text.contains("stopped because the source became shorter,"),
        "{text}"
    );
}

#[test]
fn an_end_before_the_size_is_told_even_if_nothing_was_cut() {
    let mut report = finished();
    report.sources[0].size_at_start = Some(4096);
    let report = report.conclude();
    assert_eq!(report.exit_code, 0);
    let text = report.to_text();
    assert!(
        text.contains(", to the end, although it had 4096 bytes at the start\n"),
        "{text}"
    );
    let mut report = finished();
    report.sources[0].size_at_start = Some(10);
    assert!(!report.conclude().to_text().contains("although"));
}

#[test]
fn what_a_seal_adds_is_told_apart_from_the_data() {
    let mut report = finished();
    report.sources[0].size_at_start = Some(63);
    report.sources[0].sealed = true;
    report.sources[0].seal_bytes = 53;
    let destination = &mut report.destinations[0];
    destination.sealed = true;
    destination.seal_bytes = 58;
    destination.counters.accepted = 68;
    destination.counters.transferred = 68;
    let report = report.conclude();
    assert_eq!(report.exit_code, 0);
    let text = report.to_text();
    for words in [
        "read         10 bytes",
        ", to the end; its seal (53 bytes more) is whole\n",
        "68 bytes, all that were accepted; 58 of the accepted bytes are the seal's\n",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let without_its_end_mark = |report: &mut Report| {
        let destination = &mut report.destinations[0];
        destination.sealed = true;
        destination.seal_bytes = 58;
        destination.counters.accepted = 68;
        destination.counters.transferred = 23;
    };
    assert_eq!(code(without_its_end_mark), 5);
}

#[test]
fn how_many_bytes_came_is_told_beside_how_many_were_expected() {
    let mut report = finished();
    assert!(!report.to_text().contains("expected"));
    for (expected, told) in [
        (11, "  expected     11 bytes, but 10 were read\n"),
        // There may be still more: it was not read to the end.
        (9, "  expected     9 bytes, but more came\n"),
    ] {
        report.expected_bytes = Some(expected);
        assert!(report.to_text().contains(told), "{}", report.to_text());
    }
}

#[test]
fn how_a_file_was_written_is_told() {
    let mut report = finished();
    let text = |report: &Report| report.to_text();
    assert!(!text(&report).contains("  how "), "{}", text(&report));
    report.destinations[0].how = Some(How::Renamed);
    assert!(text(&report).contains("\n  how          renamed\n"));
    report.destinations[0].how = Some(How::InPlace);
    report.destinations[0].in_place_reason = Some(Reason::Links);
    assert!(text(&report).contains("\n  how          in place (it has other links)\n"));
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["destinations"][0]["how"], "in_place");
    assert_eq!(json["destinations"][0]["in_place_reason"], "links");
    report.destinations[0].in_place_reason = None;
    report.destinations[0].how = Some(How::Partial);
    report.destinations[0].partial = Some("b\n.partial".to_owned());
    let told = "\n  partial      b\\n.partial has what arrived; the file itself is as it was\n";
    assert!(text(&report).contains(told), "{}", text(&report));
    assert!(report.errors()[0].contains("b: what arrived is in"));
}

#[test]
fn what_was_there_already_counts_as_there() {
    let resumed = |report: &mut Report| {
        let destination = &mut report.destinations[0];
        destination.counters.accepted = 4;
        destination.counters.transferred = 4;
        destination.resumed_at = Some(6);
        destination.verified_bytes = 6;
    };
    assert_eq!(code(resumed), 0);
    let mut report = finished();
    resumed(&mut report);
    let text = report.to_text();
    let told = "\n  resumed      at 6 bytes that were there; all of them are the source's\n";
    assert!(text.contains(told), "{text}");
    assert_eq!(
        code(|report| {
            resumed(report);
            report.destinations[0].verified_bytes = 5;
        }),
        5
    );
}

#[test]
fn a_partial_of_another_source_is_told_and_is_as_it_was() {
    let other = |report: &mut Report| {
        report.ending = CopyEnding::NotResumed;
        report.sources[0].ended = false;
        let destination = &mut report.destinations[0];
        destination.ending = PipeEnding::Aborted;
        destination.given_up = Some(GivenUp::NotResumed);
        destination.counters = Counters::default();
        destination.resumed_at = Some(6);
        destination.verified_bytes = 2;
        destination.how = Some(How::Partial);
        destination.partial = Some("b.partial".to_owned());
    };
    assert_eq!(code(other), 4);
    // Dropped, it is a destination that lacks bytes.
    assert_eq!(
        code(|report| {
            other(report);
            report.ending = CopyEnding::Finished;
            report.sources[0].ended = true;
        }),
        5
    );
    let mut report = finished();
    other(&mut report);
    let text = report.to_text();
    for told in [
        "stopped because a partial is not the beginning of the source,",
        "resumed      at 6 bytes that were there; 2 of them are the source's\n",
        "partial      b.partial is as it was, and so is the file itself\n",
    ] {
        assert!(text.contains(told), "{text}");
    }
    let errors = report.conclude().errors();
    assert!(errors[0].contains("not the beginning"), "{errors:?}");
}

#[test]
fn one_that_was_given_up_is_told_as_that() {
    let failure = |error: Option<&str>, is_ours| {
        let mut report = finished();
        report.ending = CopyEnding::SlowDeadline;
        let destination = &mut report.destinations[0];
        destination.given_up = Some(GivenUp::SlowDeadline);
        destination.error = error.map(str::to_owned);
        destination.is_failure_ours = is_ours;
        destination.counters.transferred = 4;
        destination.counters.discarded = 6;
        let report = report.conclude();
        (report.errors().remove(0), report.to_text())
    };
    let closed = Some("cannot write: the peer closed its end");
    let account = "b: given up: it took nothing for --slow-after; of 10 bytes accepted, 4 transferred, 6 discarded, 0 in doubt";
    let (line, text) = failure(closed, true);
    assert_eq!(line, account);
    assert!(!text.contains("closed its end"), "{text}");
    assert!(text.contains("; given up: it took nothing"), "{text}");
    assert_eq!(failure(None, false).0, account);
    // It has failed by itself, too.
    let (line, text) = failure(Some("the disk is full"), false);
    let both = "b: given up: it took nothing for --slow-after; the disk is full";
    assert_eq!(line, both);
    assert!(
        text.contains("\n  error        the disk is full\n"),
        "{text}"
    );
}

#[test]
fn a_plain_pipe_is_suggested_where_a_child_may_have_opened_its_socket_again() {
    let is_suggested = |change: fn(&mut DestinationReport)| {
        let mut report = finished();
        let destination = &mut report.destinations[0];
        destination.input = Some(InputKind::Armed);
        destination.read_by_peer = Some(false);
        destination.child = Some(ChildStatus {
            code: Some(1),
            ..ChildStatus::default()
        });
        change(destination);
        report.conclude().to_text().contains("  hint         ")
    };
    assert!(is_suggested(|_| {}));
    // Its end came before it was known that nothing is read.
    assert!(is_suggested(|destination| {
        destination.read_by_peer = None;
        destination.error = Some(String::new());
    }));
    // Another reason is known, or none is needed.
    let others: [fn(&mut DestinationReport); 5] = [
        |destination| destination.input = Some(InputKind::Pipe),
        |destination| destination.read_by_peer = Some(true),
        |destination| destination.child.as_mut().unwrap().good = true,
        |destination| destination.child.as_mut().unwrap().ended_by = EndedBy::Asked,
        |destination| destination.child.as_mut().unwrap().code = None,
    ];
    for (index, other) in others.into_iter().enumerate() {
        assert!(!is_suggested(other), "{index}");
    }
}

/// The copy is as whole as it was.
#[test]
fn whoever_cannot_be_let_go_is_a_warning_and_no_failure() {
    let mut report = finished();
    assert!(report.warnings().is_empty());
    report.destinations[0].child = Some(ChildStatus {
        code: Some(0),
        good: true,
        not_let_go: Some("it is refused".to_owned()),
        ..ChildStatus::default()
    });
    let report = report.conclude();
    assert_eq!(report.exit_code, 0);
    let warning = "whoever it left behind ends with this program: it is refused";
    let text = report.to_text();
    assert!(
        text.contains(&format!("  warning      {warning}\n")),
        "{text}"
    );
    assert_eq!(report.errors(), [format!("b: {warning}")]);
    assert!(
        report
            .to_json()
            .unwrap()
            .contains("\"not_let_go\":\"it is refused\"")
    );
}

/// It is told as an error, and what made us stop it counts.
#[test]
fn a_source_that_did_not_stop_has_not_failed() {
    let mut report = finished();
    report.ending = CopyEnding::IdleDeadline;
    report.sources[0].error = Some("it did not stop".to_owned());
    report.sources[0].is_abandoned = true;
    let report = report.conclude();
    assert_eq!(report.exit_code, 6);
    assert!(report.to_text().contains("error        it did not stop\n"));
}

/// Who could not be ended sees a clean end on a plain pipe, and nobody claims the contrary.
#[test]
fn a_cut_stream_that_looks_whole_to_a_child_is_told() {
    let mut report = finished();
    report.ending = CopyEnding::SourceFailed;
    report.destinations[0].ending = PipeEnding::Aborted;
    report.destinations[0].given_up = Some(GivenUp::CutShort);
    report.destinations[0].input = Some(InputKind::Pipe);
    let claim = "; given up: the stream was cut short, and it was not to take that for the end\n";
    assert!(report.to_text().contains(claim), "{}", report.to_text());
    assert!(
        report
            .errors()
            .iter()
            .all(|line| !line.contains("a clean end"))
    );
    report.destinations[0].looks_whole = true;
    let text = report.to_text();
    assert!(
        text.contains("; given up: the stream was cut short\n"),
        "{text}"
    );
    let told = "not all of its command could be ended, and whoever of it is left sees a clean end, as of a whole stream";
    assert!(
        text.contains(&format!("\n  input        a plain pipe; {told}\n")),
        "{text}"
    );
    assert!(!text.contains("should we be killed"), "{text}");
    assert_eq!(report.warnings(), [format!("b: {told}")]);
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    assert_eq!(json["destinations"][0]["looks_whole"], true);
}

#[test]
fn a_hash_that_there_is_not_is_told_with_the_reason() {
    let mut report = finished();
    assert!(!report.to_text().contains("hash"), "{}", report.to_text());
    for (why, name) in [
        (NoHash::LeftOut, "left_out"),
        (NoHash::NotBegun, "not_begun"),
        (NoHash::SourceHangs, "source_hangs"),
    ] {
        report.no_hash = Some(why);
        let told = format!("\n  hash         none: {}\n", why.explanation());
        assert!(report.to_text().contains(&told), "{}", report.to_text());
        let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        assert_eq!(
            (&json["hash"], &json["no_hash"]),
            (&serde_json::Value::Null, &name.into())
        );
    }
}
