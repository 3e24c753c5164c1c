//! What becomes of a child's output when the library's own thread is late.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::children::accounted;
use crate::common::{PATIENCE, read_to_end, take_turn};
use futures_lite::future::{block_on, poll_once};
use std::future::Future;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;
use std::time::Duration;
use watertight::{
    AfterExit, Child, Command, EndRequest, EndedBy, Input, Ledger, Limits, Observer, Output,
    PipeWriter, ReaderOptions, WriterOptions,
};

/// Holds up the library's thread when it tells of progress first, until it is let go.
struct HoldsUp {
    but_not: ThreadId,
    entered: Mutex<Sender<()>>,
    go: Mutex<Option<Receiver<()>>>,
}

impl Observer for HoldsUp {
    fn progress(&self, _: Ledger) {
        if std::thread::current().id() == self.but_not {
            return;
        }
        if let Some(go) = self.go.lock().unwrap().take() {
            self.entered.lock().unwrap().send(()).unwrap();
            go.recv_timeout(PATIENCE).unwrap();
        }
    }
}

/// Tells of each wake.
struct Told(Mutex<Sender<()>>);

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().send(());
    }
}

/// Who escapes keeps the output open, so that its end does not come.
#[test]
fn what_was_written_before_the_exit_is_waited_for_when_nobody_has_told_of_it_yet() {
    let accounted = accounted();

    let (entered, is_held_up) = channel();
    let (let_go, go) = channel();
    let observer = Arc::new(HoldsUp {
        but_not: std::thread::current().id(),
        entered: Mutex::new(entered),
        go: Mutex::new(Some(go)),
    });
    let options = WriterOptions::new().observer(observer);
    let (reader, writer) = watertight::pipe_with(ReaderOptions::new(), options).unwrap();
    writer.try_send(&vec![7; 200_000]).unwrap();

    let mut command = Command::new("sh");
    command.args(["-c", "read x; sleep 1000 2>&- & echo all there is"]);
    let child_input = watertight::Input::piped();
    command.stdin(child_input);
    let limits = Limits::new().after_exit(AfterExit::Quiet(Duration::ZERO));
    let mut child = command.stdout(watertight::Output::piped()).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let (told, is_told) = channel();
    let waker = Waker::from(Arc::new(Told(Mutex::new(told))));
    let mut context = Context::from_waker(&waker);
    let mut run = Box::pin(child.communicate(limits));
    assert!(run.as_mut().poll(&mut context).is_pending());

    // From here on nobody tells that a pipe can be read.
    let mut room = vec![0; 100_000];
    assert!(reader.receive(&mut room).wait().unwrap() > 0);
    is_held_up.recv_timeout(PATIENCE).unwrap();
    input.send(b"go on\n").wait().unwrap();
    is_told.recv_timeout(PATIENCE).unwrap();
    for _ in 0..10 {
        let polled = run.as_mut().poll(&mut context);
        assert!(polled.is_pending(), "{polled:?}");
    }

    let_go.send(()).unwrap();
    let outcome = loop {
        is_told.recv_timeout(PATIENCE).unwrap();
        if let Poll::Ready(outcome) = run.as_mut().poll(&mut context) {
            break outcome.unwrap();
        }
    };
    assert_eq!(outcome.ended, EndedBy::Quiet);
    assert_eq!(outcome.stdout.bytes, b"all there is\n");
    outcome.holders.iter().for_each(kill);
    drop((run, input));
    let reading = std::thread::spawn(move || read_to_end(&reader));
    let _ = writer.finish().within(PATIENCE).wait().unwrap();
    reading.join().unwrap();
    drop(accounted);
}

/// Holds up the thread that calls it first, until it is let go.
struct HoldsUpOnce {
    entered: Mutex<Sender<()>>,
    go: Mutex<Option<Receiver<()>>>,
}

impl Wake for HoldsUpOnce {
    fn wake(self: Arc<Self>) {
        let go = self.go.lock().unwrap().take();
        if let Some(go) = go {
            self.entered.lock().unwrap().send(()).unwrap();
            go.recv_timeout(PATIENCE).unwrap();
        }
    }
}

/// A shell whose input is a pipe. Its outputs are nothing of the test's.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Input::piped());
    command.stdout(Output::null()).stderr(Output::null());
    command
}

