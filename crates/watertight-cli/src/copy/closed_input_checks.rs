//! A child that closed its input and works on is left alone, whichever is told first: that the source's thread has met the closed input, or
//! how the destination ended. That is waited for, but not for ever.
#![allow(clippy::unwrap_used, reason = "a test names what it expects")]

use super::Copy;
use super::condemned_checks::copy_to;
use crate::address::ExecOptions;
use crate::child::start_destination;
use crate::child_status::InputKind;
use crate::cli::{Cli, Task};
use crate::copy_ending::{CopyEnding, GivenUp};
use crate::destination::Herald;
use crate::event::{Event, mailbox};
use crate::flags::CopyFlags;
use crate::partial::Placed;
use crate::platform;
use crate::run::account;
use crate::source_ending::SourceEnding;
use crate::verdict::Verdict;
use bytes::Bytes;
use clap::Parser;
use std::io::{BufRead, BufReader, PipeReader};
use std::sync::Arc;
use std::time::{Duration, Instant};
use watertight::{Child, Output, PipeWriter, WriterOptions};

/// A child that has closed its input and works on.
struct Worker {
    child: Arc<Child>,
    writer: PipeWriter,
    input: InputKind,
    /// How the destination ended.
    ended: Event,
    /// It ends when everybody is gone who belongs to the child.
    output: BufReader<PipeReader>,
}

impl Worker {
    fn start() -> Self {
        let script = "sh -c \"exec <&-; echo closed; exec sleep 1000\"";
        let command = platform::command_line(script.into()).unwrap();
        let (output, into_output) = std::io::pipe().unwrap();
        let mut output = BufReader::new(output);
        let outputs = (Output::from_handle(into_output), Output::null());
        // Its ending comes into a mailbox of its own, to be handed over when the copy is to have it.
        let (told, inbox) = mailbox();
        let herald = Herald {
            index: 0,
            mailbox: told,
        };
        let options = WriterOptions::new()
            .linger(Duration::ZERO)
            .observer(Arc::new(herald));
        let exec = ExecOptions::default();
        let started = start_destination(&command, &exec, outputs, true, options);
        let (child, writer, input) = started.unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "closed\n");
        // Another test's child that is being started may have a copy of its input for a moment.
        while writer.send(b"nobody's").wait().is_ok() {}
        let ended = loop {
            if let Some(event @ Event::DestinationEnded(..)) = inbox.next(None) {
                break event;
            }
        };
        Self {
            child,
            writer,
            input,
            ended,
            output,
        }
    }
}

fn flags() -> Box<CopyFlags> {
    let line = "watertight copy --progress never - exec:true";
    let Task::Copy(flags) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
        panic!("not a copy");
    };
    flags
}

/// The source's thread has met the closed input.
fn end_source(copy: &mut Copy<'_>, now: Instant) {
    let source_ending = SourceEnding {
        is_destination_over: true,
        destinations_over: vec![0],
        ..SourceEnding::default()
    };
    copy.handle(Event::SourceEnded(source_ending), now);
}

#[test]
fn a_child_that_closed_its_input_is_left_alone_whatever_is_told_first() {
    let mut worker = Worker::start();
    let flags = flags();
    let mut copy = copy_to(&flags, worker.child, worker.writer, worker.input);
    let now = Instant::now();
    end_source(&mut copy, now);
    assert!(!copy.judge(now), "how the destination ended is not known");
    copy.handle(worker.ended, now);
    assert!(copy.judge(now));
    assert_eq!(copy.verdict, Verdict::Bad);
    assert!(!copy.children[1].status().unwrap().stopped);
    assert!(!copy.children[1].is_being_ended());
    // It is killed with a copy that is dropped.
    drop(copy);
    assert_eq!(worker.output.read_line(&mut String::new()).unwrap(), 0);
}

/// A close may wait for ever: for whoever keeps a pipe's lock, or for a disk.
#[test]
fn an_ending_that_is_not_told_is_waited_for_with_a_bound() {
    let mut worker = Worker::start();
    let flags = flags();
    let mut copy = copy_to(&flags, worker.child, worker.writer, worker.input);
    let now = Instant::now();
    end_source(&mut copy, now);
    let due = copy.next_deadline(now).unwrap();
    copy.keep_deadlines(due.checked_sub(Duration::from_millis(1)).unwrap());
    assert!(!copy.judge(due), "it may be told still");
    copy.keep_deadlines(due);
    let given_up = copy.destinations[0].given_up();
    assert_eq!(given_up, Some(GivenUp::NoEnding));
    assert_eq!(copy.ending, Some(CopyEnding::DestinationEnded));
    assert!(copy.judge(due));
    assert_eq!(copy.verdict, Verdict::Bad);
    assert!(!copy.children[1].is_being_ended());
    // What is wrong with it is known all the same.
    let report = account(&flags, &copy, vec![Placed::default()]).conclude();
    let error = report.destinations[0].error.as_ref().unwrap();
    assert!(error.contains("the peer closed its end"), "{error}");
    assert!(error.ends_with("; how it ended is not known"), "{error}");
    // Its account is taken as it stands, if nothing more is told.
    let over = copy.destinations[0].abandoned_at().unwrap();
    assert_eq!(copy.next_deadline(due), Some(over));
    assert!(copy.destinations[0].is_over(over));
    // It is told too late, and says the same.
    copy.handle(worker.ended, over);
    let told = copy.destinations[0].error().unwrap();
    assert!(!told.contains("not known"), "{told}");
    drop(copy);
    assert_eq!(worker.output.read_line(&mut String::new()).unwrap(), 0);
}

/// Here it is this thread that meets the closed input, and the verdict waits likewise.
#[test]
fn one_that_takes_no_more_has_to_say_in_time_how_it_ended() {
    let mut worker = Worker::start();
    let flags = flags();
    let mut copy = copy_to(&flags, worker.child, worker.writer, worker.input);
    let now = Instant::now();
    let destination = &mut copy.destinations[0];
    assert!(destination.push(Bytes::from_static(b"more"), 0, now));
    assert_eq!(destination.ending_due(), None);
    destination.advance(false, now, &copy.mailbox);
    let due = destination.ending_due().unwrap();
    assert!(due > now);
    // It is the same whenever it is looked.
    destination.advance(false, due, &copy.mailbox);
    assert_eq!(destination.ending_due(), Some(due));
    copy.handle(worker.ended, now);
    assert_eq!(copy.destinations[0].ending_due(), None);
    drop(copy);
    assert_eq!(worker.output.read_line(&mut String::new()).unwrap(), 0);
}
