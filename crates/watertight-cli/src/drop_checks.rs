//! A child is killed before its input ends also where nothing but the order of fields sees to that: when all is dropped together. Also while
//! somebody else looks at it, and so has a reference too.
//!
//! The consumer commits if and only if it sees a clean end. Its input is a plain pipe, in which every end is one.
#![allow(clippy::unwrap_used, reason = "a test names what it expects")]

use crate::address::ExecOptions;
use crate::child;
use crate::child_status::InputKind;
use crate::cli::{Cli, Task};
use crate::copy::Copy;
use crate::destination::{DestinationEnd, DestinationKind};
use crate::endpoint::{Ends, Started};
use crate::event::mailbox;
use crate::platform;
use crate::source::SourceEnd;
use clap::Parser;
use std::fs;
use std::io::{PipeReader, Read};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tempfile::TempDir;
use watertight::{Child, Observer, Output, Receipt, WriterOptions};

/// Is told when the input has ended, and holds up whoever ended it until it is known what came of that: the consumer has committed, or
/// it is dead. So a child that is killed too late is not killed just in time now and then.
struct Referee {
    child: OnceLock<Weak<Child>>,
    committed: PathBuf,
}

impl Observer for Referee {
    fn ended(&self, _: &Receipt) {
        while self.is_undecided() {
            std::thread::yield_now();
        }
    }
}

impl Referee {
    fn is_undecided(&self) -> bool {
        // One that was dropped was killed with that.
        let child = self.child.get().and_then(Weak::upgrade);
        let lives = child.is_some_and(|child| {
            let exit = child.until_exit().within(Duration::ZERO).wait();
            exit.is_err()
        });
        lives && !self.committed.exists()
    }
}

/// A consumer that has got a first line, and waits for more or for the end.
struct Consumer {
    folder: TempDir,
    started: Started,
    /// Somebody else's.
    _child: Arc<Child>,
    /// It ends when everybody is gone who belongs to the consumer.
    output: PipeReader,
}

impl Consumer {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (part, committed) = (folder.path().join("part"), folder.path().join("final"));
        let script = format!(
            "cat >'{0}' && mv '{0}' '{1}'",
            part.display(),
            committed.display()
        );
        let command = platform::command_line(format!("sh -c \"{script}\"").into()).unwrap();
        let exec = ExecOptions {
            plain_pipe: true,
            ..ExecOptions::default()
        };
        let referee = Arc::new(Referee {
            child: OnceLock::new(),
            committed,
        });
        let (output, into_output) = std::io::pipe().unwrap();
        let outputs = (Output::from_handle(into_output), Output::null());
        // As every destination has it: nothing lingers.
        let options = WriterOptions::new()
            .linger(Duration::ZERO)
            .observer(referee.clone());
        let started = child::start_destination(&command, &exec, outputs, true, options);
        let (child, writer, input) = started.unwrap();
        assert_eq!(input, InputKind::Pipe);
        assert!(referee.child.set(Arc::downgrade(&child)).is_ok());
        writer.send(b"first\n").wait().unwrap();
        // It is a file as soon as the consumer has it: nothing tells that but looking.
        while fs::read(&part).map_or(0, |part| part.len()) < 6 {
            std::thread::yield_now();
        }
        Self {
            folder,
            started: Started::of(child.clone(), writer, input),
            _child: child,
            output,
        }
    }
}

/// As the copy takes it over.
fn end_of(started: Started) -> DestinationEnd {
    let Started::Destination(child, writer, input) = started else {
        panic!("it is no source");
    };
    DestinationEnd {
        child,
        writer,
        kind: DestinationKind::Child,
        input: Some(input),
        prefix: None,
    }
}

/// Everybody is gone, and nothing was committed.
#[track_caller]
fn expect_nothing_committed(folder: &TempDir, mut output: PipeReader) {
    let mut said = Vec::new();
    output.read_to_end(&mut said).unwrap();
    assert_eq!(said, b"");
    assert!(!folder.path().join("final").exists());
    assert_eq!(fs::read(folder.path().join("part")).unwrap(), b"first\n");
}

/// As when another end's child cannot be started.
#[test]
fn a_child_that_was_started_in_vain_is_killed_before_its_input_ends() {
    let consumer = Consumer::start();
    drop(consumer.started);
    expect_nothing_committed(&consumer.folder, consumer.output);
}

/// As when something else cannot be opened after the child was started.
#[test]
fn a_destination_that_is_dropped_kills_its_child_before_its_input_ends() {
    let consumer = Consumer::start();
    drop(end_of(consumer.started));
    expect_nothing_committed(&consumer.folder, consumer.output);
}

/// As when a file cannot be emptied after everything else is there.
#[test]
fn a_copy_that_is_dropped_kills_its_children_before_their_inputs_end() {
    let consumer = Consumer::start();
    // With a buffer the bytes go through this program, and nobody but the copy has the writer.
    let line = "watertight copy --progress never --buffer 64k - exec:true";
    let Task::Copy(flags) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
        panic!("not a copy");
    };
    let (reader, _source) = watertight::pipe().unwrap();
    let source = SourceEnd {
        reader,
        child: None,
        extent: None,
    };
    let ends = Ends {
        source,
        destinations: vec![end_of(consumer.started)],
    };
    let (mailbox, inbox) = mailbox();
    let copy = Copy::new(&flags, ends, mailbox, inbox).unwrap();
    drop(copy);
    expect_nothing_committed(&consumer.folder, consumer.output);
}
