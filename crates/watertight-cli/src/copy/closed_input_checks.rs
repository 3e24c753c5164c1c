//! A child that closed its input and works on is left alone, whichever is told first: that the source's thread has met the closed input, or
//! how the destination ended.
#![allow(clippy::unwrap_used, reason = "a test names what it expects")]

use super::condemned_checks::copy_to;
use crate::address::ExecOptions;
use crate::child::start_destination;
use crate::child_status::InputKind;
use crate::cli::{Cli, Task};
use crate::destination::Herald;
use crate::event::{Event, mailbox};
use crate::platform;
use crate::source_ending::SourceEnding;
use crate::verdict::Verdict;
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

#[test]
fn a_child_that_closed_its_input_is_left_alone_whatever_is_told_first() {
    let mut worker = Worker::start();
    let line = "watertight copy --progress never - exec:true";
    let Task::Copy(flags) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
        panic!("not a copy");
    };
    let mut copy = copy_to(&flags, worker.child, worker.writer, worker.input);
    let now = Instant::now();
    let source_ending = SourceEnding {
        is_destination_over: true,
        destinations_over: vec![0],
        ..SourceEnding::default()
    };
    copy.handle(Event::SourceEnded(source_ending), now);
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
