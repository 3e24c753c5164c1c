//! At `--limit` the source's command has done what was asked of it: how it ends is nothing against the copy, whether that is seen before the
//! limit is reached or after it.
#![allow(clippy::unwrap_used, reason = "a test names what it expects")]

use super::Copy;
use crate::child::start_source;
use crate::child_status::EndedBy;
use crate::cli::{Cli, Task};
use crate::destination::{DestinationEnd, DestinationKind, Herald};
use crate::endpoint::Ends;
use crate::event::{Event, mailbox};
use crate::flags::CopyFlags;
use crate::partial::Placed;
use crate::platform;
use crate::run::account;
use crate::source::SourceEnd;
use crate::verdict::Verdict;
use clap::Parser;
use std::io::{PipeReader, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};
use watertight::{Output, PipeWriter, ReaderOptions, WriterOptions};

/// Bytes that are moved by the library, that go through a buffer of its own, and that are queued.
const WAYS: [&str; 3] = ["--dead=fail", "--stable", "--buffer=1M"];

fn flags(way: &str) -> Box<CopyFlags> {
    let line = format!("watertight copy --progress never {way} --limit 6 exec:true -");
    let Task::Copy(flags) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
        panic!("not a copy");
    };
    flags
}

/// A copy from a command, and where its bytes come out. Nothing is read yet.
fn copy_from<'a>(flags: &'a CopyFlags, script: &str) -> (Copy<'a>, PipeReader) {
    let command = platform::command_line(format!("sh -c '{script}'").into()).unwrap();
    let options = ReaderOptions::new().exact(true);
    let (child, reader) = start_source(&command, Output::null(), options).unwrap();
    let source = SourceEnd {
        reader,
        child: Some(child),
        extent: None,
    };
    let (output, into_output) = std::io::pipe().unwrap();
    let (mailbox, inbox) = mailbox();
    let herald = Herald {
        index: 0,
        mailbox: mailbox.clone(),
    };
    let options = WriterOptions::new()
        .linger(Duration::ZERO)
        .observer(Arc::new(herald));
    let destination = DestinationEnd {
        child: crate::child::Unclaimed::default(),
        writer: PipeWriter::adopt_with(into_output, options).unwrap(),
        kind: DestinationKind::Peer,
        input: None,
        prefix: None,
    };
    let ends = Ends {
        source,
        destinations: vec![destination],
    };
    let copy = Copy::new(flags, ends, mailbox, inbox).unwrap();
    (copy, output)
}

/// Copies to the end. The copy is a good one, and the command was ended by us or not.
#[track_caller]
fn expect_good(flags: &CopyFlags, (mut copy, mut output): (Copy<'_>, PipeReader), by: EndedBy) {
    copy.run();
    assert_eq!(copy.verdict, Verdict::Good);
    let report = account(flags, &copy, vec![Placed::default()]).conclude();
    assert_eq!(report.exit_code, 0, "{}", report.to_text());
    let child = report.sources[0].child.as_ref().unwrap();
    assert!(!child.good);
    assert_eq!(child.ended_by, by);
    drop(copy);
    let mut seen = String::new();
    output.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "enough");
}

#[test]
fn a_command_that_ended_badly_before_the_limit_was_seen_is_nothing_against_the_copy() {
    for way in WAYS {
        for ending in ["exit 1", "kill -KILL $$"] {
            let flags = flags(way);
            let (mut copy, output) = copy_from(&flags, &format!("printf enough; {ending}"));
            while copy.children[0].is_running() {
                if let Some(event @ Event::ChildMayBeOver(_)) = copy.inbox.next(None) {
                    copy.handle(event, Instant::now());
                }
            }
            expect_good(&flags, (copy, output), EndedBy::Itself);
        }
    }
}

#[test]
fn a_command_that_ends_badly_after_the_limit_is_nothing_against_the_copy() {
    for way in WAYS {
        let flags = flags(way);
        let copy = copy_from(&flags, "printf enough; exec sleep 1000");
        expect_good(&flags, copy, EndedBy::Asked);
    }
}