/// The child, and its input.
fn start(command: &mut Command) -> (Child, PipeWriter) {
    let mut child = command.spawn().unwrap();
    let input = child.stdin.take().unwrap();
    (child, input)
}

/// Waits until a child is over. Nobody reaps it meanwhile.
fn await_end(id: u32) {
    let stat = format!("/proc/{id}/stat");
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
}

/// Calls `act` while the thread that hears of children's ends is held up by another child's waker, so that nobody tells that a child is over.
fn while_no_end_is_told(act: impl FnOnce()) {
    let (other, input) = start(&mut shell("read x"));
    let (entered, is_held_up) = channel();
    let (let_go, go) = channel();
    let holds_up = Waker::from(Arc::new(HoldsUpOnce {
        entered: Mutex::new(entered),
        go: Mutex::new(Some(go)),
    }));
    let mut waiting = Box::pin(other.wait());
    let mut context = Context::from_waker(&holds_up);
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    drop(input);
    is_held_up.recv_timeout(PATIENCE).unwrap();
    act();
    let_go.send(()).unwrap();
    assert!(block_on(waiting).is_ok());
}

#[test]
fn a_child_that_is_over_is_not_ended_although_nobody_has_told_of_it_yet() {
    let _accounted = accounted();
    while_no_end_is_told(|| {
        let mut command = shell("read x; sleep 1000 </dev/null & echo said; exit 3");
        let (child, input) = start(command.stdout(Output::piped()));
        let id = child.id();
        let request = EndRequest::new();
        let limits = Limits::new().after_exit(AfterExit::ToDeadline);
        let (told, is_told) = channel();
        let waker = Waker::from(Arc::new(Told(Mutex::new(told))));
        let mut context = Context::from_waker(&waker);
        let mut run = Box::pin(child.communicate(limits.end_on(&request)));
        assert!(run.as_mut().poll(&mut context).is_pending());
        input.send(b"go on\n").wait().unwrap();
        await_end(id);
        request.send();
        let outcome = loop {
            is_told.recv_timeout(PATIENCE).unwrap();
            if let Poll::Ready(outcome) = run.as_mut().poll(&mut context) {
                break outcome.unwrap();
            }
        };
        assert_eq!(outcome.ended, EndedBy::Request);
        assert_eq!(outcome.exit.unwrap().status().unwrap().code(), Some(3));
        assert_eq!(outcome.stdout.bytes, b"said\n");
        assert!(outcome.tree.is_none(), "{:?}", outcome.tree);
        outcome.holders.iter().for_each(kill);
    });
}

/// Its outputs are at their ends. So that was its own end and nobody is signalled, whatever the rule for those who stay behind.
#[test]
fn a_wait_that_is_given_up_tells_the_end_of_a_child_that_is_over() {
    let _accounted = accounted();
    for rule in [AfterExit::ToDeadline, AfterExit::ToEnd] {
        while_no_end_is_told(|| {
            let (child, input) = start(&mut shell("read x; exit 3"));
            let id = child.id();
            let mut run = child.communicate(Limits::new().after_exit(rule));
            assert!(block_on(poll_once(&mut run)).is_none());
            drop(input);
            await_end(id);
            let outcome = block_on(run.within(Duration::ZERO)).unwrap();
            assert_eq!(outcome.ended, EndedBy::Itself, "{rule:?}");
            assert_eq!(outcome.exit.unwrap().status().unwrap().code(), Some(3));
            assert!(outcome.tree.is_none(), "{:?}", outcome.tree);
        });
    }
}

/// Somebody who writes for ever has something there at every look.
#[test]
fn who_stays_behind_and_writes_is_not_waited_for() {
    take_turn();
    let mut command = Command::new("sh");
    command.args(["-c", "yes & exit 0"]);
    let limits = Limits::new()
        .after_exit(AfterExit::Quiet(Duration::ZERO))
        .output_bytes_max(1000);
    let run = command.output(limits).unwrap();
    let outcome = run.within(PATIENCE).wait().unwrap();
    assert_eq!(outcome.ended, EndedBy::Quiet);
    outcome.holders.iter().for_each(kill);
}

fn kill(holder: &watertight::Found) {
    let pid = rustix::process::Pid::from_raw(holder.pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
