//! A command that is to end keeps its input until it has ended. Here by the steps of the copy itself: a system that kills at once leaves
//! the command no time to show it.
#![allow(clippy::unwrap_used, reason = "a test names what it expects")]

use super::Copy;
use crate::address::ExecOptions;
use crate::child::{Unclaimed, start_destination};
use crate::child_status::InputKind;
use crate::cli::{Cli, Task};
use crate::destination::{DestinationEnd, DestinationKind};
use crate::endpoint::Ends;
use crate::event::{Event, mailbox};
use crate::flags::CopyFlags;
use crate::partial::Placed;
use crate::platform;
use crate::run::account;
use crate::source::SourceEnd;
use crate::source_ending::SourceEnding;
use crate::verdict::Verdict;
use clap::Parser;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};
use watertight::{Child, Output, PipeWriter, WriterOptions};

/// What makes this test binary the command.
const MARK: &str = "be-a-command-of-a-condemned-destination";

/// No test of its own: the command. It waits for the end of its input.
#[test]
fn be_the_command() {
    if std::env::args().any(|argument| argument == MARK) {
        // Its input may end with an error, or not at all.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
    }
}

fn command_line() -> String {
    let binary = std::env::current_exe().unwrap();
    let binary = binary.to_str().unwrap();
    let test = "copy::condemned_checks::be_the_command";
    format!("\"{binary}\" --exact {test} --nocapture --skip {MARK}")
}

/// A copy from a source that nobody reads, to a command.
pub(super) fn copy_to(
    flags: &CopyFlags,
    child: Arc<Child>,
    writer: PipeWriter,
    input: InputKind,
) -> Copy<'_> {
    let (reader, _) = watertight::pipe().unwrap();
    let source = SourceEnd {
        reader,
        child: None,
        extent: None,
    };
    let destination = DestinationEnd {
        child: Unclaimed::of(child),
        writer,
        kind: DestinationKind::Child,
        input: Some(input),
        prefix: None,
    };
    let ends = Ends {
        source,
        destinations: vec![destination],
    };
    let (mailbox, inbox) = mailbox();
    Copy::new(flags, ends, mailbox, inbox).unwrap()
}

fn flags() -> Box<CopyFlags> {
    let line = "watertight copy --progress never - exec:command";
    let Task::Copy(flags) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
        panic!("not a copy");
    };
    flags
}

/// A copy whose source has failed: its command is being ended.
fn condemned(flags: &CopyFlags, is_armed: bool, now: Instant) -> Copy<'_> {
    let command = platform::command_line(command_line().into()).unwrap();
    let exec = ExecOptions::default();
    let outputs = (Output::null(), Output::null());
    let options = WriterOptions::new().linger(Duration::ZERO);
    let started = start_destination(&command, &exec, outputs, is_armed, options);
    let (child, writer, input) = started.unwrap();
    let mut copy = copy_to(flags, child, writer, input);
    let source_ending = SourceEnding {
        error: Some("it is cut".to_owned()),
        ..SourceEnding::default()
    };
    copy.handle(Event::SourceEnded(source_ending), now);
    assert!(copy.judge(now));
    assert_eq!(copy.verdict, Verdict::Bad);
    assert!(copy.children[1].is_being_ended());
    copy
}

#[test]
fn a_command_that_is_to_end_keeps_its_input_until_it_has_ended() {
    let flags = flags();
    for is_armed in [true, false] {
        let now = Instant::now();
        let mut copy = condemned(&flags, is_armed, now);
        while !copy.children[1].is_over() {
            copy.close_condemned(now);
            let closed_at = copy.destinations[0].abandoned_at();
            assert_eq!(closed_at, None, "its input is closed while it may live");
            let event = copy.inbox.next(None).unwrap();
            copy.handle(event, Instant::now());
        }
        copy.close_condemned(now);
        assert!(copy.destinations[0].abandoned_at().is_some());
        // Nobody is there who could see an end.
        assert!(!copy.destinations[0].looks_whole());
    }
}

/// Who runs as another user (sudo) cannot be killed by us. Here nothing is heard of the command's end: to the copy that is the same.
#[test]
fn a_clean_end_that_could_not_be_kept_from_a_command_is_told() {
    let flags = flags();
    let now = Instant::now();
    let mut copy = condemned(&flags, false, now);
    while let Some(due) = copy.children[1].due() {
        assert!(!copy.children[1].may_live(), "it is waited for");
        copy.children[1].keep_deadline(due);
    }
    assert!(copy.children[1].is_over());
    assert!(copy.children[1].may_live());
    copy.close_condemned(now);
    let report = account(&flags, &copy, vec![Placed::default()]).conclude();
    assert!(report.to_json().unwrap().contains("\"looks_whole\":true"));
    let text = report.to_text();
    assert!(text.contains("sees a clean end"), "{text}");
}
